package listen

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestGateShares(t *testing.T) {
	g := NewGate(64, 0)
	enter := func(a string) (n int) {
		for g.Enter(addr(a)) {
			n++
		}
		return n
	}
	for _, tt := range []struct {
		from string
		want int
	}{
		{"192.0.2.1", 32},
		{"::ffff:192.0.2.1", 0}, // the same
		{"192.0.2.2", 16},
		{"2001:db8:0:1::1", 8},
		{"2001:db8:0:1:ffff::2", 0}, // the same /64
		{"2001:db8:0:2::1", 4},
		{"fe80::1%eth0", 2},
	} {
		if got := enter(tt.from); got != tt.want {
			t.Errorf("%s: got %d places, want %d", tt.from, got, tt.want)
		}
	}
	if g.Open() != 62 || g.Crowded() != 7 || g.Full() != 0 {
		t.Errorf("got %d inside, %d and %d refused", g.Open(), g.Crowded(), g.Full())
	}
	g.Leave(addr("192.0.2.1"))
	if !g.Enter(addr("198.51.100.1")) {
		t.Error("a place was given back, and cannot be had")
	}
}

// However greedy some are, somebody new gets in, until everything is taken.
func TestGateLeavesRoom(t *testing.T) {
	g := NewGate(4096, 0)
	for i := range 12 {
		for g.Enter(addr(fmt.Sprintf("192.0.2.%d", i))) {
		}
		if i < 11 && !g.Enter(addr(fmt.Sprintf("198.51.100.%d", i))) {
			t.Errorf("%d greedy addresses have taken everything", i+1)
		}
	}
}

func TestGateLimits(t *testing.T) {
	g := NewGate(5, 3)
	for i := range 7 {
		a := addr("192.0.2.1")
		if i > 3 {
			a = addr("192.0.2.2")
		}
		if got, want := g.Enter(a), i != 3 && i < 6; got != want {
			t.Errorf("connection %d: got %v, want %v", i, got, want)
		}
	}
	if g.Full() != 1 || g.Crowded() != 1 {
		t.Errorf("got %d and %d refused, want one for each reason", g.Full(), g.Crowded())
	}
	if one := NewGate(1, 0); !one.Enter(addr("192.0.2.1")) || one.Enter(addr("192.0.2.1")) {
		t.Error("a gate for one does not let one in")
	}
	none := NewGate(2, 1)
	for i := range 3 {
		if got, want := none.Enter(netip.Addr{}), i < 2; got != want {
			t.Errorf("without an address: connection %d: got %v, want %v", i, got, want)
		}
	}
	for range 2 {
		none.Leave(netip.Addr{})
	}
	if none.Open() != 0 || len(none.blocks) != 0 {
		t.Errorf("%d and %d left", none.Open(), len(none.blocks))
	}
}

// far is a connection from an address.
type far struct {
	net.Conn
	from   net.Addr
	mu     sync.Mutex
	closed bool
}

func (f *far) RemoteAddr() net.Addr { return f.from }

func (f *far) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

func (f *far) gone() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

func from(a string) (*Conn, *far) {
	f := &far{from: net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr(a), 1))}
	return NewConn(f, nil), f
}

// TestGateSpares: when no place is left, who has most gives up the newest of those that can be spared, until all who
// want some have as many.
func TestGateSpares(t *testing.T) {
	g := NewGate(64, 0)
	socket := map[*Conn]*far{}
	crowd := func(a string) (list []*Conn) {
		for {
			c, f := from(a)
			if !c.Take(g) {
				return list
			}
			list = append(list, c)
			socket[c] = f
		}
	}
	left := func(list []*Conn) (n int) {
		for _, c := range list {
			if !socket[c].gone() {
				n++
			}
		}
		return n
	}
	var crowds [][]*Conn
	for i := range 12 {
		crowds = append(crowds, crowd(fmt.Sprintf("192.0.2.%d", i)))
	}
	for i, list := range crowds {
		if n := left(list); n < 4 || n > 6 { // 64 places for 12
			t.Errorf("crowd %d has %d places left, want a twelfth", i, n)
		}
	}
	if first := crowds[0]; socket[first[0]].gone() || !socket[first[len(first)-1]].gone() {
		t.Error("want the newest closed, and not the oldest")
	}
	one := crowd("198.51.100.1")
	if n := left(one); n < 4 || g.Open() != 64 {
		t.Errorf("the newcomer has %d places, of %d taken", n, g.Open())
	}
	for _, c := range one {
		c.Failed() // without a pace nothing happens
		c.Leave()
		c.Leave()
	}
	// What is busy is left alone, whoever has it.
	busy := 0
	for _, list := range crowds {
		busy += left(list)
		for _, c := range list {
			c.Busy(true)
		}
	}
	crowd("198.51.100.2") // fills what is free
	before := g.Full() + g.Crowded()
	crowd("198.51.100.3")
	for _, list := range crowds {
		busy -= left(list)
	}
	if busy != 0 {
		t.Errorf("%d busy ones were closed", busy)
	}
	if g.Full()+g.Crowded() == before {
		t.Error("nobody was counted")
	}
	for c := range socket {
		c.Leave()
	}
	if g.Open() != 0 || len(g.blocks) != 0 {
		t.Errorf("%d places and %d blocks are left", g.Open(), len(g.blocks))
	}
}

// TestGateAtOnce: however connections come, end and become busy, each place is given back once.
func TestGateAtOnce(t *testing.T) {
	g, other := NewGate(32, 0), NewGate(16, 0)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 2000 {
				c, _ := from(fmt.Sprintf("192.0.2.%d", rand.IntN(i+1)))
				if !c.Take(g) {
					continue
				}
				c.Busy(rand.IntN(2) == 0)
				if rand.IntN(2) == 0 {
					c.Take(other)
				}
				c.Busy(rand.IntN(2) == 0)
				_ = c.Close()
			}
		})
	}
	wg.Wait()
	for _, g := range []*Gate{g, other} {
		if g.Open() != 0 || len(g.blocks) != 0 {
			t.Errorf("%d places and %d blocks are left", g.Open(), len(g.blocks))
		}
	}
}
