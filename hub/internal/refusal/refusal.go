// Package refusal remembers the clients that were refused, and says in plain words why: the answer to "why can't my
// device connect?".
//
// It is kept in memory, and little of it, because anybody can be refused as often as he likes. Nobody may fill it at the
// cost of others: each tenant has its own entries; those of clients that have proven who they are are apart from those of
// clients that only say so; and where there is no more room, the entry that goes is of whoever has the most. A client
// that is refused again for the same reason is one entry with a count.
package refusal

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// Bounds of what is kept. An entry takes about 1 KiB.
const (
	ringEntries = 128    // of one tenant, proven and not proven each, and of those without a tenant
	maxEntries  = 20_000 // of all
	maxText     = 200    // bytes of what a client said of itself, each
)

// An Entry is one refusal, or several alike.
type Entry struct {
	Seq         int64 // ascending in the order of Last
	First, Last time.Time
	Count       int64
	Stage       core.Stage
	Reason      Reason
	Text, Hint  string
	Code        string // what the client was told, "" if nothing

	Device      core.DeviceKey // as far as known; without a tenant it is not known whose it is
	Proven      bool           // it was that device, and not somebody who calls itself so
	Addr        netip.Addr
	ClientID    string
	Username    string
	ServerName  string
	TLSVersion  string
	MQTTVersion uint8
	Certificate *Certificate
}

// A Certificate is what a refused client showed.
type Certificate struct {
	Subject, Issuer, Serial string
	NotAfter                time.Time
}

// Config configures [New].
type Config struct {
	// Known reports whether there is such a tenant. Entries of tenants that are not there count as nobody's. Required.
	Known func(core.TenantID) bool
	Now   func() time.Time // nil: time.Now
}

// A Log is what is remembered. Its methods may be called concurrently.
type Log struct {
	cfg Config

	mu     sync.Mutex
	seq    int64
	total  int
	rings  map[ringKey]*ring
	counts map[Reason]int64
}

type ringKey struct {
	tenant core.TenantID
	proven bool
}

// A ring holds the entries that compete for the same room.
type ring struct {
	entries map[entryKey]*Entry
	shares  map[string]int // entries by who has caused them
}

type entryKey struct {
	share, client string
	device        core.DeviceID
	stage         core.Stage
	reason        Reason
	text, code    string
}

// New returns an empty Log.
func New(cfg Config) *Log {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Log{cfg: cfg, rings: map[ringKey]*ring{}, counts: map[Reason]int64{}}
}

// Add remembers a refusal.
func (l *Log) Add(r core.Refusal) {
	e := l.entry(r)
	if t := e.Device.Tenant; t != "" && !e.Proven && !l.has(t) && !l.cfg.Known(t) {
		e.Device = core.DeviceKey{}
	}
	k := entryKey{share(&e), e.ClientID, e.Device.ID, e.Stage, e.Reason, e.Text, e.Code}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[e.Reason]++
	l.seq++
	e.Seq = l.seq
	at := ringKey{e.Device.Tenant, e.Proven}
	g := l.rings[at]
	if g == nil {
		g = &ring{entries: map[entryKey]*Entry{}, shares: map[string]int{}}
		l.rings[at] = g
	}
	if old := g.entries[k]; old != nil {
		e.First, e.Count = old.First, old.Count+1
		*old = e
		return
	}
	if len(g.entries) >= ringEntries {
		l.evict(g)
	} else if l.total >= maxEntries {
		l.evict(l.largest())
	}
	g.entries[k] = &e
	g.shares[k.share]++
	l.total++
}

// entry makes the entry of a refusal: texts cut, nothing secret, and nothing that keeps what the client sent in memory.
func (l *Log) entry(r core.Refusal) Entry {
	c := explain(r)
	if r.At.IsZero() {
		r.At = l.cfg.Now()
	}
	e := Entry{
		First: r.At, Last: r.At, Count: 1, Stage: r.Stage, Reason: c.reason, Text: c.text, Hint: c.hint, Code: r.Code,
		Device: core.DeviceKey{Tenant: r.Device.Tenant, Dialect: r.Device.Dialect, ID: core.DeviceID(cut(string(r.Device.ID)))},
		Proven: r.Proven && r.Device.Tenant != "",
		Addr:   r.Claim.Remote.Addr().Unmap().WithZone(""), ClientID: cut(r.Claim.ClientID), Username: username(r.Claim),
		ServerName: cut(r.Claim.ServerName), MQTTVersion: r.Claim.Version,
	}
	if r.TLS != nil && r.TLS.Version != 0 {
		e.TLSVersion = TLSVersion(r.TLS.Version)
	}
	if crt := r.Claim.Certificate; crt != nil {
		e.Certificate = &Certificate{cut(crt.Subject.String()), cut(crt.Issuer.String()), ca.SerialString(crt.SerialNumber), crt.NotAfter}
	}
	return e
}

// username returns the user name; some clients send a token in its place, without a password, and that is a secret.
func username(c core.Claim) string {
	if c.Password == nil && len(c.Username) > 8 {
		return cut(c.Username[:4]) + "..."
	}
	return cut(c.Username)
}

// cut returns a copy of what a client said, short and readable.
func cut(s string) string {
	return strings.Clone(strings.ToValidUTF8(s[:min(len(s), maxText)], "�"))
}

// share says who has caused an entry: the device that has proven to be one, else the address.
func share(e *Entry) string {
	if e.Proven {
		return e.Device.Dialect + "/" + string(e.Device.ID)
	}
	return core.Network(e.Addr).String()
}

func (l *Log) has(t core.TenantID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rings[ringKey{t, false}] != nil
}

// evict removes the oldest entry of whoever has the most in a ring. With the lock.
func (l *Log) evict(g *ring) {
	most := 0
	for _, n := range g.shares {
		most = max(most, n)
	}
	var victim entryKey
	var oldest *Entry
	for k, e := range g.entries {
		if g.shares[k.share] == most && (oldest == nil || e.Seq < oldest.Seq) {
			victim, oldest = k, e
		}
	}
	if oldest == nil {
		return
	}
	delete(g.entries, victim)
	if g.shares[victim.share]--; g.shares[victim.share] == 0 {
		delete(g.shares, victim.share)
	}
	l.total--
}

// largest returns the ring with the most entries. With the lock.
func (l *Log) largest() *ring {
	var most *ring
	for _, g := range l.rings {
		if most == nil || len(g.entries) > len(most.entries) {
			most = g
		}
	}
	return most
}

// Forget removes what is remembered of a tenant.
func (l *Log) Forget(t core.TenantID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range []ringKey{{t, false}, {t, true}} {
		if g := l.rings[k]; g != nil && t != "" {
			l.total -= len(g.entries)
			delete(l.rings, k)
		}
	}
}

// A Query selects entries; zero fields select all.
type Query struct {
	Tenant core.TenantID
	// Name is what the client may have called itself: a part of its device id, client id, user name or certificate's subject.
	Name   string
	Addr   netip.Addr
	Stage  core.Stage
	Since  time.Time
	Before int64 // only with a smaller Seq; 0: from the newest
	Limit  int   // at most that many
}

// List returns entries, the newest first.
func (l *Log) List(q Query) []Entry {
	var found []Entry
	l.mu.Lock()
	for k, g := range l.rings {
		if q.Tenant != "" && k.tenant != q.Tenant {
			continue
		}
		for _, e := range g.entries {
			if q.wants(e) {
				found = append(found, *e)
			}
		}
	}
	l.mu.Unlock()
	slices.SortFunc(found, func(a, b Entry) int { return cmp.Compare(b.Seq, a.Seq) })
	return found[:min(len(found), q.Limit)]
}

func (q *Query) wants(e *Entry) bool {
	return (q.Before == 0 || e.Seq < q.Before) && (q.Stage == "" || q.Stage == e.Stage) && !e.Last.Before(q.Since) &&
		(!q.Addr.IsValid() || q.Addr == e.Addr) && (q.Name == "" || e.named(q.Name))
}

func (e *Entry) named(name string) bool {
	return strings.Contains(string(e.Device.ID), name) || strings.Contains(e.ClientID, name) || strings.Contains(e.Username, name) ||
		e.Certificate != nil && strings.Contains(e.Certificate.Subject, name)
}

// Count returns how many refusals there were for a reason since the start.
func (l *Log) Count(r Reason) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts[r]
}

// TLSVersion names a version of TLS, such as "TLS 1.3".
func TLSVersion(v uint16) string {
	if v>>8 != 3 {
		return fmt.Sprintf("%#04x", v)
	}
	if v == 0x0300 {
		return "SSL 3.0"
	}
	return fmt.Sprintf("TLS 1.%d", v&0xff-1)
}
