package listen

import "golang.org/x/sys/unix"

// Drained reports that the client's side has confirmed all that was written: a Write of few bytes does not wait then.
func (c *Conn) Drained() bool {
	if c.raw == nil {
		return false
	}
	empty := false
	err := c.raw.Control(func(fd uintptr) {
		waiting, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		empty = err == nil && waiting == 0
	})
	return err == nil && empty
}
