package broker

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/topic"
)

// A new subscription is sent the retained messages that match. There can be very many, so they go out in slices: the
// committer is not held up for long, and the next slice is fetched when the client has taken the last one. How far it
// has come is kept with the subscription, so that it goes on after a reconnection or a restart.

const (
	sliceMessages = 200       // retained messages of one slice
	sliceBytes    = 256 << 10 // and their size
	sliceScanned  = 1000      // topics looked at for one slice
	scanPatience  = 16        // topics in a row that do not match before it is worth looking where the next can be
)

// firstTopic is not behind any topic.
const firstTopic = "\x01"

// wantsRetained reports whether retained messages are due. [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11] of version 5
func (c *conn) wantsRetained(s core.Subscription, had bool) bool {
	if c.grant.Profile.RetainedExact && strings.ContainsAny(s.Filter, "+#") {
		return false
	}
	return !topic.IsShared(s.Filter) && (s.RetainHandling == 0 || s.RetainHandling == 1 && !had)
}

// expect notes from where on retained messages are to be sent for subscriptions, in the place of what was noted before.
func (s *session) expect(tx *commit.Tx, subs ...core.Subscription) {
	last := make(map[string]int, len(subs)) // a packet can name a filter twice
	some := len(s.pending) > 0
	for i := range subs {
		last[subs[i].Filter] = i
		some = some || subs[i].RetainedFrom != ""
	}
	if !some {
		return
	}
	old := s.pending
	tx.Undo(func() { s.pending = old })
	s.pending = slices.DeleteFunc(slices.Clone(old), func(p core.Subscription) bool { _, again := last[p.Filter]; return again })
	for i := range subs {
		if subs[i].RetainedFrom != "" && last[subs[i].Filter] == i {
			s.pending = append(s.pending, subs[i])
		}
	}
}

// beginRetained sends the first slice at once, if there is nothing before it.
func (b *Broker) beginRetained(tx *commit.Tx, s *session, c *conn) error {
	c.out.mu.Lock()
	idle := !c.out.more && len(c.out.waiting) == 0 && len(c.out.buf) < maxUnsentQ0/2
	c.out.mu.Unlock()
	if idle && !s.behind {
		return b.sendRetained(tx, s, c)
	}
	b.resumeRetained(tx, s, c)
	return nil
}

// resumeRetained has the rest sent when the client has taken what it was sent.
func (b *Broker) resumeRetained(tx *commit.Tx, s *session, c *conn) {
	if len(s.pending) == 0 {
		return
	}
	tx.After(func() {
		if s.conn == c {
			c.out.mu.Lock()
			c.out.more = true
			c.flushLocked()
			c.out.mu.Unlock()
		}
	})
}

// wantsFetch reports that storage is to be asked for more, although no acknowledgement does so. With the lock.
func (o *outgoing) wantsFetch() bool {
	return len(o.waiting) == 0 && !o.closing && (o.more && !o.behind && len(o.inflight) < o.max || o.behind && len(o.inflight) == 0)
}

// fetch brings more to the outgoing side. It is called by the goroutine that writes, so that what is fetched keeps the
// pace of the client. With the lock, which it gives up meanwhile.
func (c *conn) fetch() {
	o := c.out
	spent := o.spent
	o.spent, o.more = nil, false
	behind := o.behind
	o.behind = false
	o.mu.Unlock()
	err := c.b.cfg.Committer.Do(context.Background(), func(tx *commit.Tx) error {
		s := c.b.sessions[c.grant.Session]
		if s == nil || s.conn != c {
			return nil
		}
		if len(spent) > 0 {
			if err := c.b.record(tx, c, progress{done: spent}); err != nil {
				return err
			}
		}
		if behind {
			return c.b.refill(tx, s, c)
		}
		return c.b.sendRetained(tx, s, c)
	})
	o.mu.Lock()
	if err != nil {
		c.log.Warn("cannot fetch messages", "err", err) // the next acknowledgement or connection tries again
	}
}

// sendRetained sends the next slice.
func (b *Broker) sendRetained(tx *commit.Tx, s *session, c *conn) error {
	if s.conn != c || len(s.pending) == 0 || s.behind {
		return nil
	}
	old := s.pending
	tx.Undo(func() { s.pending = old })
	s.pending = slices.Clone(old)
	var out deliveries
	left := slice{min(sliceMessages, max(1, s.Limits.MaxQueued)), min(sliceBytes, max(1, s.Limits.MaxQueuedBytes)), sliceScanned, false}
	for len(s.pending) > 0 && !left.over() {
		sub := &s.pending[0]
		from := sub.RetainedFrom
		var err error
		if sub.RetainedFrom, err = b.retainedFor(tx, s, *sub, &left, &out); err != nil {
			return err
		}
		if s.stored() && sub.RetainedFrom != from {
			if err := tx.PutSubscription(*sub); err != nil {
				return err
			}
		}
		if sub.RetainedFrom == "" {
			s.pending = s.pending[1:]
		}
	}
	out.after(tx, b)
	if !left.full { // else when there is room, see record
		b.resumeRetained(tx, s, c)
	}
	return nil
}

// slice is what is left of the size of one slice.
type slice struct {
	messages, bytes, scanned int
	full                     bool // the session's queue is
}

func (l *slice) over() bool { return l.messages <= 0 || l.bytes <= 0 || l.scanned <= 0 || l.full }

// retainedFor sends the retained messages of one subscription and returns the topic to go on from, "" at the end.
func (b *Broker) retainedFor(tx *commit.Tx, s *session, sub core.Subscription, left *slice, out *deliveries) (next string, err error) {
	a := b.audience(s.Key)
	if a.kept.count == 0 {
		return "", nil
	}
	if !strings.ContainsAny(sub.Filter, "+#") {
		left.scanned--
		m, err := tx.Retained(a.tenant, a.dialect, sub.Filter)
		if errors.Is(err, core.ErrNotFound) {
			return "", nil
		}
		if err == nil {
			err = b.sendOne(tx, s, sub, &m, left, out)
		}
		if left.full {
			return sub.RetainedFrom, err
		}
		return "", err
	}
	for from := sub.RetainedFrom; ; from = next {
		if next, err = b.scanRetained(tx, s, a, sub, from, left, out); err != nil || next == "" || left.over() {
			return next, err
		}
	}
}

// scanRetained looks at topics one after the other, until the slice is over or many in a row do not match: then there
// may be a place further on to go on from, without looking at what lies between.
func (b *Broker) scanRetained(tx *commit.Tx, s *session, a *audience, sub core.Subscription, from string, left *slice, out *deliveries) (string, error) {
	missed := 0
	for m, err := range tx.RetainedFrom(a.tenant, a.dialect, topic.Prefix(sub.Filter), from) {
		if err != nil {
			return "", err
		}
		if left.over() {
			return m.Topic, nil
		}
		left.scanned--
		if !topic.Match(sub.Filter, m.Topic) {
			if missed++; missed >= scanPatience {
				return topic.Seek(sub.Filter, m.Topic), nil
			}
			continue
		}
		missed = 0
		if err := b.sendOne(tx, s, sub, &m, left, out); err != nil {
			return "", err
		}
		if left.full {
			return m.Topic, nil
		}
	}
	return "", nil
}

// sendOne queues one retained message. It has the retain flag whatever the options say. ([MQTT-3.3.1-8] of version 3.1.1.)
func (b *Broker) sendOne(tx *commit.Tx, s *session, sub core.Subscription, m *core.Retained, left *slice, out *deliveries) error {
	if m.Expired(tx.Now()) || !s.mayReceive(m.Topic) || sub.NoLocal && m.ClientID == s.Key.ClientID {
		return nil
	}
	if min(m.QoS, sub.QoS) > 0 && !s.room(m.Size()) {
		left.full = true
		return nil
	}
	to := target{s: s, qos: sub.QoS, asPublished: true, ids: newSubscription(sub).ids}
	out.next(&m.Message)
	_, err := b.queue(tx, to, &m.Message, out)
	if errors.Is(err, errQueueFull) {
		left.full = true
		return nil
	}
	left.messages--
	left.bytes -= m.Size()
	return err
}
