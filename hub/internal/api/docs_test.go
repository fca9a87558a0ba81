package api

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docsGet asks a server without anything behind it: the page needs nothing.
func docsGet(t *testing.T, method, path, accept string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	New(Config{Token: "x"}).ServeHTTP(w, r)
	return w
}

const browser = "text/html,application/xhtml+xml,*/*;q=0.8"

// TestDocs: the page has every operation with an example, and needs neither a token nor a script nor anybody else.
func TestDocs(t *testing.T) {
	w := docsGet(t, http.MethodGet, "/v1/docs", browser)
	page := w.Body.String()
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("got %d, %v", w.Code, w.Header())
	}
	for _, rt := range (&Server{}).routes() {
		part, _, _ := strings.Cut(page[max(0, strings.Index(page, `<article id="`+rt.id+`"`)):], "</article>")
		for _, want := range []string{`<article id="` + rt.id + `"`, rt.summary, rt.path, "curl --cacert"} {
			if !strings.Contains(part, want) {
				t.Errorf("%s: the page has no %q", rt.id, want)
			}
		}
		if sends := strings.Contains(part, "FAIRLEAD_TOKEN"); sends != (rt.scope != 0) || strings.Contains(part, "no token") == sends {
			t.Errorf("%s: scope %v, and the page has %s", rt.id, rt.scope, part)
		}
	}
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(` id="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if ids[m[1]] {
			t.Errorf("id %q twice", m[1])
		}
		ids[m[1]] = true
	}
	for _, m := range regexp.MustCompile(` (?:href|src)="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if !ids[strings.TrimPrefix(m[1], "#")] && m[1] != "/v1/openapi.json" {
			t.Errorf("a link to %q, where nothing is", m[1])
		}
	}
	if strings.Contains(page, "<script") || strings.Contains(page, " style=") || strings.Contains(page, "ZgotmplZ") {
		t.Error("the page has something that its policy forbids")
	}
	_, style, _ := strings.Cut(page, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	sum := sha256.Sum256([]byte(style))
	if policy := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"';") {
		t.Errorf("policy %q does not let the page's style in", policy)
	}
}

// TestDocsAreFound: people are led to the page from where they look first, programs are answered as ever.
func TestDocsAreFound(t *testing.T) {
	for _, path := range []string{"/", "/v1", "/v1/"} {
		if w := docsGet(t, http.MethodGet, path, browser); w.Code != http.StatusFound || w.Header().Get("Location") != "/v1/docs" {
			t.Errorf("%s: a browser gets %d, %v", path, w.Code, w.Header())
		}
		if w := docsGet(t, http.MethodGet, path, "*/*"); w.Code != http.StatusNotFound && w.Code != http.StatusUnauthorized {
			t.Errorf("%s: a program gets %d", path, w.Code)
		}
	}
	if w := docsGet(t, http.MethodGet, "/none", "*/*"); !strings.Contains(w.Body.String(), "/v1/docs") {
		t.Errorf("what is not there is answered with %s", w.Body)
	}
	if w := docsGet(t, http.MethodPost, "/v1/docs", browser); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: got %d", w.Code)
	}
}

// TestExamples: a shell takes them, and curl is called with the path that is meant.
func TestExamples(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "curl"), []byte("#!/bin/sh\nprintf '%s\\n' \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	page, err := renderDocs(openAPI)
	if err != nil || len(page) < 10_000 {
		t.Fatalf("%d bytes, %v", len(page), err)
	}
	op := apiOperation{Scope: "write", RequestBody: struct{ Content map[string]apiMedia }{map[string]apiMedia{
		"application/json": {Example: []byte(`{"text": "it's ${x} \"y\""}`)},
	}}}
	cmd := exec.CommandContext(t.Context(), sh, "-c", op.curl("PUT", "/v1/devices/{dialect}/{tenant}/{device}/grants"))
	cmd.Env = []string{"PATH=" + dir + string(os.PathListSeparator) + os.Getenv("PATH"), "FAIRLEAD_CA=a b", "FAIRLEAD_TOKEN=t", "FAIRLEAD_URL=https://h"}
	out, err := cmd.CombinedOutput()
	want := "--cacert\na b\n-H\nAuthorization: Bearer t\n-X\nPUT\n-H\nContent-Type: application/json\n-d\n{\"text\":\"it's ${x} \\\"y\\\"\"}\nhttps://h/v1/devices/mqtt/dev/pump-7/grants\n"
	if string(out) != want {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
}
