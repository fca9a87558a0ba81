// Package durable handles files that must survive power cuts and that belong to one process at a time: they are put in place
// whole and synced, and locked.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fairlead-iot/fairlead"
)

// WriteFile puts a file in place in one step: after a crash there is the old content or the new one, whole. When it returns the new one
// would survive a power cut. A file with mode 0600 is never open to others than its owner, not even for a moment; on Windows it gets
// an access list that says so.
func WriteFile(path string, content []byte, mode fs.FileMode) error {
	// The name is always the same one, so that what a crash leaves is used up by the next call.
	tmp := path + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := create(tmp, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(mode) // whatever the umask says
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		os.Remove(tmp)
		return err
	}
	return Rename(tmp, path)
}

// Create makes an empty file of that mode where there is none, durably.
func Create(path string, mode fs.FileMode) error {
	f, err := create(path, mode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// Rename gives a file another name in the same folder, durably. It replaces what has that name.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(to))
}

// Remove removes a file, durably. That there is none is no error.
func Remove(path string) error {
	if err := os.Remove(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// MakeDir makes a folder for its owner only, and those above it, durably. An existing one stays as it is.
func MakeDir(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	var made []string
	for dir := path; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		made = append(made, dir)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	for _, dir := range made {
		if err := SyncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	return nil
}

// inUse is the error of Lock for a file that somebody else has locked.
func inUse(path, pid string) error {
	who := "another process"
	switch {
	case pid == fmt.Sprint(os.Getpid()):
		who = "this process itself"
	case pid != "" && len(pid) < 12 && strings.Trim(pid, "0123456789") == "":
		who = "process " + pid
	}
	return fmt.Errorf("%w: %s is locked by %s", fairlead.ErrInUse, path, who)
}
