package mqtt

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestCoverage checks that the tests exist that docs/coverage names.
func TestCoverage(t *testing.T) {
	var tests strings.Builder
	for _, pattern := range []string{"*_test.go", "../../credential/*_test.go", "../../feed/*_test.go", "../../broker/*_test.go", "../../api/*_test.go", "../../../*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			tests.Write(text)
		}
	}
	doc, err := os.ReadFile("../../../../docs/coverage/mqtt.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`\b(Test|Fuzz)[A-Z]\w*`).FindAllString(string(doc), -1)
	if len(named) < 30 {
		t.Errorf("the page names %d tests only", len(named))
	}
	for _, name := range named {
		if !strings.Contains(tests.String(), "func "+name+"(") {
			t.Errorf("the page names %s, which does not exist", name)
		}
	}
}
