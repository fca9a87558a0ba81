package broker

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// Statements of 3.1.1: [MQTT-3.3.4-1].
func TestPublishIsStoredBeforeItIsAcknowledged(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	c, _ := h.connect("pump", true)
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release)
	h.store.mu.Lock()
	h.store.hold = hold
	h.store.mu.Unlock()
	c.Send(mqtt.Publish{QoS: 1, ID: 1, Topic: []byte("a"), Payload: []byte("1")})
	c.Send(mqtt.Publish{QoS: 2, ID: 2, Topic: []byte("a"), Payload: []byte("2")})
	c.Conn().SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	var one [1]byte
	if n, err := c.Conn().Read(one[:]); n != 0 || err == nil {
		t.Fatal("acknowledged before the commit")
	}
	c.Conn().SetReadDeadline(time.Time{})
	h.store.mu.Lock()
	h.store.hold = nil
	h.store.mu.Unlock()
	release()
	c.Expect(mqtt.Ack{Type: mqtt.TypePubAck, ID: 1})
	c.Expect(mqtt.Ack{Type: mqtt.TypePubRec, ID: 2})
	want := []entry{{"a", "1"}, {"a", "2"}}
	if d := cmp.Diff(want, h.received("pump")); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestQoS2IsHandedOnOnce(t *testing.T) {
	for _, clean := range []bool{true, false} {
		h := startHub(t, t.TempDir(), Config{})
		c, _ := h.connect("pump", clean)
		p := mqtt.Publish{QoS: 2, ID: 7, Topic: []byte("a"), Payload: []byte("1")}
		c.Send(p)
		c.Expect(mqtt.Ack{Type: mqtt.TypePubRec, ID: 7})
		p.Dup = true
		c.Send(p) // [MQTT-4.3.3-2]
		c.Expect(mqtt.Ack{Type: mqtt.TypePubRec, ID: 7})
		c.Send(mqtt.Ack{Type: mqtt.TypePubRel, ID: 7})
		c.Expect(mqtt.Ack{Type: mqtt.TypePubComp, ID: 7})
		c.Send(mqtt.Ack{Type: mqtt.TypePubRel, ID: 7}) // the answer was missed
		c.Expect(mqtt.Ack{Type: mqtt.TypePubComp, ID: 7})
		p.Dup = false
		c.Send(p) // the identifier is free: a new message
		c.Expect(mqtt.Ack{Type: mqtt.TypePubRec, ID: 7})
		if got := len(h.received("pump")); got != 2 {
			t.Errorf("clean %v: got %d messages, want 2", clean, got)
		}
	}
}

// A DUP PUBLISH with an unknown packet id on a new session is ordinary: the official Astarte SDK for Python repeats
// what was not completed on its next connection, although that one asks for a clean session.
func TestQuirkDupOnNewSession(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	c, _ := h.connect("pump", true)
	c.Send(mqtt.Publish{Dup: true, QoS: 2, ID: 9, Topic: []byte("a"), Payload: []byte("1")})
	c.Expect(mqtt.Ack{Type: mqtt.TypePubRec, ID: 9})
	if got := len(h.received("pump")); got != 1 {
		t.Errorf("got %d messages, want 1", got)
	}
}

// Statements of 3.1.1: [MQTT-3.3.2-3] [MQTT-3.3.5-1]; of 5: [MQTT-3.3.2-3].
func TestDeliveryToSubscribers(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	a, _ := h.connect("a", true)
	b, _ := h.connect("b", true)
	if got := a.Subscribe("x/+", 1); got != 1 {
		t.Fatalf("granted %d, want 1", got)
	}
	a.Subscribe("x/#", 2) // overlapping: delivered once, with the highest QoS
	b.Subscribe("x/1", 0)
	if got := h.publish("x/1", 2, "hello"); got != 2 {
		t.Errorf("reached %d, want 2", got)
	}
	if m := a.ReceiveMessage(); m.QoS != 2 || string(m.Payload) != "hello" || string(m.Topic) != "x/1" {
		t.Errorf("a got %+v", m)
	}
	if m := b.ReceiveMessage(); m.QoS != 0 || m.ID != 0 {
		t.Errorf("b got %+v", m)
	}
	a.ExpectNothing()
	b.Publish("x/2", 1, []byte("from b"))
	if m := a.ReceiveMessage(); string(m.Payload) != "from b" {
		t.Errorf("a got %+v", m)
	}
	a.Unsubscribe("x/+", "x/#")
	if got := h.publish("x/2", 1, "nobody"); got != 0 {
		t.Errorf("reached %d, want 0", got)
	}
	a.ExpectNothing()
}

func TestDeliveryToOneSessionOnly(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	a, _ := h.connect("a", true)
	b, _ := h.connect("b", true)
	a.Subscribe("x", 1)
	b.Subscribe("x", 1)
	key := core.SessionKey{Tenant: "t", Dialect: "plain", ClientID: "b"}
	for _, c := range []struct {
		key  core.SessionKey
		top  string
		want bool
	}{{key, "x", true}, {key, "y", false}, {core.SessionKey{Tenant: "u", Dialect: "plain", ClientID: "b"}, "x", false}} {
		h.do(func(tx *commit.Tx) error {
			got, err := h.broker.PublishTo(tx, c.key, core.Message{Topic: c.top, QoS: 1})
			if got != c.want {
				t.Errorf("%v %s: got %v, want %v", c.key, c.top, got, c.want)
			}
			return err
		})
	}
	b.ReceiveMessage()
	a.ExpectNothing()
	b.ExpectNothing()
}

// A platform's answer comes to who asked, subscribed or not, and to nobody else.
func TestSendTo(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	a, _ := h.connect("a", true)
	b, _ := h.connect("b", true)
	a.Subscribe("#", 1)
	b.Subscribe("x", 1)
	key := core.SessionKey{Tenant: "t", Dialect: "plain", ClientID: "b"}
	for _, c := range []struct {
		key  core.SessionKey
		top  string
		want bool
	}{{key, "x", true}, {key, "y", true}, {core.SessionKey{Tenant: "t", Dialect: "plain", ClientID: "c"}, "x", false}} {
		h.do(func(tx *commit.Tx) error {
			got, err := h.broker.SendTo(tx, c.key, core.Message{Topic: c.top, QoS: 1})
			if got != c.want {
				t.Errorf("%v %s: got %v, want %v", c.key, c.top, got, c.want)
			}
			return err
		})
	}
	if m := b.ReceiveMessage(); string(m.Topic) != "x" || m.QoS != 1 {
		t.Errorf("got %+v, want QoS 1, as b subscribed", m)
	}
	if m := b.ReceiveMessage(); string(m.Topic) != "y" || m.QoS != 0 {
		t.Errorf("got %+v, want QoS 0", m)
	}
	a.ExpectNothing()
	b.ExpectNothing()
}

// Statements of 3.1.1: [MQTT-3.1.3-2]; of 5: [MQTT-3.1.3-2].
func TestTenantsDoNotMeet(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	a, _ := h.connect("same", false)
	a.Subscribe("#", 1)
	b := h.dial()
	if b.Connect(mqtt.Connect{Version: mqtt.V311, ClientID: "same", Username: "u", HasUsername: true}).SessionPresent {
		t.Error("found the session of another tenant")
	}
	b.Subscribe("#", 1)
	b.Publish("x", 1, []byte("secret"))
	b.ReceiveMessage() // its own
	a.ExpectNothing()  // and was not taken over
}

// Statements of 3.1.1: [MQTT-3.1.2-4] [MQTT-3.1.2-5] [MQTT-3.1.2-6] [MQTT-3.1.3-2] [MQTT-3.1.4-3] [MQTT-3.2.2-1]
// [MQTT-3.2.2-2] [MQTT-3.2.2-3] [MQTT-4.1.0-1] [MQTT-4.5.0-1].
func TestSessionStays(t *testing.T) {
	dir := t.TempDir()
	h := startHub(t, dir, Config{})
	c, present := h.connect("pump", false)
	if present {
		t.Error("a session was there before the first connection")
	}
	c.Subscribe("cmd/#", 2)
	c.Close()
	eventually(t, "disconnection", func() bool { return h.broker.stats.Connections.Load() == 0 })
	for i := range 300 { // more than a refill brings
		if got := h.publish("cmd/x", byte(i%3), fmt.Sprint(i)); got != 1 && i%3 > 0 {
			t.Fatalf("message %d reached %d sessions, want 1", i, got)
		}
	}
	h.stop()

	h = startHub(t, dir, Config{})
	if got := h.publish("cmd/x", 1, "last"); got != 1 {
		t.Fatalf("after the restart a message reached %d sessions, want 1", got)
	}
	c, present = h.connect("pump", false)
	if !present {
		t.Error("the session did not survive the restart")
	}
	var want []string
	for i := range 300 {
		if i%3 > 0 {
			want = append(want, fmt.Sprint(i))
		}
	}
	want = append(want, "last")
	for i, w := range want {
		if m := c.ReceiveMessage(); string(m.Payload) != w {
			t.Fatalf("message %d: got %s, want %s", i, m.Payload, w)
		}
	}
	c.ExpectNothing()
	h.publish("cmd/x", 1, "live")
	if m := c.ReceiveMessage(); string(m.Payload) != "live" || m.Dup {
		t.Errorf("got %+v", m)
	}
	c.Disconnect()
	eventually(t, "disconnection", func() bool { return h.broker.stats.Connections.Load() == 0 })
	c, present = h.connect("pump", true) // clean: all is forgotten
	if present {
		t.Error("session present after a clean start")
	}
	c.Disconnect()
	eventually(t, "disconnection", func() bool { return h.broker.stats.Connections.Load() == 0 })
	if _, present = h.connect("pump", false); present {
		t.Error("session present after a clean session")
	}
}

// Statements of 3.1.1: [MQTT-2.3.1-4] [MQTT-3.2.0-1] [MQTT-3.3.1-1] [MQTT-4.1.0-1] [MQTT-4.3.3-1] [MQTT-4.4.0-1]; of
// 5: [MQTT-3.3.1-1] [MQTT-4.3.3-5] [MQTT-4.3.3-6].
func TestQueuedMessagesOverAReconnection(t *testing.T) {
	dir := t.TempDir()
	h := startHub(t, dir, Config{})
	c, _ := h.connect("pump", false)
	c.Subscribe("q", 2)
	h.publish("q", 2, "released")
	h.publish("q", 2, "received")
	h.publish("q", 1, "sent")
	first, second, third := c.ReceivePublish(), c.ReceivePublish(), c.ReceivePublish()
	if first.Dup || second.Dup || third.Dup {
		t.Error("DUP on a first delivery")
	}
	c.Send(mqtt.Ack{Type: mqtt.TypePubRec, ID: first.ID})
	c.Expect(mqtt.Ack{Type: mqtt.TypePubRel, ID: first.ID})
	c.Close()
	for range 2 { // the second time over a restart of the hub
		c, _ = h.connect("pump", false)
		c.Expect(mqtt.Ack{Type: mqtt.TypePubRel, ID: first.ID})
		if m := c.ReceivePublish(); m.ID != second.ID || !m.Dup || string(m.Payload) != "received" {
			t.Errorf("got %+v, want the second message again with its id %d", m, second.ID)
		}
		if m := c.ReceivePublish(); m.ID != third.ID || !m.Dup {
			t.Errorf("got %+v, want the third message again", m)
		}
		c.ExpectNothing()
		h.stop()
		h = startHub(t, dir, Config{})
	}
	c, _ = h.connect("pump", false)
	c.Expect(mqtt.Ack{Type: mqtt.TypePubRel, ID: first.ID})
	c.Send(mqtt.Ack{Type: mqtt.TypePubComp, ID: first.ID})
	c.Send(mqtt.Ack{Type: mqtt.TypePubRec, ID: second.ID})
	c.Expect(mqtt.Ack{Type: mqtt.TypePubRel, ID: second.ID})
	c.Send(mqtt.Ack{Type: mqtt.TypePubComp, ID: second.ID})
	c.Send(mqtt.Ack{Type: mqtt.TypePubAck, ID: third.ID})
	c.Ping()
	c.Close()
	c, _ = h.connect("pump", false)
	c.ExpectNothing()
}

// Statements of 3.1.1: [MQTT-4.1.0-1] [MQTT-4.3.3-2].
func TestIncomingQoS2OverARestart(t *testing.T) {
	dir := t.TempDir()
	h := startHub(t, dir, Config{})
	c, _ := h.connect("pump", false)
	p := mqtt.Publish{QoS: 2, ID: 3, Topic: []byte("a"), Payload: []byte("1")}
	c.Send(p)
	c.Expect(mqtt.Ack{Type: mqtt.TypePubRec, ID: 3})
	h.stop()
	h = startHub(t, dir, Config{})
	c, _ = h.connect("pump", false)
	p.Dup = true
	c.Send(p)
	c.Expect(mqtt.Ack{Type: mqtt.TypePubRec, ID: 3})
	if got := len(h.received("pump")); got != 1 {
		t.Errorf("got %d messages, want 1", got)
	}
	c.Send(mqtt.Ack{Type: mqtt.TypePubRel, ID: 3})
	c.Expect(mqtt.Ack{Type: mqtt.TypePubComp, ID: 3})
	h.stop()
	h = startHub(t, dir, Config{})
	c, _ = h.connect("pump", false)
	c.Send(p) // the identifier was freed for good: this is a new message
	c.Expect(mqtt.Ack{Type: mqtt.TypePubRec, ID: 3})
	if got := len(h.received("pump")); got != 2 {
		t.Errorf("got %d messages, want 2", got)
	}
}

// Statements of 3.1.1: [MQTT-3.1.4-2].
func TestTakeover(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	a, _ := h.connect("pump", false)
	a.Subscribe("q", 1)
	b, present := h.connect("pump", false)
	if !present {
		t.Error("session not present")
	}
	a.ExpectClosed()
	h.publish("q", 1, "for b")
	if m := b.ReceiveMessage(); string(m.Payload) != "for b" {
		t.Errorf("got %+v", m)
	}
	want := []string{"connected pump", "disconnected pump: session taken over", "connected pump"}
	if d := cmp.Diff(want, h.plain.logged()); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// Statements of 3.1.1: [MQTT-3.1.2-10] [MQTT-3.14.4-1] [MQTT-3.14.4-3].
func TestWill(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	watcher, _ := h.connect("watcher", true)
	watcher.Subscribe("will/#", 1)
	connect := func(id string, keepAlive uint16) *sender {
		c := h.dial()
		c.Connect(mqtt.Connect{
			Version: mqtt.V311, ClientID: id, CleanStart: true, Username: "t", HasUsername: true, KeepAlive: keepAlive,
			Will: &mqtt.Will{Topic: "will/" + id, Payload: []byte("gone"), QoS: 1},
		})
		return &sender{c.Conn()}
	}
	connect("lost", 0).c.Close()
	if m := watcher.ReceiveMessage(); string(m.Topic) != "will/lost" {
		t.Errorf("got %+v", m)
	}
	silent := connect("silent", 1)
	if m := watcher.ReceiveMessage(); string(m.Topic) != "will/silent" { // [MQTT-3.1.2-24]
		t.Errorf("got %+v", m)
	}
	silent.c.Close()
	broken := connect("broken", 0)
	broken.c.Write([]byte{0x00, 0x00})
	if m := watcher.ReceiveMessage(); string(m.Topic) != "will/broken" {
		t.Errorf("got %+v", m)
	}
	connect("double", 0)
	double, _ := h.connect("double", true) // [MQTT-3.1.2-8]: taking over ends the older one without DISCONNECT
	if m := watcher.ReceiveMessage(); string(m.Topic) != "will/double" {
		t.Errorf("got %+v", m)
	}
	double.Disconnect()
	polite := connect("polite", 0)
	polite.c.Write([]byte{0xe0, 0x00})
	eventually(t, "goodbye", func() bool {
		return slices.Contains(h.plain.logged(), "disconnected polite: client disconnected")
	})
	watcher.ExpectNothing()
	if got := len(h.received("lost")); got != 1 {
		t.Errorf("the dialect saw %d wills, want 1", got)
	}
}

// What a client sent before another connection took its session over counts, QoS 0 included; a client that goes on
// sending does not keep the session.
func TestTakeoverLosesNothing(t *testing.T) {
	for _, clean := range []bool{true, false} {
		h := startHub(t, t.TempDir(), Config{})
		h.plain.sink = true
		watcher, _ := h.connect("watcher", true)
		watcher.Subscribe("a", 0)
		for range 5 {
			a, _ := h.connect("pump", clean)
			var b []byte
			for range 200 {
				b = (&mqtt.Publish{Topic: []byte("a"), Payload: bytes.Repeat([]byte("x"), 100)}).Append(b, mqtt.V311)
			}
			a.SendBytes(b)
			next, _ := h.connect("pump", clean)
			next.Publish("a", 0, []byte("last"))
			for n := 0; ; n++ {
				if m := watcher.ReceivePublish(); string(m.Payload) == "last" {
					if n != 200 {
						t.Errorf("clean %v: %d messages came before the new connection's, want 200", clean, n)
					}
					break
				}
			}
			next.Disconnect()
		}
		a, _ := h.connect("pump", clean)
		go func() {
			b := (&mqtt.Publish{Topic: []byte("b")}).Append(nil, mqtt.V311)
			for {
				if _, err := a.Conn().Write(b); err != nil {
					return
				}
			}
		}()
		h.connect("pump", clean)
	}
}

type sender struct{ c net.Conn }

// Statements of 3.1.1: [MQTT-3.1.3-7] [MQTT-3.1.3-9] [MQTT-3.2.2-5].
func TestRefusals(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	connect := mqtt.Connect{Version: mqtt.V311, ClientID: "x", CleanStart: true, Username: "t", HasUsername: true}
	for _, kind := range core.Kinds {
		h.plain.refuse = fmt.Errorf("no: %w", kind)
		c := h.dial()
		if got := c.TryConnect(connect).Code; got == 0 || got == mqtt.ConnAckNotAuthorized != (kind == core.ErrDenied || kind == core.ErrNotFound || kind == core.ErrConflict) ||
			got == mqtt.ConnAckBadClientID != (kind == core.ErrInvalid) {
			t.Errorf("%v: code %d", kind, got)
		}
		c.ExpectClosed()
	}
	h.plain.refuse = nil
	c := h.dial()
	if got := c.TryConnect(mqtt.Connect{Version: mqtt.V311, ClientID: "x", CleanStart: true}).Code; got != mqtt.ConnAckNotAuthorized {
		t.Errorf("nobody's connection: code %d", got)
	}
	c = h.dial()
	if got := c.TryConnect(mqtt.Connect{Version: mqtt.V311, Username: "t", HasUsername: true}).Code; got != mqtt.ConnAckBadClientID {
		t.Errorf("[MQTT-3.1.3-8] code %d", got)
	}
	c.ExpectClosed()
	for name, b := range map[string][]byte{ // [MQTT-3.1.2-2]
		"unknown version":          {0x10, 0x0c, 0, 4, 'M', 'Q', 'T', 'T', 9, 2, 0, 60, 0, 0},
		"3.1.1 by the name of 3.1": {0x10, 0x0f, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 4, 2, 0, 60, 0, 1, 'x'},
	} {
		c = h.dial()
		c.SendBytes(b)
		if got := c.Expect(mqtt.ConnAck{}).(*mqtt.ConnAck).Code; got != mqtt.ConnAckBadVersion {
			t.Errorf("%s: code %d", name, got)
		}
		c.ExpectClosed()
	}
	for name, b := range map[string][]byte{
		"not CONNECT": {0xc0, 0}, "no MQTT": []byte("GET / HTTP/1.1\r\n\r\n"), "huge": {0x10, 0xff, 0xff, 0xff, 0x7f},
	} {
		c := h.dial()
		c.SendBytes(b)
		c.ExpectClosed()
		_ = name
	}
}

// A client may send on without waiting for CONNACK (3.1.1 and 5, section 3.1.4); CONNACK [MQTT-3.1.4-4] [MQTT-3.1.4-5] comes
// first all the same [MQTT-3.2.0-1]. [MQTT-3.12.4-1]
func TestPacketsRightBehindConnect(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	for i := range 100 {
		c := h.dial()
		b := (&mqtt.Connect{Version: mqtt.V311, ClientID: fmt.Sprint(i), CleanStart: i%2 == 0, Username: "t", HasUsername: true}).Append(nil, mqtt.V311)
		b = mqtt.AppendPingReq(b)
		b = (&mqtt.Publish{QoS: 1, ID: 1, Topic: []byte("a")}).Append(b, mqtt.V311)
		c.SendBytes(b)
		if p, ok := c.Receive().(*mqtt.ConnAck); !ok {
			t.Fatalf("first packet is %T, want CONNACK", p)
		}
		c.Expect(mqtt.PingResp{})
		c.Expect(mqtt.Ack{Type: mqtt.TypePubAck, ID: 1})
		c.Disconnect()
	}
}

// Statements of 5: [MQTT-3.2.0-2].
func TestSecondConnectIsAViolation(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	c, _ := h.connect("pump", true)
	c.Send(mqtt.Connect{Version: mqtt.V311, ClientID: "pump", CleanStart: true}) // [MQTT-3.1.0-2]
	c.ExpectClosed()
}

func TestGrantIsEnforced(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	h.plain.grant = func(g *core.Grant) {
		g.Profile.CloseOnForbidden = true
		g.Publish, g.Subscribe = []string{"up/#"}, []string{"down/#"}
		g.Limits.MaxPacketBytes, g.Limits.MaxFilters = 100, 2
	}
	c, _ := h.connect("pump", true)
	for _, f := range []struct {
		filter string
		want   byte
	}{{"down/a", 1}, {"up/a", mqtt.SubAckFailure}, {"#", mqtt.SubAckFailure}, {"down/#", 1}, {"down/c", mqtt.SubAckFailure}, {"down/a", 1}} {
		if got := c.Subscribe(f.filter, 1); got != f.want {
			t.Errorf("subscribe %s: got %d, want %d", f.filter, got, f.want)
		}
	}
	c.Publish("up/x", 1, nil)
	c.Send(mqtt.Publish{QoS: 1, ID: 5, Topic: []byte("down/a")})
	c.ExpectClosed() // without an acknowledgement
	c, _ = h.connect("pump", true)
	c.Send(mqtt.Publish{QoS: 1, ID: 5, Topic: []byte("up/x"), Payload: make([]byte, 100)})
	c.ExpectClosed()
	if got := len(h.received("pump")); got != 1 {
		t.Errorf("got %d messages, want 1", got)
	}
}

func TestDialectRefusesAMessage(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	c, _ := h.connect("pump", true)
	c.Send(mqtt.Publish{QoS: 1, ID: 1, Topic: []byte("a")})
	c.Send(mqtt.Publish{QoS: 1, ID: 2, Topic: []byte("close")})
	c.Expect(mqtt.Ack{Type: mqtt.TypePubAck, ID: 1})
	c.ExpectClosed()
}

// What was not completed before a disconnection is repeated by the official Astarte SDK on every later connection, so
// the exchange of the offending message is completed first.
func TestQuirkKickAfterPubComp(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	c, _ := h.connect("pump", false)
	c.Subscribe("q", 1)
	c.Send(mqtt.Publish{QoS: 2, ID: 1, Topic: []byte("kick")})
	c.Expect(mqtt.Ack{Type: mqtt.TypePubRec, ID: 1})
	c.Publish("a", 1, []byte("meanwhile")) // is accepted
	c.Send(mqtt.Ack{Type: mqtt.TypePubRel, ID: 1})
	c.Expect(mqtt.Ack{Type: mqtt.TypePubComp, ID: 1})
	c.ExpectClosed()
	if got := h.publish("q", 1, "x"); got != 0 {
		t.Error("a wiped session took a message")
	}
	c, present := h.connect("pump", false)
	if present {
		t.Error("a wiped session is present")
	}
	c.Send(mqtt.Publish{QoS: 1, ID: 1, Topic: []byte("kick")})
	c.Expect(mqtt.Ack{Type: mqtt.TypePubAck, ID: 1})
	c.ExpectClosed()
	c, _ = h.connect("pump", false)
	c.Send(mqtt.Publish{Topic: []byte("kick")})
	c.ExpectClosed()
	if got := len(h.received("pump")); got != 1 {
		t.Errorf("got %d messages, want 1", got)
	}
}

func TestOrderlyStopEndsConnections(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	c, _ := h.connect("pump", true)
	idle, _ := h.connect("idle", true)
	c.Publish("a", 1, nil)
	go h.stop()
	c.ExpectClosed()
	idle.ExpectClosed()
	h.stop()
}

// Statements of 3.1.1: [MQTT-4.8.0-2].
func TestDiskRefuses(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	c, _ := h.connect("pump", false)
	c.Subscribe("q", 1)
	h.store.refuse(fmt.Errorf("disk full: %w", core.ErrStorage))
	c.Send(mqtt.Publish{QoS: 1, ID: 1, Topic: []byte("a"), Payload: []byte("1")})
	c.ExpectClosed() // and no acknowledgement
	d := h.dial()
	if got := d.TryConnect(mqtt.Connect{Version: mqtt.V311, ClientID: "pump", Username: "t", HasUsername: true}).Code; got != mqtt.ConnAckUnavailable {
		t.Errorf("code %d, want %d", got, mqtt.ConnAckUnavailable)
	}
	h.store.refuse(nil)
	eventually(t, "the session is given up when the disk is well again", func() bool {
		return slices.ContainsFunc(h.plain.logged(), func(s string) bool { return strings.HasPrefix(s, "disconnected pump") })
	})
	c, present := h.connect("pump", false)
	if !present {
		t.Error("session lost")
	}
	c.Publish("a", 1, []byte("2"))
	if d := cmp.Diff([]entry{{"a", "2"}}, h.received("pump")); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	h.publish("q", 1, "x")
	c.ReceiveMessage()
}

func TestSlowClientCostsOthersNothing(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{Limits: core.Limits{MaxQueued: 50, MaxQueuedBytes: 1 << 20}, WriteTimeout: 500 * time.Millisecond})
	slow, _ := h.connect("slow", true)
	fast, _ := h.connect("fast", true)
	slow.Subscribe("x", 1)
	fast.Subscribe("x", 1)
	payload := string(bytes.Repeat([]byte("x"), 60_000))
	for range 400 { // 24 MB: more than socket buffers, window and queue hold
		if got := h.publish("x", 1, payload); got == 0 {
			t.Fatal("nobody took the message")
		}
		fast.ReceiveMessage()
	}
	if h.broker.stats.Dropped.Load() == 0 && h.broker.stats.Connections.Load() == 2 {
		t.Error("nothing was dropped and nobody closed")
	}
}

// PUBREL right behind PUBLISH: PUBCOMP must not overtake the commit.
func TestPubCompWaitsForTheCommit(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	for _, clean := range []bool{true, false} {
		c, _ := h.connect(fmt.Sprint("pump-", clean), clean)
		b := (&mqtt.Publish{QoS: 2, ID: 1, Topic: []byte("a")}).Append(nil, mqtt.V311)
		b = (&mqtt.Ack{Type: mqtt.TypePubRel, ID: 1}).Append(b, mqtt.V311)
		b = (&mqtt.Ack{Type: mqtt.TypePubRel, ID: 1}).Append(b, mqtt.V311)
		c.SendBytes(b)
		for _, want := range []mqtt.Type{mqtt.TypePubRec, mqtt.TypePubComp, mqtt.TypePubComp} {
			if p, ok := c.Receive().(*mqtt.Ack); !ok || p.Type != want {
				t.Fatalf("clean %v: got %+v, want %v", clean, p, want)
			}
		}
		h.store.refuse(fmt.Errorf("disk full: %w", core.ErrStorage))
		c.SendBytes(b)
		c.ExpectClosed() // and no PUBCOMP
		h.store.refuse(nil)
	}
}

// The window is bounded in bytes too: a large queue is delivered, not taken for a slow client.
func TestLargeMessagesAreDelivered(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	for _, clean := range []bool{false, true} {
		c, _ := h.connect("pump", clean)
		c.Subscribe("q", 2)
		payload := strings.Repeat("x", 900_000)
		const n = 12
		if !clean {
			c.Close()
			eventually(t, "disconnection", func() bool { return h.broker.stats.Connections.Load() == 0 })
		}
		for i := range n {
			if h.publish("q", byte(1+i%2), fmt.Sprint(i, payload)) != 1 {
				t.Fatalf("message %d was not taken", i)
			}
		}
		if !clean {
			c, _ = h.connect("pump", false)
		}
		for i := range n {
			if m := c.ReceiveMessage(); !strings.HasPrefix(string(m.Payload), fmt.Sprint(i, "xxx")) {
				t.Fatalf("clean %v: message %d is %.20q", clean, i, m.Payload)
			}
		}
		c.ExpectNothing()
		c.Disconnect()
		eventually(t, "disconnection", func() bool { return h.broker.stats.Connections.Load() == 0 })
	}
}

func TestTopicTooLongForMQTT(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	c, _ := h.connect("pump", false)
	c.Subscribe("#", 1)
	for qos := range byte(3) {
		err := h.com.Do(t.Context(), func(tx *commit.Tx) error {
			_, err := h.broker.Publish(tx, "t", "plain", core.Message{Topic: strings.Repeat("x", 65_536), QoS: qos})
			return err
		})
		if !errors.Is(err, core.ErrTooLarge) {
			t.Errorf("QoS %d: got %v, want %v", qos, err, core.ErrTooLarge)
		}
	}
	h.publish("x", 1, "still here")
	c.ReceiveMessage()
}

// A message whose operation failed is not acknowledged.
func TestFailedOperationIsNotAcknowledged(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	c, _ := h.connect("pump", true)
	c.Send(mqtt.Publish{QoS: 1, ID: 1, Topic: []byte("fail")})
	c.ExpectClosed()
}

func TestLifetimeOfTheGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHub(t, t.TempDir(), Config{})
		h.plain.grant = func(g *core.Grant) { g.Lifetime = time.Hour }
		c, _ := h.connect("pump", true)
		later(59 * time.Minute)
		c.Ping()
		later(2 * time.Minute)
		if got := h.broker.stats.Connections.Load(); got != 0 {
			t.Errorf("%d connections, want 0", got)
		}
		c.ExpectClosed()
	})
}

func TestWillOutsideTheGrant(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	h.plain.grant = func(g *core.Grant) { g.Publish = []string{"up/#"} }
	c := h.dial()
	ack := c.TryConnect(mqtt.Connect{
		Version: mqtt.V311, ClientID: "x", CleanStart: true, Username: "t", HasUsername: true, Will: &mqtt.Will{Topic: "down"},
	})
	if ack.Code != mqtt.ConnAckNotAuthorized {
		t.Errorf("code %d, want %d", ack.Code, mqtt.ConnAckNotAuthorized)
	}
}

func TestFullQueueRefuses(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{Limits: core.Limits{MaxQueued: 5}})
	c, _ := h.connect("pump", false)
	c.Subscribe("q", 1)
	c.Close()
	eventually(t, "disconnection", func() bool { return h.broker.stats.Connections.Load() == 0 })
	for i := range 8 {
		if got, want := h.publish("q", 1, "x"), 1; i < 5 && got != want || i >= 5 && got != 0 {
			t.Errorf("message %d reached %d", i, got)
		}
	}
	if got := h.broker.stats.Dropped.Load(); got != 3 {
		t.Errorf("dropped: got %d, want 3", got)
	}
}

func TestWindowIsHonoured(t *testing.T) {
	for _, clean := range []bool{true, false} {
		h := startHub(t, t.TempDir(), Config{Limits: core.Limits{Inflight: 3}})
		c, _ := h.connect("pump", clean)
		c.Subscribe("q", 2)
		for i := range 1000 {
			h.publish("q", byte(1+i%2), fmt.Sprint(i))
		}
		var held []mqtt.Publish
		for range 3 {
			held = append(held, c.ReceivePublish())
		}
		c.ExpectNothing()
		for _, m := range held {
			c.Acknowledge(m)
		}
		for i := 3; i < 1000; i++ {
			if m := c.ReceiveMessage(); string(m.Payload) != fmt.Sprint(i) {
				t.Fatalf("clean %v: got %s, want %d", clean, m.Payload, i)
			}
		}
		c.ExpectNothing()
	}
}
