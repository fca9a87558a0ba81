package broker

import (
	"errors"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/topic"
)

// A target is a copy of a message: the session that it goes to, and what the subscriptions say that it goes by.
type target struct {
	s           *session
	qos         byte // the highest that they grant
	asPublished bool // the retain flag is handed on
	ids         []uint32
	share       string // filter of the shared subscription; "": ordinary ones
}

// audience is who can hear a message: the subscriptions of one tenant and dialect.
type audience struct {
	scope
	matching core.Matching
	tree     topic.Tree[*session, subscription]
	shares   topic.Shares[*session, subscription]
	kept     usage // retained messages
	effort   effort
}

// audience returns the subscriptions that those of a session are among.
func (b *Broker) audience(k core.SessionKey) *audience {
	sc := scope{k.Tenant, k.Dialect}
	a := b.scopes[sc]
	if a == nil {
		a = &audience{scope: sc, matching: b.matching(k.Dialect)}
		b.scopes[sc] = a
	}
	return a
}

// matching says how the filters of a dialect match.
func (b *Broker) matching(name string) core.Matching {
	for _, d := range *b.dialects.Load() {
		if m, ok := d.(dialect.Matcher); ok && d.Name() == name {
			return m.Matching()
		}
	}
	return core.Matching{}
}

// levels returns how many levels a topic must have to match a filter, where that is not for the filter to say; else 0.
func (a *audience) levels(filter string) int {
	if !a.matching.BelowOnly || !strings.HasSuffix(filter, "/#") {
		return 0
	}
	return strings.Count(filter, "/") + 1
}

// tooShort reports whether a topic that matches the filter has not as many levels as it must have.
func (sub *subscription) tooShort(name string) bool {
	return sub.levels > 0 && strings.Count(name, "/")+1 < sub.levels
}

// mayReceive reports whether the client of a session may have a message now. That of one that is away is asked when it is back.
func (s *session) mayReceive(name string) bool {
	return s.conn == nil || s.conn.grant.Rules == nil || s.conn.grant.Rules.Receive(name)
}

// targets finds who shall get a message: each session with matching subscriptions once, however many of them there are
// [MQTT-3.3.5-1], [MQTT-3.3.4-2], and of each matching shared subscription one member. The cost is that of the matching
// subscriptions, of which each session can have only so many. The result is valid until the next call.
func (b *Broker) targets(tx *commit.Tx, a *audience, m *core.Message, from *session) []target {
	b.epoch++
	b.matched = b.matched[:0]
	steps := a.tree.Match(m.Topic, func(s *session, sub subscription) {
		if sub.noLocal && s == from || sub.tooShort(m.Topic) { // [MQTT-3.8.3-3]
			return
		}
		if !s.mayReceive(m.Topic) {
			return
		}
		if s.epoch != b.epoch {
			s.epoch, s.at = b.epoch, len(b.matched)
			b.matched = append(b.matched, target{s, sub.qos, sub.asPublished, sub.ids, ""})
			return
		}
		t := &b.matched[s.at]
		t.qos = max(t.qos, sub.qos)
		t.asPublished = t.asPublished || sub.asPublished
		if len(sub.ids) > 0 { // [MQTT-3.3.4-4]; the capacity is the length, so what is shared is not written to
			t.ids = append(t.ids, sub.ids...)
		}
	})
	searched := 0 // members that have no room, and no connection
	if a.shares.Len() > 0 {
		steps += a.shares.Match(m.Topic, func(sh *topic.Share[*session, subscription]) {
			t, ok := b.member(tx, sh, m)
			if ok {
				b.matched = append(b.matched, t)
			}
			if !ok || t.s.conn == nil {
				searched += sh.Len()
			}
		})
	}
	b.steps = steps + searched
	return b.matched
}

// spread queues a message for everybody who shall get it, and returns how many took it.
func (b *Broker) spread(tx *commit.Tx, a *audience, from *session, m *core.Message, out *deliveries) (reached int, err error) {
	out.next(m)
	for _, to := range b.targets(tx, a, m, from) {
		ok, err := b.queue(tx, to, m, out)
		if err != nil && !errors.Is(err, errQueueFull) {
			return 0, err
		}
		if ok {
			reached++
		}
	}
	return reached, nil
}

// Publish implements dialect.Broker.
func (b *Broker) Publish(tx *commit.Tx, t core.TenantID, dialect string, m core.Message) (reached int, err error) {
	a := b.audience(core.SessionKey{Tenant: t, Dialect: dialect})
	var out deliveries
	if reached, err = b.spread(tx, a, nil, &m, &out); err != nil {
		return 0, err
	}
	if m.Retain {
		if _, err := b.retain(tx, a, "", &m); err != nil {
			return 0, err
		}
	}
	out.after(tx, b)
	return reached, nil
}

// PublishTo implements dialect.Broker.
func (b *Broker) PublishTo(tx *commit.Tx, k core.SessionKey, m core.Message) (bool, error) {
	s := b.sessions[k]
	if s == nil {
		return false, nil
	}
	to, ok := s.ordinary(m.Topic)
	if !ok || !s.mayReceive(m.Topic) {
		return false, nil
	}
	return b.only(tx, to, &m)
}

// SendTo implements dialect.Broker.
func (b *Broker) SendTo(tx *commit.Tx, k core.SessionKey, m core.Message) (bool, error) {
	s := b.sessions[k]
	if s == nil {
		return false, nil
	}
	to, ok := s.ordinary(m.Topic)
	if !ok {
		to = target{s: s} // QoS 0: nobody has granted more
	}
	return b.only(tx, to, &m)
}

// only queues a message for one session.
func (b *Broker) only(tx *commit.Tx, to target, m *core.Message) (bool, error) {
	var out deliveries
	out.next(m)
	ok, err := b.queue(tx, to, m, &out)
	out.after(tx, b)
	return ok, err
}

// Disconnect implements dialect.Broker.
func (b *Broker) Disconnect(tx *commit.Tx, k core.SessionKey, wipe bool, reason string) error {
	s := b.sessions[k]
	if s == nil {
		return nil
	}
	c := s.conn
	if wipe {
		if err := b.wipe(tx, s); err != nil {
			return err
		}
	}
	if c != nil {
		tx.After(func() { c.leave(&ending{mqtt.ReasonAdministrativeAction, reason}) })
	}
	return nil
}

// wipe empties a session. While it has a connection an unstored, empty one stays in its place, so that the
// connection's end is still noticed. What it deletes is bounded by Limits.MaxQueued.
func (b *Broker) wipe(tx *commit.Tx, s *session) error {
	c := s.conn
	if err := b.forget(tx, s); err != nil {
		return err
	}
	if c == nil {
		return nil
	}
	empty, err := b.create(tx, c.grant, c.version, 0)
	if err != nil {
		return err
	}
	empty.conn = c
	return nil
}

// deliveries are packets for connected clients, sent when the transaction is on disk.
type deliveries struct {
	list []delivery
	m    *core.Message // the one that copies are made of now
	made *message      // of it; nil: none needed yet
}

type delivery struct {
	s *session
	c *conn
	p packet
}

// next begins with the copies of another message.
func (d *deliveries) next(m *core.Message) { d.m, d.made = m, nil }

// add adds a copy for a session that is connected.
func (d *deliveries) add(s *session, p packet) {
	if d.made == nil {
		d.made = newMessage(d.m)
	}
	p.message = d.made
	d.list = append(d.list, delivery{s, s.conn, p})
}

func (d *deliveries) after(tx *commit.Tx, b *Broker) {
	if list := d.list; len(list) > 0 {
		tx.After(func() { b.deliver(list) })
	}
}

// deliver hands packets to their connections and then has each connection write once.
func (b *Broker) deliver(ds []delivery) {
	for i := range ds {
		d := &ds[i]
		o := d.c.out
		o.mu.Lock()
		if d.s.conn == d.c || d.p.seq == 0 {
			d.s.give(d.c, d.p)
		}
		o.mu.Unlock()
	}
	for i := range ds {
		if i+1 < len(ds) && ds[i+1].c == ds[i].c {
			continue
		}
		o := ds[i].c.out
		o.mu.Lock()
		ds[i].c.flushLocked()
		o.mu.Unlock()
	}
	b.stats.MessagesOut.Add(int64(len(ds)))
}

// give hands one packet to the connection's outgoing side, or leaves it in storage when enough waits there already.
// With the lock of c.out.
func (s *session) give(c *conn, p packet) {
	o := c.out
	if p.seq == 0 {
		if !o.push(p, queueLimits{s.Limits.MaxQueued, s.Limits.MaxQueuedBytes}) {
			c.b.stats.Dropped.Add(1)
		}
		return
	}
	if p.seq <= s.loaded {
		return // a refill has brought it
	}
	if s.behind || len(o.waiting) >= maxHeldAhead || o.crowded() {
		s.behind, o.behind = true, true // an acknowledgement will ask for it, see handleAck
		return
	}
	s.loaded = p.seq
	o.push(p, queueLimits{})
}
