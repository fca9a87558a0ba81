package datadir

import (
	"errors"
	"os"
	"syscall"
)

var errLocked = errors.New("locked")

// errSharingViolation is ERROR_SHARING_VIOLATION of the Windows API, which package syscall does not name.
const errSharingViolation = syscall.Errno(32)

// acquire opens a file that nobody else can open meanwhile. The system closes it with the process, however that ends.
func acquire(name string) (*os.File, error) {
	path, err := syscall.UTF16PtrFromString(name)
	if err != nil {
		return nil, err
	}
	h, err := syscall.CreateFile(path, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil,
		syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, errSharingViolation) {
		return nil, errLocked
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(h), name), nil
}

// syncDir does nothing: Windows has no such call, its file systems keep names in a journal.
func syncDir(string) error { return nil }
