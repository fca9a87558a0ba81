//go:build linux || darwin

package datadir

import "syscall"

// Disk returns the size of the disk that a folder is on, and what its users may still fill; 0, 0 where that is not known.
func Disk(path string) (size, free int64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return 0, 0, err
	}
	return int64(st.Blocks) * int64(st.Bsize), int64(st.Bavail) * int64(st.Bsize), nil //nolint:unconvert // types differ between systems
}
