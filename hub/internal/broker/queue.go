package broker

import (
	"fmt"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// errQueueFull is how PublishTo tells a session that has no room from one that does not want the message.
var errQueueFull = fmt.Errorf("%w: the session's queue is full", core.ErrTooLarge)

// queue makes a message wait for one session, in storage if the session is stored. It reports whether the session took
// it; what is to be sent now is added to out.
func (b *Broker) queue(tx *commit.Tx, to target, m core.Message, out *deliveries) (bool, error) {
	s := to.s
	qos := min(m.QoS, to.qos)
	if len(m.Topic) > mqtt.MaxStringBytes {
		return false, fmt.Errorf("%w: topic of %d bytes", core.ErrTooLarge, len(m.Topic))
	}
	if qos == 0 || !s.stored() {
		if s.conn == nil {
			return false, nil
		}
		out.add(s, s.conn, packet{qos: qos, topic: []byte(m.Topic), payload: m.Payload})
		return true, nil
	}
	size := len(m.Topic) + len(m.Payload)
	if s.queued >= s.Limits.MaxQueued || s.held+size > s.Limits.MaxQueuedBytes {
		b.stats.Dropped.Add(1)
		return false, errQueueFull
	}
	seq := s.lastSeq + 1
	m.QoS = qos
	if err := tx.Enqueue(core.Queued{Session: s.Num, Seq: seq, ID: packetID(seq), Message: m}); err != nil {
		return false, err
	}
	s.lastSeq = seq
	s.queued++
	s.held += size
	tx.Undo(func() { s.lastSeq--; s.queued--; s.held -= size })
	if s.conn != nil {
		out.add(s, s.conn, packet{seq: seq, id: packetID(seq), qos: qos, topic: []byte(m.Topic), payload: m.Payload})
	}
	return true, nil
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
		if err := tx.Dequeue(s.Num, m.seq, m.seq); err != nil {
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
