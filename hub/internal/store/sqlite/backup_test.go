package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// writeOn writes blocks until stop, with a pause after each commit; acked is how many are on disk.
func writeOn(t testing.TB, s *Store, x *core.Series, acked *atomic.Int64, pause time.Duration) (stop func() []time.Duration) {
	t.Helper()
	var wg sync.WaitGroup
	var end atomic.Bool
	var took []time.Duration
	wg.Go(func() {
		for n := acked.Load(); !end.Load(); n += 8 {
			start := time.Now()
			err := s.Update(func(tx store.Tx) error {
				for i := range int64(8) {
					b := core.Block{Series: x}
					b.Add(n+i, n+i, core.AppendBytes(nil, make([]byte, 4096)))
					if err := tx.AppendBlock(&b); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
				return
			}
			took = append(took, time.Since(start))
			acked.Store(n + 8)
			time.Sleep(pause)
		}
	})
	return func() []time.Duration {
		end.Store(true)
		wg.Wait()
		return took
	}
}

// TestBackup: a copy that is made under load is whole and has everything that was on disk before it began, and the log
// does not grow meanwhile.
func TestBackup(t *testing.T) {
	s := opened(t, Config{WALBytes: 1 << 20})
	x := &core.Series{Device: 1, Channel: "c"}
	var acked atomic.Int64
	stop := writeOn(t, s, x, &acked, 4*time.Millisecond)
	for acked.Load() < 800 { // 3 MB
		select {
		case <-t.Context().Done():
			t.Fatal("too slow")
		case <-time.After(time.Millisecond):
		}
	}
	for range 2 {
		before := acked.Load()
		dir := t.TempDir()
		file := filepath.Join(dir, dbFile)
		if err := s.Backup(t.Context(), file); err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("got %v, %v", st, err)
		}
		if err := Verify(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		copied := opened(t, Config{Dir: dir})
		n := int64(0)
		if err := copied.View(t.Context(), func(r store.Reader) error {
			for v, err := range r.Samples(x, core.Range{}) {
				if err != nil {
					return err
				}
				if v.At.UnixMicro() != n {
					return fmt.Errorf("sample %d is of %d", n, v.At.UnixMicro())
				}
				n++
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if n < before {
			t.Errorf("got %d samples, want %d or more", n, before)
		}
	}
	stop()
	if _, log, err := s.Size(); err != nil || log > 16<<20 {
		t.Errorf("log of %d bytes, %v", log, err)
	}
}

// TestPace: a backup that comes no nearer to its end hurries.
func TestPace(t *testing.T) {
	p := pace{step: stepTime, pause: stepPause}
	now := time.Now()
	for i := range 10 {
		now = now.Add(paceWindow)
		if pause := p.next(now, time.Second, 1000-100*i); pause != 2*time.Second || p.step != stepTime {
			t.Fatalf("while it gets nearer: pause %v, step %v", pause, p.step)
		}
	}
	for range 20 {
		now = now.Add(paceWindow)
		p.next(now, time.Second, 1000)
	}
	if pause := p.next(now, time.Second, 1000); pause != 0 || p.step != hurried {
		t.Errorf("while it does not: pause %v, step %v", pause, p.step)
	}
}

func TestBackupEndsEarly(t *testing.T) {
	s := opened(t, Config{})
	put(t, s, "k", make([]byte, 8<<20))
	dir := t.TempDir()
	file := filepath.Join(dir, "copy")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Backup(ctx, file); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("half a copy is left")
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(t.Context(), file); !errors.Is(err, os.ErrExist) {
		t.Errorf("over a file: got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(t.Context(), filepath.Join(dir, "late")); !errors.Is(err, core.ErrStopping) {
		t.Errorf("after Close: got %v", err)
	}
}

// TestCloseDuringBackup: closing does not wait for a backup.
func TestCloseDuringBackup(t *testing.T) {
	begun, goOn := make(chan struct{}, 1000), make(chan struct{})
	s := opened(t, Config{backupStep: func() { begun <- struct{}{}; <-goOn }})
	for i := range 10 {
		put(t, s, fmt.Sprint("k", i), make([]byte, 4<<20))
	}
	done := make(chan error, 1)
	go func() { done <- s.Backup(context.Background(), filepath.Join(t.TempDir(), "copy")) }()
	select {
	case <-begun:
	case err := <-done:
		t.Fatalf("it was over at once: %v", err)
	}
	if err := s.Backup(t.Context(), filepath.Join(t.TempDir(), "second")); !errors.Is(err, core.ErrConflict) {
		t.Errorf("a second one: got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	if err := <-done; !errors.Is(err, core.ErrStopping) {
		t.Errorf("got %v", err)
	}
}

func TestCopyAndVerify(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, Config{Dir: dir})
	put(t, s, "k", make([]byte, 1<<20))
	to := t.TempDir()
	if err := Copy(t.Context(), dir, filepath.Join(to, dbFile)); !errors.Is(err, core.ErrConflict) {
		t.Errorf("of a database in use: got %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "backup-1.tmp"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Copy(t.Context(), dir, filepath.Join(to, dbFile)); err != nil {
		t.Fatal(err)
	}
	if err := Verify(t.Context(), to); err != nil {
		t.Error(err)
	}
	if err := Verify(t.Context(), t.TempDir()); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("of nothing: got %v", err)
	}
	file := filepath.Join(to, dbFile)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := 3 * pageBytes; i < 4*pageBytes; i++ {
		text[i] ^= 0xff
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Verify(t.Context(), to); err == nil {
		t.Error("damage is not found")
	}
	opened(t, Config{Dir: dir})
	if _, err := os.Stat(filepath.Join(dir, "backup-1.tmp")); err == nil {
		t.Error("what a backup left is still there")
	}
}

// BenchmarkBackup measures what a backup of 400 MB does to commits, each of 32 KB and without a pause between them.
func BenchmarkBackup(b *testing.B) {
	for range b.N {
		s := opened(b, Config{})
		x := &core.Series{Device: 1, Channel: "c"}
		var acked atomic.Int64
		stop := writeOn(b, s, x, &acked, 0)
		for acked.Load() < 100_000 {
			time.Sleep(10 * time.Millisecond)
		}
		stop()
		stop = writeOn(b, s, x, &acked, 0)
		time.Sleep(3 * time.Second)
		alone := stop()
		stop = writeOn(b, s, x, &acked, 0)
		start := time.Now()
		if err := s.Backup(b.Context(), filepath.Join(b.TempDir(), "copy")); err != nil {
			b.Fatal(err)
		}
		d := time.Since(start)
		during := stop()
		_, log, _ := s.Size()
		b.ReportMetric(d.Seconds(), "backup-s")
		b.ReportMetric(float64(log)/(1<<20), "log-MiB")
		for name, took := range map[string][]time.Duration{"alone": alone, "during": during} {
			total := time.Duration(0)
			for _, t := range took {
				total += t
			}
			slices.Sort(took)
			b.ReportMetric(float64(len(took))/total.Seconds(), name+"-commits/s")
			b.ReportMetric(took[len(took)*99/100].Seconds()*1000, name+"-p99-ms")
			b.ReportMetric(took[len(took)-1].Seconds()*1000, name+"-max-ms")
		}
	}
}
