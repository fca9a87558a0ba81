package api

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// TestEveryRouteTakesItsScope asks for every route with every token: too narrow a scope, no token, a wrong one and a token
// for one tenant where all are needed are refused before anything is looked at; and what belongs to another tenant is not
// there for a token of one, whatever the route.
func TestEveryRouteTakesItsScope(t *testing.T) {
	g := newRig(t, nil)
	tokens := []struct {
		text  string
		scope core.Scope
		whole bool
	}{
		{readAll, core.ScopeRead, true},
		{writeAll, core.ScopeWrite, true},
		{ownerToken, core.ScopeAdmin, true},
		{readAcme, core.ScopeRead, false},
		{writeAcme, core.ScopeWrite, false},
		{adminAcme, core.ScopeAdmin, false},
	}
	// Names in paths that are another tenant's, or that nobody has.
	fill := strings.NewReplacer("{dialect}", "astarte", "{tenant}", "other", "{device}", "none", "{client}", "none", "{serial}", "a3000", "{id}", "none")
	for _, rt := range g.routes() {
		path, body := fill.Replace(rt.path), ""
		if rt.body != nil {
			body = `{}`
		}
		name := rt.method + " " + rt.path
		if rt.scope == 0 {
			if w := g.call(name, "", ""); w.Code != http.StatusOK {
				t.Errorf("%s is for anybody, got %d", name, w.Code)
			}
			continue
		}
		for _, token := range []string{"", oldToken} {
			if w := g.call(rt.method+" "+path, token, body); w.Code != http.StatusUnauthorized {
				t.Errorf("%s with token %q: got %d, want 401", name, token, w.Code)
			}
		}
		for _, tk := range tokens {
			if rt.stream != nil && tk.scope >= rt.scope {
				continue // goes on for ever
			}
			w := g.call(rt.method+" "+path, tk.text, body)
			mayNot := tk.scope < rt.scope || rt.whole && !tk.whole
			if mayNot != (w.Code == http.StatusForbidden) {
				t.Errorf("%s with a token of scope %s, whole %v: got %d %s", name, tk.scope, tk.whole, w.Code, w.Body)
			}
			// In the path is another tenant: nothing is there. (Bodies are wrong, and are looked at first.)
			if !mayNot && !tk.whole && (strings.Contains(rt.path, "{tenant}") || strings.Contains(rt.path, "{serial}")) &&
				w.Code != http.StatusNotFound && w.Code != http.StatusBadRequest {
				t.Errorf("%s of another tenant: got %d %s", name, w.Code, w.Body)
			}
		}
	}
}

// TestCursorsOfOthers gives every list cursors of every other list, and nonsense: none fails, and none shows another tenant.
func TestCursorsOfOthers(t *testing.T) {
	g := newRig(t, nil)
	places := []any{
		core.DeviceKey{Tenant: "other", Dialect: "astarte", ID: "a"},
		"a3000",
		sampleMark{At: -1 << 62, N: 1 << 30},
		sampleMark{At: 1, N: 1},
		[]byte("x"),
		leafMark{Document: []byte{0xff}, Side: 200, Path: []byte("/")},
		sessionMark{"other", "mqtt", []byte("b")},
		int64(-1), int64(1 << 60), nil,
		map[string]any{},
		[]int{},
	}
	fill := strings.NewReplacer("{dialect}", "astarte", "{tenant}", "acme", "{device}", "pump-1", "{client}", "acme%2Fpump-1", "{serial}", "a0000", "{id}", "t-read")
	for _, rt := range g.routes() {
		paged := false
		query := ""
		for _, p := range rt.params {
			paged = paged || reflect.DeepEqual(p, cursorParam)
			if p.required {
				query += "&" + p.name + "=temps:1/a"
			}
		}
		if !paged {
			continue
		}
		for _, place := range places {
			r := httptest.NewRequestWithContext(t.Context(), rt.method, fill.Replace(rt.path)+"?limit=1&cursor="+must(makeCursor(place))+query, nil)
			r.Header.Set("Authorization", "Bearer "+adminAcme)
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
			if w.Code != http.StatusOK && w.Code != http.StatusBadRequest && w.Code != http.StatusForbidden {
				t.Errorf("%s behind %v: got %d %s", rt.path, place, w.Code, w.Body)
			}
			if strings.Contains(w.Body.String(), `"tenant": "other"`) {
				t.Errorf("%s behind %v shows another tenant: %s", rt.path, place, w.Body)
			}
		}
	}
}
