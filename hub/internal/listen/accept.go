package listen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Accept calls f for each connection until ctx ends, which closes the listener, or until the listener fails. f must not
// block. Use it for what is called, in logs and errors. The error is nil when ctx has ended.
func Accept(ctx context.Context, l net.Listener, use string, log *slog.Logger, f func(net.Conn)) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			f(nc)
			continue
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept %s connections: %w", use, err)
		}
		// Out of file descriptors, for instance: others may end soon.
		log.Warn("cannot accept a connection", "use", use, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// A queue is a listener whose connections come from this process.
type queue struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func newQueue(addr net.Addr) *queue {
	q := &queue{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
	q.close = onceClose(q.closed)
	return q
}

// put hands a connection to whoever accepts, or closes it when nobody does any more.
func (q *queue) put(nc net.Conn) {
	select {
	case q.conns <- nc:
	case <-q.closed:
		nc.Close()
	}
}

// open reports whether somebody still accepts.
func (q *queue) open() bool {
	select {
	case <-q.closed:
		return false
	default:
		return true
	}
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case nc := <-q.conns:
		return nc, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

func (q *queue) Close() error   { q.close(); return nil }
func (q *queue) Addr() net.Addr { return q.addr }
