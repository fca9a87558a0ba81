package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// smallDisk mounts a file system of 6 MB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("fairlead-test", dir, "tmpfs", 0, "size=6m"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("mounting a small tmpfs: %v; CI has to run this test as root", err)
		}
		t.Skipf("mounting a small tmpfs: %v; run as root to test a disk that is full", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// fill leaves so many bytes free.
func fill(t *testing.T, path string, free int64) {
	t.Helper()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(path), &fs); err != nil {
		t.Fatal(err)
	}
	// A checkpoint may take some of the room at the same time.
	if err := os.WriteFile(path, make([]byte, max(0, int64(fs.Bavail*uint64(fs.Bsize))-free)), 0o600); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// TestFullDisk takes the room away from a store at work, again and again and at different moments, and gives it back.
func TestFullDisk(t *testing.T) {
	dir := smallDisk(t)
	hog := filepath.Join(dir, "hog")
	s := open(t, Config{Dir: dir, WALBytes: 256 << 10})
	t.Cleanup(func() { s.Close() }) // before the unmount
	series := &core.Series{Device: 1, Channel: "c"}
	accepted, refused := int64(0), 0
	write := func(size int) error {
		err := s.Update(func(tx store.Tx) error {
			b := core.Block{Series: series}
			b.Add(accepted, accepted, core.AppendBytes(nil, make([]byte, size)))
			err := tx.AppendBlock(&b)
			return errors.Join(err, tx.PutRecord("t", "a", fmt.Sprint(accepted), nil))
		})
		if err == nil {
			accepted++
		}
		return err
	}
	for round := range int64(8) {
		if err := write(10); err != nil {
			t.Fatalf("round %d: with room: %v", round, err)
		}
		fill(t, hog, round*round*10_000)
		err := error(nil)
		for size := 3000; err == nil && size < 10<<20; size *= 2 { // from one page to more than the cache
			err = write(size)
		}
		if !errors.Is(err, core.ErrStorage) {
			t.Fatalf("round %d: got %v, want core.ErrStorage", round, err)
		}
		for range 20 { // a checkpoint may still find some room in the log that it ends
			if err := write(300_000); errors.Is(err, core.ErrStorage) {
				refused++
			} else if err != nil {
				t.Fatalf("round %d: still full: got %v", round, err)
			}
		}
		if err := os.Remove(hog); err != nil {
			t.Fatal(err)
		}
		// Room for more than the round needs, so that the disk does not fill up by itself.
		if err := s.Update(func(tx store.Tx) error { _, err := tx.DeleteSeries(1, "", 1<<30); return err }); err != nil {
			t.Fatalf("round %d: with room again: %v", round, err)
		}
	}
	check := func() {
		t.Helper()
		if err := s.View(t.Context(), func(r store.Reader) error {
			n := int64(0)
			for _, err := range r.Records("t", "a", "") {
				if err != nil {
					return err
				}
				n++
			}
			if n != accepted {
				t.Errorf("%d transactions are there, %d were accepted and %d refused", n, accepted, refused)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		intact(t, s)
	}
	check()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s = open(t, Config{Dir: dir})
	check()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if accepted < 8 || refused < 80 {
		t.Errorf("accepted %d, refused %d: nothing was tested", accepted, refused)
	}
}

// TestStartOnFullDisk: the error says what is wrong, and the start works when there is room.
func TestStartOnFullDisk(t *testing.T) {
	dir := smallDisk(t)
	hog := filepath.Join(dir, "hog")
	for _, free := range []int64{0, 4096, 40_000, 100_000} {
		fill(t, hog, free)
		s, err := Open(t.Context(), Config{Dir: dir})
		if err == nil {
			s.Close()
			t.Fatalf("with %d bytes free: started", free)
		}
		if !errors.Is(err, core.ErrStorage) {
			t.Errorf("with %d bytes free: got %v, want core.ErrStorage", free, err)
		}
		if err := os.Remove(hog); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, Config{Dir: dir})
	put(t, s, "k", nil)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
