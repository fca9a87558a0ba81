package broker

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
)

// connect5 returns a client of version 5 that is connected as p says; tenant "t".
func (h *testHub) connect5(p mqtt.Connect) (*mqtttest.Client, mqtt.ConnAck) {
	h.t.Helper()
	c := h.dial()
	p.Version, p.Username, p.HasUsername = mqtt.V5, "t", true
	return c, c.Connect(p)
}

// try5 returns the answer to a CONNECT of version 5, which may be a answer.
func (h *testHub) try5(p mqtt.Connect) (*mqtttest.Client, mqtt.ConnAck) {
	h.t.Helper()
	c := h.dial()
	p.Version, p.Username, p.HasUsername = mqtt.V5, "t", true
	return c, c.TryConnect(p)
}

// Messages pass between clients of all versions.
func TestVersionsMeet(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	var clients []*mqtttest.Client
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		c := h.dial()
		c.Connect(mqtt.Connect{Version: v, ClientID: "c" + v.String(), CleanStart: true, Username: "t", HasUsername: true})
		if got := c.Subscribe("x/#", 2); got != 2 {
			t.Errorf("%v: granted %d, want 2", v, got)
		}
		clients = append(clients, c)
	}
	for i, from := range clients {
		for qos := range byte(3) {
			want := fmt.Sprintf("from %d at %d", i, qos)
			from.Publish("x/y", qos, []byte(want))
			for _, to := range clients {
				if m := to.ReceiveMessage(); string(m.Payload) != want || m.QoS != qos {
					t.Errorf("got %q at %d, want %q", m.Payload, m.QoS, want)
				}
			}
		}
	}
	for _, c := range clients {
		c.Unsubscribe("x/#")
	}
}

// MQTT V3.1 section 3.1: "between 1 and 23 characters long", else "return code 2: Identifier Rejected".
func TestClientIDOfVersion31(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	for id, want := range map[string]byte{
		"": mqtt.ConnAckBadClientID, strings.Repeat("x", 24): mqtt.ConnAckBadClientID,
		"x": mqtt.ConnAckAccepted, strings.Repeat("ü", 23): mqtt.ConnAckAccepted,
	} {
		c := h.dial()
		ack := c.TryConnect(mqtt.Connect{Version: mqtt.V31, ClientID: id, CleanStart: true, Username: "t", HasUsername: true})
		if ack.Code != want {
			t.Errorf("client id %q: code %d, want %d", id, ack.Code, want)
		}
	}
}

// Version 3.1 has no code for a refused subscription: the client is told what it asked for.
func TestRefusedSubscription(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	h.plain.grant = func(g *core.Grant) { g.Subscribe = []string{"down/#"} }
	for v, want := range map[mqtt.Version]byte{mqtt.V31: 1, mqtt.V311: mqtt.SubAckFailure, mqtt.V5: byte(mqtt.ReasonNotAuthorized)} {
		c := h.dial()
		c.Connect(mqtt.Connect{Version: v, ClientID: "x", CleanStart: true, Username: "t", HasUsername: true})
		if got := c.Subscribe("up", 1); got != want {
			t.Errorf("%v: got %#x, want %#x", v, got, want)
		}
		if got := h.publish("up", 1, "secret"); got != 0 {
			t.Errorf("%v: the message reached %d", v, got)
		}
		c.ExpectNothing()
	}
}

// A refused message closes the connection or, as the profile says, is refused in the acknowledgement.
func TestForbiddenPublish(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	for _, closes := range []bool{false, true} {
		h.plain.grant = func(g *core.Grant) { g.Publish, g.Profile.CloseOnForbidden = []string{"up/#"}, closes }
		for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
			for qos := range byte(3) {
				c := h.dial()
				c.Connect(mqtt.Connect{Version: v, ClientID: "x", CleanStart: true, Username: "t", HasUsername: true})
				p := mqtt.Publish{QoS: qos, Topic: []byte("down")}
				switch {
				case closes && v == mqtt.V5:
					p.ID = min(1, uint16(qos))
					c.Send(p)
					c.ExpectDisconnect(mqtt.ReasonNotAuthorized)
				case closes:
					p.ID = min(1, uint16(qos))
					c.Send(p)
					c.ExpectClosed()
				default:
					want := mqtt.ReasonSuccess // [MQTT-3.3.5-2]
					if v == mqtt.V5 && qos > 0 {
						want = mqtt.ReasonNotAuthorized
					}
					if got := c.PublishWith(p).Code; got != want {
						t.Errorf("%v, QoS %d: got %v, want %v", v, qos, got, want)
					}
					c.Publish("up/x", 1, nil) // the connection has stayed
				}
			}
		}
	}
}

// What CONNACK says of the server's limits.
// Statements of 5: [MQTT-3.1.2-21] [MQTT-3.2.2-9].
func TestConnAckTellsTheLimits(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	_, ack := h.connect5(mqtt.Connect{CleanStart: true, KeepAlive: 60, RequestResponseInformation: true})
	if ack.ReceiveMaximum != 1024 || ack.TopicAliasMaximum != 32 || ack.MaximumQoS.Present || ack.WildcardUnavailable ||
		ack.SharedUnavailable || ack.SubscriptionIDUnavailable || ack.ServerKeepAlive.Present || ack.SessionExpiry.Present ||
		ack.ResponseInformation != "" || ack.MaximumPacketSize != 256<<10+4 {
		t.Errorf("got %+v", ack)
	}
	if ack.AssignedClientID == "" { // [MQTT-3.1.3-6] [MQTT-3.1.3-7]
		t.Error("no client id was assigned")
	}
	if _, other := h.connect5(mqtt.Connect{CleanStart: true}); other.AssignedClientID == ack.AssignedClientID { // [MQTT-3.2.2-16]
		t.Errorf("%q was assigned twice", ack.AssignedClientID)
	}
	h.plain.grant = func(g *core.Grant) {
		g.Retain = true
		g.Limits = core.Limits{
			MaxPacketBytes: 100, KeepAlive: 30 * time.Second, MinKeepAlive: 10 * time.Second, SessionExpiry: time.Hour,
			ReceiveMaximum: 5, TopicAliases: -1,
		}
		g.Profile = core.Profile{
			QoS: core.UpToQoS1, NoWildcards: true, NoShared: true, NoSubscriptionIDs: true, ResponseInformation: "reply/",
		}
	}
	for asked, want := range map[uint16]uint16{0: 30, 5: 10, 60: 30} { // [MQTT-3.2.2-21]
		_, ack = h.connect5(mqtt.Connect{ClientID: "x", CleanStart: true, KeepAlive: asked})
		if got := ack.ServerKeepAlive; got != mqtt.Some(want) {
			t.Errorf("keep-alive of %d: got %v, want %v", asked, got, want)
		}
	}
	c, ack := h.connect5(mqtt.Connect{
		ClientID: "x", CleanStart: true, KeepAlive: 20, SessionExpiry: mqtt.SessionNeverExpires, RequestResponseInformation: true,
	})
	if ack.ReceiveMaximum != 5 || ack.TopicAliasMaximum != 0 || ack.MaximumQoS != mqtt.Some(byte(1)) || !ack.WildcardUnavailable ||
		!ack.SharedUnavailable || !ack.SubscriptionIDUnavailable || ack.ServerKeepAlive.Present ||
		ack.SessionExpiry != mqtt.Some(uint32(3600)) || ack.ResponseInformation != "reply/" || ack.MaximumPacketSize != 102 ||
		ack.RetainUnavailable || ack.AssignedClientID != "" {
		t.Errorf("got %+v", ack)
	}
	for _, s := range []struct {
		sub  mqtt.Subscribe
		want mqtt.ReasonCode
	}{
		{mqtt.Subscribe{Subscriptions: []mqtt.Subscription{{Filter: "a/+", QoS: 1}}}, mqtt.ReasonWildcardsNotSupported},
		{mqtt.Subscribe{Subscriptions: []mqtt.Subscription{{Filter: "$share/g/a", QoS: 1}}}, mqtt.ReasonSharedNotSupported},
		{mqtt.Subscribe{SubscriptionID: 1, Subscriptions: []mqtt.Subscription{{Filter: "a", QoS: 1}}}, mqtt.ReasonSubscriptionIDsNotSupported},
		{mqtt.Subscribe{Subscriptions: []mqtt.Subscription{{Filter: "a", QoS: 2}}}, mqtt.ReasonGrantedQoS1}, // [MQTT-3.2.2-10]
	} {
		if got := c.SubscribeWith(s.sub).Codes[0]; mqtt.ReasonCode(got) != s.want {
			t.Errorf("%+v: got %#x, want %v", s.sub, got, s.want)
		}
	}
	c.Send(mqtt.Publish{Topic: []byte("a"), QoS: 2, ID: 1}) // [MQTT-3.2.2-11]
	c.ExpectDisconnect(mqtt.ReasonQoSNotSupported)
}

func TestVersionsServed(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	h.plain.grant = func(g *core.Grant) { g.Profile.Versions = []uint8{4} }
	for v, want := range map[mqtt.Version]byte{mqtt.V31: mqtt.ConnAckBadVersion, mqtt.V311: 0, mqtt.V5: byte(mqtt.ReasonUnsupportedVersion)} {
		c := h.dial()
		ack := c.TryConnect(mqtt.Connect{Version: v, ClientID: "x", CleanStart: true, Username: "t", HasUsername: true})
		if ack.Code != want {
			t.Errorf("%v: got %#x, want %#x", v, ack.Code, want)
		}
	}
}

// Statements of 5: [MQTT-3.1.3-8] [MQTT-3.1.4-1] [MQTT-3.1.4-2] [MQTT-3.2.2-7] [MQTT-3.2.2-8] [MQTT-4.13.2-1].
func TestRefusalsOfVersion5(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	for _, kind := range core.Kinds {
		h.plain.refuse = fmt.Errorf("no: %w", kind)
		c, ack := h.try5(mqtt.Connect{ClientID: "x", CleanStart: true})
		if code := mqtt.ReasonCode(ack.Code); !code.Failed() || !code.Allowed(mqtt.Server, mqtt.TypeConnAck) || ack.Reason != "" ||
			code == mqtt.ReasonClientIDNotValid != (kind == core.ErrInvalid) {
			t.Errorf("%v: got %+v", kind, ack)
		}
		c.ExpectClosed()
	}
	// A dialect says itself what the client is told.
	h.plain.refuse = fmt.Errorf("hidden: %w", &core.AnswerError{Code: 0x9d, Text: "moved", Server: "other.example:8883", Kind: core.ErrDenied})
	_, ack := h.try5(mqtt.Connect{ClientID: "x", CleanStart: true})
	if ack.Code != 0x9d || ack.Reason != "moved" || ack.ServerReference != "other.example:8883" {
		t.Errorf("got %+v", ack)
	}
	_, ack = h.try5(mqtt.Connect{ClientID: "x", CleanStart: true, MaximumPacketSize: 30}) // [MQTT-3.2.2-19]
	if ack.Code != 0x9d || ack.Reason != "" || ack.ServerReference != "other.example:8883" {
		t.Errorf("got %+v", ack)
	}
	old := h.dial()
	if ack := old.TryConnect(mqtt.Connect{ClientID: "x", CleanStart: true, Username: "t", HasUsername: true}); ack.Code != mqtt.ConnAckUnavailable {
		t.Errorf("3.1.1: got %d", ack.Code)
	}
	h.plain.refuse = nil
	c := h.dial()
	c.SendBytes([]byte{0x10, 0x08, 0, 4, 'M', 'Q', 'T', 'T', 5, 3, 0, 0}) // [MQTT-3.1.2-3] [MQTT-4.13.1-1]: the reserved flag
	var answer [5]byte
	if _, err := io.ReadFull(c.Conn(), answer[:]); err != nil || answer[0] != 0x20 || answer[3] != byte(mqtt.ReasonMalformedPacket) {
		t.Errorf("malformed: got %x, %v", answer, err)
	}
	_, _ = io.Copy(io.Discard, c.Conn()) // the rest of it, and then the end
}
