package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

const token = "0123456789abcdefghij"

func TestRequests(t *testing.T) {
	ready := error(nil)
	status := error(nil)
	h := New(Config{
		Token: token,
		Ready: func() error { return ready },
		Status: func(context.Context) (admin.Status, error) {
			return admin.Status{Version: "v1.2.3", Devices: admin.Devices{Total: 5}}, status
		},
		Served: "the Astarte APIs below /pairing",
	})
	for _, tt := range []struct {
		name, do, auth string
		ready, status  error
		want           int
		body           string // part of it
	}{
		{name: "alive", do: "GET /healthz", want: 200, body: `"ok"`},
		{name: "alive without storage", do: "GET /healthz", ready: core.ErrStorage, want: 200, body: `"ok"`},
		{name: "ready", do: "GET /readyz", want: 200, body: `"ready"`},
		{name: "not ready", do: "GET /readyz", ready: core.ErrStorage, want: 503, body: `"storage unavailable"`},
		{name: "write to a page to read", do: "POST /readyz", want: 405, body: "use GET"},
		{name: "status", do: "GET /v1/status", auth: "Bearer " + token, want: 200, body: `"version": "v1.2.3"`},
		{name: "scheme in other case", do: "GET /v1/status", auth: "bearer " + token, want: 200, body: `"total": 5`},
		{name: "no token", do: "GET /v1/status", want: 401, body: `"unauthenticated"`},
		{name: "other token", do: "GET /v1/status", auth: "Bearer " + token + "k", want: 401, body: "fairlead env"},
		{name: "begin of the token", do: "GET /v1/status", auth: "Bearer " + token[:10], want: 401, body: "fairlead env"},
		{name: "other scheme", do: "GET /v1/status", auth: "Basic " + token, want: 401, body: "fairlead env"},
		{name: "storage fails", do: "GET /v1/status", auth: "Bearer " + token, status: fmt.Errorf("read: %w", core.ErrStorage), want: 503, body: `"storage unavailable"`},
		{name: "no kind", do: "GET /v1/status", auth: "Bearer " + token, status: errors.New("secret detail"), want: 500, body: `"internal error`},
		{name: "nothing there", do: "GET /foo", want: 404, body: "the Astarte APIs below /pairing"},
		{name: "nothing there for strangers", do: "GET /v1/foo", want: 401, body: "Bearer"},
		{name: "nothing there for the admin", do: "GET /v1/foo", auth: "Bearer " + token, want: 404, body: `/v1/foo`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ready, status = tt.ready, tt.status
			method, path, _ := strings.Cut(tt.do, " ")
			r := httptest.NewRequest(method, path, nil)
			if tt.auth != "" {
				r.Header.Set("Authorization", tt.auth)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.want || !strings.Contains(w.Body.String(), tt.body) {
				t.Errorf("got %d %s, want %d and %s in it", w.Code, w.Body, tt.want, tt.body)
			}
			if !json.Valid(w.Body.Bytes()) || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("got %q, want JSON", w.Body)
			}
			if strings.Contains(w.Body.String(), "secret detail") {
				t.Error("the answer has the text of an internal error")
			}
		})
	}
}

func TestEveryKindHasACode(t *testing.T) { // core.Kinds lists them all
	for _, kind := range core.Kinds {
		if got, _ := code(kind); got == http.StatusInternalServerError {
			t.Errorf("no code for %v", kind)
		}
	}
}

func TestClient(t *testing.T) {
	srv := httptest.NewTLSServer(New(Config{
		Token:  token,
		Ready:  func() error { return nil },
		Status: func(context.Context) (admin.Status, error) { return admin.Status{Version: "v1.2.3"}, nil },
	}))
	defer srv.Close()
	c := admin.Client{URL: srv.URL, Token: token, HTTP: srv.Client()}
	st, err := c.Status(t.Context())
	if err != nil || st.Version != "v1.2.3" {
		t.Errorf("got %+v, %v, want version v1.2.3", st, err)
	}
	c.Token = "wrong"
	if _, err = c.Status(t.Context()); !admin.IsUnauthenticated(err) {
		t.Errorf("got %v, want that the token is not accepted", err)
	}
}
