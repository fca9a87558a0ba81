package mqtttest

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// Timeout is how long a Client waits for anything, and Peer.Wait for the script to end.
const Timeout = 30 * time.Second

// Client is an MQTT client under the control of a test: it sends what it is told and acknowledges nothing by itself,
// except in the methods that say so. What arrives while it waits for something else is kept for later. Every
// failure ends the test, so its methods belong to the test's own goroutine.
type Client struct {
	tb      testing.TB
	conn    net.Conn
	frames  *mqtt.FrameReader
	version mqtt.Version
	kept    []mqtt.Packet // arrived, not yet asked for
	lastID  uint16
}

// NewClient returns a client on an open connection, which is closed at the end of the test.
func NewClient(tb testing.TB, conn net.Conn) *Client {
	tb.Helper()
	tb.Cleanup(func() { _ = conn.Close() })
	frames := mqtt.NewFrameReader(bufio.NewReader(conn), mqtt.MaxRemainingBytes)
	return &Client{tb: tb, conn: conn, frames: frames, version: mqtt.V311}
}

// Conn returns the connection.
func (c *Client) Conn() net.Conn { return c.conn }

// Send sends a packet, given by value or by pointer, as it is. A CONNECT sets the version that the client speaks from
// then on: 3.1.1 if it names none.
func (c *Client) Send(p any) {
	c.tb.Helper()
	out := packet(p)
	if hello, ok := out.(*mqtt.Connect); ok {
		if c.version = hello.Version; c.version == 0 {
			c.version = mqtt.V311
		}
	}
	c.SendBytes(out.Append(nil, c.version))
}

// SendBytes sends bytes, which need not be a packet.
func (c *Client) SendBytes(b []byte) {
	c.tb.Helper()
	_ = c.conn.SetWriteDeadline(time.Now().Add(Timeout))
	if _, err := c.conn.Write(b); err != nil {
		c.tb.Fatalf("send %x: %v", b[:min(len(b), 32)], err)
	}
}

// Receive returns the next packet.
func (c *Client) Receive() mqtt.Packet {
	c.tb.Helper()
	if len(c.kept) > 0 {
		p := c.kept[0]
		c.kept = c.kept[1:]
		return p
	}
	return c.read("a packet")
}

func (c *Client) read(what string) mqtt.Packet {
	c.tb.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(Timeout))
	p, err := next(c.frames, c.version)
	if err != nil {
		c.tb.Fatalf("wait for %s: %v", what, err)
	}
	return p
}

// Expect returns the first packet, arrived or to come, that has the type of want and equals it in the fields that
// are not zero in want. Other packets are kept for later.
func (c *Client) Expect(want any) mqtt.Packet {
	c.tb.Helper()
	w := packet(want)
	for i, p := range c.kept {
		if lacks(w, p) == "" {
			c.kept = append(c.kept[:i:i], c.kept[i+1:]...)
			return p
		}
	}
	for {
		p := c.read(describe(w))
		if lacks(w, p) == "" {
			return p
		}
		c.kept = append(c.kept, p)
	}
}

// ExpectNothing makes sure that nothing has been sent to the client: it sends PINGREQ and fails if anything but
// PINGRESP arrives first. This needs no waiting, because the peer answers in order.
func (c *Client) ExpectNothing() {
	c.tb.Helper()
	c.Send(&mqtt.PingReq{})
	if p := c.Receive(); lacks(&mqtt.PingResp{}, p) != "" {
		c.tb.Fatalf("got %s, want nothing", describe(p))
	}
}

// ExpectClosed makes sure that the peer closes the connection, with nothing more to read before.
func (c *Client) ExpectClosed() {
	c.tb.Helper()
	if len(c.kept) > 0 {
		c.tb.Fatalf("got %s, want the connection closed", describe(c.kept[0]))
	}
	c.expectEnd()
}

func (c *Client) expectEnd() {
	c.tb.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(Timeout))
	p, err := next(c.frames, c.version)
	switch {
	case err == nil:
		c.tb.Fatalf("got %s, want the connection closed", describe(p))
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.tb.Fatalf("got a connection that stays open, want it closed")
	case !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET):
		c.tb.Fatalf("got %v, want the connection closed", err)
	}
}

// Connect sends a CONNECT and returns the answer, which must be that the connection is accepted.
func (c *Client) Connect(p mqtt.Connect) mqtt.ConnAck {
	c.tb.Helper()
	ack := c.TryConnect(p)
	if ack.Code != mqtt.ConnAckAccepted {
		c.tb.Fatalf("connect %q: refused with code %d", p.ClientID, ack.Code)
	}
	return ack
}

// TryConnect sends a CONNECT and returns the answer, refusals included.
func (c *Client) TryConnect(p mqtt.Connect) mqtt.ConnAck {
	c.tb.Helper()
	c.Send(&p)
	got := c.Receive() // nothing may come before it [MQTT-3.2.0-1]
	ack, ok := got.(*mqtt.ConnAck)
	if !ok {
		c.tb.Fatalf("connect %q: got %s, want CONNACK", p.ClientID, describe(got))
	}
	return *ack
}

// NextID returns a fresh packet identifier.
func (c *Client) NextID() uint16 {
	if c.lastID++; c.lastID == 0 {
		c.lastID = 1
	}
	return c.lastID
}

// Subscribe subscribes to a filter and returns the code of the answer: the granted QoS or mqtt.SubAckFailure, in version
// 5 any reason code.
func (c *Client) Subscribe(filter string, qos byte) byte {
	c.tb.Helper()
	return c.SubscribeWith(mqtt.Subscribe{Subscriptions: []mqtt.Subscription{{Filter: filter, QoS: qos}}}).Codes[0]
}

// SubscribeWith sends a SUBSCRIBE with a fresh packet identifier and returns the answer, which has a code for each filter.
func (c *Client) SubscribeWith(p mqtt.Subscribe) mqtt.SubAck {
	c.tb.Helper()
	p.ID = c.NextID()
	c.Send(&p)
	ack := c.Expect(&mqtt.SubAck{ID: p.ID}).(*mqtt.SubAck)
	if len(ack.Codes) != len(p.Subscriptions) {
		c.tb.Fatalf("%s: got %d codes, want %d", describe(&p), len(ack.Codes), len(p.Subscriptions))
	}
	return *ack
}

// Unsubscribe ends subscriptions and waits for the answer. In version 5 it returns a code for each filter, else nil.
func (c *Client) Unsubscribe(filters ...string) []mqtt.ReasonCode {
	c.tb.Helper()
	id := c.NextID()
	c.Send(&mqtt.Unsubscribe{ID: id, Filters: filters})
	ack := c.Expect(&mqtt.Ack{Type: mqtt.TypeUnsubAck, ID: id}).(*mqtt.Ack)
	if c.version == mqtt.V5 && len(ack.Codes) != len(filters) {
		c.tb.Fatalf("unsubscribe %q: got %d codes, want %d", filters, len(ack.Codes), len(filters))
	}
	return ack.Codes
}

// Publish publishes a message with all of its handshake: it returns when the peer has the message for good. At
// QoS 0 nothing tells, so it returns at once. To stop in the middle of the handshake use Send and Expect.
func (c *Client) Publish(topic string, qos byte, payload []byte) {
	c.tb.Helper()
	ack := c.PublishWith(mqtt.Publish{Topic: []byte(topic), QoS: qos, Payload: payload})
	if ack.Code.Failed() {
		c.tb.Fatalf("publish to %q: refused: %v", topic, ack.Code)
	}
}

// PublishWith is Publish for any packet, which gets a fresh packet identifier, and without judgement: it returns the
// answer that tells how it went, PUBACK or PUBREC. At QoS 0 that is the zero Ack.
func (c *Client) PublishWith(p mqtt.Publish) mqtt.Ack {
	c.tb.Helper()
	if p.QoS > 0 {
		p.ID = c.NextID()
	}
	c.Send(&p)
	switch p.QoS {
	case 1:
		return *c.Expect(&mqtt.Ack{Type: mqtt.TypePubAck, ID: p.ID}).(*mqtt.Ack)
	case 2:
		rec := *c.Expect(&mqtt.Ack{Type: mqtt.TypePubRec, ID: p.ID}).(*mqtt.Ack)
		if !rec.Code.Failed() { // a refusal ends the exchange
			c.Send(&mqtt.Ack{Type: mqtt.TypePubRel, ID: p.ID})
			c.Expect(&mqtt.Ack{Type: mqtt.TypePubComp, ID: p.ID})
		}
		return rec
	}
	return mqtt.Ack{}
}

// ReceivePublish returns the next PUBLISH and does not acknowledge it.
func (c *Client) ReceivePublish() mqtt.Publish {
	c.tb.Helper()
	return *c.Expect(&mqtt.Publish{}).(*mqtt.Publish)
}

// Acknowledge acknowledges a received message with all of its handshake.
func (c *Client) Acknowledge(p mqtt.Publish) {
	c.tb.Helper()
	switch p.QoS {
	case 1:
		c.Send(&mqtt.Ack{Type: mqtt.TypePubAck, ID: p.ID})
	case 2:
		c.Send(&mqtt.Ack{Type: mqtt.TypePubRec, ID: p.ID})
		c.Expect(&mqtt.Ack{Type: mqtt.TypePubRel, ID: p.ID})
		c.Send(&mqtt.Ack{Type: mqtt.TypePubComp, ID: p.ID})
	}
}

// ReceiveMessage returns the next PUBLISH and acknowledges it.
func (c *Client) ReceiveMessage() mqtt.Publish {
	c.tb.Helper()
	p := c.ReceivePublish()
	c.Acknowledge(p)
	return p
}

// Ping sends PINGREQ and waits for PINGRESP. The peer has then dealt with all that was sent before.
func (c *Client) Ping() {
	c.tb.Helper()
	c.Send(&mqtt.PingReq{})
	c.Expect(&mqtt.PingResp{})
}

// ExpectDisconnect makes sure that the peer sends a DISCONNECT with this code and then closes the connection
// [MQTT-3.14.4-1] [MQTT-3.14.4-2]; what came before it is kept. Version 5 only: older servers just close.
func (c *Client) ExpectDisconnect(code mqtt.ReasonCode) mqtt.Disconnect {
	c.tb.Helper()
	p := c.Expect(&mqtt.Disconnect{}).(*mqtt.Disconnect)
	if p.Code != code {
		c.tb.Fatalf("got %s, want %v", describe(p), code)
	}
	c.expectEnd()
	return *p
}

// Disconnect sends DISCONNECT and closes the connection.
func (c *Client) Disconnect() {
	c.tb.Helper()
	c.Send(&mqtt.Disconnect{})
	c.Close()
}

// Close closes the connection without DISCONNECT, as a lost one would be.
func (c *Client) Close() { _ = c.conn.Close() }
