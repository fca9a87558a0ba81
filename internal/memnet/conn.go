package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Conn is one end of a connection in memory. Its methods may be called concurrently.
type Conn struct {
	in, out       *half
	local, remote Addr
}

var _ net.Conn = (*Conn)(nil)

// Pipe returns the two ends of a connection; bufferBytes is its capacity in each direction, 0 for
// DefaultBufferBytes.
func Pipe(bufferBytes int) (client, server *Conn) {
	return pipe(bufferBytes, "127.0.0.1:1024", "127.0.0.1:1")
}

// PipeBetween is [Pipe] with addresses to show.
func PipeBetween(bufferBytes int, clientAddr, serverAddr Addr) (client, server *Conn) {
	return pipe(bufferBytes, clientAddr, serverAddr)
}

func pipe(bufferBytes int, clientAddr, serverAddr Addr) (client, server *Conn) {
	up, down := newHalf(bufferBytes), newHalf(bufferBytes)
	return &Conn{in: down, out: up, local: clientAddr, remote: serverAddr},
		&Conn{in: up, out: down, local: serverAddr, remote: clientAddr}
}

// Read reads what has arrived, waiting for at least one byte. The error is io.EOF when the other end has closed
// and all was read, syscall.ECONNRESET after Reset, os.ErrDeadlineExceeded, or net.ErrClosed.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	return n, c.wrap("read", err)
}

// Write writes all of p, waiting for room. The error is syscall.EPIPE when the other end has closed, or this end
// by CloseWrite; syscall.ECONNRESET, os.ErrDeadlineExceeded, or net.ErrClosed.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.out.write(p)
	return n, c.wrap("write", err)
}

func (c *Conn) wrap(op string, err error) error {
	if err == nil || err == io.EOF { // not wrapped, because readers compare with ==
		return err
	}
	return &net.OpError{Op: op, Net: "mem", Source: c.local, Addr: c.remote, Err: err}
}

// Close closes the connection. The other end can still read what was written before.
func (c *Conn) Close() error {
	first := c.in.closeRead()
	c.out.closeWrite(net.ErrClosed)
	if !first {
		return c.wrap("close", net.ErrClosed)
	}
	return nil
}

// CloseWrite ends the stream to the other end; reading goes on.
func (c *Conn) CloseWrite() error {
	c.out.closeWrite(syscall.EPIPE)
	return nil
}

// Reset ends the connection for both ends at once, as TCP's RST does: what has arrived can still be read; after that
// reading and writing fail with syscall.ECONNRESET. Close is to be called nevertheless.
func (c *Conn) Reset() {
	c.in.reset()
	c.out.reset()
}

// LocalAddr returns the address of this end.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the address of the other end.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines. It returns nil, like the next two.
func (c *Conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline ends the present and later calls of Read at t; the zero time means never.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.readBy, t)
	return nil
}

// SetWriteDeadline ends the present and later calls of Write at t; the zero time means never.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(&c.out.writeBy, t)
	return nil
}

// half is one direction of a connection.
type half struct {
	capacity int
	writing  sync.Mutex // held by Write, so that concurrent calls do not mix their bytes; before mu

	mu       sync.Mutex
	changed  sync.Cond // any of the following
	data     []byte    // written and not yet read
	writeErr error     // why nothing can be written any more, for the writer; readers see io.EOF at the end
	broken   bool      // by Reset
	readGone bool      // the reader has closed
	readBy   deadline
	writeBy  deadline
}

// deadline is a point in time after which its user waits no more.
type deadline struct {
	timer   *time.Timer
	expired bool
}

func newHalf(capacity int) *half {
	if capacity <= 0 {
		capacity = DefaultBufferBytes
	}
	h := &half{capacity: capacity}
	h.changed.L = &h.mu
	return h
}

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.readGone:
			return 0, net.ErrClosed
		case h.readBy.expired:
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case len(h.data) > 0:
			n := copy(p, h.data)
			if h.data = h.data[n:]; len(h.data) == 0 {
				h.data = nil // idle connections hold no buffer
			}
			h.changed.Broadcast()
			return n, nil
		case h.broken:
			return 0, syscall.ECONNRESET
		case h.writeErr != nil:
			return 0, io.EOF
		}
		h.changed.Wait()
	}
}

func (h *half) write(p []byte) (written int, err error) {
	h.writing.Lock()
	defer h.writing.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.writeErr != nil:
			return written, h.writeErr
		case h.broken:
			return written, syscall.ECONNRESET
		case h.readGone:
			return written, syscall.EPIPE
		case h.writeBy.expired:
			return written, os.ErrDeadlineExceeded
		case len(p) == 0:
			return written, nil
		}
		if room := h.capacity - len(h.data); room > 0 {
			n := min(room, len(p))
			h.data = append(h.data, p[:n]...)
			p, written = p[n:], written+n
			h.changed.Broadcast()
			continue
		}
		h.changed.Wait()
	}
}

// closeRead reports whether it was open.
func (h *half) closeRead() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.readGone {
		return false
	}
	h.readGone, h.data = true, nil
	h.readBy.stop()
	h.changed.Broadcast()
	return true
}

// closeWrite makes later writes fail with err; closing altogether replaces the error of CloseWrite.
func (h *half) closeWrite(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.writeErr = err
	h.writeBy.stop()
	h.changed.Broadcast()
}

// reset makes both ends fail, except for what was written before.
func (h *half) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broken = true
	h.changed.Broadcast()
}

func (h *half) setDeadline(d *deadline, t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d.stop()
	d.expired = false
	switch wait := time.Until(t); {
	case t.IsZero():
	case wait <= 0:
		d.expired = true
	default:
		var timer *time.Timer
		timer = time.AfterFunc(wait, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			if d.timer == timer { // else it was replaced while this call waited for the lock
				d.expired = true
				h.changed.Broadcast()
			}
		})
		d.timer = timer
	}
	h.changed.Broadcast()
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}
