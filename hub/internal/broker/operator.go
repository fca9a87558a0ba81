package broker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/topic"
)

// byOperator is the reason of connections that an operator has ended.
const byOperator = "disconnected by an operator"

// watched is what operators see of a connection: written by its goroutines for each batch of packets, read by anybody.
type watched struct {
	transport string
	since     time.Time

	heard      atomic.Int64 // microseconds since 1970
	messagesIn atomic.Int64
	bytesOut   atomic.Int64
}

// watch begins what operators see.
func (c *conn) watch(claim core.Claim) {
	c.seen.transport = "plain"
	switch _, overTLS := c.src.tls(); {
	case claim.Path != "":
		c.seen.transport = "websocket"
	case overTLS:
		c.seen.transport = "tls"
	}
	c.seen.since = c.heard
	c.seen.heard.Store(c.heard.UnixMicro())
}

// connections returns the connections that have signed in. No lock is held for longer than it takes to copy pointers.
func (b *Broker) connections() []*conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.AppendSeq(make([]*conn, 0, len(b.current)), maps.Values(b.current))
}

// Connections returns the open connections that q selects, by tenant, dialect and client id.
func (b *Broker) Connections(q core.SessionQuery) []core.Connection {
	var found []*conn
	byKey := func(a, b *conn) int { return a.grant.Session.Compare(b.grant.Session) }
	for _, c := range b.connections() {
		if !q.Matches(c.grant.Session, c.grant.Device) || !c.entered() {
			continue
		}
		// Twice what is wanted at most is held and sorted at a time, however many there are.
		if found = append(found, c); len(found) >= 2*q.Limit+16 {
			slices.SortFunc(found, byKey)
			found = found[:q.Limit]
		}
	}
	slices.SortFunc(found, byKey)
	out := make([]core.Connection, 0, min(len(found), q.Limit))
	for _, c := range found[:cap(out)] {
		out = append(out, c.describe())
	}
	return out
}

// CountConnections counts the open connections of a dialect ("": all) and version of MQTT (0: all).
func (b *Broker) CountConnections(dialect string, version uint8) (n int) {
	for _, c := range b.connections() {
		if (dialect == "" || c.grant.Session.Dialect == dialect) && (version == 0 || uint8(c.version) == version) {
			n++
		}
	}
	return n
}

// Connection returns the open connection of a session.
func (b *Broker) Connection(k core.SessionKey) (core.Connection, bool) {
	c := b.connection(k)
	if c == nil {
		return core.Connection{}, false
	}
	return c.describe(), true
}

func (b *Broker) connection(k core.SessionKey) *conn {
	b.mu.Lock()
	c := b.current[k]
	b.mu.Unlock()
	if c == nil || !c.entered() {
		return nil
	}
	return c
}

// entered reports whether CONNACK has been sent: what comes before is nobody's business, and not complete.
func (c *conn) entered() bool {
	select {
	case <-c.welcomed:
		return true
	default:
		return false
	}
}

func (c *conn) describe() core.Connection {
	out := core.Connection{
		Key: c.grant.Session, Device: c.grant.Device, Stored: c.stored, Addr: c.src.Remote(), Version: uint8(c.version),
		Transport: c.seen.transport, Since: c.seen.since, Heard: time.UnixMicro(c.seen.heard.Load()).UTC(), KeepAlive: c.keepAlive,
		MessagesIn: c.seen.messagesIn.Load(), BytesIn: c.src.bytes.Load(), BytesOut: c.seen.bytesOut.Load(),
	}
	if t, ok := c.src.tls(); ok {
		out.TLS = t.ConnectionState().Version
	}
	o := c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	out.MessagesOut, out.InFlight, out.Waiting = o.published, len(o.inflight), len(o.waiting)
	return out
}

// DisconnectClient ends the connection of a session, and reports whether there was one. The session stays. It works also
// while the disk refuses.
func (b *Broker) DisconnectClient(k core.SessionKey, reason string) bool {
	c := b.connection(k)
	if c != nil {
		c.leave(&ending{mqtt.ReasonAdministrativeAction, reason})
	}
	return c != nil
}

// look runs f on the committer's goroutine, between transactions and also while the disk refuses.
func (b *Broker) look(ctx context.Context, f func()) error {
	l := &looker{f: f, done: make(chan struct{})}
	l.batch.Owner = l
	if err := b.cfg.Committer.Submit(&l.batch); err != nil {
		return err
	}
	select {
	case <-l.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("look at sessions: %w", ctx.Err())
	}
}

// looker is the owner of a batch with nothing in it.
type looker struct {
	batch commit.Batch
	f     func()
	done  chan struct{}
}

func (l *looker) Committed(*commit.Batch, error) {
	l.f()
	close(l.done)
}

// SessionStates returns what is known of some sessions; those that are not there are left out.
func (b *Broker) SessionStates(ctx context.Context, keys []core.SessionKey) (map[core.SessionKey]core.SessionState, error) {
	out := make(map[core.SessionKey]core.SessionState, len(keys))
	err := b.look(ctx, func() {
		for _, k := range keys {
			if s := b.sessions[k]; s != nil {
				out[k] = s.state()
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *session) state() core.SessionState {
	st := core.SessionState{
		Stored: s.stored(), Device: s.Device, Connected: s.conn != nil, Subscriptions: len(s.filters), Queued: s.queued, QueuedBytes: s.held,
	}
	if s.stored() {
		st.Expiry = s.Expiry
	}
	switch {
	case s.conn != nil:
		st.Since = s.conn.seen.since
	case !s.Expires.IsZero():
		st.Ended = s.Expires.Add(-s.Expiry)
	}
	return st
}

// What SessionSubscriptions returns is bounded.
const (
	maxShownFilters     = 1_000
	maxShownFilterBytes = 256 << 10
)

// SessionSubscriptions returns a session's subscriptions by their filters, as many as can be shown, with what their clients asked
// for.
func (b *Broker) SessionSubscriptions(ctx context.Context, k core.SessionKey) ([]core.Subscription, error) {
	list := []core.Subscription{}
	err := b.look(ctx, func() {
		s := b.sessions[k]
		if s == nil {
			return
		}
		for f, sub := range s.filters {
			list = append(list, core.Subscription{
				Session: s.Num, Filter: f, QoS: sub.qos, NoLocal: sub.noLocal, RetainAsPublished: sub.asPublished, RetainHandling: sub.handling,
			})
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b core.Subscription) int { return strings.Compare(a.Filter, b.Filter) })
	size := 0
	for i := range list {
		if size += len(list[i].Filter); i == maxShownFilters || size > maxShownFilterBytes {
			return list[:i], nil
		}
	}
	return list, nil
}

// SessionFilters returns their filters.
func (b *Broker) SessionFilters(ctx context.Context, k core.SessionKey) ([]string, error) {
	list, err := b.SessionSubscriptions(ctx, k)
	if err != nil {
		return nil, err
	}
	return filtersOf(list), nil
}

// ForgetSession forgets a session with everything in it and ends its connection. One that is not there is
// core.ErrNotFound.
func (b *Broker) ForgetSession(tx *commit.Tx, k core.SessionKey) error {
	if b.sessions[k] == nil {
		return fmt.Errorf("session %q of %s/%s: %w", k.ClientID, k.Dialect, k.Tenant, core.ErrNotFound)
	}
	return b.Disconnect(tx, k, true, byOperator)
}

// DisconnectDevice ends the connections of all sessions of a device, like [Broker.Disconnect]; the sessions stay. It
// looks at every session, which is cheap enough for what an operator does by hand.
func (b *Broker) DisconnectDevice(tx *commit.Tx, n core.DeviceNum, reason string) error {
	if n == 0 {
		return nil // sessions of what is no device
	}
	for k, s := range b.sessions {
		if s.Device != n || s.conn == nil {
			continue
		}
		if err := b.Disconnect(tx, k, false, reason); err != nil {
			return err
		}
	}
	return nil
}

// DisconnectAuthority ends the connections of a tenant and dialect that were let in because of an authority. Those that are
// being let in are the dialect's to refuse, in Link.Connected. The sessions stay.
func (b *Broker) DisconnectAuthority(tx *commit.Tx, t core.TenantID, dialect, authority, reason string) {
	tx.After(func() {
		for _, c := range b.connections() {
			k := c.grant.Session
			if k.Tenant == t && k.Dialect == dialect && c.grant.Authority == authority {
				c.leave(&ending{mqtt.ReasonAdministrativeAction, reason})
			}
		}
	})
}

// Restrict ends the connections of a device, and those of its subscriptions, also of sessions that are not connected, that
// do not lie within one of the filters: what it may receive has changed.
func (b *Broker) Restrict(tx *commit.Tx, n core.DeviceNum, subscribe []string, reason string) error {
	if n == 0 {
		return nil
	}
	for _, s := range b.sessions {
		if s.Device != n {
			continue
		}
		if err := b.restrict(tx, s, subscribe); err != nil {
			return err
		}
	}
	return b.DisconnectDevice(tx, n, reason)
}

func (b *Broker) restrict(tx *commit.Tx, s *session, subscribe []string) error {
	for f, sub := range s.filters {
		_, inner, err := topic.SplitShared(f)
		if err == nil && slices.ContainsFunc(subscribe, func(g string) bool { return topic.Covers(g, inner) }) {
			continue
		}
		if s.stored() {
			if err := tx.DeleteSubscription(s.Num, f); err != nil {
				return err
			}
		}
		b.unsubscribe(s, f)
		tx.Undo(func() { b.subscribe(s, f, sub) })
		s.expect(tx, core.Subscription{Filter: f})
	}
	return nil
}

// ForgetDevice forgets all sessions of a device, and ends their connections.
func (b *Broker) ForgetDevice(tx *commit.Tx, n core.DeviceNum, reason string) error {
	if n == 0 {
		return nil
	}
	var keys []core.SessionKey
	for k, s := range b.sessions {
		if s.Device == n {
			keys = append(keys, k)
		}
	}
	for _, k := range keys {
		if err := b.Disconnect(tx, k, true, reason); err != nil {
			return err
		}
	}
	return nil
}

// Serving reports whether a device has a connection that has not ended yet.
func (b *Broker) Serving(n core.DeviceNum) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.current {
		if c.grant.Device == n {
			return true
		}
	}
	return false
}
