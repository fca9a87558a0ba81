package broker

import (
	"fmt"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/topic"
)

// meanFilterBytes times Limits.MaxFilters is how many bytes the filters of a session may have together: a thousand
// filters of the greatest length that MQTT allows would be 64 MB of memory for one client.
const meanFilterBytes = 256

// subscription is what a session wants of one filter.
type subscription struct {
	qos         byte
	handling    byte
	noLocal     bool
	asPublished bool
	ids         []uint32 // one or none; messages that match nothing else share it
	levels      int      // that a topic must have at least, where the platform wants more than the filter does
}

func newSubscription(s core.Subscription) subscription {
	sub := subscription{qos: s.QoS, handling: s.RetainHandling, noLocal: s.NoLocal, asPublished: s.RetainAsPublished}
	if s.ID != 0 {
		sub.ids = []uint32{s.ID}
	}
	return sub
}

// subscribe changes memory only; it undoes nothing. The filter was checked.
func (b *Broker) subscribe(s *session, filter string, sub subscription) {
	group, inner, err := topic.SplitShared(filter)
	if err != nil {
		return
	}
	a := b.audience(s.Key)
	sub.levels = a.levels(inner)
	var added bool
	if group != "" {
		added, err = a.shares.Add(group, inner, s, sub)
	} else {
		added, err = a.tree.Add(filter, s, sub)
	}
	if added {
		b.countFilter(s, filter, 1)
	}
	if err == nil {
		s.filters[filter] = sub
	}
}

// unsubscribe is the inverse of subscribe.
func (b *Broker) unsubscribe(s *session, filter string) {
	b.leave(s, filter)
	delete(s.filters, filter)
}

// leave ends a subscription, of which the session still knows.
func (b *Broker) leave(s *session, filter string) {
	a := b.audience(s.Key)
	var removed bool
	if group, inner, err := topic.SplitShared(filter); err == nil && group != "" {
		removed = a.shares.Remove(group, inner, s)
	} else {
		removed = a.tree.Remove(filter, s)
	}
	if removed {
		b.countFilter(s, filter, -1)
	}
}

// ordinary returns the copy of a message that a session gets by subscriptions that are not shared.
func (s *session) ordinary(name string) (t target, ok bool) {
	for f, sub := range s.filters {
		if topic.IsShared(f) || !topic.Match(f, name) || sub.tooShort(name) {
			continue
		}
		t.s, ok = s, true
		t.qos = max(t.qos, sub.qos)
		t.asPublished = t.asPublished || sub.asPublished
		t.ids = append(t.ids, sub.ids...)
	}
	return t, ok
}

// addFilter notes an own subscription; what was known of topics may no longer hold.
func (c *conn) addFilter(f string) {
	if c.filters == nil {
		c.filters = make(map[string]struct{}, 4)
	}
	if _, known := c.filters[f]; !known {
		c.filterBytes += filterSize(f)
	}
	c.filters[f] = struct{}{}
	clear(c.topics)
}

func (c *conn) handleSubscribe(f mqtt.Frame) error {
	var p mqtt.Subscribe
	if err := p.Decode(f, c.version); err != nil {
		return err
	}
	if !c.roomForCodes(len(p.Subscriptions)) {
		return errNoRoom
	}
	if most := c.grant.Limits.PacketFilters; most > 0 && len(p.Subscriptions) > most {
		return &mqtt.Error{Code: mqtt.ReasonQuotaExceeded, Text: fmt.Sprintf("SUBSCRIBE with %d filters, at most %d are possible", len(p.Subscriptions), most)}
	}
	ack := mqtt.SubAck{ID: p.ID}
	w := &wish{conn: c, of: make([]int, len(p.Subscriptions))}
	at := make(map[string]int, min(len(p.Subscriptions), 16)) // in w.subs: of a filter that comes again, the last one counts
	refused := 0                                              // only the first is logged: a packet can have thousands
	for i, s := range p.Subscriptions {
		w.of[i] = -1
		code, err := c.subscribable(s.Filter, p.SubscriptionID != 0)
		if err != nil {
			return err
		}
		if more := c.unoffered(s.QoS, p.SubscriptionID != 0); more != 0 {
			if c.version == mqtt.V5 {
				return &mqtt.Error{Code: more, Text: "SUBSCRIBE that asks for what there is not"}
			}
			code = more
		}
		if code == 0 && !c.roomFor(s.Filter) {
			code = mqtt.ReasonQuotaExceeded
			c.b.stats.FiltersRefused.Add(1)
		}
		s.QoS = min(s.QoS, c.grant.Profile.QoS.Most()) // [MQTT-3.2.2-10]
		if code != 0 {
			answer := c.subAckCode(code, s.QoS)
			ack.Codes = append(ack.Codes, answer)
			if refused++; refused == 1 {
				c.log.Info("subscription refused", "filter", s.Filter, "reason", code)
				why := fmt.Errorf("subscribe to %q: %v", s.Filter, code)
				if code == mqtt.ReasonNotAuthorized {
					why = outside("subscribe to a filter", s.Filter)
				}
				c.denied(core.StageSubscribe, fmt.Sprintf("SUBACK 0x%02x", answer), why)
			}
			continue
		}
		ack.Codes = append(ack.Codes, s.QoS)
		sub := core.Subscription{
			Filter: s.Filter, QoS: s.QoS, ID: p.SubscriptionID, NoLocal: s.NoLocal, RetainAsPublished: s.RetainAsPublished,
			RetainHandling: byte(s.RetainHandling),
		}
		n, again := at[s.Filter]
		if w.of[i] = n; again {
			w.subs[n] = sub
			continue
		}
		w.of[i] = len(w.subs)
		at[s.Filter] = len(w.subs)
		w.subs = append(w.subs, sub)
		c.addFilter(s.Filter)
	}
	b := c.collect()
	c.passOn(b)
	b.Hold(chargeFilters(f, len(w.subs)))
	if len(w.subs) > 0 {
		b.Do(func(tx *commit.Tx) error { return c.b.addFilters(tx, b, w) }, nil)
	}
	b.Reply = ack.Append(b.Reply, c.version)
	w.codes = len(b.Reply) - len(ack.Codes)
	return nil
}

// A wish is what a SUBSCRIBE asks for that the grant and the session have room for. Whether its device has is known only
// inside the transaction: codes that say so are put into the answer there.
type wish struct {
	conn  *conn
	subs  []core.Subscription // each filter once
	of    []int               // by the packet's subscriptions: where in subs; -1: refused already
	codes int                 // where in the batch's Reply the codes begin
}

// refuse puts the codes right of those of subs that the device has no room for.
func (w *wish) refuse(reply []byte, full map[int]bool) {
	for i, n := range w.of {
		if full[n] {
			reply[w.codes+i] = w.conn.subAckCode(mqtt.ReasonQuotaExceeded, reply[w.codes+i])
		}
	}
}

// roomFor reports whether the session can have the filter besides those that it has.
func (c *conn) roomFor(filter string) bool {
	if _, known := c.filters[filter]; known {
		return true
	}
	most := c.grant.Limits.MaxFilters
	return len(c.filters) < most && c.filterBytes+filterSize(filter) <= most*meanFilterBytes
}

// filterSize is what a filter counts where their size is limited: each level is a node in memory, and one more that a
// match may have to look at.
func filterSize(f string) int { return len(f) + 16*strings.Count(f, "/") }

func (c *conn) handleUnsubscribe(f mqtt.Frame) error {
	var p mqtt.Unsubscribe
	if err := p.Decode(f, c.version); err != nil {
		return err
	}
	if !c.roomForCodes(len(p.Filters)) {
		return errNoRoom
	}
	ack := mqtt.Ack{Type: mqtt.TypeUnsubAck, ID: p.ID, Codes: make([]mqtt.ReasonCode, len(p.Filters))}
	ended := p.Filters[:0]
	for i, f := range p.Filters {
		if _, known := c.filters[f]; !known {
			if !c.grant.Profile.HidesReach {
				ack.Codes[i] = mqtt.ReasonNoSubscriptionExisted
			}
			continue
		}
		c.filterBytes -= filterSize(f)
		delete(c.filters, f)
		ended = append(ended, f)
	}
	clear(c.topics)
	b := c.collect()
	c.passOn(b)
	b.Hold(chargeFilters(f, len(ended)))
	if len(ended) > 0 {
		b.Do(func(tx *commit.Tx) error { return c.b.removeFilters(tx, c, ended) }, nil)
	}
	b.Reply = ack.Append(b.Reply, c.version)
	return nil
}

// addFilters subscribes, after the filters were checked against the grant. A subscription that is there already is
// replaced [MQTT-3.8.4-3]; no message is lost then, since both are one entry.
func (b *Broker) addFilters(tx *commit.Tx, batch *commit.Batch, w *wish) error {
	c := w.conn
	s := b.sessions[c.grant.Session]
	if s == nil || s.conn != c {
		return nil
	}
	some := b.audience(s.Key).kept.count > 0
	taken := make([]core.Subscription, 0, len(w.subs))
	full := map[int]bool{}
	for i, sub := range w.subs {
		old, had := s.filters[sub.Filter]
		if !had && !b.takesFilter(s, sub.Filter) {
			full[i] = true
			continue
		}
		sub.Session = s.Num
		if some && c.wantsRetained(sub, had) {
			sub.RetainedFrom = firstTopic
		}
		if s.stored() {
			if err := tx.PutSubscription(sub); err != nil {
				return err
			}
		}
		taken = append(taken, sub)
		b.subscribe(s, sub.Filter, newSubscription(sub))
		tx.Undo(func() {
			if had {
				b.subscribe(s, sub.Filter, old)
			} else {
				b.unsubscribe(s, sub.Filter)
			}
		})
	}
	if len(full) > 0 {
		b.stats.FiltersRefused.Add(int64(len(full)))
		w.refuse(batch.Reply, full)
		c.log.Info("subscriptions refused: the device has too many", "filters", len(full))
	}
	s.expect(tx, taken...)
	if l, ok := c.link.(dialect.Listener); ok && len(taken) > 0 {
		if err := l.Subscribed(tx, filtersOf(taken)); err != nil {
			return err
		}
	}
	return b.beginRetained(tx, s, c)
}

func (b *Broker) removeFilters(tx *commit.Tx, c *conn, filters []string) error {
	s := b.sessions[c.grant.Session]
	if s == nil || s.conn != c {
		return nil
	}
	ended := make([]core.Subscription, 0, len(filters))
	for _, f := range filters {
		old, had := s.filters[f]
		if !had {
			continue
		}
		ended = append(ended, core.Subscription{Filter: f})
		if s.stored() {
			if err := tx.DeleteSubscription(s.Num, f); err != nil {
				return err
			}
		}
		b.unsubscribe(s, f)
		tx.Undo(func() { b.subscribe(s, f, old) })
	}
	s.expect(tx, ended...)
	if l, ok := c.link.(dialect.Listener); ok && len(ended) > 0 {
		return l.Unsubscribed(tx, filtersOf(ended))
	}
	return nil
}

func filtersOf(subs []core.Subscription) []string {
	list := make([]string, len(subs))
	for i := range subs {
		list[i] = subs[i].Filter
	}
	return list
}
