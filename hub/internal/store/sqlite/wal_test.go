package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// patience is what views get in these tests: a short one, such as has, ends well before even on a busy machine.
const patience = time.Second

// load writes so many megabytes in small transactions and returns the largest size of the log.
func load(t *testing.T, s *Store, megabytes int) (largest int64) {
	t.Helper()
	b := core.Block{Series: &core.Series{Device: 1, Channel: "c"}}
	b.Add(1, 1, core.AppendBytes(nil, make([]byte, 20_000)))
	for range megabytes * 50 {
		if err := s.Update(func(tx store.Tx) error { return tx.AppendBlock(&b) }); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(s.path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		largest = max(largest, st.Size())
	}
	return largest
}

func TestLogIsBounded(t *testing.T) {
	s := opened(t, Config{WALBytes: 1 << 20})
	if got := load(t, s, 12); got > 8<<20 {
		t.Errorf("the log grew to %d bytes, want not much more than 1 MiB", got)
	}
	intact(t, s)
}

// TestLogIsBoundedByReaders: views that follow on each other without a gap do not keep the log from being begun anew.
func TestLogIsBoundedByReaders(t *testing.T) {
	s := opened(t, Config{WALBytes: 1 << 20})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := s.View(t.Context(), func(r store.Reader) error {
					_, err := r.Series(1, "")
					time.Sleep(2 * time.Millisecond) // holds the snapshot
					return err
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	got := load(t, s, 12)
	close(stop)
	wg.Wait()
	if got > 12<<20 {
		t.Errorf("the log grew to %d bytes, want not much more than 4 MiB", got)
	}
	t.Logf("the log grew to %d bytes", got)
	intact(t, s)
}

// TestLongViewIsInterrupted: a view that is held for long loses against the log, with an error that says why.
func TestLongViewIsInterrupted(t *testing.T) {
	s := opened(t, Config{WALBytes: 1 << 20, viewPatience: patience})
	put(t, s, "k", nil)
	running, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- s.View(t.Context(), func(r store.Reader) error {
			for i := 0; ; i++ {
				if _, err := r.Record("t", "a", "k"); err != nil {
					return err
				}
				if i == 0 {
					close(running)
				}
				time.Sleep(time.Millisecond) // a slow reader
			}
		})
	}()
	<-running
	time.Sleep(patience)
	got := load(t, s, 12)
	select {
	case err := <-ended:
		if !errors.Is(err, core.ErrStorage) {
			t.Errorf("got %v, want core.ErrStorage", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the view still runs")
	}
	if got > 15<<20 {
		t.Errorf("the log grew to %d bytes", got)
	}
	if !has(t, s, "k") {
		t.Error("record is gone")
	}
	intact(t, s)
}

// TestStuckView: a view that does not react to its interruption holds up neither commits nor other views.
func TestStuckView(t *testing.T) {
	s := opened(t, Config{WALBytes: 256 << 10, viewPatience: patience})
	put(t, s, "k", nil)
	hold, running := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release) // before the store is closed, which waits for the view
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = s.View(t.Context(), func(r store.Reader) error {
			_, err := r.Record("t", "a", "k")
			close(running)
			<-hold
			return err
		})
	})
	<-running
	time.Sleep(patience)
	load(t, s, 10)
	if !has(t, s, "k") {
		t.Error("record is gone")
	}
	release()
	wg.Wait()
	load(t, s, 5)
	intact(t, s)
}

// TestCheckpointsAndCommits has commits, checkpoints, and beginnings of the log meet as often as possible.
func TestCheckpointsAndCommits(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir, WALBytes: 16 << 10})
	const n = 1500
	for i := range n {
		put(t, s, fmt.Sprintf("%05d", i), make([]byte, i%5000))
	}
	check := func() {
		t.Helper()
		if err := s.View(t.Context(), func(r store.Reader) error {
			i := 0
			for rec, err := range r.Records("t", "a", "") {
				if err != nil {
					return err
				}
				if rec.Key != fmt.Sprintf("%05d", i) || len(rec.Value) != i%5000 {
					t.Fatalf("got %s with %d bytes, want %d", rec.Key, len(rec.Value), i)
				}
				i++
			}
			if i != n {
				t.Errorf("got %d records, want %d", i, n)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		intact(t, s)
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, dbFile+"-wal")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an orderly end leaves the log behind: %v", err)
	}
	s = opened(t, Config{Dir: dir})
	check()
}
