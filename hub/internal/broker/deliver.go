package broker

import (
	"errors"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// A target is a session that a message goes to, with the highest QoS that its matching subscriptions grant.
type target struct {
	s   *session
	qos byte
}

// targets finds the sessions of a scope that subscribe to a topic, each once. The result is valid until the next call.
func (b *Broker) targets(t core.TenantID, dialect, name string) []target {
	tree := b.scopes[scope{t, dialect}]
	if tree == nil {
		return nil
	}
	b.epoch++
	b.matched = b.matched[:0]
	tree.Match(name, func(s *session, qos byte) {
		if s.epoch == b.epoch {
			m := &b.matched[s.at]
			m.qos = max(m.qos, qos)
			return
		}
		s.epoch, s.at = b.epoch, len(b.matched)
		b.matched = append(b.matched, target{s, qos})
	})
	return b.matched
}

// Publish implements dialect.Broker.
func (b *Broker) Publish(tx *commit.Tx, t core.TenantID, dialect string, m core.Message) (reached int, err error) {
	var out deliveries
	for _, to := range b.targets(t, dialect, m.Topic) {
		ok, err := b.queue(tx, to, m, &out)
		if err != nil && !errors.Is(err, errQueueFull) {
			return 0, err
		}
		if ok {
			reached++
		}
	}
	out.after(tx, b)
	return reached, nil
}

// PublishTo implements dialect.Broker.
func (b *Broker) PublishTo(tx *commit.Tx, k core.SessionKey, m core.Message) (bool, error) {
	var out deliveries
	for _, to := range b.targets(k.Tenant, k.Dialect, m.Topic) {
		if to.s.Key != k {
			continue
		}
		ok, err := b.queue(tx, to, m, &out)
		out.after(tx, b)
		return ok, err
	}
	return false, nil
}

// forward passes a client's own messages on to whoever subscribes to them.
func (b *Broker) forward(tx *commit.Tx, k core.SessionKey, messages []core.Message) error {
	var out deliveries
	for _, m := range messages {
		for _, to := range b.targets(k.Tenant, k.Dialect, m.Topic) {
			if _, err := b.queue(tx, to, m, &out); err != nil && !errors.Is(err, errQueueFull) {
				return err
			}
		}
	}
	out.after(tx, b)
	return nil
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
// connection's end is still noticed.
func (b *Broker) wipe(tx *commit.Tx, s *session) error {
	c := s.conn
	if err := b.forget(tx, s); err != nil {
		return err
	}
	if c == nil {
		return nil
	}
	empty, err := b.create(tx, c.grant, 0)
	if err != nil {
		return err
	}
	empty.conn = c
	return nil
}

// deliveries are messages for connected clients, sent when the transaction is on disk.
type deliveries []delivery

type delivery struct {
	s *session
	c *conn
	p packet
}

func (d *deliveries) add(s *session, c *conn, p packet) { *d = append(*d, delivery{s, c, p}) }

func (d deliveries) after(tx *commit.Tx, b *Broker) {
	if len(d) > 0 {
		tx.After(func() { b.deliver(d) })
	}
}

// deliver hands messages to their connections and then has each connection write once.
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

// give hands one message to the connection's outgoing side, or leaves it in storage when enough waits there already.
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
	if s.behind || len(o.waiting) >= maxHeldAhead {
		s.behind, o.behind = true, true // an acknowledgement will ask for it, see handleAck
		return
	}
	s.loaded = p.seq
	o.push(p, queueLimits{})
}
