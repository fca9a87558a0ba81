package broker

import (
	"bytes"
	"fmt"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

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

// Where a platform keeps sessions of MQTT 5 apart, they are not resumed by older versions, nor theirs by MQTT 5, also over a
// restart. MQTT 3.1 and 3.1.1 are one.
func TestSeparateSessions(t *testing.T) {
	for _, separate := range []bool{false, true} {
		for _, restart := range []bool{false, true} {
			dir := t.TempDir()
			h := startHub(t, dir, Config{})
			profile := func(g *core.Grant) { g.Profile.SeparateSessions = separate }
			h.plain.grant = profile
			before := mqtt.Version(0)
			for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5, mqtt.V5, mqtt.V311, mqtt.V31, mqtt.V5} {
				c := h.dial()
				ack := c.Connect(mqtt.Connect{Version: v, ClientID: "pump", Username: "t", HasUsername: true, SessionExpiry: expiryOfVersion(v)})
				want := before != 0 && (!separate || (before == mqtt.V5) == (v == mqtt.V5))
				if v != mqtt.V31 && ack.SessionPresent != want { // 3.1 does not say
					t.Errorf("separate %v, restart %v: %v after %v: present %v, want %v", separate, restart, v, before, ack.SessionPresent, want)
				}
				if got := h.publish("q", 1, "x"); (got == 1) != want {
					t.Errorf("separate %v, restart %v: %v after %v: a message reached %d", separate, restart, v, before, got)
				}
				if want {
					c.ReceiveMessage()
				}
				c.Subscribe("q", 1)
				c.Disconnect()
				eventually(t, "disconnection", func() bool { return h.broker.stats.Connections.Load() == 0 })
				if before = v; restart {
					h.stop()
					h = startHub(t, dir, Config{})
					h.plain.grant = profile
				}
			}
			h.stop()
		}
	}
}

// expiryOfVersion is the session expiry interval to ask for, where the version has one.
func expiryOfVersion(v mqtt.Version) uint32 {
	if v == mqtt.V5 {
		return 600
	}
	return 0
}
