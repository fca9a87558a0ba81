//go:build unix

package sqlite

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// lock takes the lock of a folder, which the system gives back when the process ends, however it ends.
func lock(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w: %w", core.ErrStorage, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 32))
		f.Close()
		if err == syscall.EWOULDBLOCK {
			return nil, locked(path, strings.TrimSpace(string(holder)))
		}
		return nil, fmt.Errorf("sqlite: %w: lock %s: %w", core.ErrStorage, path, err)
	}
	// Only for the message above; a full disk must not keep the hub from starting.
	_ = f.Truncate(0)
	_, _ = fmt.Fprintln(f, os.Getpid())
	return f.Close, nil
}

// syncDir makes the names in a folder survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
