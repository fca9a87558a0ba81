package listen

import (
	"crypto/tls"
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestQuota(t *testing.T) {
	q := NewQuota[string](3)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	q.now = func() time.Time { return at }
	c, _ := from("192.0.2.1")
	for i, want := range []bool{true, true, true, false, false} {
		if got := q.Keeps(c, "a"); got != want {
			t.Errorf("time %d: got %v", i+1, got)
		}
	}
	if !q.Keeps(c, "b") {
		t.Error("another one is held responsible")
	}
	at = at.Add(time.Minute)
	if !q.Keeps(c, "a") || q.Exceeded() != 2 {
		t.Errorf("a minute later it is not forgotten, or %d were counted", q.Exceeded())
	}
	here, _ := from("127.0.0.1")
	six, _ := from("::1")
	for range 10 {
		if !q.Keeps(here, "c") || !q.Keeps(six, "c") {
			t.Fatal("connections from this machine are counted")
		}
	}
	var none *Quota[string]
	if none = NewQuota[string](0); !none.Keeps(c, "a") || none.Exceeded() != 0 {
		t.Error("without a limit somebody is beyond it")
	}
}

// TestQuotaIsBounded: as many as there may be come within a minute, and one more.
func TestQuotaIsBounded(t *testing.T) {
	q := NewQuota[int](1)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	q.now = func() time.Time { return at }
	c, _ := from("192.0.2.1")
	for i := range maxQuotas + 10 {
		q.Keeps(c, i)
	}
	if len(q.used) != maxQuotas || q.Keeps(c, 0) {
		t.Errorf("%d are remembered", len(q.used))
	}
}

// TestHandshakesForHTTP: who shakes hands over and over, to speak HTTP, is slowed down like those who fail.
func TestHandshakesForHTTP(t *testing.T) {
	pace, quota := NewPace(0, 1), NewQuota[netip.Prefix](5)
	quota.Local = true
	r := newFrontRig(t, 0, func(cfg *FrontConfig) { cfg.Pace, cfg.Quota = pace, quota })
	for range 40 {
		nc, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
		if err := tls.Client(nc, r.client).Handshake(); err != nil {
			t.Errorf("handshake: %v", err)
		}
		nc.Close()
		if pace.Delayed() > 0 {
			break
		}
	}
	if quota.Exceeded() == 0 || pace.Delayed() == 0 {
		t.Errorf("%d beyond the limit, %d delayed, %d refused", quota.Exceeded(), pace.Delayed(), pace.Crowded())
	}
}
