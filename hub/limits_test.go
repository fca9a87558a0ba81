package hub

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestLimitsAreCounted walks the tables of docs/limits.md: each metric that they name is there, and each limit that costs
// a connection has a counter of its own.
func TestLimitsAreCounted(t *testing.T) {
	r := start(t, Config{Development: true})
	body := r.scrape(t)
	text, err := os.ReadFile("../docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`fairlead_[a-z_]+`).FindAllString(string(text), -1) {
		if !strings.Contains(body, "# TYPE "+name+" ") {
			t.Errorf("docs/limits.md names %s, and /metrics has not got it", name)
		}
	}
	limits := 0
	for _, section := range []string{"Connections", "Sessions"} {
		_, table, _ := strings.Cut(string(text), "\n## "+section+"\n")
		table, _, _ = strings.Cut(table, "\n## ")
		for line := range strings.Lines(table) {
			m := regexp.MustCompile("^\\| `([a-z_]+)` \\|.*$").FindStringSubmatch(strings.TrimSpace(line))
			if m == nil || strings.Contains(line, "SUBACK") {
				continue
			}
			limits++
			metric := "fairlead_connections_limited_total"
			if strings.Contains(line, "connects_too_many_total") {
				metric = "fairlead_connects_too_many_total"
			}
			if !strings.Contains(body, metric+`{limit="`+m[1]+`"} `) {
				t.Errorf("%s costs connections, and they are not counted", m[1])
			}
		}
	}
	if limits < 7 {
		t.Errorf("%d limits found: have the tables another form?", limits)
	}
}
