package listen

import (
	"net/netip"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// paced is a Pace whose clock the test moves.
type paced struct {
	*Pace
	t  *testing.T
	at time.Time
}

func newPaced(t *testing.T, all, block int) *paced {
	p := &paced{Pace: NewPace(all, block), t: t, at: time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)}
	p.now = func() time.Time { return p.at }
	return p
}

func network(s string) netip.Prefix { return core.Network(netip.MustParseAddr(s)) }

// attempts has so many connections come from an address, which fail, and returns how many were let in, and the longest wait.
func (p *paced) attempts(from string, n int) (in int, longest time.Duration) {
	for range n {
		wait, reserved, ok := p.enter(network(from))
		if !ok {
			continue
		}
		in++
		longest = max(longest, wait)
		p.fail(network(from), reserved)
	}
	return in, longest
}

// TestPaceOfOneBlock: a burst is free; then each waits for its turn; then they are refused, and time lets them in again.
func TestPaceOfOneBlock(t *testing.T) {
	p := newPaced(t, 0, 20)
	if in, wait := p.attempts("192.0.2.1", 200); in != 200 || wait != 0 {
		t.Errorf("burst: %d of 200 in, the longest wait %v", in, wait)
	}
	in, wait := p.attempts("192.0.2.1", 1000)
	if in < 95 || in > 101 || wait < 4*time.Second || wait > paceWait {
		t.Errorf("then: %d in, the longest wait %v; want the turns of five seconds", in, wait)
	}
	if got := p.Crowded(); got != int64(1000-in) || p.Full() != 0 || p.Delayed() != int64(in) {
		t.Errorf("counted %d refused and %d delayed", got, p.Delayed())
	}
	if in, wait := p.attempts("192.0.2.2", 1); in != 1 || wait != 0 {
		t.Errorf("another address: %d in after %v", in, wait)
	}
	p.at = p.at.Add(time.Second)
	if in, _ := p.attempts("192.0.2.1", 100); in < 19 || in > 21 {
		t.Errorf("a second later: %d in, want 20", in)
	}
	p.at = p.at.Add(time.Hour)
	if wait, _, ok := p.enter(network("192.0.2.1")); !ok || wait != 0 || len(p.blocks) != 1 {
		t.Errorf("an hour later: wait %v, %v; %d blocks remembered", wait, ok, len(p.blocks))
	}
}

// TestPaceInAll: when many blocks fail together, those that have failed wait, and nobody else.
func TestPaceInAll(t *testing.T) {
	p := newPaced(t, 100, 20)
	for i := range 20 {
		p.attempts(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String(), 60)
	}
	if in, wait := p.attempts("192.0.2.7", 1); in == 1 && wait == 0 {
		t.Error("one that has failed goes on at once")
	}
	if in, wait := p.attempts("198.51.100.1", 1); in != 1 || wait != 0 {
		t.Errorf("one that has not: %d in after %v", in, wait)
	}
	p.attempts("192.0.2.9", 200)
	if p.attempts("192.0.2.8", 200); p.Full() == 0 || p.Crowded() != 0 {
		t.Errorf("%d were refused, and %d for their block", p.Full(), p.Crowded())
	}
	// What one has done wrong long ago does not count.
	p.at = p.at.Add(2 * paceMemory)
	for i := range 20 {
		p.attempts(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}).String(), 60)
	}
	if in, wait := p.attempts("192.0.2.7", 1); in != 1 || wait != 0 {
		t.Errorf("two minutes later: %d in after %v", in, wait)
	}
}

// TestPaceOfAFleet: thousands who sign in at once never wait, and broken ones among them slow nobody down.
func TestPaceOfAFleet(t *testing.T) {
	p := newPaced(t, 100, 20)
	from := network("192.0.2.1")
	for i := range 50_000 {
		wait, reserved, ok := p.enter(from)
		if !ok || wait > 0 {
			t.Fatalf("client %d waits %v, %v", i, wait, ok)
		}
		if i%20 == 0 {
			p.fail(from, reserved)
		} else {
			p.pass(from, reserved)
		}
	}
	// Those that were late because the hub was slow are let in the faster the more sign in.
	p.attempts("192.0.2.1", 250)
	waits := 0
	for range 100 {
		wait, reserved, ok := p.enter(from)
		if !ok {
			t.Fatal("refused")
		}
		if wait > 0 {
			waits++
		}
		p.pass(from, reserved)
	}
	if waits > 10 {
		t.Errorf("%d of 100 wait, after 250 failures", waits)
	}
}

// TestPaceForgets: what is remembered is bounded, and what fails now is remembered.
func TestPaceForgets(t *testing.T) {
	p := newPaced(t, 100, 20)
	for i := range maxBlocks + 1000 {
		p.at = p.at.Add(time.Microsecond)
		p.fail(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32), false)
	}
	if len(p.blocks) > maxBlocks {
		t.Errorf("%d blocks", len(p.blocks))
	}
}

func TestNoPace(t *testing.T) {
	c := &Conn{}
	if wait, ok := c.Enter(nil); wait != 0 || !ok {
		t.Errorf("got %v, %v", wait, ok)
	}
	c.Passed()
	c.Failed()
	p := newPaced(t, 0, 0)
	if in, wait := p.attempts("192.0.2.1", 10_000); in != 10_000 || wait != 0 {
		t.Errorf("without limits: %d in, wait %v", in, wait)
	}
}
