package guess

import (
	"net/netip"
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	var l Limiter
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i := range burst {
		if w := l.Wait(a, now); w != 0 {
			t.Fatalf("after %d failures: wait %v, want none", i, w)
		}
		l.Fail(a, now)
	}
	if w := l.Wait(a, now); w != pause {
		t.Errorf("after a burst: wait %v, want %v", w, pause)
	}
	for range 100 { // those that were under way
		l.Fail(a, now)
	}
	if w := l.Wait(a, now); w != pause {
		t.Errorf("after many more: wait %v, want %v", w, pause)
	}
	if w := l.Wait(b, now); w != 0 {
		t.Errorf("another address: wait %v, want none", w)
	}
	if w := l.Wait(netip.MustParseAddr("::ffff:192.0.2.1"), now); w == 0 {
		t.Error("the same address in the form of IPv6 need not wait")
	}
	now = now.Add(pause)
	if w := l.Wait(a, now); w != 0 {
		t.Errorf("a pause later: wait %v, want none", w)
	}
	l.Fail(a, now)
	if w := l.Wait(a, now); w == 0 {
		t.Error("one more try was used up, and the next is not refused")
	}
	now = now.Add(burst * pause)
	for range burst - 1 {
		l.Fail(a, now)
	}
	if w := l.Wait(a, now); w != 0 {
		t.Errorf("forgiven: wait %v, want none", w)
	}
}

// However many addresses there are, memory is bounded, and the worst are not forgotten for the others.
func TestLimiterIsBounded(t *testing.T) {
	var l Limiter
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	worst := netip.MustParseAddr("192.0.2.1")
	for range burst {
		l.Fail(worst, now)
	}
	for i := range 2*maxAddresses + 10 {
		l.Fail(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now)
	}
	if len(l.limits.m) > maxAddresses {
		t.Errorf("got %d addresses, want at most %d", len(l.limits.m), maxAddresses)
	}
	if l.Wait(worst, now) == 0 {
		t.Error("the address with the most failures was forgotten")
	}
	now = now.Add(time.Hour)
	l.Fail(netip.MustParseAddr("192.0.2.9"), now)
	if len(l.limits.m) != 1 {
		t.Errorf("got %d addresses an hour later, want 1", len(l.limits.m))
	}
}
