package metrics_test

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/metrics"
)

func TestNew(t *testing.T) {
	number := func(v float64, ok bool) func() (float64, bool) { return func() (float64, bool) { return v, ok } }
	h := metrics.New("v1.2.3", slog.New(slog.DiscardHandler), []metrics.Metric{
		{Name: "messages_total", Help: "Messages.", Kind: metrics.Counter, Read: number(7, true)},
		{Name: "storage_bytes", Help: "Size.", Label: "part", Value: "log", Read: number(5, true)},
		{Name: "storage_bytes", Help: "Size.", Label: "part", Value: "database", Read: number(6, true)},
		{Name: "unknown", Help: "Not known.", Read: number(9, false)},
	})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	got := w.Body.String()
	for _, want := range []string{
		"# TYPE fairlead_messages_total counter\nfairlead_messages_total 7\n",
		`fairlead_storage_bytes{part="database"} 6`, `fairlead_storage_bytes{part="log"} 5`,
		`fairlead_build_info{version="v1.2.3"} 1`, "go_goroutines ", "# HELP fairlead_messages_total Messages.",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "fairlead_unknown") || w.Code != 200 {
		t.Errorf("got %d, and a number that is not known", w.Code)
	}
}
