package broker

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

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
