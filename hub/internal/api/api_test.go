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
	"time"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

func TestHubItself(t *testing.T) {
	g := newRig(t, nil)
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
		{name: "write to a page to read", do: "POST /readyz", want: 405, body: "can only be read"},
		{name: "status", do: "GET /v1/status", auth: "Bearer " + ownerToken, want: 200, body: `"version": "v1.2.3"`},
		{name: "scheme in other case", do: "GET /v1/status", auth: "bearer " + ownerToken, want: 200, body: `"total": 5`},
		{name: "no token", do: "GET /v1/status", want: 401, body: `"unauthenticated"`},
		{name: "other token", do: "GET /v1/status", auth: "Bearer " + ownerToken + "k", want: 401, body: "fairlead env"},
		{name: "begin of the token", do: "GET /v1/status", auth: "Bearer " + ownerToken[:10], want: 401, body: "fairlead env"},
		{name: "huge token", do: "GET /v1/status", auth: "Bearer " + strings.Repeat("x", maxTokenBytes+1), want: 401, body: "not known"},
		{name: "other scheme", do: "GET /v1/status", auth: "Basic " + ownerToken, want: 401, body: "fairlead env"},
		{name: "expired token", do: "GET /v1/status", auth: "Bearer " + oldToken, want: 401, body: "has expired"},
		{name: "storage fails", do: "GET /v1/status", auth: "Bearer " + ownerToken, status: fmt.Errorf("read: %w", core.ErrStorage), want: 503, body: `"storage unavailable"`},
		{name: "too slow", do: "GET /v1/status", auth: "Bearer " + ownerToken, status: fmt.Errorf("read: %w", context.DeadlineExceeded), want: 504, body: `"timeout"`},
		{name: "no kind", do: "GET /v1/status", auth: "Bearer " + ownerToken, status: errors.New("secret detail"), want: 500, body: `"internal error`},
		{name: "nothing there", do: "GET /foo", want: 404, body: "the Astarte APIs below /pairing"},
		{name: "nothing there for strangers", do: "GET /v1/foo", want: 401, body: "Bearer"},
		{name: "nothing there for the admin", do: "GET /v1/foo", auth: "Bearer " + ownerToken, want: 404, body: `/v1/foo`},
		{name: "metrics for strangers", do: "GET /metrics", want: 401, body: "token"},
		{name: "metrics for one tenant", do: "GET /metrics", auth: "Bearer " + readAcme, want: 403, body: "all tenants"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g.ready, g.status = tt.ready, tt.status
			method, path, _ := strings.Cut(tt.do, " ")
			r := httptest.NewRequest(method, path, nil)
			if tt.auth != "" {
				r.Header.Set("Authorization", tt.auth)
			}
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
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
	if w := g.call("GET /metrics", readAll, ""); w.Code != 200 || w.Body.String() != "fairlead_up 1\n" {
		t.Errorf("metrics: got %d %s", w.Code, w.Body)
	}
}

func TestEveryKindHasACode(t *testing.T) { // core.Kinds lists them all
	for _, kind := range core.Kinds {
		status, help, got := code(fmt.Errorf("op: %w", kind))
		if status == http.StatusInternalServerError || got != kind || help == "" {
			t.Errorf("%v: got %d, %v, %q", kind, status, got, help)
		}
	}
	if status, help, kind := code(errors.New("x")); status != 500 || kind != errInternal || help == "" {
		t.Errorf("no kind: got %d, %v, %q", status, kind, help)
	}
}

func TestErrorsHaveOneForm(t *testing.T) {
	g := newRig(t, nil)
	for _, do := range []string{
		"GET /v1/devices?limit=0", "DELETE /v1/devices", "POST /v1/tenants", "GET /v1/devices/astarte/acme/none", "GET /nothing", "PUT /healthz",
	} {
		w := g.call(do, ownerToken, "")
		var b admin.ErrorBody
		if err := json.Unmarshal(w.Body.Bytes(), &b); err != nil || b.Error.Kind == "" || b.Error.Message == "" || b.Error.Help == "" || w.Code < 400 {
			t.Errorf("%s: got %d %s (%v), want kind, message and help", do, w.Code, w.Body, err)
		}
	}
}

func TestTooManyWrongTokens(t *testing.T) {
	g := newRig(t, nil)
	codes := map[int]int{}
	var last *httptest.ResponseRecorder
	for range 12 {
		last = g.call("GET /v1/tenants", "wrong", "")
		codes[last.Code]++
	}
	if codes[401] != 10 || codes[429] != 2 || last.Header().Get("Retry-After") != "5" {
		t.Errorf("got %v, Retry-After %q", codes, last.Header().Get("Retry-After"))
	}
	if w := g.call("GET /v1/tenants", ownerToken, ""); w.Code != 429 {
		t.Errorf("right token meanwhile: got %d, want 429, or guessing would not be slowed down", w.Code)
	}
	if w := g.call("GET /v1/openapi.json", "", ""); w.Code != 200 {
		t.Errorf("what takes no token: got %d", w.Code)
	}
	g.mu.Lock()
	g.now = g.now.Add(6 * time.Second)
	g.mu.Unlock()
	if w := g.call("GET /v1/tenants", ownerToken, ""); w.Code != 200 {
		t.Errorf("later: got %d %s", w.Code, w.Body)
	}
	if g.cfg.Stats.SignInsFailed.Load() != 10 || g.cfg.Stats.SignInsLimited.Load() != 3 {
		t.Errorf("got %d failed, %d limited", g.cfg.Stats.SignInsFailed.Load(), g.cfg.Stats.SignInsLimited.Load())
	}
}
