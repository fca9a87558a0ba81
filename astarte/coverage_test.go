package astarte

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

// TestCoverage checks the SDK's tables in docs/coverage: what they say is ours exists, and so do the tests that they name, here or in conformance/astartego; each row names one.
func TestCoverage(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "docs", "coverage", "astarte.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, tables, ok := strings.Cut(string(doc), "\n## The device SDK for Go\n")
	if !ok {
		t.Fatal("no section about the SDK")
	}
	names := declarations(t)
	code := regexp.MustCompile("`[A-Z][A-Za-z.]*`")
	test := regexp.MustCompile("`(?:Test|Fuzz)[A-Za-z]*`")
	rows := 0
	for line := range strings.Lines(tables) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 5 || strings.HasPrefix(cells[1], "---") || strings.TrimSpace(cells[3]) == "Test" {
			continue
		}
		rows++
		tests := test.FindAllString(cells[3], -1)
		if len(tests) == 0 {
			t.Errorf("no test: %s", line)
		}
		ours := code.FindAllString(cells[2], -1)
		for _, name := range append(tests, ours...) {
			name = strings.Trim(name, "`")
			if name == strings.ToUpper(name) || name == "Detail" || name == "REALM" { // no name of ours
				continue
			}
			if !names[name] {
				t.Errorf("there is no %s: %s", name, line)
			}
		}
	}
	if rows < 60 {
		t.Errorf("only %d rows", rows)
	}
}

// declarations returns the names of the package and its tests: Name, Type.Method, Type.Field.
func declarations(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	outside, err := filepath.Glob("../conformance/astartego/*_test.go")
	if err != nil || len(outside) == 0 {
		t.Fatalf("conformance/astartego: %d files, %v", len(outside), err)
	}
	files = append(files, outside...)
	names := map[string]bool{}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				name := d.Name.Name
				if d.Recv != nil {
					receiver := d.Recv.List[0].Type
					if star, ok := receiver.(*ast.StarExpr); ok {
						receiver = star.X
					}
					if id, ok := receiver.(*ast.Ident); ok {
						name = id.Name + "." + name
					}
				}
				names[name] = true
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.ValueSpec:
						for _, n := range s.Names {
							names[n.Name] = true
						}
					case *ast.TypeSpec:
						names[s.Name.Name] = true
						for _, m := range members(s.Type) {
							names[s.Name.Name+"."+m] = true
						}
					}
				}
			}
		}
	}
	return names
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
