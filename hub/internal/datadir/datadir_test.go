package datadir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
)

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestOneProcessAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	d := open(t, path)
	_, err := Open(path)
	var inUse *InUseError
	if !errors.As(err, &inUse) {
		t.Fatalf("got %v, want an InUseError", err)
	}
	if want := strconv.Itoa(os.Getpid()); runtime.GOOS != "windows" && inUse.PID != want {
		t.Errorf("got process %q, want %q", inUse.PID, want)
	}
	d.Close()
	open(t, path)
}

func TestStateOfAKilledHubIsRemoved(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	if err := d.WriteState(map[string]int{"pid": 7}); err != nil {
		t.Fatal(err)
	}
	var got map[string]int
	if err := ReadState(path, &got); err != nil || got["pid"] != 7 {
		t.Fatalf("got %v, %v, want pid 7", got, err)
	}
	d.Close() // as if killed: nobody called RemoveState
	open(t, path)
	if err := ReadState(path, &got); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want that there is no state", err)
	}
}

func TestAdminToken(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	made, err := d.AdminToken()
	if err != nil {
		t.Fatal(err)
	}
	again, err := d.AdminToken()
	if err != nil || again != made || len(made) < 26 {
		t.Errorf("got %q then %q, %v, want one token of at least 26 characters", made, again, err)
	}
	info, err := os.Stat(filepath.Join(path, tokenFile))
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, want 0600", info.Mode())
	}
	for _, bad := range []string{"", "short", "one token and some more words"} {
		if err := os.WriteFile(filepath.Join(path, tokenFile), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := d.AdminToken(); err == nil {
			t.Errorf("token file %q: got token %q, want an error", bad, got)
		}
	}
}

func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such modes here")
	}
	path := filepath.Join(t.TempDir(), "data")
	d := open(t, path)
	if err := d.WriteState("x"); err != nil {
		t.Fatal(err)
	}
	dev, err := d.Development("astarte")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{
		path: 0o700, dev: 0o700, filepath.Join(path, stateFile): 0o600, filepath.Join(path, lockFile): 0o600,
	} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: got mode %v, want %v", name, got, want)
		}
	}
}
