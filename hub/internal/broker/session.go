package broker

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/topic"
)

// A session is what subscriptions and queues belong to. It is stored if it outlives its connection (Num is then not
// 0). Everything in it belongs to the committer's goroutine.
type session struct {
	core.Session
	filters map[string]byte // QoS by filter
	conn    *conn           // nil: not connected

	// The stored queue.
	lastSeq      int64
	queued, held int   // messages and bytes
	loaded       int64 // highest seq that the connection was given
	behind       bool  // the queue has messages that the connection was not given
	maybeSent    int64 // up to this seq messages may have been sent before: redeliveries

	epoch uint64 // of the match that found it last
	at    int    // its place in that match's targets
}

func (s *session) stored() bool { return s.Num != 0 }

// Load brings the stored sessions back and marks as disconnected what was connected when the hub ended without saying
// so. It must be called once, before Serve, with the committer running.
func (b *Broker) Load(ctx context.Context) error {
	err := b.cfg.Committer.Do(ctx, func(tx *commit.Tx) error {
		if err := b.loadSessions(tx); err != nil {
			return err
		}
		return resetConnected(tx)
	})
	if err != nil {
		return fmt.Errorf("load sessions: %w", err)
	}
	return nil
}

func (b *Broker) loadSessions(rd store.Reader) error {
	byNum := map[int64]*session{}
	for s, err := range rd.Sessions() {
		if err != nil {
			return err
		}
		s.Limits = b.cfg.Limits
		ses := &session{Session: s, filters: map[string]byte{}}
		byNum[s.Num] = ses
		b.sessions[s.Key] = ses
		b.stats.Sessions.Add(1)
	}
	for sub, err := range rd.Subscriptions() {
		if err != nil {
			return err
		}
		if s := byNum[sub.Session]; s != nil {
			b.subscribe(s, sub.Filter, sub.QoS)
		}
	}
	for q, err := range rd.QueueSizes() {
		if err != nil {
			return err
		}
		if s := byNum[q.Session]; s != nil {
			s.lastSeq, s.queued, s.held, s.maybeSent = q.LastSeq, q.Count, q.Bytes, q.LastSeq
		}
	}
	return nil
}

func resetConnected(tx *commit.Tx) error {
	tenants, err := tx.Tenants()
	if err != nil {
		return err
	}
	for _, t := range tenants {
		for after := core.DeviceNum(0); ; {
			const page = 1000
			devices, err := tx.Devices(t.ID, "", after, page)
			if err != nil {
				return err
			}
			for _, d := range devices {
				after = d.Num
				if !d.Connected {
					continue
				}
				d.Connected, d.LastDisconnected = false, tx.Now()
				if err := tx.UpdateDevice(d); err != nil {
					return err
				}
				e := core.Event{Device: d.DeviceKey, Num: d.Num, Kind: core.DeviceDisconnected, Data: reasonJSON("hub ended without notice")}
				if err := tx.Emit(e); err != nil {
					return err
				}
			}
			if len(devices) < page {
				break
			}
		}
	}
	return nil
}

func reasonJSON(reason string) json.RawMessage {
	p, _ := json.Marshal(map[string]string{"reason": reason})
	return p
}

// tree returns the subscriptions that s shares with others of its tenant and dialect.
func (b *Broker) tree(k core.SessionKey) *topic.Tree[*session, byte] {
	sc := scope{k.Tenant, k.Dialect}
	t := b.scopes[sc]
	if t == nil {
		t = &topic.Tree[*session, byte]{}
		b.scopes[sc] = t
	}
	return t
}

// subscribe changes memory only; it undoes nothing. The filter was checked.
func (b *Broker) subscribe(s *session, filter string, qos byte) {
	if _, err := b.tree(s.Key).Add(filter, s, qos); err == nil {
		s.filters[filter] = qos
	}
}

func (b *Broker) unsubscribe(s *session, filter string) {
	b.tree(s.Key).Remove(filter, s)
	delete(s.filters, filter)
}

// forget removes a session from memory and storage, with everything in it.
func (b *Broker) forget(tx *commit.Tx, s *session) error {
	if s.stored() {
		if err := tx.DeleteSession(s.Num); err != nil {
			return err
		}
	}
	tree := b.tree(s.Key)
	for f := range s.filters {
		tree.Remove(f, s)
	}
	delete(b.sessions, s.Key)
	b.stats.Sessions.Add(-1)
	tx.Undo(func() {
		for f, q := range s.filters {
			_, _ = tree.Add(f, s, q) // was there before
		}
		b.sessions[s.Key] = s
		b.stats.Sessions.Add(1)
	})
	return nil
}

// create makes the session of a grant; it is stored if it shall outlive the connection.
func (b *Broker) create(tx *commit.Tx, g core.Grant, stored bool) (*session, error) {
	s := &session{
		Session: core.Session{Key: g.Session, Device: g.Device, Limits: g.Limits, Created: tx.Now()},
		filters: map[string]byte{},
	}
	if stored {
		if err := tx.InsertSession(&s.Session); err != nil {
			return nil, err
		}
	}
	b.sessions[s.Key] = s
	b.stats.Sessions.Add(1)
	tx.Undo(func() {
		delete(b.sessions, s.Key)
		b.stats.Sessions.Add(-1)
	})
	return s, nil
}

// bind gives a connection that has signed in its session, and answers CONNECT when that is on disk. An older connection
// of the session has ended before, see evict.
func (b *Broker) bind(tx *commit.Tx, c *conn) error {
	s := b.sessions[c.grant.Session]
	if s != nil && (c.clean || !s.stored()) {
		if err := b.forget(tx, s); err != nil {
			return err
		}
		s = nil
	}
	present := s != nil
	if s == nil {
		var err error
		if s, err = b.create(tx, c.grant, !c.clean); err != nil {
			return err
		}
	}
	s.Limits = c.grant.Limits
	s.conn = c
	tx.Undo(func() { s.conn = nil })
	if err := c.link.Connected(tx, dialect.Presence{Session: s.Key, Present: present, Addr: c.addr}); err != nil {
		return err
	}
	if s.stored() {
		ids, err := tx.Received(s.Num)
		if err != nil {
			return err
		}
		c.restore(ids, s.filters)
	}
	s.loaded, s.behind = 0, s.queued > 0
	tx.After(func() { c.welcome(present, s.stored()) })
	if s.behind {
		return b.refill(tx, s, c)
	}
	return nil
}

// unbind ends the connection's hold on its session, unless a newer connection has it already.
func (b *Broker) unbind(tx *commit.Tx, c *conn, reason string) error {
	s := b.sessions[c.grant.Session]
	if s == nil || s.conn != c {
		return nil
	}
	if err := c.link.Disconnected(tx, reason); err != nil {
		return err
	}
	s.conn = nil
	s.maybeSent = max(s.maybeSent, s.loaded)
	tx.Undo(func() { s.conn = c })
	if !s.stored() {
		return b.forget(tx, s)
	}
	return nil
}

// refill gives the connection the next messages of the stored queue.
func (b *Broker) refill(tx *commit.Tx, s *session, c *conn) error {
	if s.conn != c || !s.stored() {
		return nil
	}
	rows, err := tx.Queue(s.Num, s.loaded, refillBatch)
	if err != nil {
		return err
	}
	tx.After(func() {
		if s.conn != c {
			return
		}
		c.out.mu.Lock()
		defer c.out.mu.Unlock()
		first := s.loaded == 0
		for i, q := range rows {
			if q.Seq <= s.loaded {
				continue
			}
			s.loaded = q.Seq
			// Only as many as the window holds can have been sent before.
			c.resume(q, first && q.Seq <= s.maybeSent && i < s.Limits.Inflight)
		}
		s.behind = len(rows) == refillBatch
		c.out.behind = s.behind
		c.flushLocked()
	})
	return nil
}

// addFilters subscribes, after the filters were checked against the grant.
func (b *Broker) addFilters(tx *commit.Tx, c *conn, subs []core.Subscription) error {
	s := b.sessions[c.grant.Session]
	if s == nil || s.conn != c {
		return nil
	}
	for _, sub := range subs {
		sub.Session = s.Num
		if s.stored() {
			if err := tx.PutSubscription(sub); err != nil {
				return err
			}
		}
		old, had := s.filters[sub.Filter]
		b.subscribe(s, sub.Filter, sub.QoS)
		tx.Undo(func() {
			if had {
				b.subscribe(s, sub.Filter, old)
			} else {
				b.unsubscribe(s, sub.Filter)
			}
		})
	}
	return nil
}

func (b *Broker) removeFilters(tx *commit.Tx, c *conn, filters []string) error {
	s := b.sessions[c.grant.Session]
	if s == nil || s.conn != c {
		return nil
	}
	for _, f := range filters {
		old, had := s.filters[f]
		if !had {
			continue
		}
		if s.stored() {
			if err := tx.DeleteSubscription(s.Num, f); err != nil {
				return err
			}
		}
		b.unsubscribe(s, f)
		tx.Undo(func() { b.subscribe(s, f, old) })
	}
	return nil
}

// progress stores how far the exchanges of a stored session have come.
type progress struct {
	received []receipt // incoming QoS 2
	released []int64   // outgoing QoS 2: PUBREC has come
	done     []packet  // outgoing: acknowledged
}

type receipt struct {
	id   uint16
	open bool // received; else released by the client
}

func (p *progress) empty() bool {
	return len(p.received) == 0 && len(p.released) == 0 && len(p.done) == 0
}

func (b *Broker) record(tx *commit.Tx, c *conn, p progress) error {
	s := b.sessions[c.grant.Session]
	if s == nil || s.conn != c || !s.stored() {
		return nil // wiped or taken over meanwhile
	}
	var err error
	for _, r := range p.received {
		if r.open {
			err = tx.PutReceived(s.Num, r.id)
		} else {
			err = tx.DeleteReceived(s.Num, r.id)
		}
		if err != nil {
			return err
		}
	}
	for _, seq := range p.released {
		if err := tx.Release(s.Num, seq); err != nil {
			return err
		}
	}
	bytes := 0
	for _, m := range p.done {
		if err := tx.Dequeue(s.Num, m.seq); err != nil {
			return err
		}
		bytes += m.size()
	}
	n := len(p.done)
	s.queued -= n
	s.held -= bytes
	tx.Undo(func() { s.queued += n; s.held += bytes })
	return nil
}
