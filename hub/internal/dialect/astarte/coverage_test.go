package astarte

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestCoverage compares docs/coverage with the table of routes: each endpoint has a line, which says "later" just if
// nothing answers there yet, and names tests that exist.
func TestCoverage(t *testing.T) {
	const marker = "`"
	var doc, tests strings.Builder
	read := func(pattern string, into *strings.Builder) {
		t.Helper()
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			into.Write(text)
		}
	}
	read("../../../../docs/coverage/astarte*.md", &doc)
	read("*_test.go", &tests)
	lines := strings.Split(doc.String(), "\n")
	named := regexp.MustCompile("Test[A-Z][A-Za-z]*")
	for _, r := range routes {
		endpoint := marker + r.method + " /" + r.service.prefix + r.pattern + marker
		found := false
		for _, line := range lines {
			if !strings.Contains(line, endpoint) {
				continue
			}
			found = true
			if later := strings.Contains(line, "| later |"); later != (r.handle == nil) {
				t.Errorf("%s: says later: %v, is: %v", endpoint, later, r.handle == nil)
			}
			names := named.FindAllString(line, -1)
			if len(names) == 0 && r.handle != nil {
				t.Errorf("%s: no test", endpoint)
			}
			for _, n := range names {
				if !strings.Contains(tests.String(), "func "+n+"(") {
					t.Errorf("%s: there is no %s", endpoint, n)
				}
			}
		}
		if !found {
			t.Errorf("%s is in no docs/coverage/astarte*.md", endpoint)
		}
	}
}
