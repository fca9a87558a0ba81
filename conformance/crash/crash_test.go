package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/conformance/hubproc"
)

// number returns the number that an environment variable holds, or a default.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// newHub returns a hub that is built, and not running, on an empty folder.
func newHub(t *testing.T) *hubproc.Hub {
	t.Helper()
	dir := t.TempDir()
	binary := os.Getenv("FAIRLEAD_BIN")
	if binary == "" {
		binary = filepath.Join(dir, "fairlead")
		if err := hubproc.Build(t.Context(), binary); err != nil {
			t.Fatal(err)
		}
	}
	hub, err := hubproc.New(binary, dir)
	if err != nil {
		t.Fatal(err)
	}
	return hub
}

func TestNothingAcknowledgedIsLost(t *testing.T) {
	kills := int(number(t, "FAIRLEAD_CRASH_KILLS", 6))
	seed := number(t, "FAIRLEAD_CRASH_SEED", rand.Uint64N(1_000_000))
	t.Logf("%d kills, seed %d (repeat with FAIRLEAD_CRASH_SEED=%d)", kills, seed, seed)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute+time.Duration(kills)*10*time.Second)
	defer cancel()
	hub := newHub(t)
	start := time.Now()
	sum, err := Run(ctx, Config{Hub: hub, Kills: kills, Seed: seed, Logf: progress(t, start)})
	for _, v := range sum.Violations {
		t.Error(v)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, hub.LogTail())
	}
	if t.Failed() {
		t.Log(hub.LogTail())
	}
	if err := integrity(t, hub.DataDir); err != nil {
		t.Error(err)
	}
	t.Logf("%d kills in %v, %d acknowledged, slowest start %v", kills, time.Since(start).Round(time.Second), sum.Acked, sum.Slowest)
	if sum.Acked < 100*kills {
		t.Errorf("only %d acknowledged: that is no load", sum.Acked)
	}
}

// integrity has SQLite's own program look at the database, after the last kill, if it is installed.
func integrity(t *testing.T, dataDir string) error {
	program, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Log("NOT RUN: integrity_check, there is no sqlite3")
		return nil
	}
	found, err := filepath.Glob(filepath.Join(dataDir, "database", "*.db"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("find the database: %d files, %v", len(found), err)
	}
	text, err := exec.Command(program, found[0], "PRAGMA integrity_check").CombinedOutput()
	if got := strings.TrimSpace(string(text)); err != nil || got != "ok" {
		return fmt.Errorf("integrity_check: %v: %s", err, got)
	}
	return nil
}

// progress prints at once, with the time since the start.
func progress(t *testing.T, start time.Time) func(string, ...any) {
	return func(format string, args ...any) {
		t.Helper()
		t.Logf("%6.1fs  "+format, append([]any{time.Since(start).Seconds()}, args...)...)
	}
}

// A hub that loses a little at a crash must be found out. It is made to by taking the last fifth of the commits out of
// its log, which is what happens to one that acknowledges first and syncs later. The kill waits until there are some in
// the log: it begins anew at every checkpoint.
func TestALossIsNoticed(t *testing.T) {
	hub := newHub(t)
	ripe := func() (bool, error) {
		_, ends, err := logged(hub.DataDir)
		return len(ends) > 40 && ends[len(ends)-1] < 8<<20, err
	}
	start := time.Now()
	logf := progress(t, start)
	sum, err := Run(t.Context(), Config{Hub: hub, Kills: 1, Seed: 1, Logf: logf, Ripe: ripe, Sabotage: func() error {
		commits, taken, err := tear(hub.DataDir, .2)
		logf("took %d of %d commits away", taken, commits)
		return err
	}})
	if err != nil {
		t.Log(err) // a database may be too damaged to go on; that is noticed, too
	}
	missing := map[string]bool{}
	for _, v := range sum.Violations {
		missing[v.Kind] = true
	}
	if !missing[Missing] && !missing[Stale] {
		t.Errorf("got %v, want that acknowledged data is missing", sum.Violations)
	}
}
