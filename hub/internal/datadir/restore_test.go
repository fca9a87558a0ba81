package datadir

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

type creator = func(name string) (io.WriteCloser, error)

// put creates a file.
func put(create creator, name string) error {
	w, err := create(name)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, name)
	return errors.Join(err, w.Close())
}

func TestRestore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	failure := errors.New("not good")
	err := Restore(path, func(create creator) error {
		if err := put(create, "ca/root.key"); err != nil {
			t.Error(err)
		}
		var half *RestoreError
		if _, err := Open(path); !errors.As(err, &half) {
			t.Errorf("meanwhile: got %v", err)
		}
		if err := put(create, "../x"); err == nil {
			t.Error("a file beside the folder")
		}
		return failure
	})
	if !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
	if list, err := os.ReadDir(path); err != nil || len(list) > 0 {
		t.Errorf("left: %v, %v", list, err)
	}
	err = Restore(path, func(create creator) error {
		return errors.Join(put(create, "ca/root.key"), put(create, "database/fairlead.db"), put(create, "admin-token"))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := Prepared(path); err != nil {
		t.Error(err)
	}
	if st, err := os.Stat(filepath.Join(path, "ca", "root.key")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v", st.Mode(), err)
	}
	if err := Restore(path, func(creator) error { t.Error("called"); return nil }); err == nil {
		t.Error("into a folder that is not empty")
	}
}

// TestRestoreKilled: a process that is killed in the middle leaves a folder that nobody starts from.
func TestRestoreKilled(t *testing.T) {
	path := os.Getenv("DATADIR_TEST_RESTORE")
	if path != "" { // the child
		_ = Restore(path, func(create creator) error {
			_ = errors.Join(put(create, "ca/root.key"), put(create, "database/fairlead.db"), put(create, "admin-token"))
			p, _ := os.FindProcess(os.Getpid())
			_ = p.Kill()
			select {}
		})
		return
	}
	path = filepath.Join(t.TempDir(), "data")
	cmd := exec.Command(os.Args[0], "-test.run=^TestRestoreKilled$")
	cmd.Env = append(os.Environ(), "DATADIR_TEST_RESTORE="+path)
	if err := cmd.Run(); err == nil {
		t.Fatal("the child was not killed")
	}
	if _, err := os.Stat(filepath.Join(path, "admin-token")); err != nil {
		t.Fatal(err)
	}
	var half *RestoreError
	if _, err := Open(path); !errors.As(err, &half) {
		t.Errorf("open: got %v", err)
	}
	if err := Prepared(path); !errors.As(err, &half) {
		t.Errorf("prepared: got %v", err)
	}
	if err := Restore(path, func(creator) error { return nil }); !errors.As(err, &half) {
		t.Errorf("restore again: got %v", err)
	}
}
