//go:build unix

package listen

import (
	"math"
	"syscall"
)

// Descriptors returns how many files, and so connections, this process may have open; 0 if it is not known. The Go runtime
// has raised the limit to what the system allows at most (since Go 1.19, when package os is linked).
func Descriptors() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0
	}
	return int(min(uint64(l.Cur), math.MaxInt32)) //nolint:unconvert // its type differs between systems
}
