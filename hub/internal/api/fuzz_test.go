package api

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// FuzzQuery: what is accepted is what was declared, within its bounds, and the rest is refused in words.
func FuzzQuery(f *testing.F) {
	var all []param
	byName := map[string]param{}
	for _, rt := range (&Server{}).routes() {
		for _, p := range rt.params {
			if _, twice := byName[p.name]; !twice {
				all = append(all, p)
				byName[p.name] = p
			}
		}
	}
	f.Add("channel=x&limit=10&since=2026-05-06T12:00:00Z&backwards=true&side=desired")
	f.Add("channel=x&limit=-1")
	f.Add("channel=%ff&cursor=&to=@-9223372036854775808")
	f.Add("channel=a&channel=b;c")
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := parseQuery(raw, all)
		if err != nil {
			var p *problem
			if !errors.As(err, &p) || !errors.Is(err, core.ErrInvalid) || p.message == "" {
				t.Errorf("%q: got %v, want a refusal in words", raw, err)
			}
			return
		}
		values, _ := url.ParseQuery(raw)
		for name := range values {
			if _, ok := got[name]; !ok || len(values[name]) != 1 {
				t.Errorf("%q: parameter %q was accepted", raw, name)
			}
		}
		for name, v := range got {
			if n, ok := v.(int64); ok && (n < byName[name].min || n > byName[name].max) {
				t.Errorf("%q: %s is %d", raw, name, n)
			}
		}
	})
}

// FuzzBody: what is accepted has each required field, once, and nothing else.
func FuzzBody(f *testing.F) {
	types := []reflect.Type{reflect.TypeFor[admin.NewTenant](), reflect.TypeFor[admin.NewToken](), reflect.TypeFor[admin.SetCredentials]()}
	for _, s := range []string{
		`{"id":"acme"}`, `{"name":"n","scope":"read","tenant":"x","expires":"2026-05-06T12:00:00Z"}`, `{"inhibited":true}`,
		`{"inhibited":null}`, `{"Inhibited":true}`, `{"inhibited":true,"inhibited":false}`, `[]`, `{`, ``, `{"id":{"id":1}}`, `{"id":"a"} x`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, typ := range types {
			v, err := parseBody(text, typ)
			if err != nil {
				if !errors.Is(err, core.ErrInvalid) {
					t.Errorf("%q: got %v", text, err)
				}
				continue
			}
			again, err := parseBody(must(jsonOf(v)), typ)
			if err != nil || !reflect.DeepEqual(v, again) {
				t.Errorf("%q: got %+v, and written and read again %+v, %v", text, v, again, err)
			}
		}
	})
}

// FuzzRequest sends any request to the whole API as its owner: it must answer each, and never with 500.
func FuzzRequest(f *testing.F) {
	g := newRig(f, nil)
	for _, list := range [][]scenario{hubScenarios, deviceScenarios, dataScenarios} {
		for _, sc := range list {
			if method, target, _ := strings.Cut(sc.do, " "); !strings.Contains(target, "/stream") {
				f.Add(method, target, []byte(sc.body))
			}
		}
	}
	f.Fuzz(func(t *testing.T, method, target string, body []byte) {
		u, err := url.ParseRequestURI(target)
		if err != nil || strings.HasSuffix(u.Path, "/stream") || method == "" || strings.ContainsAny(method, " \r\n\t") {
			return
		}
		r := httptest.NewRequest(http.MethodGet, "/", strings.NewReader(string(body)))
		r.Method, r.URL = method, u
		r.Header.Set("Authorization", "Bearer "+ownerToken)
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("%s %q: got %d %s", method, target, w.Code, w.Body)
		}
	})
}

// FuzzCursor gives a cursor that may say anything to each list that has them.
func FuzzCursor(f *testing.F) {
	g := newRig(f, nil)
	for _, text := range []string{`"a"`, `1`, `null`, `{}`, `["a","b","c"]`, `{"Tenant":"t","Dialect":"mqtt","ClientID":"c"}`, `-9223372036854775808`, `{"At":1e300}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		cursor := base64.RawURLEncoding.EncodeToString(text)
		for _, list := range []string{
			"tenants", "devices", "connections", "sessions", "refusals", "events", "tokens", "certificates",
		} {
			r := httptest.NewRequest(http.MethodGet, "/v1/"+list+"?cursor="+cursor, http.NoBody)
			r.Header.Set("Authorization", "Bearer "+ownerToken)
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
			if w.Code >= 500 {
				t.Errorf("%s with the cursor %s: got %d %s", list, text, w.Code, w.Body)
			}
		}
	})
}
