//go:build !arm

package sqlite

import (
	"os"
	"syscall"
)

// writeOut writes a part of the file to the disk and waits for that; false if that cannot be done in parts. It says nothing of
// the disk's own memory: that is for syncData. (Package syscall has no SyncFileRange on arm.)
func writeOut(f *os.File, at, n int64) bool {
	const before, write, after = 1, 2, 4 // SYNC_FILE_RANGE_..., see sync_file_range(2)
	return syscall.SyncFileRange(int(f.Fd()), at, n, before|write|after) == nil
}

func syncData(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }
