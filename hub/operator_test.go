package hub

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/admin"
)

// scrape returns what Prometheus gets.
func (r *running) scrape(t *testing.T) string {
	t.Helper()
	c := r.admin(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.Token)
	res, err := c.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("got %s, %v", res.Status, err)
	}
	return string(body)
}

// TestMetrics: every name that the documentation promises is there, and every number is one.
func TestMetrics(t *testing.T) {
	r := start(t, Config{Development: true})
	body := r.scrape(t)
	for _, want := range []string{
		`fairlead_build_info\{version="[^"]+"\} 1`, `fairlead_ready 1`, `fairlead_mqtt_connections 0`, `fairlead_mqtt_sessions 0`,
		`fairlead_mqtt_connections_refused_total 0`, `fairlead_mqtt_messages_received_total 0`, `fairlead_commits_total [1-9]\d*`,
		`fairlead_commit_queue_bytes 0`, `fairlead_storage_bytes\{part="database"\} [1-9]`, `fairlead_storage_bytes\{part="log"\} \d`,
		`fairlead_api_event_streams 0`, `go_goroutines \d+`,
	} {
		if !regexp.MustCompile(`(?m)^` + want).MatchString(body) {
			t.Errorf("want %s in\n%s", want, body)
		}
	}
}

// TestMetricsAreDocumented: the table in the documentation has all metrics, and no others.
func TestMetricsAreDocumented(t *testing.T) {
	r := start(t, Config{Development: true})
	body := r.scrape(t)
	text, err := os.ReadFile("../docs/admin-api.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| Metric `fairlead_...` |")
	documented := map[string]bool{}
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.ReplaceAll(line, `\|`, ""), "|")
		if len(cells) < 3 {
			continue
		}
		for _, m := range regexp.MustCompile("`([a-z0-9_]+)(\\{[^}]*\\})?`").FindAllStringSubmatch(cells[1], -1) {
			documented[m[1]] = true
		}
	}
	there := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE fairlead_(\w+) `).FindAllStringSubmatch(body, -1) {
		there[m[1]] = true
	}
	for name := range there {
		if !documented[name] {
			t.Errorf("%s is not in the table of docs/admin-api.md", name)
		}
	}
	for name := range documented {
		if !there[name] {
			t.Errorf("%s is in the table of docs/admin-api.md, and not there", name)
		}
	}
	if len(there) < 20 {
		t.Errorf("%d metrics", len(there))
	}
}

// An open stream of events does not hold up an orderly stop.
func TestStopEndsStreams(t *testing.T) {
	r := start(t, Config{})
	c, err := r.State().Client(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.HTTP.CloseIdleConnections()
	req, err := http.NewRequest(http.MethodGet, c.URL+"/v1/events/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.Token)
	res, err := c.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	r.stop()
	body, err := io.ReadAll(res.Body)
	// Had it gone on, the hub would have cut it off after stopTimeout, and the body would end in an error.
	if err != nil || !strings.HasPrefix(string(body), "id: 0\nevent: hub.position\n") {
		t.Errorf("got %q, %v, want a stream that ends in order", body, err)
	}
	if err := r.wait(); err != nil {
		t.Errorf("run: %v", err)
	}
}

// What the hub itself does is an event, also for those who follow.
func TestEventsOfTheHub(t *testing.T) {
	r := start(t, Config{})
	c, err := r.State().Client(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.HTTP.CloseIdleConnections()
	if _, err := c.CreateTenant(t.Context(), admin.NewTenant{ID: "acme"}); err != nil {
		t.Fatal(err)
	}
	page, err := c.Events(t.Context(), admin.EventQuery{})
	if err != nil || len(page.Items) != 1 || page.Items[0].Kind != "tenant.created" || page.Items[0].Tenant != "acme" {
		t.Errorf("got %+v, %v", page, err)
	}
}
