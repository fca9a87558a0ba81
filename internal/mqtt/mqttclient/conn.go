package mqttclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/topic"
)

// A conn is one connection of a session: one goroutine reads, another one writes and watches the clocks.
type conn struct {
	s       *Session
	nc      net.Conn
	frames  *mqtt.FrameReader
	version mqtt.Version
	aliases *mqtt.AliasReader

	keepAlive   time.Duration
	pingTimeout time.Duration
	sendMax     int
	sendMax2    int          // of these with QoS 2
	ack0        mqtt.ConnAck // what the server can do

	wake chan struct{} // for the writer; has room for one
	// reading is when the reading goroutine began to wait for bytes, 0 while it works: nanoseconds since start.
	reading atomic.Int64
	start   time.Time

	// Guarded by the session's mu.
	buffer  []byte    // to be written
	written []written // messages with QoS 0 in it
	shorten *mqtt.AliasWriter
	broken  error  // of a write; the reader may find a better reason
	ended   error  // why, once it ends
	goodbye []byte // to be written before closing; nil: close at once
	alone   int    // messages that are still to be sent one at a time
	held    bool   // none is sent before Release
	// What tells whether the end of the connection can be about one message: see Ending.
	pinged, ponged uint64
	loose, vouched uint64 // messages with QoS 0 that were sent, and of these those after which the server has answered
	answered       bool   // after CONNACK
	cut            bool   // bytes were not written
}

// written is a message with QoS 0 whose bytes wait to be written.
type written struct {
	done func(uint64, error)
	tag  uint64
}

func newConn(s *Session, nc net.Conn, frames *mqtt.FrameReader, p *mqtt.Connect, ack *mqtt.ConnAck) *conn {
	c := &conn{
		s: s, nc: nc, frames: frames, version: p.Version, ack0: *ack, wake: make(chan struct{}, 1), start: time.Now(),
		keepAlive: time.Duration(ack.ServerKeepAlive.Or(p.KeepAlive)) * time.Second,
		aliases:   mqtt.NewAliasReader(p.TopicAliasMaximum), shorten: mqtt.NewAliasWriter(min(ack.TopicAliasMaximum, 64)),
		sendMax: 65535, sendMax2: s.cfg.MaxInFlightQoS2,
	}
	if c.version == mqtt.V5 {
		if ack.ReceiveMaximum > 0 {
			c.sendMax = int(ack.ReceiveMaximum)
		}
		c.sendMax2 = c.sendMax
	}
	c.pingTimeout = s.cfg.PingTimeout
	if c.keepAlive > 0 {
		c.pingTimeout = min(c.pingTimeout, c.keepAlive)
	}
	return c
}

// permits reports what is no message, or one that the server cannot take. It keeps Append from panicking, too.
func (c *conn) permits(p *mqtt.Publish) error {
	var reason error
	switch a := &c.ack0; {
	case p.QoS > 2:
		reason = fmt.Errorf("%w: QoS %d", fairlead.ErrInvalid, p.QoS)
	case p.QoS > a.MaximumQoS.Or(2):
		reason = fmt.Errorf("%w: QoS %d, the server has at most %d", fairlead.ErrInvalid, p.QoS, a.MaximumQoS.Value)
	case p.Retain && a.RetainUnavailable:
		reason = fmt.Errorf("%w: the server keeps no retained messages", fairlead.ErrInvalid)
	case !fits(p.Properties):
		reason = fmt.Errorf("%w: a property has more than %d bytes", fairlead.ErrTooLarge, mqtt.MaxStringBytes)
	default:
		if err := topic.Validate(p.Topic); err != nil {
			reason = fmt.Errorf("%w: %w", fairlead.ErrInvalid, err)
			break
		}
		limit := int64(mqtt.MaxRemainingBytes)
		if a.MaximumPacketSize > 0 {
			limit = min(limit, int64(a.MaximumPacketSize))
		}
		if n := int64(p.Size(c.version)); n > limit {
			reason = fmt.Errorf("%w: the packet has %d bytes, the server takes %d", fairlead.ErrTooLarge, n, limit)
		}
	}
	if reason != nil {
		return fmt.Errorf("publish to %.200q: %w", p.Topic, reason)
	}
	return nil
}

// fits tells whether all properties can be encoded.
func fits(m *mqtt.MessageProperties) bool {
	if m == nil {
		return true
	}
	if max(len(m.ContentType.Value), len(m.ResponseTopic), len(m.CorrelationData)) > mqtt.MaxStringBytes {
		return false
	}
	for _, u := range m.User {
		if max(len(u.Key), len(u.Value)) > mqtt.MaxStringBytes {
			return false
		}
	}
	return true
}

// publish, ack and packet put bytes into the buffer. They are called with the session's mu held.
func (c *conn) publish(p *mqtt.Publish) {
	if c.version == mqtt.V5 {
		full := *p
		c.shorten.Shorten(p)
		if limit := c.ack0.MaximumPacketSize; limit > 0 && p.TopicAlias != 0 && len(p.Topic) > 0 && p.Size(c.version) > int(limit) {
			// Setting an alias takes three bytes more. It is set now on our side only: write the topic out, and start over.
			*p = full
			c.shorten = mqtt.NewAliasWriter(0)
		}
	}
	c.buffer = p.Append(c.buffer, c.version)
}

func (c *conn) ack(t mqtt.Type, id uint16, code mqtt.ReasonCode) {
	p := mqtt.Ack{Type: t, ID: id, Code: code}
	c.buffer = p.Append(c.buffer, c.version)
}

func (c *conn) packet(p mqtt.Packet) { c.buffer = p.Append(c.buffer, c.version) }

func (c *conn) wakeWriter() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *conn) takeWritten() []written {
	w := c.written
	c.written = nil
	return w
}

// run reads and writes until the connection ends.
func (c *conn) run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(c.write)
	stop := context.AfterFunc(ctx, func() { c.leave(context.Cause(ctx), 0) })
	err := c.read()
	if code, ok := isViolation(err); ok {
		c.leave(fmt.Errorf("mqtt: the server broke the protocol: %w", err), code)
	} else {
		c.fail(c.explain(err))
	}
	wg.Wait()
	stop()
	_ = c.nc.Close()
	c.s.mu.Lock()
	why := c.ended
	c.s.mu.Unlock()
	c.s.unbind(c, why)
	return why
}

// explain puts the end of the stream into words.
func (c *conn) explain(err error) error {
	var e *ServerError
	if errors.As(err, &e) {
		return err
	}
	c.s.mu.Lock()
	broken := c.broken
	c.s.mu.Unlock()
	if broken != nil && alertKind(err) == nil {
		return broken
	}
	return unavailable("mqtt: connection lost", err)
}

// fail ends the connection at once; the first reason counts.
func (c *conn) fail(why error) {
	c.s.mu.Lock()
	if c.ended == nil {
		c.ended = why
	}
	c.goodbye = nil
	c.s.mu.Unlock()
	if errors.Is(why, os.ErrDeadlineExceeded) {
		abort(c.nc)
	}
	_ = c.nc.Close()
	c.wakeWriter()
}

// abort closes what is below TLS. Otherwise crypto/tls would wait for 5 s until a peer that does not read has read its goodbye.
func abort(nc net.Conn) {
	if ws, ok := nc.(*wsConn); ok {
		nc = ws.Conn
	}
	if t, ok := nc.(interface{ NetConn() net.Conn }); ok {
		_ = t.NetConn().Close()
	}
}

// leave ends the connection after what is in the buffer and DISCONNECT were written, or LeaveTimeout has passed.
func (c *conn) leave(why error, code mqtt.ReasonCode) {
	if !code.Allowed(mqtt.Client, mqtt.TypeDisconnect) {
		code = mqtt.ReasonProtocolError
	}
	c.s.mu.Lock()
	if c.ended == nil {
		c.ended = why
		c.goodbye = (&mqtt.Disconnect{Code: code}).Append(nil, c.version)
		if code != 0 && c.version != mqtt.V5 {
			c.goodbye = nil // it would mean that all is well
		}
		_ = c.nc.SetWriteDeadline(time.Now().Add(LeaveTimeout)) // it may be writing now
	}
	c.s.mu.Unlock()
	c.wakeWriter()
}

// read handles packets until there are none.
func (c *conn) read() error {
	var p mqtt.Publish
	for n := 1; ; n++ {
		if c.frames.Buffered() == 0 || n%256 == 0 { // together, because each wake costs more than a packet
			c.s.wakeSenders()
		}
		c.reading.Store(int64(time.Since(c.start)) + 1)
		f, err := c.frames.Next()
		c.reading.Store(0)
		if err != nil {
			return err
		}
		if f.Type == mqtt.TypePublish {
			err = c.readPublish(&p, f)
		} else {
			err = c.readOther(f)
		}
		if err != nil {
			return err
		}
	}
}

func (c *conn) readPublish(p *mqtt.Publish, f mqtt.Frame) error {
	if err := p.Decode(f, c.version); err != nil {
		return err
	}
	m, err := c.s.received(c, p)
	if err != nil || m == nil {
		return err
	}
	if c.s.cfg.Receive == nil {
		m.Ack()
	} else {
		c.s.cfg.Receive(m)
	}
	return nil
}

func (c *conn) readOther(f mqtt.Frame) error {
	switch f.Type {
	case mqtt.TypePubAck, mqtt.TypePubRec, mqtt.TypePubComp:
		var p mqtt.Ack
		if err := p.Decode(f, c.version); err != nil {
			return err
		}
		ended, outcome, err := c.s.acked(c, &p)
		if ended != nil {
			ended.end(outcome)
		}
		return err
	case mqtt.TypePubRel:
		var p mqtt.Ack
		if err := p.Decode(f, c.version); err != nil {
			return err
		}
		c.s.pubRel(c, p.ID)
		return nil
	case mqtt.TypeSubAck:
		var p mqtt.SubAck
		if err := p.Decode(f, c.version); err != nil {
			return err
		}
		codes := make([]mqtt.ReasonCode, len(p.Codes))
		for i, code := range p.Codes {
			codes[i] = mqtt.ReasonCode(code)
		}
		return c.s.answered(p.ID, true, answer{codes: codes, text: p.Reason})
	case mqtt.TypeUnsubAck:
		var p mqtt.Ack
		if err := p.Decode(f, c.version); err != nil {
			return err
		}
		return c.s.answered(p.ID, false, answer{codes: p.Codes, text: p.Reason})
	case mqtt.TypePingResp:
		c.s.mu.Lock()
		c.ponged++
		c.s.mu.Unlock()
		return new(mqtt.PingResp).Decode(f, c.version)
	case mqtt.TypeDisconnect:
		if c.version == mqtt.V5 {
			var p mqtt.Disconnect
			if err := p.Decode(f, c.version); err != nil {
				return err
			}
			return disconnected(&p)
		}
	}
	return violation(mqtt.ReasonProtocolError, "%v from a server", f.Type)
}

// alertKind finds a TLS alert of the server about our certificate. With TLS 1.3 it comes when the handshake is over for us, in place
// of CONNACK. The alert's type is not exported; its number is in RFC 8446 section 6.
func alertKind(err error) error {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return nil
	}
	v := reflect.ValueOf(op.Err)
	if v.Kind() != reflect.Uint8 {
		return nil
	}
	switch v.Uint() {
	case 42, 43, 44, 45, 46, 48, 49, 116: // bad, unsupported, revoked, expired, unknown certificate; unknown CA; access denied; certificate required
		return fairlead.ErrUnauthenticated
	}
	return nil
}
