package broker

import (
	"fmt"

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
		code := c.subscribable(s.Filter, p.SubscriptionID != 0)
		if code == 0 && !known && len(c.filters) >= c.grant.Limits.MaxFilters {
			code = mqtt.ReasonQuotaExceeded
		}
		s.QoS = min(s.QoS, c.grant.Profile.QoS.Most()) // [MQTT-3.2.2-10]
		if code != 0 {
			answer := c.subAckCode(code, s.QoS)
			ack.Codes = append(ack.Codes, answer)
			if refused++; refused == 1 {
				c.log.Info("subscription refused", "filter", s.Filter)
				c.denied(core.StageSubscribe, fmt.Sprintf("SUBACK 0x%02x", answer), fmt.Errorf("subscribe to %q: %v", s.Filter, code))
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

func (c *conn) handleUnsubscribe(f mqtt.Frame) error {
	var p mqtt.Unsubscribe
	if err := p.Decode(f, c.version); err != nil {
		return err
	}
	ack := mqtt.Ack{Type: mqtt.TypeUnsubAck, ID: p.ID, Codes: make([]mqtt.ReasonCode, len(p.Filters))}
	for i, f := range p.Filters {
		if _, known := c.filters[f]; !known {
			ack.Codes[i] = mqtt.ReasonNoSubscriptionExisted
		}
		delete(c.filters, f)
	}
	clear(c.topics)
	b := c.collect()
	b.Do(func(tx *commit.Tx) error { return c.b.removeFilters(tx, c, p.Filters) }, nil)
	b.Reply = ack.Append(b.Reply, c.version)
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
