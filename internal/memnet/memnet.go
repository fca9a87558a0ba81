// Package memnet is a network in memory, for tests: listeners, dialers and connections that behave like TCP on the
// loopback interface and need no ports.
//
// Unlike net.Pipe, a connection has a buffer in each direction, so that writers do not wait for readers until it is
// full, and it can be closed in one direction only. All waiting is done in ways that testing/synctest understands:
// in a bubble, deadlines cost no time.
//
//	var network memnet.Network
//	l, err := network.Listen("hub.example:8883")
//	...
//	conn, err := network.DialContext(ctx, "tcp", "hub.example:8883")
package memnet

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
)

// DefaultBufferBytes is the capacity of a connection in each direction unless something else is asked for.
const DefaultBufferBytes = 64 << 10

// backlog is how many connections wait for Accept before Dial has to wait.
const backlog = 128

// Addr is the address of one end: host and port, as given to Listen or made up for a dialer.
type Addr string

// Network returns "mem".
func (Addr) Network() string { return "mem" }

// String returns the address.
func (a Addr) String() string { return string(a) }

// Network holds listeners by address. The zero Network is ready to use; its methods may be called concurrently.
type Network struct {
	BufferBytes int // capacity of a connection in each direction; 0 means DefaultBufferBytes

	mu        sync.Mutex
	listeners map[string]*Listener
	dialed    int
}

// Listen opens a listener. The address is host and port; without the host (":443") the listener gets the
// connections to all hosts at that port for which there is no other listener. The error is syscall.EADDRINUSE.
func (n *Network) Listen(address string) (*Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[address] != nil {
		return nil, &net.OpError{Op: "listen", Net: "mem", Addr: Addr(address), Err: syscall.EADDRINUSE}
	}
	if n.listeners == nil {
		n.listeners = make(map[string]*Listener)
	}
	l := &Listener{network: n, addr: Addr(address), queue: make(chan *Conn, backlog), closed: make(chan struct{})}
	n.listeners[address] = l
	return l, nil
}

// Listen opens a listener on a network of its own; it is reached by [Listener.Dial] alone.
func Listen(address string) *Listener {
	l, err := new(Network).Listen(address)
	if err != nil {
		panic(err) // cannot be: the network is empty
	}
	return l
}

// DialContext connects to a listener of the network, whatever the first string says ("tcp"). It has the form that
// http.Transport and others take. The error is syscall.ECONNREFUSED if nobody listens there.
func (n *Network) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[address]
	if l == nil {
		l = n.listeners[address[max(0, strings.LastIndexByte(address, ':')):]]
	}
	n.mu.Unlock()
	if l == nil {
		return nil, refused(Addr(address))
	}
	return l.dial(ctx, Addr(address))
}

func refused(a Addr) error {
	return &net.OpError{Op: "dial", Net: "mem", Addr: a, Err: syscall.ECONNREFUSED}
}

// clientAddr makes up the address of a dialing end.
func (n *Network) clientAddr() Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dialed++
	return Addr(fmt.Sprintf("127.0.0.1:%d", 1024+(n.dialed-1)%(65536-1024)))
}

// Listener is a net.Listener in memory.
type Listener struct {
	network *Network
	addr    Addr
	queue   chan *Conn
	once    sync.Once
	closed  chan struct{}
}

// Accept waits for a connection. After Close it returns net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed: // first, because the other select would choose at random
		return nil, l.closedError()
	default:
	}
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, l.closedError()
	}
}

func (l *Listener) closedError() error {
	return &net.OpError{Op: "accept", Net: "mem", Addr: l.addr, Err: net.ErrClosed}
}

// Close ends Accept, frees the address and closes the connections that nobody has accepted. It returns nil.
func (l *Listener) Close() error {
	l.once.Do(func() {
		l.network.mu.Lock()
		delete(l.network.listeners, string(l.addr))
		l.network.mu.Unlock()
		close(l.closed)
		l.drain()
	})
	return nil
}

func (l *Listener) drain() {
	for {
		select {
		case c := <-l.queue:
			_ = c.Close()
		default:
			return
		}
	}
}

// Addr returns the address given to Listen.
func (l *Listener) Addr() net.Addr { return l.addr }

// Dial connects to the listener. Like TCP's, it does not wait for Accept unless very many others wait already.
func (l *Listener) Dial(ctx context.Context) (net.Conn, error) { return l.dial(ctx, l.addr) }

func (l *Listener) dial(ctx context.Context, to Addr) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, &net.OpError{Op: "dial", Net: "mem", Addr: to, Err: err}
	}
	client, server := pipe(l.network.BufferBytes, l.network.clientAddr(), to)
	select {
	case <-l.closed:
		return nil, refused(to)
	default:
	}
	select {
	case l.queue <- server:
	case <-l.closed:
		return nil, refused(to)
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: "mem", Addr: to, Err: ctx.Err()}
	}
	select {
	case <-l.closed: // Close may have drained the queue before we came
		l.drain()
	default:
	}
	return client, nil
}
