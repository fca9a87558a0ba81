//go:build !unix

package listen

import "syscall"

// Without a way to look at a socket without reading, an idle connection keeps its buffers.
const canPark = false

func waitReadable(syscall.RawConn) error { return nil }

func hungUp(syscall.RawConn) bool { return false }
