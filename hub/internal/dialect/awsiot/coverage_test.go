package awsiot

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestCoverage checks that the tests exist that docs/coverage/aws-iot.md names, those of other packages where it says so.
func TestCoverage(t *testing.T) {
	folders := map[string]string{"": ".", "policy.": "policy", "broker.": "../../broker", "hub.": "../../..", "job.": "../../job", "accesskey.": "../../accesskey", "awswire.": "../../../../internal/wire/awswire"}
	sources := map[string]string{}
	for prefix, dir := range folders {
		files, err := filepath.Glob(dir + "/*_test.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			sources[prefix] += string(text)
		}
	}
	doc, err := os.ReadFile("../../../../docs/coverage/aws-iot.md")
	if err != nil {
		t.Fatal(err)
	}
	hub, rest, _ := strings.Cut(string(doc), "\n## The device SDK for Go\n") // which has a test of its own
	_, rest, _ = strings.Cut(rest, "\n## ")
	hub += rest
	named := regexp.MustCompile(`(\w+\.)?((?:Test|Fuzz)[A-Z]\w*)`).FindAllStringSubmatch(hub, -1)
	if len(named) < 30 {
		t.Errorf("the page names %d tests only", len(named))
	}
	for _, m := range named {
		if prefix, name := m[1], m[2]; name != "TestCoverage" && !strings.Contains(sources[prefix], "func "+name+"(") {
			t.Errorf("the page names %s%s, which does not exist", prefix, name)
		}
	}
}
