//go:build !linux

package listen

// Drained reports that a Write of few bytes does not wait; here that cannot be told.
func (c *Conn) Drained() bool { return false }
