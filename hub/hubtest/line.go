package hubtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"math"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/fairlead-iot/fairlead/internal/memnet"
)

// A Direction says which bytes of a [Line] are meant.
type Direction uint8

// The directions.
const (
	ToHub    Direction = 1 << iota // what devices send
	ToDevice                       // what the hub sends
	BothWays = ToHub | ToDevice
)

// directions are the single ones; a flow's index is that of its direction.
var directions = [2]Direction{ToHub, ToDevice}

// A Line is the network between devices and a hub, and can be made to fail in the ways in which networks do. Those who
// were given its Dial, or its HTTP, are on it; [Hub.NewLine] makes a line for one device alone.
//
// What a method says holds for connections that are open, and for later ones, until [Line.Heal] or, where there is one,
// the opposite call. Methods may be called from any goroutine, and several faults at once.
//
//	Cut           connections end, as when a router restarts; both ends learn of it
//	CutAfter      they end after so many bytes
//	SetOffline    they end, and new ones cannot be made: no network
//	Refuse        new ones are refused: nobody listens there
//	Stall         no byte moves until Heal, and none is lost
//	Drop          bytes vanish: neither end learns of it before its own timeout
//	Delay         bytes take their time
//	Duplicate     messages arrive twice
type Line struct {
	network *memnet.Network
	client  *http.Client
	pumps   sync.WaitGroup

	mu       sync.Mutex
	changed  sync.Cond // the network's state, for those who dial
	offline  bool
	refusing bool
	closed   bool
	frozen   bool // the hub is being killed
	stalled  Direction
	dropping Direction
	delay    [2]time.Duration
	cuts     []*cut
	links    map[*link]struct{}
}

// cut is a call of CutAfter.
type cut struct {
	dir  Direction
	left int64
	done chan struct{}
}

func newLine(n *memnet.Network, roots *x509.CertPool) *Line {
	l := &Line{network: n, links: map[*link]struct{}{}}
	l.changed.L = &l.mu
	l.client = &http.Client{Transport: &http.Transport{DialContext: l.Dial, TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
	return l
}

// HTTP returns a client that reaches the hub over the line, and trusts it.
func (l *Line) HTTP() *http.Client { return l.client }

// Dial connects to the hub. The port alone decides whether to MQTT or HTTPS: see [Hub.State]; the host may be any. The error
// is what the system says in such a case: ECONNREFUSED if the hub does not run or the line refuses, ENETUNREACH if it is
// offline; while bytes are stalled or dropped it waits for ctx to end.
func (l *Line) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := l.admit(ctx); err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	far, err := l.network.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	device, near := memnet.PipeBetween(0, memnet.Addr(far.LocalAddr().String()), memnet.Addr(address))
	k, err := l.connect(near, far.(*memnet.Conn))
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	return conn{device, k}, nil
}

// carry connects a client of a real port.
func (l *Line) carry(ctx context.Context, near end, address string) {
	err := l.admit(ctx)
	if err == nil {
		var far net.Conn
		if far, err = l.network.DialContext(ctx, "tcp", address); err == nil {
			_, _ = l.connect(near, far.(*memnet.Conn))
			return
		}
	}
	near.Reset() // it has connected already, so this is all that can be said
}

// admit waits as long as it takes to connect, and says why it cannot be done.
func (l *Line) admit(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.changed.Broadcast()
	})
	defer stop()
	l.mu.Lock()
	err := l.state()
	for err == nil && ctx.Err() == nil && l.stalled|l.dropping != 0 {
		l.changed.Wait()
		err = l.state()
	}
	trip := l.delay[0] + l.delay[1]
	l.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil || trip == 0 {
		return err
	}
	t := time.NewTimer(trip)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// state says why there are no new connections, nil if there are. It is called under mu.
func (l *Line) state() error {
	switch {
	case l.offline, l.closed:
		return syscall.ENETUNREACH
	case l.refusing, l.frozen:
		return syscall.ECONNREFUSED
	}
	return nil
}

// connect joins two connections, and closes them if the network is not there any more.
func (l *Line) connect(near, far end) (*link, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.state(); err != nil {
		near.Reset()
		far.Reset()
		_, _ = near.Close(), far.Close()
		return nil, err
	}
	k := newLink(l, near, far)
	l.links[k] = struct{}{}
	for _, f := range k.flows {
		l.pumps.Go(f.read)
		l.pumps.Go(f.write)
	}
	return k, nil
}

// Connections returns how many connections devices have open.
func (l *Line) Connections() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count()
}

func (l *Line) count() (n int) {
	for k := range l.links {
		if !k.closed && !k.dead {
			n++
		}
	}
	return n
}

// Cut ends all connections, and returns how many. Bytes that were under way are lost. New ones can be made.
func (l *Line) Cut() int { return l.end(func() {}) }

// end ends all connections together with another change.
func (l *Line) end(change func()) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	n := l.count()
	for k := range l.links {
		k.cut()
	}
	l.wake()
	return n
}

// CutAfter lets n more bytes through in a direction, or in both together, and then ends the connection that carried the
// last of them, once. Those n arrive. The channel is closed when it has happened. Bytes are TLS's, so they come in records
// and are more than the messages in them; a handshake has some thousands.
//
// To try a device with each moment at which a connection can end, call it with one number after the other.
func (l *Line) CutAfter(dir Direction, n int64) <-chan struct{} {
	c := &cut{dir: dir, left: max(n, 0), done: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cuts = append(l.cuts, c)
	return c.done
}

// SetOffline takes the network away, or gives it back: connections are cut, and new ones fail with ENETUNREACH.
func (l *Line) SetOffline(offline bool) {
	if offline {
		l.end(func() { l.offline = true })
		return
	}
	l.set(func() { l.offline = false })
}

// Refuse has new connections refused, with ECONNREFUSED. Those that are open go on.
func (l *Line) Refuse() { l.set(func() { l.refusing = true }) }

// Stall stops all bytes in a direction. They arrive after [Line.Heal], unless an end has lost patience.
func (l *Line) Stall(dir Direction) { l.set(func() { l.stalled |= dir }) }

// Drop makes all bytes in a direction vanish, and the news of a connection's end too, as when a router has forgotten a
// connection. A connection that has lost bytes carries none in that direction any more, not even after [Line.Heal], which
// helps only new ones.
func (l *Line) Drop(dir Direction) { l.set(func() { l.dropping |= dir }) }

// Delay makes bytes in a direction arrive later. To connect takes the time of both directions.
func (l *Line) Delay(dir Direction, d time.Duration) {
	l.set(func() {
		for i, one := range directions {
			if dir&one != 0 {
				l.delay[i] = d
			}
		}
	})
}

// Duplicate calls f, which sends messages in a direction and must wait until they have arrived; meanwhile everything in the
// other direction is lost, acknowledgements too. Then it cuts the connections. So, with QoS 1, who has sent the messages does
// not know that they have arrived, and when the device is connected again sends them again, marked DUP: they arrive twice,
// as MQTT says they may.
func (l *Line) Duplicate(dir Direction, f func()) {
	back := BothWays &^ dir
	l.Drop(back)
	defer l.end(func() { l.dropping &^= back }) // in one step: no acknowledgement may slip through
	f()
}

// Heal ends all faults: what was stalled moves, the network is there, and no [Line.CutAfter] is under way any more.
func (l *Line) Heal() {
	l.set(func() {
		l.offline, l.refusing, l.stalled, l.dropping, l.delay, l.cuts = false, false, 0, 0, [2]time.Duration{}, nil
	})
}

// set changes the state and tells everybody.
func (l *Line) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	l.wake()
}

func (l *Line) wake() {
	l.changed.Broadcast()
	for k := range l.links {
		k.wake()
	}
}

// allow returns how many of n bytes may pass, and what comes to its end with the last of them. It is called under mu.
func (l *Line) allow(dir Direction, n int) (pass int, reached []*cut) {
	least := int64(math.MaxInt64)
	for _, c := range l.cuts {
		if c.dir&dir != 0 {
			least = min(least, c.left)
		}
	}
	pass = int(min(int64(n), least))
	rest := l.cuts[:0]
	for _, c := range l.cuts {
		if c.dir&dir != 0 {
			c.left -= int64(pass)
			if c.left == 0 {
				reached = append(reached, c)
				continue
			}
		}
		rest = append(rest, c)
	}
	l.cuts = rest
	return pass, reached
}

// freeze stops all bytes, as the end of a process does, and has new connections refused.
func (l *Line) freeze() { l.set(func() { l.frozen = true }) }

// thaw ends what was frozen, and lets new connections be made.
func (l *Line) thaw() { l.end(func() { l.frozen = false }) }

// close ends everything, and waits for it.
func (l *Line) close() {
	l.end(func() { l.closed = true })
	l.client.CloseIdleConnections()
	l.pumps.Wait()
}
