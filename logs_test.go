package fairlead_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// attributes are the names in log lines, one for each thing, so that whoever searches the logs of a fleet need not know
// which package has written a line.
var attributes = map[string]string{
	"err":    "what went wrong",
	"reason": "why something ended or was refused, where that is no error",
	"panic":  "what the code panicked with",
	"stack":  "where",

	"dialect": "a platform", "tenant": "its id", "device": "its key, dialect/tenant/id", "client": "its MQTT client id",
	"remote": "an address that asks something of the hub", "token": "the id of the API token that did it, or owner",
	"topic": "of a message", "filter": "of a subscription", "filters": "how many", "interface": "of Astarte", "authority": "the id of a registered one",
	"version": "of what the line is about", "clean": "the client began anew", "session_present": "the server went on with a session",

	"method": "of HTTP", "path": "of a URL, or of a value of Astarte", "status": "of HTTP, or of a job", "job": "its ID", "url": "the hub's, or the one asked", "mqtt": "the address for MQTT", "server": "which of the hub's servers",
	"use": "what a port is for", "port": "its number", "pid": "of the hub", "signal": "from the system",

	"file": "its path", "moved": "where a damaged file is now", "saved": "how much of it was read", "id": "of a message in the outbox", "messages": "how many",
	"names": "in a certificate", "until": "when a certificate ends",
	"bytes": "a size", "connections": "how many", "used": "bytes of the database with data", "reusable": "bytes of the database without", "free": "bytes of the disk",
	"least": "bytes that must stay free", "limit": "bytes at which the oldest data goes", "files": "descriptors that the process may have",
	"mqtt_connections": "the limit", "mqtt_pending": "the limit", "https_connections": "the limit",

	"took": "how long it was", "grace": "how long a stop waits", "retry": "when it is tried again",
}

// TestLogs checks that the attributes of log lines have the names above.
func TestLogs(t *testing.T) {
	unused := map[string]bool{}
	for name := range attributes {
		unused[name] = true
	}
	err := filepath.WalkDir(".", func(file string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (file == "bench" || file == "conformance" || strings.HasPrefix(e.Name(), ".") && file != ".") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, file, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			args, ok := logged(n)
			for i := 0; ok && i < len(args); i += 2 {
				name, isConstant := constant(args[i])
				if delete(unused, name); !isConstant || attributes[name] == "" {
					t.Errorf("%s: attribute %q has no row in attributes", set.Position(args[i].Pos()), name)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range unused {
		t.Errorf("attribute %q is not used any more: remove its row", name)
	}
}

// logged returns the attributes of a log line, if it is one.
func logged(n ast.Node) (attributes []ast.Expr, ok bool) {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return nil, false
	}
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil, false
	}
	var of string
	switch x := f.X.(type) {
	case *ast.Ident:
		of = x.Name
	case *ast.SelectorExpr:
		of = x.Sel.Name
	}
	if !strings.EqualFold(of, "log") && !strings.EqualFold(of, "logger") {
		return nil, false
	}
	switch f.Sel.Name {
	case "With":
		return call.Args, true
	case "Debug", "Info", "Warn", "Error":
		return call.Args[1:], true
	}
	return nil, false
}

// constant returns the string that an expression is.
func constant(x ast.Expr) (string, bool) {
	lit, ok := x.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}
