package broker

import (
	"fmt"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/topic"
)

// addFilter notes an own subscription; what was known of topics may no longer hold.
func (c *conn) addFilter(f string) {
	if c.filters == nil {
		c.filters = make(map[string]struct{}, 4)
	}
	c.filters[f] = struct{}{}
	clear(c.topics)
}

func (c *conn) handleSubscribe(f mqtt.Frame) error {
	var p mqtt.Subscribe
	if err := p.Decode(f, c.version); err != nil {
		return err
	}
	ack := mqtt.SubAck{ID: p.ID}
	var subs []core.Subscription
	refused := 0 // only the first is logged: a packet can have thousands
	for _, s := range p.Subscriptions {
		_, known := c.filters[s.Filter]
		if !c.maySubscribe(s.Filter) || !known && len(c.filters) >= c.grant.Limits.MaxFilters {
			ack.Codes = append(ack.Codes, mqtt.SubAckFailure)
			if refused++; refused == 1 {
				c.log.Info("subscription refused", "filter", s.Filter)
				c.denied(core.StageSubscribe, "SUBACK 0x80", fmt.Errorf("subscription outside the grant, or one too many: %q", s.Filter))
			}
			continue
		}
		ack.Codes = append(ack.Codes, s.QoS)
		subs = append(subs, core.Subscription{Filter: s.Filter, QoS: s.QoS})
		c.addFilter(s.Filter)
	}
	b := c.collect()
	if len(subs) > 0 {
		b.Do(func(tx *commit.Tx) error { return c.b.addFilters(tx, c, subs) }, nil)
	}
	b.Reply = ack.Append(b.Reply, c.version)
	return nil
}

func (c *conn) maySubscribe(filter string) bool {
	if strings.Count(filter, "/") >= topic.MaxLevels {
		return false
	}
	for _, g := range c.grant.Subscribe {
		if topic.Covers(g, filter) {
			return true
		}
	}
	return false
}

func (c *conn) handleUnsubscribe(f mqtt.Frame) error {
	var p mqtt.Unsubscribe
	if err := p.Decode(f, c.version); err != nil {
		return err
	}
	for _, f := range p.Filters {
		delete(c.filters, f)
	}
	clear(c.topics)
	b := c.collect()
	b.Do(func(tx *commit.Tx) error { return c.b.removeFilters(tx, c, p.Filters) }, nil)
	b.Reply = (&mqtt.Ack{Type: mqtt.TypeUnsubAck, ID: p.ID}).Append(b.Reply, c.version)
	return nil
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
