package broker

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// An acknowledgement that is not the next step for its message is a violation; one for no message is late, and harmless.
func TestWrongAcknowledgement(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	for name, c := range map[string]struct {
		qos   byte
		first mqtt.Type // sent before; 0: nothing
		wrong mqtt.Type
		fine  bool
	}{
		"PUBACK at QoS 2":             {2, 0, mqtt.TypePubAck, false},
		"PUBCOMP before PUBREC":       {2, 0, mqtt.TypePubComp, false},
		"PUBREC at QoS 1":             {1, 0, mqtt.TypePubRec, false},
		"PUBCOMP at QoS 1":            {1, 0, mqtt.TypePubComp, false},
		"PUBACK after PUBREC":         {2, mqtt.TypePubRec, mqtt.TypePubAck, false},
		"PUBREC twice":                {2, mqtt.TypePubRec, mqtt.TypePubRec, true},
		"PUBACK twice":                {1, mqtt.TypePubAck, mqtt.TypePubAck, true},
		"PUBCOMP after all was done":  {1, mqtt.TypePubAck, mqtt.TypePubComp, true},
		"PUBCOMP as it should happen": {2, mqtt.TypePubRec, mqtt.TypePubComp, true},
	} {
		for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
			for _, clean := range []bool{true, false} {
				p := h.dial()
				p.Connect(mqtt.Connect{
					Version: v, ClientID: "pump", CleanStart: clean, SessionExpiry: map[bool]uint32{false: 60}[clean], Username: "t", HasUsername: true,
				})
				p.Subscribe("q", 2)
				h.publish("q", c.qos, name)
				m := p.ReceivePublish()
				if c.first != 0 {
					p.Send(mqtt.Ack{Type: c.first, ID: m.ID})
					if c.first == mqtt.TypePubRec {
						p.Expect(mqtt.Ack{Type: mqtt.TypePubRel, ID: m.ID})
					}
				}
				p.Send(mqtt.Ack{Type: c.wrong, ID: m.ID})
				switch {
				case c.fine:
					p.Ping()
					p.Disconnect()
				case v == mqtt.V5:
					p.ExpectDisconnect(mqtt.ReasonProtocolError)
				default:
					p.ExpectClosed()
				}
				// Nothing of it may reach the next round.
				if c, _ := h.connect("pump", true); c != nil {
					c.Disconnect()
				}
			}
		}
	}
}

// PUBACK and PUBREC with a failure end the exchange [MQTT-4.3.3-4]; identifiers that nobody knows are answered so.
// Statements of 5: [MQTT-2.2.1-3].
func TestReasonCodesOfExchanges(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	for _, expiry := range []uint32{0, 60} {
		p := mqtt.Connect{ClientID: "pump", SessionExpiry: expiry}
		c, _ := h.connect5(p)
		c.Subscribe("q", 2)
		for qos := byte(1); qos <= 2; qos++ {
			h.publish("q", qos, "unwanted")
			m := c.ReceivePublish()
			c.Send(mqtt.Ack{Type: mqtt.TypePubAck + mqtt.Type(qos-1), ID: m.ID, Code: mqtt.ReasonUnspecified, Reason: "no"})
			c.ExpectNothing() // and no PUBREL
		}
		c.Send(mqtt.Ack{Type: mqtt.TypePubRec, ID: 999})
		if got := c.Expect(mqtt.Ack{Type: mqtt.TypePubRel, ID: 999}).(*mqtt.Ack).Code; got != mqtt.ReasonPacketIDNotFound {
			t.Errorf("PUBREL: got %v", got)
		}
		c.Send(mqtt.Ack{Type: mqtt.TypePubRel, ID: 999})
		if got := c.Expect(mqtt.Ack{Type: mqtt.TypePubComp, ID: 999}).(*mqtt.Ack).Code; got != mqtt.ReasonPacketIDNotFound {
			t.Errorf("PUBCOMP: got %v", got)
		}
		c.Send(mqtt.Publish{QoS: 2, ID: 7, Topic: []byte("a")})
		c.Expect(mqtt.Ack{Type: mqtt.TypePubRec, ID: 7})
		c.Send(mqtt.Publish{QoS: 1, ID: 7, Topic: []byte("a")})
		if got := c.Expect(mqtt.Ack{Type: mqtt.TypePubAck, ID: 7}).(*mqtt.Ack).Code; got != mqtt.ReasonPacketIDInUse {
			t.Errorf("PUBACK: got %v", got)
		}
		c.Close()
		if c, ack := h.connect5(p); ack.SessionPresent { // what was refused does not come again [MQTT-4.4.0-2]
			c.ExpectNothing()
			c.Disconnect()
		}
	}
	c, _ := h.connect5(mqtt.Connect{ClientID: "codes", CleanStart: true})
	if got := c.Unsubscribe("none"); got[0] != mqtt.ReasonNoSubscriptionExisted { // [MQTT-3.11.3-2]
		t.Errorf("UNSUBACK: got %v", got)
	}
	c.Send(mqtt.Ack{Type: mqtt.TypePubAck, ID: 1, Code: mqtt.ReasonNoMatchingSubscribers}) // only a server may say so
	c.ExpectDisconnect(mqtt.ReasonProtocolError)
}

// A dialect can refuse a message with a code; what that does to the connection is the profile's business.
func TestDialectRefusesWithACode(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	for _, quiet := range []bool{false, true} {
		c, _ := h.connect5(mqtt.Connect{ClientID: "pump", CleanStart: true, NoProblemInformation: quiet})
		for qos := byte(0); qos <= 2; qos++ {
			ack := c.PublishWith(mqtt.Publish{QoS: qos, Topic: []byte("quota")})
			if qos > 0 && (ack.Code != mqtt.ReasonQuotaExceeded || (ack.Reason == "") != quiet) { // [MQTT-3.1.2-29]
				t.Errorf("QoS %d: got %+v", qos, ack)
			}
		}
		c.Publish("a", 1, nil)
		c.Disconnect()
	}
	five, _ := h.connect5(mqtt.Connect{ClientID: "pump", CleanStart: true})
	five.Send(mqtt.Publish{Topic: []byte("moved"), QoS: 1, ID: 1})
	if p := five.ExpectDisconnect(mqtt.ReasonUseAnotherServer); p.ServerReference != "other.example" || p.Reason != "over there" {
		t.Errorf("got %+v", p)
	}
	c, _ := h.connect("pump", true)
	c.Publish("quota", 2, nil)
	c.Publish("a", 1, nil)
	if d := len(h.received("pump")); d != 3 {
		t.Errorf("%d messages were taken, want 3", d)
	}
}

// The client may have as many messages under way as CONNACK says, and not one more [MQTT-3.3.4-7].
func TestReceiveMaximumOfTheServer(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{Limits: core.Limits{ReceiveMaximum: 3}})
	p := mqtt.Connect{ClientID: "pump", SessionExpiry: 60}
	c, ack := h.connect5(p)
	if ack.ReceiveMaximum != 3 {
		t.Errorf("got %d, want 3", ack.ReceiveMaximum)
	}
	for range 10 { // one after the other there can be any number
		c.Publish("a", 1, nil)
		c.Publish("a", 2, nil)
		c.PublishWith(mqtt.Publish{QoS: 2, Topic: []byte("quota")})
	}
	for id := uint16(100); id < 103; id++ {
		for range 2 { // what is sent again counts once
			c.Send(mqtt.Publish{QoS: 2, ID: id, Topic: []byte("a")})
			c.Expect(mqtt.Ack{Type: mqtt.TypePubRec, ID: id})
		}
	}
	c.Send(mqtt.Publish{Topic: []byte("a")}) // QoS 0 does not count
	c.Send(mqtt.Ack{Type: mqtt.TypePubRel, ID: 100})
	c.Expect(mqtt.Ack{Type: mqtt.TypePubComp, ID: 100})
	c.Publish("a", 1, nil)
	c.Send(mqtt.Publish{QoS: 2, ID: 200, Topic: []byte("a")})
	c.Expect(mqtt.Ack{Type: mqtt.TypePubRec, ID: 200})
	c.Send(mqtt.Publish{QoS: 1, ID: 201, Topic: []byte("a")})
	c.ExpectDisconnect(mqtt.ReasonReceiveMaximumExceeded)
	// The count begins anew with a connection; what is still to be released is not part of it.
	c, _ = h.connect5(p)
	for id := uint16(101); id < 103; id++ {
		c.Send(mqtt.Publish{Dup: true, QoS: 2, ID: id, Topic: []byte("a")})
		c.Expect(mqtt.Ack{Type: mqtt.TypePubRec, ID: id})
	}
	for id := uint16(1); id <= 3; id++ {
		c.Send(mqtt.Publish{QoS: 2, ID: id, Topic: []byte("a")})
		c.Expect(mqtt.Ack{Type: mqtt.TypePubRec, ID: id})
	}
	c.Send(mqtt.Publish{QoS: 2, ID: 4, Topic: []byte("a")})
	c.ExpectDisconnect(mqtt.ReasonReceiveMaximumExceeded)
}

// The client's receive maximum bounds what it is sent, whatever our own window is [MQTT-3.3.4-9].
// Statements of 5: [MQTT-4.9.0-2].
func TestReceiveMaximumOfTheClient(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{Limits: core.Limits{Inflight: 5}})
	for limit, want := range map[uint16]int{2: 2, 100: 5, 0: 5} {
		for _, expiry := range []uint32{0, 60} {
			c, _ := h.connect5(mqtt.Connect{ClientID: "pump", CleanStart: true, SessionExpiry: expiry, ReceiveMaximum: limit})
			c.Subscribe("q", 2)
			for i := range 20 {
				h.publish("q", byte(i%3), fmt.Sprint(i)) // QoS 0 is not part of it
			}
			var held []mqtt.Publish
			zero := 0
			c.Ping()
			for len(held) < want {
				m := c.ReceivePublish()
				if m.QoS == 0 {
					zero++
				} else {
					held = append(held, m)
				}
			}
			for zero < 7 {
				if m := c.ReceivePublish(); m.QoS != 0 {
					t.Fatalf("limit %d: got more than %d messages at once", limit, want)
				}
				zero++
			}
			c.ExpectNothing()
			for _, m := range held {
				c.Acknowledge(m)
			}
			for range 13 - want {
				c.ReceiveMessage()
			}
			c.ExpectNothing()
			c.Disconnect()
		}
	}
}

// Packets over the maximum size are refused, counted as a whole, and not sent to a client that does not take them.
// Statements of 5: [MQTT-3.2.2-15].
func TestMaximumPacketSize(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{Limits: core.Limits{MaxPacketBytes: 1000}})
	c, ack := h.connect5(mqtt.Connect{ClientID: "pump", CleanStart: true})
	p := mqtt.Publish{QoS: 1, ID: 1, Topic: []byte("a"), Payload: make([]byte, 1000)}
	p.Payload = p.Payload[:1000-(p.Size(mqtt.V5)-int(ack.MaximumPacketSize))]
	if got := p.Size(mqtt.V5); got != int(ack.MaximumPacketSize) {
		t.Fatalf("the test's packet has %d bytes, want %d", got, ack.MaximumPacketSize)
	}
	c.Send(p)
	c.Expect(mqtt.Ack{Type: mqtt.TypePubAck})
	p.Payload = append(p.Payload, 0)
	c.Send(p)
	c.ExpectDisconnect(mqtt.ReasonPacketTooLarge)

	for _, expiry := range []uint32{0, 60} { // [MQTT-3.1.2-24] [MQTT-3.1.2-25]
		hello := mqtt.Connect{ClientID: "small", SessionExpiry: expiry, MaximumPacketSize: 100}
		c, _ = h.connect5(hello)
		c.Subscribe("q", 2)
		fitting := 100 - 2 - 2 - 1 - 2 - 1 // header, topic, identifier, properties
		for qos := byte(0); qos <= 2; qos++ {
			fits := fitting
			if qos == 0 {
				fits += 2
			}
			if got := h.publish("q", qos, strings.Repeat("x", fits+1)); got != 1 {
				t.Errorf("a message that is too large reached %d, want 1, as if it had been delivered", got)
			}
			h.publish("q", qos, strings.Repeat("x", fits))
			if m := c.ReceiveMessage(); len(m.Payload) != fits {
				t.Errorf("QoS %d: got %d bytes, want %d", qos, len(m.Payload), fits)
			}
		}
		c.ExpectNothing()
		c.Close()
		if expiry == 0 {
			continue
		}
		// Also what was queued while the client was away.
		eventually(t, "disconnection", func() bool { return h.broker.stats.Connections.Load() == 0 })
		h.publish("q", 1, strings.Repeat("x", 1000))
		h.publish("q", 1, "small")
		c, _ = h.connect5(hello)
		if m := c.ReceiveMessage(); string(m.Payload) != "small" {
			t.Errorf("got %d bytes", len(m.Payload))
		}
		c.ExpectNothing()
		c.Close()
		hello.MaximumPacketSize = 0
		c, _ = h.connect5(hello)
		c.ExpectNothing() // gone for good
		c.Disconnect()
	}
}

// Reason strings and user properties are left out where they do not fit [MQTT-3.2.2-19] [MQTT-3.14.2-3] [MQTT-3.4.2-2].
func TestReasonsAreLeftOut(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	c, _ := h.connect5(mqtt.Connect{ClientID: "pump", CleanStart: true, MaximumPacketSize: 20})
	if ack := c.PublishWith(mqtt.Publish{QoS: 1, Topic: []byte("quota")}); ack.Code != mqtt.ReasonQuotaExceeded || ack.Reason != "" {
		t.Errorf("got %+v", ack)
	}
	c.Send(mqtt.Publish{QoS: 1, ID: 1, Topic: []byte("a"), TopicAlias: 33})
	if p := c.ExpectDisconnect(mqtt.ReasonTopicAliasInvalid); p.Reason != "" {
		t.Errorf("got %+v", p)
	}
}

// An answer that cannot be cut short is not given: the connection ends before anything is done.
func TestAnswersThatDoNotFit(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	filters := make([]string, 50)
	sub := mqtt.Subscribe{ID: 1}
	for i := range filters {
		filters[i] = fmt.Sprint(i)
		sub.Subscriptions = append(sub.Subscriptions, mqtt.Subscription{Filter: filters[i]})
	}
	for _, p := range []mqtt.Packet{&sub, &mqtt.Unsubscribe{ID: 1, Filters: filters}} {
		c, _ := h.connect5(mqtt.Connect{ClientID: "pump", CleanStart: true, MaximumPacketSize: 40})
		c.Send(p)
		c.ExpectDisconnect(mqtt.ReasonPacketTooLarge)
	}
}

// Statements of 5: [MQTT-3.2.2-17] [MQTT-3.3.2-12].
func TestTopicAliasesOfTheClient(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{Limits: core.Limits{TopicAliases: 2}})
	c, ack := h.connect5(mqtt.Connect{ClientID: "pump", CleanStart: true})
	if ack.TopicAliasMaximum != 2 {
		t.Errorf("got %d, want 2", ack.TopicAliasMaximum)
	}
	publish := func(topic string, alias uint16) {
		c.PublishWith(mqtt.Publish{QoS: 1, Topic: []byte(topic), TopicAlias: alias})
	}
	publish("a", 1)
	publish("b", 2)
	publish("", 1)
	publish("", 2)
	publish("c", 1) // set anew
	publish("", 1)
	var got string
	for _, e := range h.received("pump") {
		got += e.Topic
	}
	if got != "ababcc" {
		t.Errorf("got %s", got)
	}
	c.Close()
	for alias, want := range map[uint16]mqtt.ReasonCode{ // [MQTT-3.3.2-9], and aliases end with the connection [MQTT-3.3.2-7]
		3: mqtt.ReasonTopicAliasInvalid, 1: mqtt.ReasonProtocolError,
	} {
		c, _ = h.connect5(mqtt.Connect{ClientID: "pump", CleanStart: true})
		c.Send(mqtt.Publish{TopicAlias: alias})
		c.ExpectDisconnect(want)
	}
}

// Aliases are used towards clients that take some [MQTT-3.1.2-26], and no others [MQTT-3.1.2-27].
// Statements of 5: [MQTT-3.3.2-11].
func TestTopicAliasesTowardsTheClient(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	for most, want := range map[uint16]string{0: "a b a b c a", 1: "a=1 b =1 b c =1", 2: "a=1 b=2 =1 =2 c =1"} {
		c, _ := h.connect5(mqtt.Connect{ClientID: "pump", CleanStart: true, TopicAliasMaximum: most})
		c.Subscribe("+", 2)
		var got []string
		for i, topic := range []string{"a", "b", "a", "b", "c", "a"} {
			h.publish(topic, byte(i%3), "x")
			m := c.ReceiveMessage()
			s := string(m.Topic)
			if m.TopicAlias > 0 {
				s += fmt.Sprint("=", m.TopicAlias)
			}
			got = append(got, s)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("maximum %d: got %q, want %q", most, strings.Join(got, " "), want)
		}
		c.Disconnect()
	}
	// An alias must not make a packet too large.
	c, _ := h.connect5(mqtt.Connect{ClientID: "pump", CleanStart: true, TopicAliasMaximum: 1, MaximumPacketSize: 50})
	c.Subscribe("+", 0)
	h.publish("a", 0, string(bytes.Repeat([]byte("x"), 50-2-3-1)))
	if m := c.ReceivePublish(); m.TopicAlias != 0 {
		t.Errorf("got %+v", m)
	}
	h.publish("a", 0, "x")
	if m := c.ReceivePublish(); m.TopicAlias != 1 {
		t.Errorf("got %+v", m)
	}
}

// Each end that the broker brings about is told.
// Statements of 5: [MQTT-3.14.4-1] [MQTT-3.14.4-2] [MQTT-4.13.2-1].
func TestServerDisconnects(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	key := core.SessionKey{Tenant: "t", Dialect: "plain", ClientID: "pump"}
	for name, c := range map[string]struct {
		cause func(send func(any), raw func([]byte))
		want  mqtt.ReasonCode
	}{
		"taken over [MQTT-3.1.4-3]": {func(func(any), func([]byte)) {
			c, _ := h.connect5(mqtt.Connect{ClientID: "pump", CleanStart: true})
			c.Disconnect()
		}, mqtt.ReasonSessionTakenOver},
		"second CONNECT [MQTT-3.1.0-2]":      {func(send func(any), _ func([]byte)) { send(mqtt.Connect{Version: mqtt.V5}) }, mqtt.ReasonProtocolError},
		"malformed":                          {func(_ func(any), raw func([]byte)) { raw([]byte{0x62, 1, 0}) }, mqtt.ReasonMalformedPacket},
		"QoS 3 [MQTT-3.3.1-4]":               {func(_ func(any), raw func([]byte)) { raw([]byte{0x36, 3, 0, 1, 'a'}) }, mqtt.ReasonMalformedPacket},
		"wildcard in a topic [MQTT-3.3.2-2]": {func(send func(any), _ func([]byte)) { send(mqtt.Publish{Topic: []byte("a/#")}) }, mqtt.ReasonTopicNameInvalid},
		"subscription identifier [MQTT-3.3.4-6]": {func(send func(any), _ func([]byte)) {
			send(mqtt.Publish{Topic: []byte("a"), SubscriptionIDs: []uint32{1}})
		}, mqtt.ReasonProtocolError},
		"packet of a server": {func(send func(any), _ func([]byte)) { send(mqtt.SubAck{ID: 1, Codes: []byte{0}}) }, mqtt.ReasonProtocolError},
		"AUTH without a method in CONNECT [MQTT-4.12.0-7]": {func(send func(any), _ func([]byte)) {
			send(mqtt.Auth{Code: mqtt.ReasonReauthenticate, Method: mqtt.Some("x")})
		}, mqtt.ReasonProtocolError},
		"retain where there is none [MQTT-3.2.2-14]": {func(send func(any), _ func([]byte)) { send(mqtt.Publish{Topic: []byte("a"), Retain: true}) }, mqtt.ReasonRetainNotSupported},
		"refused by the dialect":                     {func(send func(any), _ func([]byte)) { send(mqtt.Publish{Topic: []byte("close")}) }, mqtt.ReasonUnspecified},
		"administrative action": {func(func(any), func([]byte)) {
			h.do(func(tx *commit.Tx) error { return h.broker.Disconnect(tx, key, false, "by the operator") })
		}, mqtt.ReasonAdministrativeAction},
	} {
		p, _ := h.connect5(mqtt.Connect{ClientID: "pump", CleanStart: true})
		c.cause(func(v any) { p.SendBytes(encode(v)) }, p.SendBytes)
		t.Log(name)
		p.ExpectDisconnect(c.want)
	}
	p, _ := h.connect5(mqtt.Connect{ClientID: "pump", CleanStart: true})
	go h.stop()
	p.ExpectDisconnect(mqtt.ReasonServerShuttingDown)
	h.stop()
}

// encode returns a packet's bytes in version 5.
func encode(v any) []byte {
	switch p := v.(type) {
	case mqtt.Connect:
		return p.Append(nil, mqtt.V5)
	case mqtt.Publish:
		return p.Append(nil, mqtt.V5)
	case mqtt.SubAck:
		return p.Append(nil, mqtt.V5)
	case mqtt.Auth:
		return p.Append(nil, mqtt.V5)
	}
	panic("not here")
}

// Acknowledgements make room for further messages before they are on disk. When the hub is killed then, more messages than
// the window holds have been sent and are still stored; all of them are redelivered with the DUP flag. [MQTT-3.3.1-1]
func TestRedeliveryBeyondTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, window = 150, 100
		dir := t.TempDir()
		h := startHub(t, dir, Config{})
		c, _ := h.connect("pump", false)
		c.Subscribe("q", 2)
		for i := range n {
			h.publish("q", 2, fmt.Sprint(i))
		}
		ids := map[string]uint16{}
		receive := func() {
			m := c.ReceivePublish()
			ids[string(m.Payload)] = m.ID
			c.Send(mqtt.Ack{Type: mqtt.TypePubRec, ID: m.ID})
		}
		for range window {
			receive()
		}
		for range window {
			c.Expect(&mqtt.Ack{Type: mqtt.TypePubRel})
		}
		h.store.refuse(core.ErrStorage)
		var comps []byte
		for i := range window {
			comps = (&mqtt.Ack{Type: mqtt.TypePubComp, ID: ids[fmt.Sprint(i)]}).Append(comps, mqtt.V311)
		}
		c.SendBytes(comps)
		for range n - window {
			m := c.ReceivePublish()
			ids[string(m.Payload)] = m.ID
		}
		h.kill()
		h = startHub(t, dir, Config{})
		c, _ = h.connect("pump", false)
		for i := range window { // what the client has completed already is all that the window holds
			c.Expect(&mqtt.Ack{Type: mqtt.TypePubRel, ID: ids[fmt.Sprint(i)]})
		}
		c.SendBytes(comps)
		for i := window; i < n; i++ {
			m := c.ReceivePublish()
			if string(m.Payload) != fmt.Sprint(i) || m.ID != ids[fmt.Sprint(i)] || !m.Dup {
				t.Errorf("got %q with identifier %d and DUP %v, want %d with identifier %d again", m.Payload, m.ID, m.Dup, i, ids[fmt.Sprint(i)])
			}
			c.Send(mqtt.Ack{Type: mqtt.TypePubRec, ID: m.ID})
		}
	})
}
