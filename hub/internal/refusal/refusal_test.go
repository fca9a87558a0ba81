package refusal

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

func newLog() *Log {
	now := time.Date(2026, 5, 6, 12, 0, 0, 0, time.UTC)
	return New(Config{
		Known: func(t core.TenantID) bool { return strings.HasPrefix(string(t), "acme") || t == "other" },
		Now:   func() time.Time { now = now.Add(time.Second); return now },
	})
}

func from(addr string, tenant core.TenantID, id core.DeviceID, client string, proven bool) core.Refusal {
	return core.Refusal{
		Stage: core.StageSignIn, Device: core.DeviceKey{Tenant: tenant, Dialect: "mqtt", ID: id}, Proven: proven, Err: core.ErrUnauthenticated,
		Claim: core.Claim{Remote: netip.AddrPortFrom(netip.MustParseAddr(addr), 1), ClientID: client},
	}
}

func (l *Log) all(t core.TenantID) []Entry { return l.List(Query{Tenant: t, Limit: maxEntries}) }

func TestTheSameAgainIsOneEntry(t *testing.T) {
	l := newLog()
	for range 5 {
		l.Add(from("192.0.2.1", "acme", "pump", "c", false))
	}
	l.Add(from("192.0.2.1", "acme", "pump", "d", false))
	got := l.all("acme")
	if len(got) != 2 || got[1].Count != 5 || got[1].Last.Sub(got[1].First) != 4*time.Second || got[0].Seq != 6 {
		t.Errorf("got %+v", got)
	}
	if n := l.Count("credentials"); n != 6 {
		t.Errorf("%d refusals counted, want 6", n)
	}
}

// TestAnsweredDifferently: who was told something else is another entry.
func TestAnsweredDifferently(t *testing.T) {
	l := newLog()
	for _, code := range []string{"", "reason 0x87", ""} {
		r := from("192.0.2.1", "acme", "pump", "c", true)
		r.Stage, r.Code = core.StagePublish, code
		l.Add(r)
	}
	if got := l.all("acme"); len(got) != 2 || got[0].Code != "" || got[0].Count != 2 || got[1].Code != "reason 0x87" {
		t.Errorf("got %+v", got)
	}
}

// TestPlainWords: words for programs are left out, and others are not.
func TestPlainWords(t *testing.T) {
	for in, want := range map[string]string{
		"mqtt sign-in: unauthenticated: wrong":            "wrong",
		"astarte sign-in: sign in a/b/c: denied: revoked": "sign in a/b/c: revoked",
		"will on a topic outside: denied":                 "will on a topic outside",
		"x: not found: y: storage unavailable: disk":      "x: y: disk",
		"the topic is invalid":                            "the topic is invalid",
		"denied":                                          "denied",
	} {
		if got := plain(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// TestRate: who sends too much hears of the limit, and not that its topic is wrong.
func TestRate(t *testing.T) {
	for _, err := range []error{core.ErrRate, &core.HelpError{Text: "more than 100 messages in a second", Err: core.ErrRate}} {
		c := explain(core.Refusal{Stage: core.StagePublish, Err: err})
		if c.reason != "limit" || !strings.Contains(c.text, "messages in a second") || strings.Contains(c.text, "too large") || !strings.Contains(c.hint, "aws_service_limits") {
			t.Errorf("got %+v", c)
		}
	}
}

// TestUnregisteredAuthority: it may be one of an operator's own.
func TestUnregisteredAuthority(t *testing.T) {
	c := explain(core.Refusal{Stage: core.StageTLS, Err: fmt.Errorf("handshake: %w", ca.ErrUnknownIssuer)})
	if !strings.Contains(c.hint, "fairlead authority add") {
		t.Errorf("got %q", c.hint)
	}
}

// TestFloodsStayTheirOwn: whatever one address sends, others' entries stay, those of proven devices most of all.
func TestFloodsStayTheirOwn(t *testing.T) {
	l := newLog()
	l.Add(from("192.0.2.1", "acme", "pump", "honest", false))
	l.Add(from("192.0.2.1", "acme", "pump", "honest", true))
	l.Add(from("192.0.2.1", "other", "pump", "honest", false))
	for i := range 10 * ringEntries {
		l.Add(from("198.51.100.7", "acme", "pump", fmt.Sprint(i), false))
		l.Add(from("2001:db8::"+fmt.Sprintf("%x", i), "acme", "", fmt.Sprint("v6-", i), false))
		l.Add(from("198.51.100.7", core.TenantID(fmt.Sprint("made-up-", i)), "", fmt.Sprint(i), false))
	}
	if got := l.List(Query{Tenant: "acme", Name: "honest", Limit: 10}); len(got) != 2 {
		t.Errorf("%d of the honest entries left, want 2", len(got))
	}
	if got := l.all("other"); len(got) != 1 {
		t.Errorf("%d entries of the other tenant, want 1", len(got))
	}
	if got := len(l.all("")); got > 3*ringEntries+2 || len(l.rings) > 5 {
		t.Errorf("%d entries in %d rings", got, len(l.rings))
	}
	if got := l.all("made-up-1"); len(got) != 0 {
		t.Error("a tenant that is not there has entries")
	}
}

func TestTheWholeIsBounded(t *testing.T) {
	l := newLog()
	for tenant := range 2 * maxEntries / ringEntries {
		for i := range ringEntries {
			l.Add(from("192.0.2.1", core.TenantID(fmt.Sprint("acme", tenant)), "", fmt.Sprint(i), false))
		}
	}
	n := 0
	for _, g := range l.rings {
		n += len(g.entries)
		if len(g.entries) < ringEntries/2-1 {
			t.Errorf("a tenant has %d entries left: others have pushed them out", len(g.entries))
		}
	}
	if n != l.total || n > maxEntries {
		t.Errorf("%d entries, %d counted, want at most %d", n, l.total, maxEntries)
	}
	l.Forget("acme1")
	if len(l.all("acme1")) != 0 {
		t.Error("a forgotten tenant has entries")
	}
}

// TestNoSecrets: neither a password nor what may be a token is kept.
func TestNoSecrets(t *testing.T) {
	l := newLog()
	l.Add(core.Refusal{Stage: core.StageSignIn, Err: core.ErrUnauthenticated, Claim: core.Claim{
		Username: "bearer-token-0123", HasUsername: true,
		Certificate: &x509.Certificate{Subject: pkix.Name{CommonName: strings.Repeat("x", 10_000)}, SerialNumber: big.NewInt(255)},
	}})
	l.Add(core.Refusal{Stage: core.StageSignIn, Err: core.ErrUnauthenticated, Claim: core.Claim{Username: "operator", Password: []byte("hunter22"), ClientID: "a\xff" + strings.Repeat("b", 70_000)}})
	got := l.all("")
	for _, e := range got {
		text := fmt.Sprintf("%+v %+v", e, e.Certificate)
		if strings.Contains(text, "token-0123") || strings.Contains(text, "hunter") || len(text) > 4000 {
			t.Errorf("kept: %.4000s", text)
		}
	}
	if got[0].Username != "operator" || got[1].Username != "bear..." || got[1].Certificate.Serial != "ff" {
		t.Errorf("got %+v", got)
	}
}

// TestEveryReasonIsListed: metrics are made from the list.
func TestEveryReasonIsListed(t *testing.T) {
	listed := map[Reason]bool{}
	for _, r := range Reasons {
		listed[r] = true
	}
	check := func(c cause) {
		if !listed[c.reason] {
			t.Errorf("reason %q is not in Reasons", c.reason)
		}
	}
	for _, c := range alerts {
		check(c)
	}
	for _, stage := range core.Stages {
		for _, err := range append([]error{core.ErrBusy, core.ErrUnknownClient, errors.New("x"), nil}, core.Kinds...) {
			c := explain(core.Refusal{Stage: stage, Err: err})
			check(c)
		}
	}
}

func TestList(t *testing.T) {
	l := newLog()
	for i := range 10 {
		l.Add(from(fmt.Sprintf("192.0.2.%d", i), "acme", core.DeviceID(fmt.Sprint("pump-", i)), "c", i%2 == 0))
	}
	page := l.List(Query{Limit: 4})
	if len(page) != 4 || page[0].Device.ID != "pump-9" || page[3].Device.ID != "pump-6" {
		t.Fatalf("first page: %+v", page)
	}
	if page = l.List(Query{Limit: 40, Before: page[3].Seq}); len(page) != 6 || page[0].Device.ID != "pump-5" {
		t.Errorf("second page: %+v", page)
	}
	if page = l.List(Query{Limit: 40, Addr: netip.MustParseAddr("192.0.2.3")}); len(page) != 1 {
		t.Errorf("by address: %+v", page)
	}
	if page = l.List(Query{Limit: 40, Name: "pump-7"}); len(page) != 1 {
		t.Errorf("by name: %+v", page)
	}
}

func TestConcurrently(t *testing.T) {
	l := newLog()
	l.cfg.Now = time.Now
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 500 {
				l.Add(from("192.0.2.1", "acme", "x", fmt.Sprint(g, i), i%2 == 0))
				l.List(Query{Tenant: "acme", Limit: 5})
			}
		})
	}
	wg.Wait()
}

func BenchmarkAddToAFullRing(b *testing.B) {
	l := newLog()
	for i := range b.N {
		l.Add(from("192.0.2.1", "acme", "x", fmt.Sprint(i), false))
	}
}
