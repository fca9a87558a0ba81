package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// restoreFile is in a folder that a backup is being restored into. The next start must not take half a backup for a whole.
const restoreFile = "restore-incomplete"

// A NotPreparedError says that a data folder lacks what a hub needs.
type NotPreparedError struct {
	Path    string
	Missing string // what is not there; "" for the folder itself
}

func (e *NotPreparedError) Error() string {
	if e.Missing == "" {
		return fmt.Sprintf("data folder %s: there is none", e.Path)
	}
	return fmt.Sprintf("data folder %s: it has no %s, so no hub has been prepared in it, or its disk is not mounted", e.Path, e.Missing)
}

// A RestoreError says that a backup was not restored to its end.
type RestoreError struct{ Path string }

func (e *RestoreError) Error() string {
	return fmt.Sprintf("data folder %s: restoring a backup into it was cut short; what is there is not whole", e.Path)
}

// Prepared checks that the folder at path has everything that a first start makes. The error is a [*NotPreparedError] if
// it has not, and a [*RestoreError] if a backup was not restored to its end.
func Prepared(path string) error {
	for _, name := range []string{"", tokenFile, "ca", databaseDir} {
		_, err := os.Stat(filepath.Join(path, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return &NotPreparedError{Path: path, Missing: name}
		case err != nil:
			return fmt.Errorf("data folder: %w", err)
		}
		if name == "" {
			if err := restored(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// restored refuses a folder with half a backup.
func restored(path string) error {
	_, err := os.Lstat(filepath.Join(path, restoreFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("data folder: %w", err)
	}
	return &RestoreError{Path: path}
}
