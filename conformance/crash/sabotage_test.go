package crash

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What plain devices are promised lies in a few tables. What is lost there while the hub is down, often a single row, must
// be found out, for what it is.
func TestALostRowIsNoticed(t *testing.T) {
	program, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip("NOT RUN: there is no sqlite3")
	}
	// These subscribers are away in the first life, so the oldest message that waits for one was acknowledged and not
	// delivered.
	const oldest = `(SELECT num, min(seq) FROM queue JOIN sessions ON num = session WHERE client = 'pump0/subscriber0' AND topic LIKE '%/s/%')`
	for _, c := range []struct{ name, sql, kind, where string }{
		// All of them but the last: what was sent to one may not be acknowledged yet.
		{"retained message", `DELETE FROM retained WHERE topic NOT LIKE '%/` + sentinel + `'`, Missing, "(retained)"},
		{"queued message", `DELETE FROM queue WHERE (session, seq) = ` + oldest, Missing, "pump0 subscriber0"},
		// All of them: the client of a single one may just be saying goodbye.
		{"will", `DELETE FROM wills WHERE client LIKE '%/mortal_'`, Missing, "/w/mortal"},
		{"will with a delay", `DELETE FROM wills WHERE client LIKE 'pump_/sleeper'`, Missing, "/w/sleeper"},
		{"session", `PRAGMA foreign_keys = ON; DELETE FROM sessions WHERE client = 'pump1/subscriber1'`, Missing, "pump1 subscriber1"},
		{"subscription", `DELETE FROM subscriptions WHERE filter = '$share/crew/pump0/g/#'`, Missing, "pump0 member"},
		{"subscription option", `UPDATE subscriptions SET as_published = 0, identifier = 5`, Refused, "subscriber1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			hub := newHub(t)
			start := time.Now()
			logf := progress(t, start)
			sum, err := Run(t.Context(), Config{Hub: hub, Kills: 1, Seed: rand.Uint64(), PlainOnly: true, Logf: logf, Sabotage: func() error {
				found, err := filepath.Glob(filepath.Join(hub.DataDir, "database", "*.db"))
				if err != nil || len(found) != 1 {
					return fmt.Errorf("find the database: %d files, %v", len(found), err)
				}
				text, err := exec.Command(program, found[0], c.sql+"; SELECT changes()").CombinedOutput()
				if n := strings.TrimSpace(string(text)); err != nil || n == "0" {
					return fmt.Errorf("nothing was taken away: %s %v", n, err)
				}
				return nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range sum.Violations {
				if v.Kind == c.kind && strings.Contains(v.Where, c.where) {
					return
				}
			}
			t.Errorf("got %v, want one that is %s, of %q", sum.Violations, c.kind, c.where)
		})
	}
}
