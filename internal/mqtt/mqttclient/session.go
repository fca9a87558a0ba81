package mqttclient

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// A Session is one MQTT session, over any number of connections. Its methods may be called from any goroutine.
type Session struct {
	cfg Config

	mu      sync.Mutex
	conn    *conn // nil: not connected
	running bool
	closed  bool
	bound   bool // to a session on the server, before
	out     outgoing
	in      incoming
	asks    asks
	waiters []chan struct{} // of Send, for room
	stats   Stats
	careful int // what is acknowledged before the next connection is like others
	ending  Ending
}

// Stats counts what a session has done.
type Stats struct {
	Connections uint64 // that came as far as CONNACK
	Resumed     uint64 // of these, with the session that was there before
	Sent        uint64 // messages, each once
	Resent      uint64 // messages and PUBREL, on resumption
	Acked       uint64 // messages with QoS 1 and 2
	Received    uint64 // messages handed to Receive
	Duplicates  uint64 // messages that came again and were not handed to Receive
}

// Connected is what the server said in CONNACK.
type Connected struct {
	// SessionPresent: the server remembers the session, subscriptions included.
	SessionPresent bool
	// KeepAlive is the interval in use: the server's, if it named one.
	KeepAlive time.Duration
	ConnAck   mqtt.ConnAck
}

// NewSession returns a session that is not connected.
func NewSession(cfg Config) (*Session, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	s := &Session{cfg: cfg}
	s.out.init(cfg.MaxInFlight)
	s.in.init()
	s.asks.init(cfg.MaxInFlight)
	return s, nil
}

// Stats returns what the session has done so far.
func (s *Session) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// InFlight returns how many messages with QoS 1 and 2 have not been acknowledged.
func (s *Session) InFlight() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.inUse
}

// Run carries the session over a connection, until that ends. The session fills in what it knows itself: version, receive maximum,
// maximum packet size and topic alias maximum. The connected hook, which may be nil, is called after CONNACK, and after what is sent again was put in
// front of anything new; nothing is read while it runs.
//
// When ctx ends, what is waiting is written, then DISCONNECT, and Run returns the context's cause. A refusal is a *[ServerError],
// and so is DISCONNECT from the server. Other errors wrap fairlead.ErrUnavailable, or are an *[mqtt.Error] if the server broke the protocol, or
// wrap fairlead.ErrUnauthenticated if it refused our certificate, or are [ErrUnknownSession]. Run always closes nc, and returns after all goroutines
// it started.
func (s *Session) Run(ctx context.Context, nc net.Conn, p mqtt.Connect, connected func(Connected)) error {
	s.mu.Lock()
	if s.running || s.closed {
		s.mu.Unlock()
		_ = nc.Close()
		return fmt.Errorf("run session: %w", fairlead.ErrInUse)
	}
	s.running = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.running = false
		s.mu.Unlock()
	}()

	p.Version = s.cfg.Version
	if err := encodable(&p); err != nil {
		_ = nc.Close()
		return err
	}
	if p.Version == mqtt.V5 {
		p.ReceiveMaximum, p.TopicAliasMaximum = s.cfg.ReceiveMaximum, s.cfg.TopicAliasMaximum
		p.MaximumPacketSize = uint32(s.cfg.MaxPacketBytes)
	}
	frames := mqtt.NewFrameReader(bufio.NewReaderSize(nc, 16<<10), s.cfg.MaxPacketBytes)
	ack, err := s.handshake(ctx, nc, frames, &p)
	if err != nil {
		_ = nc.Close()
		return err
	}
	c := newConn(s, nc, frames, &p, ack)
	s.bind(c, ack.SessionPresent)
	if connected != nil {
		connected(Connected{SessionPresent: ack.SessionPresent, KeepAlive: c.keepAlive, ConnAck: *ack})
	}
	return c.run(ctx)
}

// encodable reports fields of CONNECT that are longer than the protocol can express.
func encodable(p *mqtt.Connect) error {
	longest := max(len(p.ClientID), len(p.Username), len(p.Password), len(p.AuthMethod.Value), len(p.AuthData))
	if w := p.Will; w != nil {
		longest = max(longest, len(w.Topic), len(w.Payload))
		if !fits(w.Properties) {
			longest = mqtt.MaxStringBytes + 1
		}
	}
	if longest > mqtt.MaxStringBytes {
		return fmt.Errorf("connect: %w: a field of CONNECT has more than %d bytes", fairlead.ErrTooLarge, mqtt.MaxStringBytes)
	}
	if !p.HasUsername && p.HasPassword && p.Version != mqtt.V5 {
		return fmt.Errorf("connect: %w: a password needs a user name", fairlead.ErrInvalid)
	}
	return nil
}

// handshake sends CONNECT and waits for CONNACK.
func (s *Session) handshake(ctx context.Context, nc net.Conn, frames *mqtt.FrameReader, p *mqtt.Connect) (*mqtt.ConnAck, error) {
	doing := fmt.Sprintf("connect as %q", p.ClientID)
	if err := nc.SetDeadline(time.Now().Add(s.cfg.ConnectTimeout)); err != nil {
		return nil, unavailable(doing, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	ack, err := exchange(nc, frames, p)
	if !stop() { // the deadline is, or will be, in the past
		return nil, fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	if err != nil {
		return nil, unavailable(doing, err)
	}
	if ack.Code != mqtt.ConnAckAccepted {
		return nil, refused(p.ClientID, p.Version, ack)
	}
	if ack.SessionPresent && p.CleanStart {
		return nil, unavailable(doing, violation(mqtt.ReasonProtocolError, "CONNACK with a session after a clean start"))
	}
	if ack.SessionPresent && s.strange() {
		_, _ = nc.Write((&mqtt.Disconnect{}).Append(nil, p.Version)) // so that no will is published; if it does not arrive, there is nothing to lose
		return nil, fmt.Errorf("%s: %w", doing, ErrUnknownSession)
	}
	return ack, unavailableOrNil(doing, nc.SetDeadline(time.Time{}))
}

// strange tells whether a session of the server is not ours.
func (s *Session) strange() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.Version == mqtt.V5 && !s.cfg.AdoptSession && !s.bound
}

func unavailableOrNil(doing string, err error) error {
	if err == nil {
		return nil
	}
	return unavailable(doing, err)
}

func exchange(nc net.Conn, frames *mqtt.FrameReader, p *mqtt.Connect) (*mqtt.ConnAck, error) {
	_, broken := nc.Write(p.Append(nil, p.Version))
	f, err := frames.Next() // also when it is broken: why may have come before
	if err != nil {
		if broken != nil && alertKind(err) == nil {
			err = broken
		}
		return nil, err
	}
	ack := new(mqtt.ConnAck)
	return ack, ack.Decode(f, p.Version)
}

// bind makes c the session's connection, and sends again what is in flight, or gives it up.
func (s *Session) bind(c *conn, present bool) {
	s.mu.Lock()
	s.stats.Connections++
	s.conn = c
	c.alone, c.held = s.careful, s.careful > 0
	var lost, unfit []*flight
	if present {
		if s.bound {
			s.stats.Resumed++
		} else {
			s.out.suspectAll()
		}
		s.in.reconnect()
		s.out.reconnect()
		unfit = s.out.takeUnfit(c)
	} else {
		lost = s.out.takeAll()
		s.out.init(s.cfg.MaxInFlight)
		s.in.init()
	}
	s.bound = true
	s.sendWaiting()
	s.mu.Unlock()
	for _, f := range lost {
		f.end(ErrSessionLost)
	}
	for _, f := range unfit {
		f.end(c.permits(&f.publish))
	}
	s.wakeSenders()
}

// unbind takes the connection away, with what must not outlive it.
func (s *Session) unbind(c *conn, why error) {
	s.mu.Lock()
	s.conn = nil
	s.note(c)
	pending := c.takeWritten()
	asked := s.asks.takeAll()
	s.mu.Unlock()
	for _, d := range pending {
		d.done(d.tag, lost(why))
	}
	for _, a := range asked {
		a.answer <- answer{err: fmt.Errorf("%w: the connection ended", ErrNotConnected)}
	}
	s.wakeSenders()
}

// lost is what a message with QoS 0 ends with that was not written. The cause is a detail: it is not about this message.
func lost(why error) error { return fmt.Errorf("%w any more: %v", ErrNotConnected, why) }

// Close gives up what is in flight, with an error that wraps fairlead.ErrClosed. It must not be called while Run runs; afterwards
// the session is of no use.
func (s *Session) Close() {
	s.mu.Lock()
	s.closed = true
	lost := s.out.takeAll()
	s.mu.Unlock()
	for _, f := range lost {
		f.end(fmt.Errorf("mqtt session: %w", fairlead.ErrClosed))
	}
}

// wait waits until somebody calls wakeSenders after it was called with mu held; it gives mu up meanwhile.
func (s *Session) wait(ctx context.Context) error {
	ch := make(chan struct{})
	s.waiters = append(s.waiters, ch)
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		s.mu.Lock()
		s.waiters = slices.DeleteFunc(s.waiters, func(w chan struct{}) bool { return w == ch })
		s.mu.Unlock()
		return context.Cause(ctx)
	}
}

// wakeSenders lets all who wait for room look again.
func (s *Session) wakeSenders() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wakeAll()
}

// wakeAll is wakeSenders with mu held.
func (s *Session) wakeAll() {
	for _, w := range s.waiters {
		close(w)
	}
	s.waiters = nil
}
