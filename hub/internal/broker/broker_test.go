package broker

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
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

// What a dialect makes of a message comes behind it, whatever the QoS and whatever else is in the batch.
func TestAnswersComeBehindTheirMessage(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	watcher, _ := h.connect("watcher", true)
	watcher.Subscribe("#", 1)
	c, _ := h.connect("pump", true)
	var packets []byte
	for i := range 3 {
		packets = (&mqtt.Publish{Topic: []byte("before"), Payload: []byte(fmt.Sprint(i))}).Append(packets, mqtt.V311)
		for qos := range byte(3) {
			p := mqtt.Publish{Topic: []byte("ask"), QoS: qos, Payload: []byte(fmt.Sprint(i))}
			if qos > 0 {
				p.ID = c.NextID()
			}
			packets = p.Append(packets, mqtt.V311)
		}
	}
	c.SendBytes(packets)
	for i := range 3 {
		want := []string{"before", "ask", "answer", "ask", "answer", "ask", "answer"}
		for at, topic := range want {
			if m := watcher.ReceiveMessage(); string(m.Topic) != topic || string(m.Payload) != fmt.Sprint(i) {
				t.Fatalf("round %d, message %d: got %s %s, want %s", i, at, m.Topic, m.Payload, topic)
			}
		}
	}
}

func TestDeliveryToOneSessionOnly(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	a, _ := h.connect("a", true)
	b, _ := h.connect("b", true)
	a.Subscribe("#", 1)
	b.Subscribe("x", 1)
	key := core.SessionKey{Tenant: "t", Dialect: "plain", ClientID: "b"}
	nobody, stranger := key, key
	nobody.ClientID, stranger.Tenant = "c", "u"
	for _, c := range []struct {
		name string
		to   func(*commit.Tx, core.SessionKey, core.Message) (bool, error)
		key  core.SessionKey
		top  string
		qos  int // that it comes with; -1: it does not come
	}{
		{"publish, subscribed", h.broker.PublishTo, key, "x", 1},
		{"publish, not subscribed", h.broker.PublishTo, key, "y", -1},
		{"publish, another tenant's", h.broker.PublishTo, stranger, "x", -1},
		{"send, subscribed", h.broker.SendTo, key, "x", 1},
		{"send, not subscribed: as nobody has granted more", h.broker.SendTo, key, "y", 0},
		{"send, no session", h.broker.SendTo, nobody, "x", -1},
	} {
		h.do(func(tx *commit.Tx) error {
			took, err := c.to(tx, c.key, core.Message{Topic: c.top, QoS: 1})
			if took != (c.qos >= 0) {
				t.Errorf("%s: taken %v", c.name, took)
			}
			return err
		})
		if c.qos < 0 {
			continue // what follows would come behind it
		}
		if m := b.ReceiveMessage(); string(m.Topic) != c.top || int(m.QoS) != c.qos {
			t.Errorf("%s: got %+v, want QoS %d", c.name, m, c.qos)
		}
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
		return h.broker.stats.Connections.Load() == 0 && slices.ContainsFunc(h.plain.logged(), func(s string) bool { return strings.HasPrefix(s, "disconnected pump") })
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
