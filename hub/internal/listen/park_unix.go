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

// hungUp discards what has come from the peer, and reports whether it has ended the connection. It does not wait.
func hungUp(raw syscall.RawConn) (over bool) {
	const looks = 16 // who sends for ever has not hung up
	err := raw.Control(func(fd uintptr) {
		var waste [512]byte
		for range looks {
			n, err := syscall.Read(int(fd), waste[:])
			if n <= 0 && err != syscall.EINTR {
				over = err != syscall.EAGAIN
				return
			}
		}
	})
	return over || err != nil
}
