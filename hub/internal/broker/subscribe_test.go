package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// [MQTT-3.8.3-3]
func TestNoLocal(t *testing.T) {
	dir := t.TempDir()
	h := retaining(t, dir, Config{})
	for round := range 2 { // the second time with what was stored
		a, _ := h.connect5(mqtt.Connect{ClientID: "a", SessionExpiry: 1000})
		b, _ := h.connect5(mqtt.Connect{ClientID: "b", CleanStart: true})
		if round == 0 {
			subscribe5(a, 0, mqtt.Subscription{Filter: "x/#", QoS: 1, NoLocal: true})
		}
		a.Publish("x/1", 1, []byte("own"))
		a.ExpectNothing()
		b.Publish("x/1", 1, []byte("other"))
		wantList(t, take(t, a, 1, false), "x/1=other")
		a.Close()
		b.Close()
		h.stop()
		h = retaining(t, dir, Config{})
	}
	a, _ := h.connect5(mqtt.Connect{ClientID: "a", SessionExpiry: 1000})
	retain(a, "x/kept", "own")
	b, _ := h.connect("b", true)
	retain(b, "x/other", "other")
	take(t, a, 1, false)
	subscribe5(a, 0, mqtt.Subscription{Filter: "x/#", QoS: 1, NoLocal: true}) // retained ones are own ones too
	wantList(t, take(t, a, 1, true), "x/other=other")
	// An overlapping subscription without the option gets them.
	subscribe5(a, 0, mqtt.Subscription{Filter: "+/1", QoS: 1})
	a.Publish("x/1", 1, []byte("own"))
	wantList(t, take(t, a, 1, false), "x/1=own")
}

// [MQTT-3.3.4-3] [MQTT-3.3.4-4], [MQTT-3.3.4-2]: one copy with the highest QoS and all identifiers.
func TestSubscriptionIdentifiers(t *testing.T) {
	dir := t.TempDir()
	h := startHub(t, dir, Config{})
	c, _ := h.connect5(mqtt.Connect{ClientID: "a", SessionExpiry: 1000})
	subscribe5(c, 1, mqtt.Subscription{Filter: "x/#", QoS: 0})
	subscribe5(c, 268_435_455, mqtt.Subscription{Filter: "x/+", QoS: 2})
	subscribe5(c, 0, mqtt.Subscription{Filter: "x/1", QoS: 1})
	subscribe5(c, 3, mqtt.Subscription{Filter: "y", QoS: 1})
	check := func(topic string, qos byte, want ...uint32) {
		t.Helper()
		h.publish(topic, 2, "")
		m := c.ReceiveMessage()
		slices.Sort(m.SubscriptionIDs)
		if d := cmp.Diff(want, m.SubscriptionIDs); d != "" || m.QoS != qos {
			t.Errorf("%s: QoS %d, -want +got\n%s", topic, m.QoS, d)
		}
	}
	check("x/1", 2, 1, 268_435_455)
	check("y", 1, 3)
	check("x", 0, 1)
	subscribe5(c, 4, mqtt.Subscription{Filter: "x/+", QoS: 1}) // [MQTT-3.8.4-3]: all options are replaced
	subscribe5(c, 0, mqtt.Subscription{Filter: "y", QoS: 2})
	check("x/1", 1, 1, 4)
	check("y", 2)
	c.Close()
	eventually(t, "disconnection", func() bool { return h.broker.stats.Connections.Load() == 0 })
	h.publish("x/1", 1, "")
	h.stop()
	h = startHub(t, dir, Config{})
	c, _ = h.connect5(mqtt.Connect{ClientID: "a", SessionExpiry: 1000})
	m := c.ReceiveMessage() // as it was queued
	slices.Sort(m.SubscriptionIDs)
	if d := cmp.Diff([]uint32{1, 4}, m.SubscriptionIDs); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	check("x/1", 1, 1, 4) // as it is subscribed
}

// [MQTT-4.7.2-1], and nobody publishes what begins with "$" without a grant that says so: "#" does not.
func TestTopicsOfTheServer(t *testing.T) {
	h := retaining(t, t.TempDir(), Config{})
	c, _ := h.connect5(mqtt.Connect{ClientID: "a", CleanStart: true})
	for _, filter := range []string{"#", "+/x", "$share/g/#"} {
		c.Subscribe(filter, 1)
	}
	h.publish("$SYS/x", 1, "")
	c.ExpectNothing()
	if ack := c.PublishWith(mqtt.Publish{Topic: []byte("$SYS/x"), QoS: 1}); ack.Code != mqtt.ReasonNotAuthorized {
		t.Errorf("got %v", ack.Code)
	}
	if got := c.Subscribe("$SYS/#", 1); got != byte(mqtt.ReasonNotAuthorized) {
		t.Errorf("got %#x", got)
	}
}

// The answers to a message tell whether anybody gets it (version 5, section 3.4.2.1).
func TestNoMatchingSubscribers(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	c, _ := h.connect5(mqtt.Connect{ClientID: "a", CleanStart: true})
	for qos := byte(1); qos <= 2; qos++ {
		if ack := c.PublishWith(mqtt.Publish{Topic: []byte("x"), QoS: qos}); ack.Code != mqtt.ReasonNoMatchingSubscribers {
			t.Errorf("QoS %d: got %v", qos, ack.Code)
		}
	}
	c.Subscribe("x", 0)
	for qos := byte(1); qos <= 2; qos++ {
		if ack := c.PublishWith(mqtt.Publish{Topic: []byte("x"), QoS: qos}); ack.Code != mqtt.ReasonSuccess {
			t.Errorf("QoS %d: got %v", qos, ack.Code)
		}
	}
}

// The filters of a session are bounded in number and in bytes.
func TestSubscriptionBomb(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{Limits: core.Limits{MaxFilters: 10, MaxPacketBytes: 1 << 20}})
	c, _ := h.connect5(mqtt.Connect{ClientID: "a", CleanStart: true})
	long := strings.Repeat("x", 10*meanFilterBytes-10)
	for _, s := range []struct {
		filter string
		want   mqtt.ReasonCode
	}{
		{long, 0},
		{long, 0},
		{strings.Repeat("y", 11), mqtt.ReasonQuotaExceeded},
		{strings.Repeat("y", 10), 0},
		{strings.Repeat("/", 200), mqtt.ReasonTopicFilterInvalid},
	} {
		if got := c.Subscribe(s.filter, 0); got != byte(s.want) {
			t.Errorf("%.20s: got %#x, want %v", s.filter, got, s.want)
		}
	}
	c.Unsubscribe(long, strings.Repeat("y", 10))
	for i := range 11 {
		want := byte(0)
		if i == 10 {
			want = byte(mqtt.ReasonQuotaExceeded)
		}
		if got := c.Subscribe(fmt.Sprint("x/", i), 0); got != want {
			t.Errorf("%d: got %#x, want %#x", i, got, want)
		}
	}
	if got := c.Unsubscribe("x/1", "none"); got[0] != 0 || got[1] != mqtt.ReasonNoSubscriptionExisted {
		t.Errorf("unsubscribe: got %v", got)
	}
}

// Many filters in one packet, some of them twice, of which retained messages match.
func TestManySubscriptionsInOnePacket(t *testing.T) {
	h := retaining(t, t.TempDir(), Config{})
	h.do(func(tx *commit.Tx) error {
		for i := range 900 {
			if err := h.broker.Retain(tx, "t", "plain", core.Message{Topic: fmt.Sprint("x/", i), Payload: []byte("1"), QoS: 1}); err != nil {
				return err
			}
		}
		return nil
	})
	c, _ := h.connect5(mqtt.Connect{ClientID: "a", SessionExpiry: 1000})
	var p mqtt.Subscribe
	for i := range 1000 {
		p.Subscriptions = append(p.Subscriptions, mqtt.Subscription{Filter: fmt.Sprint("x/", i%950), QoS: 1})
	}
	c.SubscribeWith(p)
	seen := map[string]bool{}
	for range 900 {
		seen[string(c.ReceiveMessage().Topic)] = true
	}
	c.ExpectNothing()
	if len(seen) != 900 {
		t.Errorf("got %d topics, want 900", len(seen))
	}
	c.SubscribeWith(p) // all again; and what is not sent yet ends with the subscriptions
	var filters []string
	for _, s := range p.Subscriptions {
		filters = append(filters, s.Filter)
	}
	c.Unsubscribe(filters...)
	c.Ping()
	h.do(func(*commit.Tx) error {
		if n := len(h.broker.sessions[core.SessionKey{Tenant: "t", Dialect: "plain", ClientID: "a"}].pending); n != 0 {
			t.Errorf("%d subscriptions that ended are to be sent retained messages", n)
		}
		return nil
	})
}

// A client that does not wait: what it published before it subscribed is not new to it.
func TestOrderOfPublishAndSubscribe(t *testing.T) {
	h := retaining(t, t.TempDir(), Config{})
	c, _ := h.connect("a", true)
	var b []byte
	b = (&mqtt.Publish{Topic: []byte("x"), QoS: 1, ID: 1, Retain: true, Payload: []byte("1")}).Append(b, mqtt.V311)
	b = (&mqtt.Subscribe{ID: 2, Subscriptions: []mqtt.Subscription{{Filter: "x", QoS: 1}}}).Append(b, mqtt.V311)
	b = (&mqtt.Publish{Topic: []byte("x"), QoS: 1, ID: 3, Payload: []byte("2")}).Append(b, mqtt.V311)
	b = (&mqtt.Unsubscribe{ID: 4, Filters: []string{"x"}}).Append(b, mqtt.V311)
	b = (&mqtt.Publish{Topic: []byte("x"), QoS: 1, ID: 5, Payload: []byte("3")}).Append(b, mqtt.V311)
	c.SendBytes(b)
	for _, want := range []string{"1", "2"} {
		if m := c.ReceiveMessage(); string(m.Payload) != want || m.Retain != (want == "1") {
			t.Errorf("got %+v, want %s", m, want)
		}
	}
	c.Expect(mqtt.Ack{Type: mqtt.TypePubAck, ID: 5})
	for _, id := range []uint16{1, 3} {
		c.Expect(mqtt.Ack{Type: mqtt.TypePubAck, ID: id})
	}
	c.Expect(&mqtt.SubAck{ID: 2})
	c.Expect(mqtt.Ack{Type: mqtt.TypeUnsubAck, ID: 4})
	c.ExpectNothing()
}

// [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]: properties pass
// unaltered, at once, out of a queue and after a restart. Older clients get the message without them.
func TestMessageProperties(t *testing.T) {
	dir := t.TempDir()
	h := startHub(t, dir, Config{})
	props := &mqtt.MessageProperties{
		PayloadFormat: mqtt.Some[byte](mqtt.PayloadUTF8), ContentType: mqtt.Some(""), ResponseTopic: "answer", CorrelationData: []byte{},
		User: []mqtt.UserProperty{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}, {Key: "b", Value: "3"}},
	}
	in := mqtt.Publish{Topic: []byte("x"), QoS: 1, Payload: []byte("\xff not UTF-8, which is for the receiver to judge"), Properties: props}
	c, _ := h.connect5(mqtt.Connect{ClientID: "new", SessionExpiry: 1000})
	old, _ := h.connect("old", false)
	pub, _ := h.connect5(mqtt.Connect{ClientID: "pub", CleanStart: true})
	c.Subscribe("#", 1)
	old.Subscribe("#", 1)
	check := func() {
		t.Helper()
		if d := cmp.Diff(props, c.ReceiveMessage().Properties); d != "" {
			t.Errorf("-want +got\n%s", d)
		}
		if m := old.ReceiveMessage(); string(m.Payload) != string(in.Payload) {
			t.Errorf("got %+v", m)
		}
	}
	pub.PublishWith(in)
	check()
	c.Close()
	old.Close()
	eventually(t, "disconnection", func() bool { return h.broker.stats.Connections.Load() == 1 })
	pub.PublishWith(in)
	h.stop()
	h = startHub(t, dir, Config{})
	c, _ = h.connect5(mqtt.Connect{ClientID: "new", SessionExpiry: 1000})
	old, _ = h.connect("old", false)
	check()
}

// [MQTT-3.3.2-5] [MQTT-3.3.2-6]
func TestMessageExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHub(t, t.TempDir(), Config{Limits: core.Limits{Inflight: 1, MaxQueued: 3}})
		send := func(c interface {
			PublishWith(mqtt.Publish) mqtt.Ack
		}, payload string, seconds uint32,
		) {
			c.PublishWith(mqtt.Publish{Topic: []byte("x"), QoS: 1, Payload: []byte(payload), MessageExpiry: mqtt.Some(seconds)})
		}
		pub, _ := h.connect5(mqtt.Connect{ClientID: "pub", CleanStart: true})
		clean, _ := h.connect5(mqtt.Connect{ClientID: "clean", CleanStart: true})
		stored, _ := h.connect5(mqtt.Connect{ClientID: "stored", SessionExpiry: 1000})
		clean.Subscribe("x", 1)
		stored.Subscribe("x", 1)
		send(pub, "sent", 1)
		send(pub, "late", 1) // waits behind the window
		send(pub, "lasting", 100)
		later(1100 * time.Millisecond)
		for _, c := range []interface {
			ReceiveMessage() mqtt.Publish
			ExpectNothing()
		}{clean, stored} {
			if m := c.ReceiveMessage(); string(m.Payload) != "sent" || m.MessageExpiry.Value != 1 {
				t.Errorf("got %+v", m)
			}
			if m := c.ReceiveMessage(); string(m.Payload) != "lasting" || m.MessageExpiry.Value > 99 || m.MessageExpiry.Value < 90 {
				t.Errorf("got %+v", m)
			}
			c.ExpectNothing()
		}
		stored.Disconnect()
		clean.Disconnect()
		eventually(t, "disconnection", func() bool { return h.broker.stats.Connections.Load() == 1 })
		// A full queue makes room by what has expired.
		for i := range 3 {
			send(pub, fmt.Sprint("brief ", i), 1)
		}
		send(pub, "too many", 100)
		later(1100 * time.Millisecond)
		send(pub, "later", 100)
		stored, _ = h.connect5(mqtt.Connect{ClientID: "stored", SessionExpiry: 1000})
		if m := stored.ReceiveMessage(); string(m.Payload) != "later" {
			t.Errorf("got %+v", m)
		}
		stored.ExpectNothing()
		// Two copies that were late, three that waited for a client; "too many" was dropped.
		if expired, dropped := h.broker.stats.Expired.Load(), h.broker.stats.Dropped.Load(); expired != 5 || dropped != 1 {
			t.Errorf("counted %d expired, %d dropped", expired, dropped)
		}
	})
}
