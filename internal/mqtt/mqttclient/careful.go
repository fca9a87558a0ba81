package mqttclient

import (
	"context"
	"fmt"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// Before version 5 a server that will not have a message can say so in one way only: it hangs up. Which message that was nobody can tell
// while many are in flight, and a network that fails looks alike. A careful connection finds out: nothing that has an acknowledgement is
// sent before [Session.Release], and from then on one message at a time; [Session.Ending] says afterwards whether the end can have been
// about one message.

// An Ending is what a connection has left behind.
type Ending struct {
	// Unacknowledged is how many messages with QoS 1 and 2 were sent on it and not acknowledged.
	Unacknowledged int
	// Alone: there was one, it was all that the server had still to answer, its bytes were written, and the server had answered on this
	// connection before. So if it has hung up, that is its answer.
	Alone bool
	// Tag, QoS and Topic are those of the message that was alone.
	Tag   uint64
	QoS   byte
	Topic []byte
}

// Careful makes the next connection a careful one: until n messages were acknowledged. 0: it will be like others.
func (s *Session) Careful(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.careful = n
}

// Release asks the server for a sign of life (PINGREQ), and when that has come lets a careful connection send. The error is
// ErrNotConnected or the context's cause.
func (s *Session) Release(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.PingTimeout, fmt.Errorf("no answer to PINGREQ within %v", s.cfg.PingTimeout))
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.conn
	if c == nil {
		return ErrNotConnected
	}
	c.buffer = mqtt.AppendPingReq(c.buffer)
	c.pinged++
	mine, loose := c.pinged, c.loose
	c.wakeWriter()
	for c.ponged < mine {
		if err := s.wait(ctx); err != nil {
			return fmt.Errorf("mqtt: %w", err)
		}
		if s.conn != c {
			return ErrNotConnected
		}
	}
	c.vouch(loose)
	c.held = false
	s.sendWaiting()
	s.wakeAll()
	return nil
}

// Idle waits until nothing is in flight. The error is ErrNotConnected or the context's cause.
func (s *Session) Idle(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := s.conn; s.out.inUse > 0; {
		if c == nil || s.conn != c {
			return ErrNotConnected
		}
		if err := s.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Ending returns what the last connection has left behind. It is called while Run does not run.
func (s *Session) Ending() Ending {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ending
}

// GiveUp ends the message that was alone with an error, so that it is not sent again. It is called while Run does not run. It returns
// false if there is no such message any more. After a message with QoS 2 the next connection has to begin a new session, because the
// server may have that message, and would take another one with its identifier for it.
func (s *Session) GiveUp(err error) bool {
	s.mu.Lock()
	f := s.out.first
	if !s.ending.Alone || f == nil || f.stage == waiting || f.tag != s.ending.Tag {
		s.mu.Unlock()
		return false
	}
	s.ending = Ending{}
	s.out.remove(f)
	s.mu.Unlock()
	f.end(err)
	return true
}

// Withdraw ends messages with QoS 1 that nobody waits for any more, so that they are not sent again. It is called while Run does not run.
func (s *Session) Withdraw(whose func(tag uint64) bool) {
	s.mu.Lock()
	var gone []*flight
	for f := s.out.first; f != nil; f = f.next {
		if f.publish.QoS == 1 && whose(f.tag) {
			gone = append(gone, f)
		}
	}
	for _, f := range gone {
		s.out.remove(f)
	}
	s.mu.Unlock()
	for _, f := range gone {
		f.end(fmt.Errorf("%w any more", ErrNotConnected))
	}
}

// vouch notes that the server has answered something that it got after so many messages with QoS 0. It is called with the session's mu held.
func (c *conn) vouch(loose uint64) {
	c.answered = true
	c.vouched = max(c.vouched, loose)
}

// note notes what a connection that ends leaves behind. It is called with mu held.
func (s *Session) note(c *conn) {
	s.ending = Ending{Unacknowledged: s.out.unacked}
	f := s.out.first
	if s.out.unacked != 1 || f == nil || f.stage != sent || !f.vouched || len(s.asks.pending) > 0 || c.loose != c.vouched || len(c.buffer) > 0 || c.cut {
		return
	}
	s.ending.Alone, s.ending.Tag, s.ending.QoS, s.ending.Topic = true, f.tag, f.publish.QoS, f.publish.Topic
}
