package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// crashDir has this test binary play the hub that is killed.
const crashDir = "FAIRLEAD_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		crashChild(dir)
	}
	os.Exit(m.Run())
}

var crashSeries = core.Series{Device: 1, Channel: "c"}

// crashChild writes numbered transactions for ever and prints the number of each that was committed.
func crashChild(dir string) {
	die := func(err error) {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	// A small log, so that it is emptied and begun anew all the time.
	s, err := Open(context.Background(), Config{Dir: dir, WALBytes: 128 << 10})
	if err != nil {
		die(err)
	}
	next := int64(0)
	if err := s.View(context.Background(), func(r store.Reader) error { next, err = r.LastEvent(); return err }); err != nil {
		die(err)
	}
	series := &core.Series{Device: crashSeries.Device, Channel: crashSeries.Channel}
	for {
		next++
		if err := s.Update(func(tx store.Tx) error { return crashWrite(tx, series, next) }); err != nil {
			die(err)
		}
		fmt.Println(next)
	}
}

// crashWrite is transaction n: some in one page, some over many.
func crashWrite(tx store.Tx, series *core.Series, n int64) error {
	var b core.Block
	b.Series = series
	b.Add(n, n, core.AppendBytes(nil, make([]byte, rand.IntN(20_000))))
	e := core.Event{Kind: "n"}
	err := errors.Join(tx.AppendBlock(&b), tx.PutRecord("t", "a", fmt.Sprintf("%d", n%100), []byte(strconv.FormatInt(n, 10))),
		tx.AppendEvent(&e), tx.AddCount(1, core.Count{Messages: 1}))
	// Something that is undone, as refused operations are.
	_ = tx.Savepoint(func() error {
		_ = tx.PutRecord("t", "a", "undone", make([]byte, 10_000))
		return core.ErrDenied
	})
	if err == nil && e.Seq != n {
		return fmt.Errorf("transaction %d has event %d", n, e.Seq)
	}
	return err
}

// TestCrash kills a process that writes, 25 times; what it said to be committed must be there, and whole.
func TestCrash(t *testing.T) {
	dir := t.TempDir()
	rounds, total := 25, int64(0)
	for round := range rounds {
		said := crashOnce(t, dir, time.Duration(5+rand.IntN(120))*time.Millisecond)
		s := open(t, Config{Dir: dir})
		intact(t, s)
		if err := s.View(t.Context(), func(r store.Reader) error {
			last, err := r.LastEvent()
			if err != nil {
				return err
			}
			if last < said || last > max(said, total)+1 {
				t.Errorf("round %d: %d transactions are there, %d were said to be", round, last, said)
			}
			total = last
			n := int64(0)
			for v, err := range r.Samples(&crashSeries, core.Range{}) {
				if n++; err != nil || v.At.UnixMicro() != n {
					return fmt.Errorf("sample %d: got %v, %v", n, v.At, err)
				}
			}
			counts, err := r.Counts(1)
			if n != last || last > 0 && counts[0].Messages != last {
				t.Errorf("round %d: %d samples, counts %v of %d transactions", round, n, counts, last)
			}
			records := int64(0)
			for rec, err := range r.Records("t", "a", "") {
				v, perr := strconv.ParseInt(string(rec.Value), 10, 64)
				if err := errors.Join(err, perr); err != nil || v > last || v <= last-100 {
					return fmt.Errorf("record %q has %q after %d transactions: %w", rec.Key, rec.Value, last, err)
				}
				records++
			}
			if records != min(last, 100) {
				t.Errorf("round %d: %d records", round, records)
			}
			return err
		}); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			return
		}
	}
	if total < int64(rounds) {
		t.Errorf("only %d transactions in %d rounds", total, rounds)
	}
	t.Logf("%d kills, %d transactions", rounds, total)
}

// crashOnce runs the child for a while, kills it, and returns the last number that it printed.
func crashOnce(t *testing.T, dir string, after time.Duration) (said int64) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var timer *time.Timer
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		n, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			t.Fatalf("child: %s", lines.Text())
		}
		said = n
		if timer == nil { // it is up and holds the lock
			if s, err := Open(t.Context(), Config{Dir: dir}); !errors.Is(err, core.ErrConflict) {
				if err == nil {
					s.Close()
				}
				t.Errorf("opened beside another process: %v", err)
			}
			timer = time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
	}
	_ = cmd.Wait() // killed
	return said
}
