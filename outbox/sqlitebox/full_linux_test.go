//go:build !(mips || mipsle || mips64 || mips64le)

package sqlitebox_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/outbox"
)

// TestFullDisk takes all room away and gives it back, again and again. Nothing accepted may be missing, nothing
// refused may be there, and everything works again when there is room.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("fairlead-test", dir, "tmpfs", 0, "size=12m"); err != nil {
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
	o := openBox(t, dir, outbox.Config{})
	t.Cleanup(func() { _ = o.Close() }) // before the unmount, if the test has failed
	hog := filepath.Join(dir, "hog")
	want := map[outbox.ID]bool{}
	for round := range 4 {
		if err := os.WriteFile(hog, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			add(t, o, want, 3000)
		}
		fillDisk(t, hog)
		refused := 0
		for i := 0; i < 5000 && refused < 20; i++ { // there may be some room within the files
			id, err := o.Append(t.Context(), outbox.Message{Payload: make([]byte, 3000)})
			switch {
			case err == nil:
				want[id] = true
			case errors.Is(err, fairlead.ErrStorage):
				refused++
			default:
				t.Fatalf("round %d: got %v, want ErrStorage", round, err)
			}
		}
		if refused < 20 {
			t.Fatalf("round %d: the disk is not full", round)
		}
		n := 0
		for id := range want { // one after another: each is a write
			if n++; n > 30 {
				break
			}
			err := o.Delete(t.Context(), id)
			if err == nil {
				delete(want, id)
			} else if !errors.Is(err, fairlead.ErrStorage) {
				t.Errorf("round %d: delete on a full disk: got %v, want ErrStorage", round, err)
			}
		}
		if err := os.Remove(hog); err != nil {
			t.Fatal(err)
		}
		add(t, o, want, 3000)
		check(t, o, want)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = openBox(t, dir, outbox.Config{})
	check(t, o, want)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
}

// fillDisk writes until nothing more fits.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for {
		if _, err := f.Write(make([]byte, 4096)); errors.Is(err, syscall.ENOSPC) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func add(t *testing.T, o *outbox.Outbox, want map[outbox.ID]bool, size int) {
	t.Helper()
	id, err := o.Append(t.Context(), outbox.Message{Payload: make([]byte, size)})
	if err != nil {
		t.Fatalf("with room: %v", err)
	}
	want[id] = true
}

func check(t *testing.T, o *outbox.Outbox, want map[outbox.ID]bool) {
	t.Helper()
	r := o.Reader()
	n := 0
	for {
		page, err := r.Poll(t.Context(), 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			if n++; !want[e.ID] {
				t.Errorf("%d is there, and was not accepted or was deleted", e.ID)
			}
		}
	}
	if n != len(want) || o.Stats().Messages != n {
		t.Errorf("found %d messages, counted %d, want %d", n, o.Stats().Messages, len(want))
	}
}
