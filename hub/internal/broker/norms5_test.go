package broker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
)

// A client that cannot be told that it is connected is not told that it is disconnected either: DISCONNECT comes after a
// CONNACK that accepts, or not at all [MQTT-3.14.0-1]. [MQTT-3.1.2-24]
func TestNoDisconnectBeforeConnAck(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	for size := uint32(1); size <= 20; size++ {
		c := h.dial()
		c.Send(mqtt.Connect{Version: mqtt.V5, ClientID: "pump", CleanStart: true, Username: "t", HasUsername: true, MaximumPacketSize: size})
		_ = c.Conn().SetReadDeadline(time.Now().Add(mqtttest.Timeout))
		var b [100]byte
		n, err := c.Conn().Read(b[:])
		switch {
		case n > 0 && b[0] != 0x20:
			t.Errorf("size %d: got %x", size, b[:n])
		case n > int(size):
			t.Errorf("size %d: got %d bytes", size, n)
		case n == 0 && err == nil:
			t.Errorf("size %d: got nothing", size)
		}
		c.Close()
	}
}

// What a client has not asked for it does not get: response information [MQTT-3.1.2-28], an authentication method
// [MQTT-4.12.0-6]. Without a server's keep-alive the client's counts [MQTT-3.2.2-22], see TestKeepAlive.
func TestNothingUnasked(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	h.plain.grant = func(g *core.Grant) { g.Profile.ResponseInformation = "reply/" }
	for _, asked := range []bool{false, true} {
		_, ack := h.connect5(mqtt.Connect{ClientID: "c", CleanStart: true, KeepAlive: 20, RequestResponseInformation: asked})
		if (ack.ResponseInformation != "") != asked || ack.AuthMethod.Present || ack.AuthData != nil || ack.ServerKeepAlive.Present {
			t.Errorf("asked %v: got %+v", asked, ack)
		}
	}
}

// A window that is full holds back messages at QoS 1 and 2, and nothing else: [MQTT-3.3.4-10] [MQTT-4.9.0-3]. It begins anew
// with the connection [MQTT-4.9.0-1], and an acknowledgement makes room for one message [MQTT-4.9.0-2].
func TestFullWindowHoldsBackMessagesOnly(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	for _, expiry := range []uint32{0, 60} {
		c, _ := h.connect5(mqtt.Connect{ClientID: "c", CleanStart: true, SessionExpiry: expiry, ReceiveMaximum: 1})
		c.Subscribe("a", 2)
		for _, payload := range []string{"1", "2", "3"} {
			h.publish("a", 2, payload)
		}
		m := c.ReceivePublish()
		c.Subscribe("b", 1)
		c.Unsubscribe("b")
		c.Publish("c", 1, nil)
		c.Publish("c", 2, nil)
		h.publish("a", 0, "at once")
		if q0 := c.ReceivePublish(); string(q0.Payload) != "at once" {
			t.Errorf("got %+v", q0)
		}
		c.Send(mqtt.Ack{Type: mqtt.TypePubRec, ID: m.ID})
		c.Expect(mqtt.Ack{Type: mqtt.TypePubRel, ID: m.ID})
		c.ExpectNothing() // PUBREC makes no room
		c.Send(mqtt.Ack{Type: mqtt.TypePubComp, ID: m.ID})
		m = c.ReceivePublish()
		if string(m.Payload) != "2" {
			t.Errorf("got %+v", m)
		}
		c.ExpectNothing()
		c.Send(mqtt.Ack{Type: mqtt.TypePubRec, ID: m.ID, Code: mqtt.ReasonUnspecified}) // this does
		if m := c.ReceiveMessage(); string(m.Payload) != "3" {
			t.Errorf("got %+v", m)
		}
		c.ExpectNothing()
		c.Disconnect()
	}
}

// What has been sent once does not expire any more [MQTT-4.3.3-7]; and an incoming exchange is completed, whatever has become
// of its message [MQTT-4.3.3-13].
func TestExpiryDoesNotBreakExchanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHub(t, t.TempDir(), Config{})
		hello := mqtt.Connect{ClientID: "c", SessionExpiry: 3600}
		c, _ := h.connect5(hello)
		c.Subscribe("a", 2)
		pub, _ := h.connect5(mqtt.Connect{ClientID: "pub", CleanStart: true})
		brief := mqtt.Publish{Topic: []byte("a"), QoS: 2, MessageExpiry: mqtt.Some(uint32(10))}
		pub.PublishWith(brief)
		pub.PublishWith(brief)
		one, two := c.ReceivePublish(), c.ReceivePublish()
		c.Send(mqtt.Ack{Type: mqtt.TypePubRec, ID: one.ID})
		c.Expect(mqtt.Ack{Type: mqtt.TypePubRel, ID: one.ID})
		c.Close()
		synctest.Wait()
		pub.PublishWith(brief) // never sent
		later(time.Minute)
		c, _ = h.connect5(hello)
		c.Expect(mqtt.Ack{Type: mqtt.TypePubRel, ID: one.ID}) // [MQTT-4.3.3-5] [MQTT-4.3.3-6]
		c.Send(mqtt.Ack{Type: mqtt.TypePubComp, ID: one.ID})
		if m := c.ReceivePublish(); m.ID != two.ID || !m.Dup {
			t.Errorf("got %+v, want %+v again", m, two)
		}
		c.Acknowledge(two)
		c.ExpectNothing()

		brief.ID = 7
		c.Send(brief)
		c.Expect(mqtt.Ack{Type: mqtt.TypePubRec, ID: 7})
		later(time.Minute)
		c.Send(mqtt.Ack{Type: mqtt.TypePubRel, ID: 7})
		if got := c.Expect(mqtt.Ack{Type: mqtt.TypePubComp, ID: 7}).(*mqtt.Ack).Code; got != mqtt.ReasonSuccess {
			t.Errorf("got %v", got)
		}
	})
}
