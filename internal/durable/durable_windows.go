package durable

import (
	"errors"
	"io/fs"
	"math/bits"
	"os"

	"golang.org/x/sys/windows"
)

// private gives the owner, the system and administrators full access, and nobody else any; it inherits nothing.
const private = "D:P(A;;FA;;;OW)(A;;FA;;;SY)(A;;FA;;;BA)"

// create makes a new file. Windows does not look at the mode, so a file for the owner alone gets an access list.
func create(path string, mode fs.FileMode) (*os.File, error) {
	if mode&0o077 != 0 {
		return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	}
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, &fs.PathError{Op: "create", Path: path, Err: err}
	}
	sd, err := windows.SecurityDescriptorFromString(private)
	if err != nil {
		return nil, &fs.PathError{Op: "create", Path: path, Err: err}
	}
	attributes := windows.SecurityAttributes{Length: 3 * bits.UintSize / 8, SecurityDescriptor: sd}
	h, err := windows.CreateFile(name, windows.GENERIC_READ|windows.GENERIC_WRITE, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE,
		&attributes, windows.CREATE_NEW, windows.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "create", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), nil
}

// Private always says yes: who may read a file that others have made is their access list's matter, and that of the folder.
func Private(*os.File) (bool, error) { return true, nil }

// SyncDir does nothing: Windows has no such call, its file systems keep names in a journal.
func SyncDir(string) error { return nil }

// Lock takes a lock that is named by a file, which stays when the lock is given back. The system gives it back when the process ends,
// however it ends. The error wraps fairlead.ErrInUse if somebody else holds it.
func Lock(path string) (unlock func() error, err error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
	}
	// Nobody else can open what is not shared.
	h, err := windows.CreateFile(name, windows.GENERIC_READ|windows.GENERIC_WRITE, 0, nil, windows.OPEN_ALWAYS, windows.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, windows.ERROR_SHARING_VIOLATION) {
		return nil, inUse(path, "")
	}
	if err != nil {
		return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
	}
	return func() error { return windows.CloseHandle(h) }, nil
}
