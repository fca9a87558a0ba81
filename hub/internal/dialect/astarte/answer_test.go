package astarte

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

func TestEveryKindHasAnAnswer(t *testing.T) {
	for _, kind := range core.Kinds {
		status, errs := answerTo(fmt.Errorf("something: %w", kind))
		if status == http.StatusInternalServerError || errs == nil {
			t.Errorf("%v: got %d %v, want an answer of its own", kind, status, errs)
		}
	}
	if status, _ := answerTo(errors.New("x")); status != http.StatusInternalServerError {
		t.Errorf("unknown error: got %d, want 500", status)
	}
}

// TestEveryReasonHasAnAnswer finds the package's errors in its source, so that whoever adds one is asked for an answer.
func TestEveryReasonHasAnAnswer(t *testing.T) {
	// What no HTTP request meets: reasons within Pairing's verify, and the broker's.
	inner := map[string]bool{"errRevoked": true, "errForeign": true, "errBroken": true}
	listed := map[string]bool{}
	var declared []string
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				return false
			case *ast.ValueSpec:
				for i, id := range n.Names {
					if strings.HasPrefix(id.Name, "err") && !isFailure(n.Values[i]) {
						declared = append(declared, id.Name)
					}
				}
			case *ast.CompositeLit:
				if id, isIdent := first(n).(*ast.Ident); isIdent && file == "answer.go" {
					listed[id.Name] = true
				}
			}
			return true
		})
	}
	if len(declared) < 20 {
		t.Errorf("found only %v; does this test still look where the errors are?", declared)
	}
	for _, name := range declared {
		if !listed[name] && !inner[name] {
			t.Errorf("%s has no answer", name)
		}
	}
}

func first(n *ast.CompositeLit) ast.Expr {
	if len(n.Elts) == 0 {
		return nil
	}
	return n.Elts[0]
}

// isFailure reports whether an error brings its answer along.
func isFailure(e ast.Expr) bool {
	call, isCall := e.(*ast.CallExpr)
	if !isCall {
		return false
	}
	id, isIdent := call.Fun.(*ast.Ident)
	return isIdent && id.Name == "failure"
}

func TestAnswers(t *testing.T) {
	for _, a := range answers {
		if status, errs := answerTo(fmt.Errorf("attempt: %w", a.err)); status != a.status || errs.(map[string]any)["detail"] != a.detail {
			t.Errorf("%v: got %d %v, want %d %q: is it shadowed by an earlier line?", a.err, status, errs, a.status, a.detail)
		}
	}
	for _, c := range []struct {
		err    error
		status int
		want   string
	}{
		{&typeError{"integer"}, 422, `{"detail":"Unexpected value type","expected_type":"integer"}`},
		{fieldErrors{"a": {"b"}}, 422, `{"a":["b"]}`},
		{&permissionError{"GET", "/v1/test/x"}, 403, `{"detail":"Unauthorized access to GET /v1/test/x. Please verify your permissions"}`},
		{failure(418, "x"), 418, `{"detail":"x"}`},
		{fmt.Errorf("%w: %w", errUpdateRefused, astartewire.ErrDowngrade), 409, `{"detail":"Interface downgrade not allowed"}`},
		{valueError(astartewire.TypeInteger, astartewire.ErrSizeExceeded), 422, `{"detail":"Value size exceeds size limits"}`},
		{fmt.Errorf("commit: %w: device: %w", core.ErrStorage, core.ErrNotFound), 503, `{"detail":"Storage unavailable, try again later"}`},
	} {
		status, errs := answerTo(c.err)
		got, err := marshal(errs)
		if err != nil || status != c.status || string(got) != c.want {
			t.Errorf("%v: got %d %s (%v), want %d %s", c.err, status, got, err, c.status, c.want)
		}
	}
}
