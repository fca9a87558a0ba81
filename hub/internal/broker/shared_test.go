package broker

import (
	"fmt"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
)

// Statements of 5: [MQTT-3.3.4-5].
func TestSharedSubscription(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	var members []*mqtttest.Client
	for i := range 3 {
		c, _ := h.connect5(mqtt.Connect{ClientID: fmt.Sprint("m", i), CleanStart: true})
		if got := subscribe5(c, uint32(i+1), mqtt.Subscription{Filter: "$share/g/x/+", QoS: byte(i)}); got != byte(i) {
			t.Fatalf("granted %#x", got)
		}
		members = append(members, c)
	}
	other, _ := h.connect("other", true) // another group gets a copy of its own, and version 3.1.1 may share
	if got := other.Subscribe("$share/h/x/#", 1); got != 1 {
		t.Fatalf("granted %d", got)
	}
	pub, _ := h.connect("pub", true)
	for i := range 30 {
		pub.Publish("x/1", 2, []byte(fmt.Sprint(i)))
	}
	for i, c := range members {
		for range 10 { // [MQTT-4.8.2-3]: each with the QoS that it was granted
			if m := c.ReceiveMessage(); m.QoS != byte(i) || len(m.SubscriptionIDs) != 1 || m.SubscriptionIDs[0] != uint32(i+1) {
				t.Errorf("member %d got %+v", i, m)
			}
		}
		c.ExpectNothing()
	}
	for range 30 {
		other.ReceiveMessage()
	}
	// An ordinary subscription that matches too is another copy.
	members[0].Subscribe("x/#", 0)
	members[1].Unsubscribe("$share/g/x/+")
	members[2].Unsubscribe("$share/g/x/+")
	pub.Publish("x/1", 0, []byte("both"))
	members[0].ReceiveMessage()
	members[0].ReceiveMessage()
	for _, c := range members {
		c.ExpectNothing()
	}
}

// [MQTT-4.8.2-1] [MQTT-4.8.2-2]: the name of a share is a level; [MQTT-3.8.3-4]: no local is a protocol error there.
func TestBadSharedSubscriptions(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	old, _ := h.connect("old", true)
	for _, filter := range []string{"$share/g", "$share//x", "$share/+/x", "$share/g/"} {
		if got := old.Subscribe(filter, 1); got != mqtt.SubAckFailure {
			t.Errorf("%s: granted %d", filter, got)
		}
		c, _ := h.connect5(mqtt.Connect{ClientID: "new", CleanStart: true})
		c.Send(mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: filter}}})
		if d := c.Expect(&mqtt.Disconnect{}).(*mqtt.Disconnect); !d.Code.Failed() {
			t.Errorf("%s: got %+v", filter, d)
		}
	}
	c, _ := h.connect5(mqtt.Connect{ClientID: "new", CleanStart: true})
	c.Send(mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: "$share/g/x", NoLocal: true}}})
	c.ExpectDisconnect(mqtt.ReasonProtocolError)
}

func TestGrantsOfSharedSubscriptions(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	h.plain.grant = func(g *core.Grant) { g.Subscribe = []string{"mine/#"} }
	c, _ := h.connect5(mqtt.Connect{ClientID: "c", CleanStart: true})
	for filter, want := range map[string]mqtt.ReasonCode{
		"$share/g/mine/x": 0, "$share/mine/x": mqtt.ReasonNotAuthorized, "$share/g/#": mqtt.ReasonNotAuthorized, "$share/mine/mine/#": 0,
	} {
		if got := c.Subscribe(filter, 0); got != byte(want) {
			t.Errorf("%s: got %#x, want %v", filter, got, want)
		}
	}
}

// Members that are connected come first; those that are away get what nobody else can take, and keep it.
func TestSharedSubscriptionPrefersConnected(t *testing.T) {
	dir := t.TempDir()
	h := startHub(t, dir, Config{})
	for _, id := range []string{"away", "here"} {
		c, _ := h.connect(id, false)
		c.Subscribe("$share/g/x", 1)
		c.Close()
	}
	eventually(t, "disconnection", func() bool { return h.broker.stats.Connections.Load() == 0 })
	h.stop()
	h = startHub(t, dir, Config{}) // and they are back after a restart
	here, _ := h.connect("here", false)
	for i := range 10 {
		h.publish("x", 1, fmt.Sprint(i))
		if m := here.ReceiveMessage(); string(m.Payload) != fmt.Sprint(i) {
			t.Errorf("got %s, want %d", m.Payload, i)
		}
	}
	here.Close()
	eventually(t, "disconnection", func() bool { return h.broker.stats.Connections.Load() == 0 })
	for i := range 4 {
		if got := h.publish("x", 1, fmt.Sprint("later ", i)); got != 1 {
			t.Errorf("reached %d", got)
		}
	}
	if got := h.publish("x", 0, "nobody is there"); got != 0 {
		t.Errorf("QoS 0 reached %d", got)
	}
	for _, id := range []string{"away", "here"} {
		c, _ := h.connect(id, false)
		c.ReceiveMessage()
		c.ReceiveMessage()
		c.ExpectNothing()
	}
}

// What a member has not finished is kept for it while its session lives, and then given to another one, except QoS 2
// messages that it may have received [MQTT-4.8.2-4] [MQTT-4.8.2-5].
func TestSharedMessagesAreHandedOver(t *testing.T) {
	for _, clean := range []bool{true, false} {
		t.Run(fmt.Sprint("clean ", clean), func(t *testing.T) {
			h := startHub(t, t.TempDir(), Config{Limits: core.Limits{Inflight: 2}})
			first, _ := h.connect("first", clean)
			first.Subscribe("$share/g/x", 2)
			h.publish("x", 2, "sent with QoS 2")
			h.publish("x", 1, "sent")
			h.publish("x", 1, "waiting")
			first.ReceivePublish()
			first.ReceivePublish()
			second, _ := h.connect("second", true)
			second.Subscribe("$share/g/x", 2)
			first.Close()
			eventually(t, "disconnection", func() bool { return h.broker.stats.Connections.Load() == 1 })
			if !clean {
				second.ExpectNothing()
				first, _ = h.connect("first", true) // ends the old session
				defer first.Close()
			}
			for _, want := range []string{"sent", "waiting"} {
				if m := second.ReceiveMessage(); string(m.Payload) != want || m.Dup {
					t.Errorf("got %+v, want %q", m, want)
				}
			}
			second.ExpectNothing()
		})
	}
}

// [MQTT-4.8.2-6]: a refusal ends the delivery.
func TestSharedMessageIsRefused(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	var members []*mqtttest.Client
	for _, id := range []string{"a", "b"} {
		c, _ := h.connect5(mqtt.Connect{ClientID: id, CleanStart: true})
		c.Subscribe("$share/g/x", 1)
		members = append(members, c)
	}
	h.publish("x", 1, "1")
	m := members[0].ReceivePublish()
	members[0].Send(mqtt.Ack{Type: mqtt.TypePubAck, ID: m.ID, Code: mqtt.ReasonUnspecified})
	members[0].Ping()
	members[0].Close()
	eventually(t, "disconnection", func() bool { return h.broker.stats.Connections.Load() == 1 })
	members[1].ExpectNothing()
}
