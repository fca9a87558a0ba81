package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

func TestFlusher(t *testing.T) {
	const steps = 12
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, steps*flushStep), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := flusher{file}
	most := steps
	if !writeOut(file, 0, flushStep) {
		most = 1 // the whole at once on this system
	}
	for _, tt := range []struct {
		name         string
		hurried      int // from which look on
		want, closed int
	}{
		{"in steps", steps + 1, most, 0},
		{"hurried", 3, min(3, most), 0},
		{"stopping", steps + 1, most, 1},
	} {
		quit := make(chan struct{})
		if tt.closed > 0 {
			close(quit)
		}
		looks := 0
		if err := f.run(func() bool { looks++; return looks >= tt.hurried }, quit); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if looks > tt.want || looks < tt.want && tt.closed == 0 {
			t.Errorf("%s: %d steps, want %d", tt.name, looks, tt.want)
		}
	}
	file.Close()
	if err := f.run(func() bool { return false }, nil); !errors.Is(err, core.ErrStorage) {
		t.Errorf("a file that fails: got %v, want core.ErrStorage", err)
	}
}

// TestLengthIsLearned: how long the log is guessed to be does not run away from what it is, or it would be emptied more and
// more often.
func TestLengthIsLearned(t *testing.T) {
	for name, value := range map[string]func(i int) []byte{
		"one page, counted as a hundred": func(i int) []byte { return fmt.Append(nil, i) },
		"none at all":                    func(int) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			s := opened(t, Config{WALBytes: 1 << 20})
			deadline := time.Now().Add(30 * time.Second)
			for i := 0; i < 20 || s.wal.length.Load() > 1<<20; i++ {
				if err := s.Update(func(tx store.Tx) error {
					for range 100 {
						if err := tx.PutRecord("t", "a", "k", value(i)); err != nil {
							return err
						}
					}
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				if time.Now().After(deadline) {
					t.Fatalf("the log is taken for %d bytes long", s.wal.length.Load())
				}
			}
			intact(t, s)
		})
	}
}
