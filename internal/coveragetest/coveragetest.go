// Package coveragetest holds the coverage tables of the device SDKs (docs/coverage) to what they say. Only tests import it.
package coveragetest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// heading begins the part of a page that is about the SDK.
const heading = "\n## The device SDK for Go\n"

// Section returns what a page of docs/coverage says of the SDK. The sections around it are of the hub.
func Section(tb testing.TB, page string) string {
	tb.Helper()
	doc, err := os.ReadFile(page)
	if err != nil {
		tb.Fatal(err)
	}
	_, tables, ok := strings.Cut(string(doc), heading)
	if !ok {
		tb.Fatalf("%s has no section about the SDK", page)
	}
	tables, _, _ = strings.Cut(tables, "\n## ")
	return tables
}

var (
	code = regexp.MustCompile("`[A-Z][A-Za-z0-9.]*`")
	test = regexp.MustCompile("`((?:[a-z]+\\.)?(?:Test|Fuzz)[A-Za-z0-9]*)`")
)

// Check checks the tables of a section, whose columns are the official SDK's item, ours, and the test: each row names a test, and all
// names in the last two columns exist. Names are looked for in the folder of the test that calls, and in others by a prefix:
// "engine.TestDrain" in others["engine"], and those in others[""] without any. In ignored is what looks like a name, and is none of ours.
// least is how many rows there are at least.
func Check(tb testing.TB, section string, others map[string]string, ignored []string, least int) {
	tb.Helper()
	names := map[string]bool{}
	declared(tb, names, "", "*.go")
	for prefix, folder := range others {
		if prefix != "" {
			prefix += "."
		}
		declared(tb, names, prefix, filepath.Join(folder, "*_test.go"))
	}
	for _, name := range ignored {
		names[name] = true
	}
	rows := 0
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 5 || strings.HasPrefix(cells[1], "---") || strings.TrimSpace(cells[3]) == "Test" {
			continue
		}
		rows++
		tests := test.FindAllString(cells[3], -1)
		if len(tests) == 0 {
			tb.Errorf("no test: %s", line)
		}
		for _, name := range append(tests, code.FindAllString(cells[2], -1)...) {
			if name = strings.Trim(name, "`"); !names[name] {
				tb.Errorf("there is no %s: %s", name, line)
			}
		}
	}
	if rows < least {
		tb.Errorf("only %d rows, want %d", rows, least)
	}
}

// declared adds the names of files: Name, Type.Method, Type.Field.
func declared(tb testing.TB, names map[string]bool, prefix, pattern string) {
	tb.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		tb.Fatalf("%s: %d files, %v", pattern, len(files), err)
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			tb.Fatal(err)
		}
		for _, d := range f.Decls {
			for _, name := range namesOf(d) {
				names[prefix+name] = true
			}
		}
	}
}

func namesOf(d ast.Decl) (names []string) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		return []string{receiver(d) + d.Name.Name}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.ValueSpec:
				for _, n := range s.Names {
					names = append(names, n.Name)
				}
			case *ast.TypeSpec:
				names = append(names, s.Name.Name)
				for _, m := range members(s.Type) {
					names = append(names, s.Name.Name+"."+m)
				}
			}
		}
	}
	return names
}

// receiver returns "Type." of a method, and nothing of a function.
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	t := d.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if id, ok := t.(*ast.Ident); ok {
		return id.Name + "."
	}
	return ""
}

func members(t ast.Expr) (names []string) {
	var list *ast.FieldList
	switch t := t.(type) {
	case *ast.StructType:
		list = t.Fields
	case *ast.InterfaceType:
		list = t.Methods
	default:
		return nil
	}
	for _, f := range list.List {
		for _, n := range f.Names {
			names = append(names, n.Name)
		}
	}
	return names
}
