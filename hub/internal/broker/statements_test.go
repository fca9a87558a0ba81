package broker

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// statementRow is a line of docs/coverage/mqtt-statements.md.
var statementRow = regexp.MustCompile(`(?m)^\| \[MQTT-([0-9.-]+)\] \| (server|client|both) \| ([^|]+) \| ([^|]+) \|$`)

var (
	statementID  = regexp.MustCompile(`MQTT-([0-9]+(?:[.-][0-9]+)+)`)
	statementOf  = regexp.MustCompile(`\b(broker|listen|mqtt|mqttclient|topic|websocket)\.((?:Test|Fuzz)\w+)`)
	statementDir = map[string]string{
		"broker": ".", "listen": "../listen", "mqtt": "../../../internal/mqtt",
		"mqttclient": "../../../internal/mqtt/mqttclient", "topic": "../../../internal/topic", "websocket": "../../../internal/websocket",
	}
)

// TestEveryStatementIsNamed checks that each numbered statement of the standards has its tests, which name it, or a
// reason why it has none; and that no test, comment or table names a statement that means something else.
func TestEveryStatementIsNamed(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/coverage/mqtt-statements.md")
	if err != nil {
		t.Fatal(err)
	}
	versions := strings.Split(string(doc), "\n## ")
	versions = slices.DeleteFunc(versions, func(s string) bool { return !strings.HasPrefix(s, "MQTT ") })
	if len(versions) != 2 {
		t.Fatalf("the page has %d versions, want 2", len(versions))
	}
	tests, mentions := readTests(t)
	where := map[string][]string{} // statement: its tests in any version
	for i, want := range []int{141, 251} {
		seen := map[string]bool{}
		for _, row := range statementRow.FindAllStringSubmatch(versions[i], -1) {
			id, last := row[1], row[4]
			if seen[id] {
				t.Errorf("%s is there twice", id)
			}
			seen[id] = true
			named := statementOf.FindAllString(last, -1)
			if len(named) == 0 && !strings.HasPrefix(last, "not applicable: ") {
				t.Errorf("%s has no test, and no reason why", id)
			}
			for _, name := range named {
				if text, ok := tests[name]; !ok {
					t.Errorf("%s: there is no %s", id, name)
				} else if !slices.Contains(text, id) {
					t.Errorf("%s is not named in %s", id, name)
				}
			}
			where[id] = append(append(where[id], "listed"), named...)
		}
		if len(seen) != want {
			t.Errorf("%d statements, want %d: %.20s", len(seen), want, versions[i])
		}
	}
	for id, in := range mentions {
		if where[id] == nil {
			t.Errorf("%s is named in %v, but is no statement", id, in)
		}
	}
	for name, ids := range tests {
		for _, id := range ids {
			if !slices.Contains(where[id], name) {
				t.Errorf("%s names %s, which the page does not list there", name, id)
			}
		}
	}
}

// readTests returns the statements that each test names, itself or in a table that it goes through, and where any
// statement is named at all.
func readTests(t *testing.T) (tests, mentions map[string][]string) {
	t.Helper()
	tests, mentions = map[string][]string{}, map[string][]string{}
	for pkg, dir := range statementDir {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", dir, files, err)
		}
		tables := map[string][]string{}
		uses := map[string][]string{} // test: identifiers
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range idsIn(string(text)) {
				mentions[id] = append(mentions[id], name)
			}
			if !strings.HasSuffix(name, "_test.go") {
				continue
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, name, text, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			source := func(doc *ast.CommentGroup, n ast.Node) string {
				from := n.Pos()
				if doc != nil {
					from = doc.Pos()
				}
				return string(text[set.Position(from).Offset:set.Position(n.End()).Offset])
			}
			for _, d := range file.Decls {
				switch d := d.(type) {
				case *ast.FuncDecl:
					if !strings.HasPrefix(d.Name.Name, "Test") {
						continue
					}
					test := pkg + "." + d.Name.Name
					tests[test] = idsIn(source(d.Doc, d))
					ast.Inspect(d, func(n ast.Node) bool {
						if r, ok := n.(*ast.RangeStmt); ok {
							if x, ok := r.X.(*ast.Ident); ok {
								uses[test] = append(uses[test], x.Name)
							}
						}
						return true
					})
				case *ast.GenDecl:
					for _, s := range d.Specs {
						if v, ok := s.(*ast.ValueSpec); ok {
							tables[v.Names[0].Name] = idsIn(source(d.Doc, d))
						}
					}
				}
			}
		}
		for test, names := range uses {
			if strings.Contains(test, "Invalid") || strings.Contains(test, "ValidPackets") { // others go through the same tables
				for _, name := range names {
					tests[test] = append(tests[test], tables[name]...)
				}
			}
		}
	}
	return tests, mentions
}

func idsIn(text string) (ids []string) {
	for _, m := range statementID.FindAllStringSubmatch(text, -1) {
		ids = append(ids, m[1])
	}
	return ids
}
