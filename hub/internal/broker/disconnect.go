package broker

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// fail ends the connection at once, without acknowledgements of what is not on disk. Any goroutine.
func (c *conn) fail(err error) {
	c.mu.Lock()
	if c.failed == nil {
		c.failed = err
	}
	c.wake.Store(true)
	c.src.nc.SetReadDeadline(time.Unix(1, 0))
	c.mu.Unlock()
	c.settled.Broadcast()
}

// leave ends the connection when the exchanges that are under way are complete. Any goroutine.
func (c *conn) leave(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving == "" {
		c.leaving, c.since = reason, time.Now()
		c.wake.Store(true)
		c.src.nc.SetReadDeadline(time.Unix(1, 0)) // wakes the reader, which sees why
	}
}

// ended translates an error of the socket.
func ended(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return errGone
	}
	var e *mqtt.Error
	if errors.As(err, &e) {
		return err
	}
	return fmt.Errorf("%w: %v", errGone, err)
}
