package hub

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// TestTraces: a collector gets spans of transactions and of requests, the last ones at the stop.
func TestTraces(t *testing.T) {
	var mu sync.Mutex
	var got strings.Builder
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		got.Write(body)
	}))
	defer collector.Close()
	r := start(t, Config{TraceEndpoint: collector.URL})
	res, err := r.client(t).Get(r.State().URL + "/healthz?x=secret")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	r.stop()
	if err := r.wait(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, want := range []string{`"name":"commit"`, `"fairlead.operations"`, `"name":"GET /healthz"`, `"http.route"`, `"stringValue":"/healthz"`} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("want %s in %.2000s", want, got.String())
		}
	}
	if strings.Contains(got.String(), "secret") {
		t.Error("the query was sent")
	}
}

func TestTraceEndpointIsChecked(t *testing.T) {
	h, err := New(Config{DataDir: t.TempDir(), TraceEndpoint: "localhost:4318", MQTTPort: AnyPort, HTTPSPort: AnyPort})
	if err == nil {
		err = h.Run(t.Context())
	}
	if err == nil || !strings.Contains(err.Error(), "http://localhost:4318") {
		t.Errorf("got %v", err)
	}
}
