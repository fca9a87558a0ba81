package attack

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// A crowd is many connections that take up room and do next to nothing: what a botnet of cheap devices can keep up for
// ever. Each one that the hub ends comes back after five to ten seconds.
type crowd struct {
	plain, tls, https string // addresses
	device            *attacker

	open, came, failed atomic.Int64 // connections now; connections made; attempts that failed
}

// A kind of member of a crowd: it does its part on a connection until that ends.
type kind struct {
	name string
	of   int // in how many of a hundred
	run  func(ctx context.Context, c *crowd, nc net.Conn, n int)
}

// kinds add up to a hundred.
var kinds = []kind{
	{"says nothing", 15, func(ctx context.Context, _ *crowd, nc net.Conn, _ int) { hangOn(ctx, nc) }},
	{"sends CONNECT byte by byte", 5, func(ctx context.Context, _ *crowd, nc net.Conn, n int) {
		c := mqtt.Connect{ClientID: fmt.Sprintf("drip-%d-%032d", n, n)}
		drip(ctx, nc, c.Append(nil, mqtt.V311))
	}},
	{"begins a TLS handshake", 5, func(ctx context.Context, _ *crowd, nc net.Conn, _ int) {
		_, _ = nc.Write([]byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3}) // and does not go on
		hangOn(ctx, nc)
	}},
	{"sends an HTTP header that does not end", 5, func(ctx context.Context, _ *crowd, nc net.Conn, _ int) {
		t := tls.Client(nc, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // it trusts nobody, and tells nothing
		_ = t.SetDeadline(time.Now().Add(patience))
		if t.HandshakeContext(ctx) == nil {
			_ = t.SetDeadline(time.Time{})
			drip(ctx, t, append([]byte("GET /v1/devices HTTP/1.1\r\nHost: hub\r\n"), make([]byte, 100)...))
		}
	}},
	{"sends what is no packet", 5, func(ctx context.Context, _ *crowd, nc net.Conn, _ int) {
		_, _ = nc.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		hangOn(ctx, nc)
	}},
	{"tries a wrong password", 5, func(ctx context.Context, c *crowd, nc net.Conn, _ int) {
		h := c.device.with(hello("guess"))
		h.Password = []byte("wrong")
		_, _ = nc.Write(h.Append(nil, mqtt.V311))
		hangOn(ctx, nc)
	}},
	{"signs in, subscribes, and never reads", 60, func(ctx context.Context, _ *crowd, nc net.Conn, n int) {
		h := hello(fmt.Sprintf("idle-%d", n)) // the device could not have so many sessions
		b := h.Append(nil, mqtt.V311)
		b = filters(1, func(int) string { return "crowd/+/#" }).Append(b, mqtt.V311)
		_, _ = nc.Write(b)
		hangOn(ctx, nc)
	}},
}

// address says where members of a kind connect to.
func (c *crowd) address(k int) string {
	switch k {
	case 2:
		return c.tls
	case 3:
		return c.https
	}
	return c.plain
}

// hangOn keeps a connection for as long as the hub does, without reading what comes.
func hangOn(ctx context.Context, nc net.Conn) {
	probe := time.NewTicker(5 * time.Second)
	defer probe.Stop()
	var b [64]byte
	for {
		select {
		case <-ctx.Done():
			return
		case <-probe.C:
		}
		// A look whether the connection is still there costs some bytes.
		_ = nc.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := nc.Read(b[:]); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				return
			}
		}
	}
}

// drip sends a byte each second.
func drip(ctx context.Context, nc net.Conn, b []byte) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for _, x := range b {
		if _, err := nc.Write([]byte{x}); err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// member is one of the crowd.
func (c *crowd) member(ctx context.Context, n int) {
	at, k := n%100, 0
	for at >= kinds[k].of {
		at -= kinds[k].of
		k++
	}
	from := &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+n%16))}
	for ctx.Err() == nil {
		d := net.Dialer{LocalAddr: from, Timeout: patience}
		nc, err := d.DialContext(ctx, "tcp", c.address(k))
		if err == nil {
			c.came.Add(1)
			c.open.Add(1)
			stop := context.AfterFunc(ctx, func() { nc.Close() })
			kinds[k].run(ctx, c, nc, n)
			stop()
			nc.Close()
			c.open.Add(-1)
		} else {
			c.failed.Add(1)
		}
		wait := time.NewTimer(5*time.Second + time.Duration(n%1000)*5*time.Millisecond)
		select {
		case <-ctx.Done():
		case <-wait.C:
		}
		wait.Stop()
	}
}

// gather has so many members come, over so long a time, and returns how to send them away.
func (c *crowd) gather(ctx context.Context, n int, over time.Duration) (disperse func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	pause := time.NewTicker(max(over/time.Duration(n), time.Microsecond))
	defer pause.Stop()
	for i := range n {
		wg.Go(func() { c.member(ctx, i) })
		<-pause.C
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// publishers publish at QoS 1, each with a window of messages under way, and count what is acknowledged.
type publishers struct{ acknowledged atomic.Int64 }

func (p *publishers) start(ctx context.Context, addr string, n, window int) error {
	for i := range n {
		c, err := join(ctx, addr, hello(fmt.Sprint("ordinary-", i)))
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { c.Close() })
		go p.run(c, fmt.Sprintf("ordinary/%d", i), window)
	}
	return nil
}

func (p *publishers) run(c *peer, topic string, window int) {
	next := func() error {
		if c.id++; c.id == 0 {
			c.id = 1
		}
		return c.send(&mqtt.Publish{Topic: []byte(topic), QoS: 1, ID: c.id, Payload: []byte("21.5")})
	}
	for range window {
		if next() != nil {
			return
		}
	}
	for {
		if _, err := c.receive(); err != nil {
			return
		}
		p.acknowledged.Add(1)
		if next() != nil {
			return
		}
	}
}

// rate returns how many are acknowledged in a second.
func (p *publishers) rate(over time.Duration) float64 {
	before, start := p.acknowledged.Load(), time.Now()
	<-time.After(over)
	return float64(p.acknowledged.Load()-before) / time.Since(start).Seconds()
}
