package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// A session is what subscriptions and queues belong to. It is stored if it outlives its connection (Num is then not
// 0). Everything in it belongs to the committer's goroutine.
type session struct {
	core.Session
	filters map[string]subscription // by filter
	pending []core.Subscription     // whose retained messages are still to be sent, see sendRetained
	conn    *conn                   // nil: not connected
	end     appointment             // if no connection comes

	// The stored queue.
	lastSeq      int64
	queued, held int   // messages and bytes
	loaded       int64 // highest seq that the connection was given
	behind       bool  // the queue has messages that the connection was not given
	maybeSent    int64 // up to this seq messages may have been sent before: redeliveries
	// Up to this seq messages are from before the start. An answer makes room in the window at once and is on disk a little
	// later, so that nobody knows how many of these were sent when the hub was killed. All have the DUP flag, which says that
	// they might have been (MQTT 5.0 section 3.3.1.1).
	restored int64
	purged   time.Time // when expired messages were last looked for in a full queue

	epoch uint64 // of the match that found it last
	at    int    // its place in that match's targets
}

func newSession(c core.Session) *session {
	s := &session{Session: c, filters: map[string]subscription{}}
	s.end.s = s
	return s
}

func (s *session) stored() bool { return s.Num != 0 }

// Load brings the stored sessions back and marks as disconnected what was connected when the hub ended without saying
// so. It must be called once, before Serve, with the committer running.
func (b *Broker) Load(ctx context.Context) error {
	err := b.cfg.Committer.Do(ctx, func(tx *commit.Tx) error {
		if err := b.loadSessions(tx); err != nil {
			return err
		}
		if err := b.loadClosed(tx); err != nil {
			return err
		}
		if err := b.loadWills(tx); err != nil {
			return err
		}
		if err := b.expireLoaded(tx); err != nil {
			return err
		}
		tx.After(b.remind)
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
		ses := newSession(s)
		byNum[s.Num] = ses
		b.sessions[s.Key] = ses
		b.enlist(ses)
	}
	for sub, err := range rd.Subscriptions() {
		if err != nil {
			return err
		}
		if s := byNum[sub.Session]; s != nil {
			b.subscribe(s, sub.Filter, newSubscription(sub))
			if sub.RetainedFrom != "" {
				s.pending = append(s.pending, sub)
			}
		}
	}
	for q, err := range rd.QueueSizes() {
		if err != nil {
			return err
		}
		if s := byNum[q.Session]; s != nil {
			s.lastSeq, s.queued, s.held, s.maybeSent, s.restored = q.LastSeq, q.Count, q.Bytes, q.LastSeq, q.LastSeq
		}
	}
	return b.loadRetained(rd)
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

// forget removes a session from memory and storage, with everything in it.
func (b *Broker) forget(tx *commit.Tx, s *session) error {
	for f := range s.filters {
		b.leave(s, f)
	}
	b.appoint(tx, &s.end, time.Time{})
	if w := b.wills[s.Key]; w != nil && b.closed[s.Key.Tenant] {
		if err := b.dropWill(tx, w); err != nil {
			return err
		}
	} else if s.conn == nil {
		if err := b.settleWill(tx, s.Key, false); err != nil { // the session's end is the latest time for it
			return err
		}
	}
	delete(b.sessions, s.Key)
	b.delist(s)
	tx.Undo(func() {
		for f, sub := range s.filters {
			b.subscribe(s, f, sub)
		}
		b.sessions[s.Key] = s
		b.enlist(s)
	})
	if !b.closed[s.Key.Tenant] {
		if err := b.handOver(tx, s); err != nil {
			return err
		}
	}
	if s.stored() {
		return tx.DeleteSession(s.Num)
	}
	return nil
}

// create makes the session of a grant; it is stored if it shall outlive the connection, which is for so long.
func (b *Broker) create(tx *commit.Tx, g core.Grant, v mqtt.Version, expiry time.Duration) (*session, error) {
	s := newSession(core.Session{Key: g.Session, Device: g.Device, Limits: g.Limits, Created: tx.Now(), Expiry: expiry, Version: uint8(v)})
	if expiry > 0 {
		if err := tx.InsertSession(&s.Session); err != nil {
			return nil, err
		}
	}
	b.sessions[s.Key] = s
	b.enlist(s)
	tx.Undo(func() {
		delete(b.sessions, s.Key)
		b.delist(s)
	})
	return s, nil
}

// strange reports whether a session was made by a version of MQTT that the platform keeps apart from the connection's.
func (c *conn) strange(s *session) bool {
	return c.grant.Profile.SeparateSessions && s.Version != 0 && (mqtt.Version(s.Version) == mqtt.V5) != (c.version == mqtt.V5)
}

// bind gives a connection that has signed in its session, and answers CONNECT when that is on disk. An older connection
// of the session has ended before, see evict.
func (b *Broker) bind(tx *commit.Tx, c *conn) error {
	if b.closed[c.grant.Session.Tenant] {
		return errClosed
	}
	s := b.sessions[c.grant.Session]
	if s != nil && (c.clean || !s.stored() || c.strange(s)) {
		if err := b.forget(tx, s); err != nil {
			return err
		}
		s = nil
	}
	present := s != nil
	if err := b.settleWill(tx, c.grant.Session, present); err != nil {
		return err
	}
	if s == nil {
		err := b.admits(&c.grant)
		if err != nil {
			return err
		}
		if s, err = b.create(tx, c.grant, c.version, c.expiry); err != nil {
			return err
		}
	}
	s.Limits = c.grant.Limits
	s.conn, c.audience = c, b.audience(s.Key)
	tx.Undo(func() { s.conn = nil })
	if err := b.hold(tx, s, c.expiry); err != nil {
		return err
	}
	if err := b.keepWill(tx, c); err != nil {
		return err
	}
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
	tx.After(func() { c.welcome(present && s.stored()) })
	b.resumeRetained(tx, s, c)
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
	if err := c.disconnected(tx, reason); err != nil {
		return err
	}
	s.maybeSent = max(s.maybeSent, s.loaded)
	var err error
	expiry := c.expiry
	if !s.stored() {
		expiry = 0
	}
	if err := b.leaveWill(tx, c, expiry); err != nil {
		return err
	}
	if expiry == 0 {
		err = b.forget(tx, s)
	} else {
		err = b.release(tx, s, expiry)
	}
	if err != nil {
		return err
	}
	s.conn = nil
	tx.Undo(func() { s.conn = c })
	return nil
}
