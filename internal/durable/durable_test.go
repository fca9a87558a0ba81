package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/durable"
)

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	for i, content := range []string{"one", "two"} {
		if i == 1 { // what a crash has left
			if err := os.WriteFile(path+".tmp", []byte("torn, and open to all"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := durable.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != content {
			t.Errorf("got %q, %v; want %q", got, err, content)
		}
		checkMode(t, path, 0o600)
	}
	if err := durable.WriteFile(path, []byte("public"), 0o644); err != nil {
		t.Fatal(err)
	}
	checkMode(t, path, 0o644)
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("left in the folder: %v", entries)
	}
	if err := durable.WriteFile(filepath.Join(path, "below a file"), nil, 0o600); err == nil {
		t.Error("no error for a path that cannot be")
	}
}

func checkMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	private, err := durable.Private(f)
	if err != nil || runtime.GOOS != "windows" && private != (want == 0o600) {
		t.Errorf("Private: got %v, %v", private, err)
	}
	if fi, _ := f.Stat(); runtime.GOOS != "windows" && fi.Mode().Perm() != want {
		t.Errorf("mode: got %v, want %v", fi.Mode().Perm(), want)
	}
}

func TestCreateAndRemove(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if err := durable.Create(path, 0o600); err != nil {
		t.Fatal(err)
	}
	checkMode(t, path, 0o600)
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := durable.Create(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); string(b) != "content" {
		t.Errorf("Create changed what was there: %q", b)
	}
	for range 2 {
		if err := durable.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMakeDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "c")
	for range 2 {
		if err := durable.MakeDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	if fi, err := os.Stat(dir); err != nil || runtime.GOOS != "windows" && fi.Mode().Perm() != 0o700 {
		t.Errorf("got %v, %v", fi, err)
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := durable.Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := durable.Lock(path); !errors.Is(err, fairlead.ErrInUse) {
		t.Errorf("second: got %v, want ErrInUse", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	unlock, err = durable.Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	if _, err := durable.Lock(filepath.Join(path, "x")); err == nil || errors.Is(err, fairlead.ErrInUse) {
		t.Errorf("impossible path: got %v", err)
	}
}
