package trace

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// collector is a collector that keeps what it gets.
type collector struct {
	*httptest.Server
	mu     sync.Mutex
	spans  []span
	status int
}

func newCollector(t *testing.T) *collector {
	c := &collector{status: http.StatusOK}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		body, _ := io.ReadAll(r.Body)
		var got tracesData
		if err := json.Unmarshal(body, &got); err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %v", r.URL.Path, body, err)
		}
		for _, rs := range got.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				c.spans = append(c.spans, ss.Spans...)
			}
		}
		w.WriteHeader(c.status)
	}))
	t.Cleanup(c.Close)
	return c
}

func TestSpans(t *testing.T) {
	c := newCollector(t)
	tr, err := New(Config{Endpoint: c.URL, Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	h := tr.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if http.NewResponseController(w).Flush() != nil {
			t.Error("cannot flush")
		}
		if r.URL.Path == "/bad" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	r := httptest.NewRequest("MADEUP", "/bad?token=secret", nil)
	r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	rec := httptest.NewRecorder()
	h.ServeHTTP(&noFlush{rec}, r)
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/good", nil))
	begun := time.Now().Add(-time.Second)
	tr.Commit(begun, 3, 7, errors.New("full"))
	if err := tr.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	text, _ := json.Marshal(c.spans)
	if len(c.spans) != 3 || strings.Contains(string(text), "secret") {
		t.Fatalf("got %s", text)
	}
	bad, good, commit := c.spans[0], c.spans[1], c.spans[2]
	if bad.Name != "HTTP _OTHER" || bad.TraceID != "0af7651916cd43dd8448eb211c80319c" || bad.ParentID != "b7ad6b7169203331" || bad.Status.Code != 2 || bad.Kind != 2 {
		t.Errorf("got %+v", bad)
	}
	if good.Status != nil || good.ParentID != "" || !strings.Contains(string(text), `{"key":"http.response.status_code","value":{"intValue":"200"}}`) {
		t.Errorf("got %+v", good)
	}
	if commit.Name != "commit" || commit.Start != nanos(begun) || commit.Status.Message != "full" || len(commit.Attributes) != 2 {
		t.Errorf("got %+v", commit)
	}
}

// noFlush is a writer that a response controller can flush only by unwrapping.
type noFlush struct{ http.ResponseWriter }

func (w *noFlush) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// TestCollectorThatRefuses: it is told once, and nothing else happens.
func TestCollectorThatRefuses(t *testing.T) {
	c := newCollector(t)
	c.status = http.StatusBadRequest
	var log bytes.Buffer
	tr, err := New(Config{Endpoint: c.URL + "/v1/traces", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		tr.Commit(time.Now(), 1, 1, nil)
		if err := tr.provider.ForceFlush(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if err := tr.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "cannot send traces"); n != 1 {
		t.Errorf("told %d times:\n%s", n, &log)
	}
}

func TestEndpoint(t *testing.T) {
	for _, bad := range []string{"", "localhost:4318", "grpc://x", "http://", "\x00"} {
		if _, err := New(Config{Endpoint: bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func BenchmarkCommit(b *testing.B) {
	c := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer c.Close()
	tr, err := New(Config{Endpoint: c.URL})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		tr.Commit(time.Now(), 3, 7, nil)
	}
}
