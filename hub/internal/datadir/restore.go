package datadir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fairlead-iot/fairlead/internal/durable"
)

// Restore fills the folder at path, which must be empty or not there, and returns when everything in it would survive a
// power cut. fill gets what creates files in it; when it fails the folder is empty again. A process that is killed
// meanwhile leaves a folder that [Open] and [Prepared] refuse with a [*RestoreError].
func Restore(path string, fill func(create func(name string) (io.WriteCloser, error)) error) (err error) {
	if err := durable.MakeDir(path); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := restored(path); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	list, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if len(list) > 0 {
		return fmt.Errorf("restore: folder %s is not empty: there is %s in it", path, list[0].Name())
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer root.Close()
	// The mark is on disk before anything else is.
	mark, err := create(root, restoreFile)
	if err == nil {
		err = errors.Join(mark.Close(), durable.SyncDir(path), durable.SyncDir(filepath.Dir(path)))
	}
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	err = fill(func(name string) (io.WriteCloser, error) { return create(root, filepath.FromSlash(name)) })
	if err == nil {
		err = syncAll(path)
	}
	if err != nil {
		return fmt.Errorf("restore: %w", errors.Join(err, empty(path)))
	}
	if err := errors.Join(root.Remove(restoreFile), durable.SyncDir(path)); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return nil
}

// synced is a file that is on disk when it has been closed.
type synced struct{ *os.File }

func (f synced) Close() error {
	err := f.Sync()
	return errors.Join(err, f.File.Close())
}

func create(root *os.Root, name string) (io.WriteCloser, error) {
	if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return synced{f}, nil
}

// syncAll puts the entries of all folders on disk.
func syncAll(path string) error {
	return filepath.WalkDir(path, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		return durable.SyncDir(name)
	})
}

// empty removes what is in a folder, the mark last.
func empty(path string) error {
	list, err := os.ReadDir(path)
	for _, e := range list {
		if e.Name() != restoreFile {
			err = errors.Join(err, os.RemoveAll(filepath.Join(path, e.Name())))
		}
	}
	if err != nil {
		return err
	}
	return os.Remove(filepath.Join(path, restoreFile))
}
