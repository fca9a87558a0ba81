package main

import (
	"os"
	"strings"
	"testing"
)

// The pages for those who begin have this program.
func TestPages(t *testing.T) {
	for _, x := range []struct{ page, file, language string }{
		{"../../README.md", "climate.json", "json"},
		{"../../README.md", "main.go", "go"},
		{"../../docs/sdk.md", "main_test.go", "go"},
	} {
		page, err := os.ReadFile(x.page)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(x.file)
		if err != nil {
			t.Fatal(err)
		}
		if want := "```" + x.language + "\n" + string(text) + "```\n"; !strings.Contains(string(page), want) {
			t.Errorf("%s has another %s", x.page, x.file)
		}
	}
}
