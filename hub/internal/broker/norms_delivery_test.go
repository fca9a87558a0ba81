package broker

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// [MQTT-3.3.1-3]: whether a message is a repetition is a matter between two ends. [MQTT-3.3.1-2] [MQTT-4.3.1-1]: at QoS 0
// it never is one.
func TestDupIsNotPassedOn(t *testing.T) {
	eachVersion(t, func(t *testing.T, h *testHub, v mqtt.Version) {
		c, _ := h.as(v, mqtt.Connect{ClientID: "pump", CleanStart: true})
		for want := range byte(3) {
			s, _ := h.as(v, mqtt.Connect{ClientID: "watcher", CleanStart: true})
			s.Subscribe("a", want)
			for qos := byte(1); qos <= 2; qos++ {
				c.PublishWith(mqtt.Publish{Topic: []byte("a"), QoS: qos, Dup: true})
				if m := s.ReceiveMessage(); m.Dup || m.QoS != min(qos, want) {
					t.Errorf("got %+v", m)
				}
			}
			s.Disconnect()
		}
	})
}

// [MQTT-3.8.4-6] [MQTT-3.8.4-8]: a message comes with its own QoS or the granted one, whichever is lower; retained ones too.
// Statements of 3.1.1: [MQTT-3.3.1-5].
func TestQoSIsTheLower(t *testing.T) {
	eachVersion(t, func(t *testing.T, h *testHub, v mqtt.Version) {
		for granted := range byte(3) {
			c, _ := h.as(v, mqtt.Connect{ClientID: fmt.Sprint("c", granted), CleanStart: true})
			if got := c.Subscribe(fmt.Sprint(granted, "/+"), granted); got != granted {
				t.Fatalf("granted %d, want %d", got, granted)
			}
			for qos := range byte(3) {
				c.PublishWith(mqtt.Publish{Topic: []byte(fmt.Sprint(granted, "/", qos)), QoS: qos, Retain: true, Payload: []byte("x")})
				if m := c.ReceiveMessage(); m.QoS != min(qos, granted) {
					t.Errorf("published with %d, granted %d: got %d", qos, granted, m.QoS)
				}
			}
			c.Subscribe(fmt.Sprint(granted, "/+"), granted)
			for range 3 {
				if m := c.ReceiveMessage(); m.QoS != min(m.Topic[2]-'0', granted) || !m.Retain {
					t.Errorf("retained, granted %d: got %+v", granted, m)
				}
			}
		}
	})
}

// One SUBACK [MQTT-3.8.4-1] with the packet's identifier [MQTT-3.8.4-2] answers all filters [MQTT-3.8.4-4], each with the
// QoS that was granted or a failure [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.8.4-7], in their order [MQTT-3.9.3-1].
// Statements of 3.1.1: [MQTT-2.3.1-7]; of 5: [MQTT-2.2.1-6].
func TestManyFiltersInOneSubscribe(t *testing.T) {
	eachVersion(t, func(t *testing.T, h *testHub, v mqtt.Version) {
		h.plain.grant = func(g *core.Grant) { g.Subscribe = []string{"ok/#"} }
		c, _ := h.as(v, mqtt.Connect{ClientID: "c", CleanStart: true})
		c.Send(mqtt.Subscribe{ID: 0xfffe, Subscriptions: []mqtt.Subscription{
			{Filter: "ok/2", QoS: 2}, {Filter: "no", QoS: 1}, {Filter: "ok/0", QoS: 0}, {Filter: "ok/1", QoS: 1}, {Filter: "ok/2", QoS: 0},
		}})
		failure := map[mqtt.Version]byte{mqtt.V31: 1, mqtt.V311: mqtt.SubAckFailure, mqtt.V5: byte(mqtt.ReasonNotAuthorized)}[v]
		ack := c.Receive().(*mqtt.SubAck)
		if want := []byte{2, failure, 0, 1, 0}; ack.ID != 0xfffe || !slices.Equal(ack.Codes, want) {
			t.Errorf("got %+v, want %d", ack, want)
		}
		c.ExpectNothing() // and no second answer
		for _, topic := range []string{"ok/0", "ok/1", "ok/2"} {
			h.publish(topic, 2, "")
			if m := c.ReceiveMessage(); m.QoS != map[string]byte{"ok/1": 1}[topic] { // the later one counts
				t.Errorf("got %+v", m)
			}
		}
	})
}

// [MQTT-3.10.4-1]: a filter is ended by its own characters only; [MQTT-3.10.4-2]: then nothing more comes by it. The answer
// [MQTT-3.10.4-4] has the packet's identifier, comes also where there was no such subscription [MQTT-3.10.4-5], and is one
// for all filters [MQTT-3.10.4-6], in their order [MQTT-3.11.3-1].
// Statements of 3.1.1: [MQTT-2.3.1-7]; of 5: [MQTT-2.2.1-6].
func TestUnsubscribe(t *testing.T) {
	eachVersion(t, func(t *testing.T, h *testHub, v mqtt.Version) {
		c, _ := h.as(v, mqtt.Connect{ClientID: "c", CleanStart: true})
		c.Subscribe("a/+", 1)
		c.Subscribe("a/b", 2)
		c.Send(mqtt.Unsubscribe{ID: 0xfffe, Filters: []string{"A/b", "a/b", "#", "a/#", "a/b/"}})
		ack := c.Receive().(*mqtt.Ack)
		none := mqtt.ReasonNoSubscriptionExisted
		if want := []mqtt.ReasonCode{none, 0, none, none, none}; ack.Type != mqtt.TypeUnsubAck || ack.ID != 0xfffe || v == mqtt.V5 && !slices.Equal(ack.Codes, want) {
			t.Errorf("got %+v", ack)
		}
		c.ExpectNothing()
		h.publish("a/b", 2, "")
		if m := c.ReceiveMessage(); m.QoS != 1 {
			t.Errorf("got %+v", m)
		}
		c.Unsubscribe("a/+")
		h.publish("a/b", 2, "")
		c.ExpectNothing()
		c.Unsubscribe("a/+")
	})
}

// [MQTT-3.10.4-3]: what has been sent before a subscription ends is brought to its end.
func TestUnsubscribeCompletesDelivery(t *testing.T) {
	eachVersion(t, func(t *testing.T, h *testHub, v mqtt.Version) {
		for _, clean := range []bool{true, false} {
			c, _ := h.as(v, mqtt.Connect{ClientID: "c", CleanStart: clean})
			c.Subscribe("a", 2)
			h.publish("a", 1, "")
			h.publish("a", 2, "")
			c.ReceivePublish()
			two := c.ReceivePublish()
			c.Unsubscribe("a")
			if !clean {
				c.Close()
				c, _ = h.as(v, mqtt.Connect{ClientID: "c"})
				if m := c.ReceivePublish(); m.QoS != 1 || !m.Dup {
					t.Errorf("got %+v", m)
				}
				if m := c.ReceivePublish(); m.ID != two.ID || !m.Dup {
					t.Errorf("got %+v", m)
				}
			}
			c.Acknowledge(two)
			c.ExpectNothing()
			c.Disconnect()
		}
	})
}

// [MQTT-2.3.1-4] [MQTT-2.2.1-4], [MQTT-4.3.2-1], [MQTT-4.3.3-1]: a message gets an identifier that no other one has which is
// still under way; a first sending is no repetition. [MQTT-2.3.1-1]: it is not 0. [MQTT-4.3.2-3] and [MQTT-4.3.3-3] of
// version 5: only the acknowledgement ends that.
// Statements of 5: [MQTT-4.3.2-2] [MQTT-4.3.3-2].
func TestIdentifiersUnderWayDiffer(t *testing.T) {
	for _, clean := range []bool{true, false} {
		h := startHub(t, t.TempDir(), Config{Limits: core.Limits{Inflight: 10}})
		for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
			c, _ := h.as(v, mqtt.Connect{ClientID: v.String(), CleanStart: clean})
			c.Subscribe("a", 2)
			var open []mqtt.Publish
			for i := range 200 {
				h.publish("a", byte(1+i%2), "")
				m := c.ReceivePublish()
				if m.ID == 0 || m.Dup || slices.ContainsFunc(open, func(o mqtt.Publish) bool { return o.ID == m.ID }) {
					t.Fatalf("message %d: got %+v, others are under way: %+v", i, m, open)
				}
				if open = append(open, m); len(open) == 10 {
					k := i * 7 % 10 // in any order
					c.Acknowledge(open[k])
					open = slices.Delete(open, k, k+1)
				}
			}
			c.Disconnect()
		}
	}
}

// An identifier is free as soon as the exchange is complete: after PUBACK [MQTT-4.3.2-2] [MQTT-4.3.2-5], after a refusal in
// PUBREC [MQTT-4.3.3-9], after PUBCOMP [MQTT-4.3.3-12]. Whatever DUP says, the next message is a new one. Until then the
// message is acknowledged again and not passed on [MQTT-4.3.3-10]. The answers [MQTT-3.3.4-1] have the identifier of what they
// answer: [MQTT-2.3.1-6] [MQTT-2.2.1-5], [MQTT-4.3.2-4], [MQTT-4.3.3-8], [MQTT-4.3.3-11].
// Statements of 3.1.1: [MQTT-2.3.1-3].
func TestIdentifiersAreFreed(t *testing.T) {
	eachVersion(t, func(t *testing.T, h *testHub, v mqtt.Version) {
		w, _ := h.as(v, mqtt.Connect{ClientID: "watcher", CleanStart: true})
		w.Subscribe("a", 0)
		c, _ := h.as(v, mqtt.Connect{ClientID: "c", CleanStart: true})
		send := func(qos byte, topic string, payload string, answer mqtt.Type) mqtt.ReasonCode {
			t.Helper()
			c.Send(mqtt.Publish{QoS: qos, ID: 7, Topic: []byte(topic), Dup: true, Payload: []byte(payload)})
			a, ok := c.Receive().(*mqtt.Ack)
			if !ok || a.Type != answer || a.ID != 7 {
				t.Fatalf("got %+v, want %v", a, answer)
			}
			return a.Code
		}
		send(1, "a", "1", mqtt.TypePubAck)
		send(1, "a", "2", mqtt.TypePubAck)
		if v == mqtt.V5 {
			if code := send(2, "quota", "", mqtt.TypePubRec); code != mqtt.ReasonQuotaExceeded {
				t.Errorf("got %v", code)
			}
		}
		send(2, "a", "3", mqtt.TypePubRec)
		send(2, "a", "not again", mqtt.TypePubRec)
		c.Send(mqtt.Ack{Type: mqtt.TypePubRel, ID: 7})
		c.Expect(mqtt.Ack{Type: mqtt.TypePubComp, ID: 7})
		send(2, "a", "4", mqtt.TypePubRec)
		for _, want := range []string{"1", "2", "3", "4"} {
			if m := w.ReceiveMessage(); string(m.Payload) != want {
				t.Errorf("got %q, want %q", m.Payload, want)
			}
		}
		w.ExpectNothing()
	})
}

// [MQTT-4.6.0-6], [MQTT-4.6.0-5]: messages come in the order in which one client sent them, also those that wait;
// [MQTT-4.6.0-1] [MQTT-4.4.0-1]: and are repeated in that order, with their identifiers. [MQTT-4.5.0-1]: they are the
// session's as soon as they are accepted.
func TestOrder(t *testing.T) {
	eachVersion(t, func(t *testing.T, h *testHub, v mqtt.Version) {
		const n = 300
		c, _ := h.as(v, mqtt.Connect{ClientID: "c"})
		c.Subscribe("a", 2)
		pub, _ := h.as(v, mqtt.Connect{ClientID: "pub", CleanStart: true})
		for i := range n {
			pub.Publish("a", byte(1+i%2), []byte(fmt.Sprint(i)))
		}
		var first []mqtt.Publish
		for range 20 {
			first = append(first, c.ReceivePublish())
		}
		c.Close()
		c, _ = h.as(v, mqtt.Connect{ClientID: "c"})
		for i := range n {
			m := c.ReceivePublish()
			if string(m.Payload) != fmt.Sprint(i) || i < len(first) && (m.ID != first[i].ID || !m.Dup) {
				t.Fatalf("message %d: got %+v", i, m)
			}
			c.Acknowledge(m)
		}
		c.ExpectNothing()
	})
}

// [MQTT-4.4.0-1]: messages are repeated on a new connection and at no other time. In 3.1.1, [MQTT-4.1.0-2]: the session is
// there for as long as the connection.
func TestNothingIsRepeatedWithoutReconnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHub(t, t.TempDir(), Config{})
		for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
			c, _ := h.as(v, mqtt.Connect{ClientID: "c"})
			c.Subscribe("a", 2)
			h.publish("a", 1, "")
			h.publish("a", 2, "")
			c.ReceivePublish()
			two := c.ReceivePublish()
			for i := range 24 {
				later(time.Hour)
				c.ExpectNothing()
				if i == 12 {
					c.Send(mqtt.Ack{Type: mqtt.TypePubRec, ID: two.ID})
					c.Expect(mqtt.Ack{Type: mqtt.TypePubRel, ID: two.ID})
				}
			}
			c.Disconnect()
			c, _ = h.as(v, mqtt.Connect{ClientID: "c", CleanStart: true})
			c.Disconnect()
		}
	})
}

// [MQTT-3.8.4-3] [MQTT-3.8.4-4]: who subscribes again misses nothing, and gets nothing twice but what is retained.
func TestSubscribingAgainLosesNothing(t *testing.T) {
	eachVersion(t, func(t *testing.T, h *testHub, v mqtt.Version) {
		// All fits into the window, with what is retained: to who is behind that is sent once for all of its SUBSCRIBEs.
		const n = 70
		c, _ := h.as(v, mqtt.Connect{ClientID: "c", CleanStart: true})
		pub, _ := h.as(v, mqtt.Connect{ClientID: "pub", CleanStart: true})
		retain(pub, "a", "kept")
		c.Subscribe("a", 1)
		var all []byte
		for i := range n {
			all = (&mqtt.Publish{Topic: []byte("a"), QoS: 1, ID: uint16(i + 1), Payload: []byte(fmt.Sprint(i))}).Append(all, v)
		}
		pub.SendBytes(all)
		const again = 20
		for i := range again {
			c.Send(mqtt.Subscribe{ID: uint16(1000 + i), Subscriptions: []mqtt.Subscription{{Filter: "a", QoS: 1}}})
		}
		next, kept := 0, 0
		for next < n || kept < again+1 {
			m := c.ReceiveMessage()
			switch {
			case m.Retain:
				kept++
			case string(m.Payload) != fmt.Sprint(next):
				t.Fatalf("got %s, want %d", m.Payload, next)
			default:
				next++
			}
		}
		for i := range again {
			c.Expect(&mqtt.SubAck{ID: uint16(1000 + i)})
		}
		c.ExpectNothing()
	})
}
