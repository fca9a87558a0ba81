package listen

import (
	"fmt"
	"net/netip"
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
