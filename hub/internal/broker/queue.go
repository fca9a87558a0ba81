package broker

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// errQueueFull is how PublishTo tells a session that has no room from one that does not want the message.
var errQueueFull = fmt.Errorf("%w: the session's queue is full", core.ErrTooLarge)

// queue makes a message wait for one session, in storage if the session is stored. It reports whether the session took
// it; what is to be sent now is added to out. QoS 0 is for whoever is connected.
func (b *Broker) queue(tx *commit.Tx, to target, m *core.Message, out *deliveries) (bool, error) {
	s := to.s
	p := packet{qos: min(m.QoS, to.qos), retain: m.Retain && to.asPublished, ids: to.ids, share: to.share}
	if len(m.Topic) > mqtt.MaxStringBytes {
		return false, fmt.Errorf("%w: topic of %d bytes", core.ErrTooLarge, len(m.Topic))
	}
	if p.qos == 0 || !s.stored() {
		if s.conn == nil {
			return false, nil
		}
		out.add(s, p)
		return true, nil
	}
	if s.conn != nil && s.conn.out.limit > 0 {
		if p.message = newMessage(m); !s.conn.out.fits(p) { // it would only take up room
			tally(tx, &b.stats.Dropped, 1)
			return true, nil
		}
	}
	size := m.Size()
	if !s.room(size) {
		if err := b.purge(tx, s); err != nil {
			return false, err
		}
		if !s.room(size) {
			tally(tx, &b.stats.Dropped, 1)
			return false, errQueueFull
		}
	}
	p.seq = s.lastSeq + 1
	p.id = packetID(p.seq)
	q := core.Queued{Session: s.Num, Seq: p.seq, ID: p.id, Message: *m, SubscriptionIDs: p.ids, Share: p.share}
	q.QoS, q.Retain = p.qos, p.retain
	if err := tx.Enqueue(q); err != nil {
		return false, err
	}
	s.lastSeq = p.seq
	s.queued++
	s.held += size
	tx.Undo(func() { s.lastSeq--; s.queued--; s.held -= size })
	if s.conn != nil {
		out.add(s, p)
	}
	return true, nil
}

// purge makes room in a full queue by dropping what has expired, except what may have been sent already. It looks once
// a second, so that a flood of messages for a full queue costs no more than before.
func (b *Broker) purge(tx *commit.Tx, s *session) error {
	const most = 1000
	now := tx.Now()
	if now.Sub(s.purged) < time.Second {
		return nil
	}
	was := s.purged
	s.purged = now
	tx.Undo(func() { s.purged = was })
	sent, skip := s.maybeSent, s.Limits.Inflight
	if s.conn != nil {
		sent, skip = max(sent, s.loaded), 0
	} else if s.loaded == 0 {
		sent = 0 // after a restart: only what the window held was sent
	}
	n, bytes, err := tx.DropQueued(s.Num, sent, skip, now, most)
	if err != nil {
		return err
	}
	s.took(tx, n, bytes)
	tally(tx, &b.stats.Expired, n)
	return nil
}

// tally counts in a transaction, which may be undone and made again.
func tally(tx *commit.Tx, counter *atomic.Int64, n int) {
	if n > 0 {
		counter.Add(int64(n))
		tx.Undo(func() { counter.Add(int64(-n)) })
	}
}

// took notes that messages have left the stored queue.
func (s *session) took(tx *commit.Tx, n, bytes int) {
	s.queued -= n
	s.held -= bytes
	tx.Undo(func() { s.queued += n; s.held += bytes })
}

// refill gives the connection the next messages of the stored queue.
func (b *Broker) refill(tx *commit.Tx, s *session, c *conn) error {
	if s.conn != c || !s.stored() {
		return nil
	}
	var packets []packet
	last, full := s.loaded, true
	for full && len(packets) == 0 { // all of a batch may have expired
		rows, err := tx.Queue(s.Num, last, refillBatch)
		if err != nil {
			return err
		}
		full = len(rows) == refillBatch
		c.out.mu.Lock()
		if n := c.out.refillOf(rows); n < len(rows) {
			rows, full = rows[:n], true
		}
		c.out.mu.Unlock()
		if len(rows) > 0 {
			last = rows[len(rows)-1].Seq
		}
		if packets, err = b.wanted(tx, s, rows); err != nil {
			return err
		}
	}
	tx.After(func() {
		if s.conn != c {
			return
		}
		c.out.mu.Lock()
		defer c.out.mu.Unlock()
		for _, p := range packets {
			if p.seq > s.loaded {
				s.loaded = p.seq
				c.resume(p)
			}
		}
		s.loaded = max(s.loaded, last)
		s.behind = full
		c.out.behind = full
		c.out.more = len(s.pending) > 0
		c.flushLocked()
	})
	return nil
}

// wanted makes packets of messages of the stored queue and deletes those that have expired, or that the client
// may not have any more, unless they may have been sent before.
func (b *Broker) wanted(tx *commit.Tx, s *session, rows []core.Queued) ([]packet, error) {
	packets := make([]packet, 0, len(rows))
	for i := range rows {
		q := &rows[i]
		// Only as many as the window holds can be without an answer.
		again := s.loaded == 0 && q.Seq <= s.maybeSent && i < s.Limits.Inflight
		barred := !again && !q.Released && !s.mayReceive(q.Topic)
		if barred || !again && !q.Released && q.Expired(tx.Now()) || len(q.Topic) > mqtt.MaxStringBytes {
			if err := tx.Dequeue(s.Num, q.Seq, q.Seq); err != nil {
				return nil, err
			}
			s.took(tx, 1, q.Size())
			if !barred {
				tally(tx, &b.stats.Expired, 1)
			}
			continue
		}
		packets = append(packets, packet{
			message: newMessage(&q.Message), seq: q.Seq, id: q.ID, qos: q.QoS, dup: again || q.Seq <= s.restored, retain: q.Retain, ids: q.SubscriptionIDs, share: q.Share,
			released: q.Released,
		})
	}
	return packets, nil
}

// resume continues with a message of the stored queue. With the lock of out.
func (c *conn) resume(p packet) {
	o := c.out
	if !p.released {
		o.push(p, queueLimits{})
		return
	}
	if o.inflight == nil {
		o.inflight = make(map[uint16]packet, 4)
	}
	o.inflight[p.id] = p
	o.flying += p.size()
	if o.oldest == 0 || p.seq < o.oldest {
		o.oldest = p.seq
	}
	o.append((&mqtt.Ack{Type: mqtt.TypePubRel, ID: p.id}).Append(nil, c.version))
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
	for i := 0; i < len(p.done); {
		first := p.done[i].seq // clients acknowledge in order: most of it is one run
		last := first - 1
		for ; i < len(p.done) && p.done[i].seq == last+1; i++ {
			last++
			bytes += p.done[i].size()
		}
		if err := tx.Dequeue(s.Num, first, last); err != nil {
			return err
		}
	}
	s.took(tx, len(p.done), bytes)
	if len(p.done) > 0 {
		b.resumeRetained(tx, s, c)
	}
	return nil
}
