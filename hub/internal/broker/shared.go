package broker

import (
	"cmp"
	"errors"
	"slices"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/topic"
)

// Shared subscriptions: "$share/GROUP/FILTER". Of each message that matches FILTER one member of the group gets a copy
// (besides those that it gets by subscriptions of its own). Clients of all versions may use them, as with other
// brokers.
//
// A copy belongs to the member's session from then on: it stays there when the connection ends and is sent again when
// the client is back, at QoS 1 like at QoS 2 [MQTT-4.8.2-4]. When the session itself ends, what another member may have
// is given to one: all of QoS 1, and of QoS 2 what was not sent yet [MQTT-4.8.2-5]. A client that refuses a message with
// a reason code has had it. [MQTT-4.8.2-6]

// member chooses who gets a message: of those whose turn it is, one that is connected and has little to do; else one that is
// connected and has room; else a session that waits for its client.
func (b *Broker) member(tx *commit.Tx, sh *topic.Share[*session, subscription], m *core.Message) (target, bool) {
	size := m.Size()
	may := func(s *session, sub *subscription) bool { return !sub.tooShort(m.Topic) && s.mayReceive(m.Topic) }
	s, sub, ok := sh.Next(func(s *session, sub subscription) bool { return s.conn != nil && !s.busy() && may(s, &sub) })
	if !ok {
		s, sub, ok = sh.Next(func(s *session, sub subscription) bool {
			return s.conn != nil && (min(m.QoS, sub.qos) == 0 || s.room(size)) && may(s, &sub)
		})
	}
	if !ok {
		s, sub, ok = sh.Next(func(s *session, sub subscription) bool {
			return s.stored() && min(m.QoS, sub.qos) > 0 && s.room(size) && may(s, &sub)
		})
	}
	if !ok {
		tally(tx, &b.stats.Dropped, 1)
		return target{}, false
	}
	return target{s, sub.qos, sub.asPublished, sub.ids, shareName(sh)}, true
}

func shareName(sh *topic.Share[*session, subscription]) string {
	return "$share/" + sh.Group() + "/" + sh.Filter()
}

// busy reports that a connected session has more to do than its client takes at once.
func (s *session) busy() bool {
	if s.stored() {
		return s.queued > s.Limits.Inflight
	}
	o := s.conn.out
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.waiting) > 0 || len(o.buf) > maxUnsentQ0
}

// room reports whether the stored queue takes a message; there is no telling for what is not stored.
func (s *session) room(size int) bool {
	return !s.stored() || s.queued < s.Limits.MaxQueued && s.held+size <= s.Limits.MaxQueuedBytes
}

// handOver gives to other members what a session that ends has got by shared subscriptions and has not finished. The
// session must have left them.
func (b *Broker) handOver(tx *commit.Tx, s *session) error {
	var out deliveries
	if !s.stored() {
		if s.conn == nil {
			return nil
		}
		for _, p := range s.conn.out.unfinished() {
			m := core.Message{Topic: string(p.topic), Payload: p.payload, QoS: p.qos, Properties: p.properties, Expires: p.expires}
			if err := b.another(tx, s, p.share, &m, &out); err != nil {
				return err
			}
		}
		out.after(tx, b)
		return nil
	}
	sent := max(s.loaded, s.maybeSent)
	for after := int64(0); ; {
		rows, err := tx.SharedQueue(s.Num, after, refillBatch)
		if err != nil {
			return err
		}
		for i := range rows {
			q := &rows[i]
			after = q.Seq
			if q.QoS == 2 && q.Seq <= sent {
				continue
			}
			if err := b.another(tx, s, q.Share, &q.Message, &out); err != nil {
				return err
			}
		}
		if len(rows) < refillBatch {
			out.after(tx, b)
			return nil
		}
	}
}

// another gives a message to a member of a shared subscription.
func (b *Broker) another(tx *commit.Tx, s *session, share string, m *core.Message, out *deliveries) error {
	out.next(m)
	group, filter, err := topic.SplitShared(share)
	if err != nil {
		return nil
	}
	sh := b.audience(s.Key).shares.Find(group, filter)
	if sh == nil {
		return nil // nobody is left in it
	}
	if to, ok := b.member(tx, sh, m); ok {
		if _, err = b.queue(tx, to, m, out); errors.Is(err, errQueueFull) {
			err = nil
		}
	}
	return err
}

// unfinished returns what another member of a shared subscription may have: in the order in which it was to be sent.
func (o *outgoing) unfinished() (list []packet) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range o.inflight {
		if p.share != "" && p.qos == 1 {
			list = append(list, p)
		}
	}
	// Identifiers are given in order: the one behind the last is the oldest.
	slices.SortFunc(list, func(p, q packet) int { return cmp.Compare(p.id-o.nextID-1, q.id-o.nextID-1) })
	for _, p := range o.waiting {
		if p.share != "" {
			list = append(list, p)
		}
	}
	return list
}
