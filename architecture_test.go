package fairlead_test

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// TestArchitecture checks that the map shows every package, and that the tests that it names exist.
func TestArchitecture(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, parts, _ := strings.Cut(string(text), "```\n")
	parts, _, found := strings.Cut(parts, "```")
	if !found {
		t.Fatal("there are no parts")
	}
	words := map[string]bool{"wire": true}
	for _, w := range regexp.MustCompile(`[a-z][a-z0-9]*`).FindAllString(parts, -1) {
		words[w] = true
	}
	for importPath := range list(t, runtime.GOOS) {
		name, ours := within(importPath)
		if last := path.Base(name); ours && name != "." && !words[last] && path.Base(path.Dir(name)) != "wire" {
			t.Errorf("%s is not on the map", name)
		}
	}

	var tests strings.Builder
	err = filepath.WalkDir(".", func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(file, "_test.go") {
			return err
		}
		b, err := os.ReadFile(file)
		tests.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_, invariants, _ := strings.Cut(string(text), "## Invariants")
	named := regexp.MustCompile(`\b(Test|Fuzz)[A-Z]\w*`).FindAllString(invariants, -1)
	if len(named) < 8 {
		t.Errorf("the invariants name %d tests only", len(named))
	}
	for _, name := range named {
		if !strings.Contains(tests.String(), "func "+name+"(") {
			t.Errorf("the invariants name %s, which does not exist", name)
		}
	}
}

// TestDocs checks that what pages link to is there, and that the index has every page.
func TestDocs(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:\s]+)(#[^)\s]*)?\)`)
	indexed := map[string]bool{}
	err := filepath.WalkDir(".", func(file string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && strings.HasPrefix(e.Name(), ".") && file != "." {
			return fs.SkipDir
		}
		if !strings.HasSuffix(file, ".md") {
			return nil
		}
		text, err := os.ReadFile(file)
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			to := filepath.Join(filepath.Dir(file), filepath.FromSlash(m[1]))
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s links to %s, which is not there", file, m[1])
			}
			if file == filepath.FromSlash("docs/README.md") {
				indexed[to] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("docs/*.md")
	if err != nil || len(pages) < 5 {
		t.Fatalf("got %v, %v", pages, err)
	}
	for _, page := range pages {
		if filepath.Base(page) != "README.md" && !indexed[page] {
			t.Errorf("docs/README.md does not say when to read %s", page)
		}
	}
}
