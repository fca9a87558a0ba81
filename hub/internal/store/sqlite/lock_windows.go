package sqlite

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// errSharing is ERROR_SHARING_VIOLATION.
const errSharing syscall.Errno = 32

// lock takes the lock of a folder by opening a file that nobody else may open; the system closes it when the process ends.
func lock(path string) (unlock func() error, err error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w: %w", core.ErrStorage, err)
	}
	h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil,
		syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, errSharing) {
		return nil, locked(path, "")
	}
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w: lock %s: %w", core.ErrStorage, path, err)
	}
	return os.NewFile(uintptr(h), path).Close, nil
}

// syncDir does nothing: Windows has no such call, its file systems keep names in a journal.
func syncDir(string) error { return nil }
