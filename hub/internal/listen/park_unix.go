//go:build unix

package listen

import "syscall"

const canPark = true

// waitReadable waits until the socket has bytes, an end or an error to read, or its read deadline passes. The look is
// needed: the poller is edge triggered, and the edge may be gone before we wait.
func waitReadable(raw syscall.RawConn) error {
	var one [1]byte
	return raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return err != syscall.EAGAIN && err != syscall.EINTR
	})
}
