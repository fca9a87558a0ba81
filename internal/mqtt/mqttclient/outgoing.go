package mqttclient

import (
	"context"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// Outgoing is a message to be sent.
type Outgoing struct {
	// Publish is the packet. Its packet identifier, DUP and topic alias are the session's business. What its slices refer to must not
	// change before Done.
	mqtt.Publish
	// Done is told once how it ended, with Tag: nil when the server has acknowledged it, or, with QoS 0, when it was written; a
	// [fairlead.PlatformError] if the server refused it (version 5); [ErrSessionLost]; or what else ended it. It is called by the
	// session's goroutines, or by that of Send, and must not wait for the session. nil: nobody wants to know.
	Done func(tag uint64, err error)
	Tag  uint64
}

// How far a flight has come.
type stage uint8

const (
	waiting  stage = iota // to be sent on this connection
	sent                  // PUBLISH
	released              // PUBREL, after PUBREC
)

// A flight is a message with QoS 1 or 2 until its last acknowledgement.
type flight struct {
	publish mqtt.Publish
	done    func(uint64, error)
	tag     uint64
	stage   stage
	again   bool // was sent on an earlier connection
	recd    bool // PUBREC has come: PUBREL is what has to be sent
	at      time.Time
	vouched bool   // when it was sent, the server had answered on this connection
	loose   uint64 // messages with QoS 0 sent on this connection before it

	next, prev *flight // in the order of sending
}

func (f *flight) end(err error) {
	if f.done != nil {
		f.done(f.tag, err)
	}
}

// outgoing is what is in flight. The identifiers of messages are 1 to the size of the window, used in turn: the longer one
// rests the better.
type outgoing struct {
	byID        []*flight // index is the identifier
	free        []uint16  // ring
	head        int       // in free
	inUse       int
	first, last *flight
	waiting     *flight // the first one in the list with stage waiting; all behind it are waiting too
	unacked     int     // sent or released on this connection: what counts against the receive maximum
	unacked2    int     // of these with QoS 2

	suspect []bool    // by identifier: the server may hold an older message; see the package comment
	extra   []bool    // by identifier: a PUBCOMP will come for a PUBREL of ours that no flight knows of
	extras  int       // how many of these
	asked   time.Time // when they were asked for
}

func (o *outgoing) init(window int) {
	*o = outgoing{byID: make([]*flight, window+1), free: make([]uint16, window)}
	for i := range o.free {
		o.free[i] = uint16(i + 1)
	}
}

func (o *outgoing) suspectAll() {
	o.suspect, o.extra = make([]bool, len(o.byID)), make([]bool, len(o.byID))
	for i := range o.suspect {
		o.suspect[i] = true
	}
}

func (o *outgoing) full() bool { return o.inUse == len(o.free) }

// add puts a new flight at the end, waiting.
func (o *outgoing) add(f *flight) {
	f.publish.ID = o.free[o.head]
	o.head = (o.head + 1) % len(o.free)
	o.inUse++
	o.byID[f.publish.ID] = f
	if o.last == nil {
		o.first = f
	} else {
		o.last.next, f.prev = f, o.last
	}
	o.last = f
	if o.waiting == nil {
		o.waiting = f
	}
}

// remove forgets a flight and frees its identifier.
func (o *outgoing) remove(f *flight) {
	if f.stage == waiting {
		if o.waiting == f {
			o.waiting = f.next
		}
	} else {
		o.count(f, -1)
	}
	if f.prev == nil {
		o.first = f.next
	} else {
		f.prev.next = f.next
	}
	if f.next == nil {
		o.last = f.prev
	} else {
		f.next.prev = f.prev
	}
	f.next, f.prev = nil, nil
	o.byID[f.publish.ID] = nil
	o.free[(o.head+len(o.free)-o.inUse)%len(o.free)] = f.publish.ID
	o.inUse--
}

// count notes that a flight was sent on this connection, or has ended.
func (o *outgoing) count(f *flight, n int) {
	o.unacked += n
	if f.publish.QoS == 2 {
		o.unacked2 += n
	}
}

// permits tells whether the server bears one more.
func (o *outgoing) permits(c *conn, qos byte) bool {
	if c.held || c.alone > 0 && o.unacked > 0 {
		return false
	}
	return o.unacked < c.sendMax && (qos < 2 || o.unacked2 < c.sendMax2)
}

// reconnect makes all flights wait to be sent again.
func (o *outgoing) reconnect() {
	for f := o.first; f != nil; f = f.next {
		f.again = f.again || f.stage != waiting
		f.stage = waiting
	}
	o.waiting, o.unacked, o.unacked2 = o.first, 0, 0
	clear(o.extra) // whether those PUBREL have arrived nobody knows
	o.extras = 0
}

func (o *outgoing) takeAll() (all []*flight) {
	for f := o.first; f != nil; f = f.next {
		all = append(all, f)
	}
	for _, f := range all {
		o.remove(f)
	}
	return all
}

// takeUnfit removes what the server that we are connected to now does not take.
func (o *outgoing) takeUnfit(c *conn) (unfit []*flight) {
	for f := o.first; f != nil; f = f.next {
		if c.permits(&f.publish) != nil {
			unfit = append(unfit, f)
		}
	}
	for _, f := range unfit {
		o.remove(f)
	}
	return unfit
}

// Send sends a message. With QoS 1 and 2 it returns when the message is in flight: it waits for room in the window, and for a slow
// connection, until ctx ends or the connection does. Messages of one goroutine are sent in that order. After an error nothing was
// sent and Done is not called. The error wraps fairlead.ErrUnavailable while there is no connection ([ErrNotConnected]), fairlead.ErrTooLarge if the
// server takes no packets of this size, fairlead.ErrInvalid if the topic is none, or the server does not do this QoS or retained messages.
func (s *Session) Send(ctx context.Context, m *Outgoing) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.conn
	for {
		c := s.conn
		switch {
		case s.closed:
			return fmt.Errorf("publish to %.200q: %w", m.Topic, fairlead.ErrClosed)
		case c == nil || c != first: // not on a later one: what has to come first there the caller does not know
			return fmt.Errorf("publish to %.200q: %w", m.Topic, ErrNotConnected)
		}
		if err := c.permits(&m.Publish); err != nil {
			return err
		}
		if len(c.buffer) < maxBufferBytes && (m.QoS == 0 || !s.out.full() && s.out.waiting == nil && s.out.permits(c, m.QoS)) {
			break
		}
		if err := s.wait(ctx); err != nil {
			return fmt.Errorf("publish to %.200q: %w", m.Topic, err)
		}
	}
	s.stats.Sent++
	if m.QoS == 0 {
		p := m.Publish
		first.publish(&p)
		first.loose++
		if m.Done != nil {
			first.written = append(first.written, written{m.Done, m.Tag})
		}
		first.wakeWriter()
		return nil
	}
	f := &flight{publish: m.Publish, done: m.Done, tag: m.Tag}
	s.out.add(f)
	s.sendWaiting()
	return nil
}

// sendWaiting puts into the buffer what the server's receive maximum has room for. It is called with mu held.
func (s *Session) sendWaiting() {
	c := s.conn
	if c == nil {
		return
	}
	now := time.Now()
	for f := s.out.waiting; f != nil && s.out.permits(c, f.publish.QoS); f = s.out.waiting {
		if s.suspicious(c, f, now) {
			break
		}
		s.out.waiting = f.next
		s.out.count(f, 1)
		f.at, f.stage = now, sent
		f.vouched, f.loose = c.answered, c.loose
		if f.again {
			s.stats.Resent++
		}
		if f.recd {
			f.stage = released
			c.ack(mqtt.TypePubRel, f.publish.ID, 0)
			continue
		}
		p := f.publish
		p.Dup = f.again
		c.publish(&p)
	}
	c.wakeWriter()
}

// suspicious tells whether f has to wait until the server has said that it holds no older message with its identifier, and
// has it say so: of all identifiers at once, for the sake of one round trip. Sending f behind PUBREL, without waiting, would not
// do: when the connection is lost then, nobody knows whether the server holds f or the older message, and one of them would be
// lost or come twice.
func (s *Session) suspicious(c *conn, f *flight, now time.Time) bool {
	o := &s.out
	if o.suspect == nil || !o.suspect[f.publish.ID] || f.publish.QoS != 2 {
		return false
	}
	if o.extras == 0 {
		o.asked = now
		for id := 1; id < len(o.suspect); id++ {
			if o.suspect[id] {
				o.extra[id] = true
				o.extras++
				c.ack(mqtt.TypePubRel, uint16(id), 0)
			}
		}
	}
	return true
}

// acked handles PUBACK, PUBREC and PUBCOMP. It returns the flight that has ended, if one has, and its outcome.
func (s *Session) acked(c *conn, p *mqtt.Ack) (ended *flight, outcome, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var f *flight
	if int(p.ID) < len(s.out.byID) {
		f = s.out.byID[p.ID]
	}
	if f != nil && f.stage == waiting {
		f = nil // whatever this answers, it was not sent on this connection
	}
	if f != nil {
		c.vouch(f.loose)
	}
	if p.Type == mqtt.TypePubComp && s.out.extra != nil && int(p.ID) < len(s.out.extra) && s.out.extra[p.ID] {
		s.out.extra[p.ID], s.out.suspect[p.ID] = false, false
		s.out.extras--
		s.sendWaiting()
		return nil, nil, nil
	}
	if f == nil {
		if p.Type == mqtt.TypePubRec { // so that the server can forget it
			c.ack(mqtt.TypePubRel, p.ID, mqtt.ReasonPacketIDNotFound)
			c.wakeWriter()
		}
		return nil, nil, nil
	}
	if (p.Type == mqtt.TypePubAck) != (f.publish.QoS == 1) {
		return nil, nil, violation(mqtt.ReasonProtocolError, "%v for a message with QoS %d", p.Type, f.publish.QoS)
	}
	switch {
	case p.Type == mqtt.TypePubRec && !p.Code.Failed():
		f.recd, f.stage, f.at = true, released, time.Now()
		c.ack(mqtt.TypePubRel, p.ID, 0)
		c.wakeWriter()
		return nil, nil, nil
	case p.Type == mqtt.TypePubComp && f.stage != released:
		return nil, nil, violation(mqtt.ReasonProtocolError, "PUBCOMP before PUBREC")
	case p.Type != mqtt.TypePubComp && p.Code.Failed():
		outcome = refusedMessage(f.publish.Topic, p)
	}
	// PUBCOMP with "packet identifier not found" means that the server had finished before the connection was lost.
	s.out.remove(f)
	s.stats.Acked++
	c.alone = max(c.alone-1, 0)
	s.sendWaiting()
	return f, outcome, nil
}
