package broker

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
)

// retaining starts a hub whose clients may retain messages.
func retaining(t *testing.T, dir string, cfg Config) *testHub {
	h := startHub(t, dir, cfg)
	h.plain.grant = func(g *core.Grant) { g.Retain = true }
	return h
}

// retain publishes a message to be retained, with QoS 1.
func retain(c *mqtttest.Client, topic, payload string) mqtt.Ack {
	return c.PublishWith(mqtt.Publish{Topic: []byte(topic), QoS: 1, Retain: true, Payload: []byte(payload)})
}

// subscribe5 subscribes with options and returns the code.
func subscribe5(c *mqtttest.Client, id uint32, s mqtt.Subscription) byte {
	return c.SubscribeWith(mqtt.Subscribe{SubscriptionID: id, Subscriptions: []mqtt.Subscription{s}}).Codes[0]
}

// take returns the next n messages as "topic=payload", sorted, and makes sure that there are no more.
func take(t *testing.T, c *mqtttest.Client, n int, retained bool) (list []string) {
	t.Helper()
	for range n {
		m := c.ReceiveMessage()
		if m.Retain != retained {
			t.Errorf("%s: got retain flag %v, want %v", m.Topic, m.Retain, retained)
		}
		list = append(list, fmt.Sprintf("%s=%s", m.Topic, m.Payload))
	}
	c.ExpectNothing()
	slices.Sort(list)
	return list
}

func wantList(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// [MQTT-3.3.1-5] to [MQTT-3.3.1-12] of version 3.1.1.
func TestRetainedMessages(t *testing.T) {
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		t.Run(v.String(), func(t *testing.T) {
			h := retaining(t, t.TempDir(), Config{})
			connect := func(id string) *mqtttest.Client {
				c := h.dial()
				c.Connect(mqtt.Connect{Version: v, ClientID: id, CleanStart: true, Username: "t", HasUsername: true})
				return c
			}
			a, b := connect("a"), connect("b")
			b.Subscribe("x/+", 1)
			retain(a, "x/1", "old")
			retain(a, "x/1", "new")                                                                // [MQTT-3.3.1-5]: in its place
			a.PublishWith(mqtt.Publish{Topic: []byte("x/2"), Retain: true, Payload: []byte("q0")}) // [MQTT-3.3.1-7]
			a.Publish("x/1", 1, []byte("passing"))                                                 // [MQTT-3.3.1-12]: leaves what is kept
			a.PublishWith(mqtt.Publish{Topic: []byte("x/3"), QoS: 2, Retain: true, Payload: []byte("gone")})
			retain(a, "x/3", "") // [MQTT-3.3.1-10] [MQTT-3.3.1-11]
			// [MQTT-3.3.1-9]: who has subscribed before gets them without the flag, the empty one too.
			wantList(t, take(t, b, 6, false), "x/1=new", "x/1=old", "x/1=passing", "x/2=q0", "x/3=", "x/3=gone")
			c := connect("c")
			c.Subscribe("x/#", 2)
			wantList(t, take(t, c, 2, true), "x/1=new", "x/2=q0") // [MQTT-3.3.1-6] [MQTT-3.3.1-8]
			c.Subscribe("x/1", 0)                                 // [MQTT-3.8.4-3]: also for an exact filter
			if m := c.ReceivePublish(); m.QoS != 0 || !m.Retain || string(m.Payload) != "new" {
				t.Errorf("got %+v", m)
			}
			c.Subscribe("x/#", 1) // again: [MQTT-3.8.4-3], retained messages are sent again
			take(t, c, 2, true)
			if got := h.broker.stats.Retained.Load(); got != 2 {
				t.Errorf("counted %d, want 2", got)
			}
		})
	}
}

// Where the grant has no retained messages the flag of older versions is ignored. (Version 5: TestConnAckTellsTheLimits.)
func TestRetainIsNotGranted(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	c, _ := h.connect("a", true)
	c.Subscribe("x", 1)
	retain(c, "x", "1")
	take(t, c, 1, false)
	c.Subscribe("x", 1)
	c.ExpectNothing()
	if got := h.broker.stats.Retained.Load(); got != 0 {
		t.Errorf("retained %d, want 0", got)
	}
}

func TestRetainedMessagesSurvive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		h := retaining(t, dir, Config{})
		c, _ := h.connect5(mqtt.Connect{ClientID: "a", CleanStart: true})
		props := &mqtt.MessageProperties{ContentType: mqtt.Some("text/plain"), User: []mqtt.UserProperty{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}}}
		c.PublishWith(mqtt.Publish{Topic: []byte("x"), QoS: 1, Retain: true, Payload: []byte("1"), Properties: props, MessageExpiry: mqtt.Some[uint32](1000)})
		c.PublishWith(mqtt.Publish{Topic: []byte("brief"), QoS: 1, Retain: true, Payload: []byte("1"), MessageExpiry: mqtt.Some[uint32](1)})
		h.stop()
		time.Sleep(time.Second) // what has expired is not sent any more
		h = retaining(t, dir, Config{})
		if got := h.broker.stats.Retained.Load(); got != 2 {
			t.Errorf("counted %d, want 2", got)
		}
		c, _ = h.connect5(mqtt.Connect{ClientID: "b", CleanStart: true})
		c.Subscribe("#", 2)
		m := c.ReceiveMessage()
		if string(m.Topic) != "x" || !m.Retain || m.QoS != 1 || m.MessageExpiry.Value >= 1000 || m.MessageExpiry.Value < 990 {
			t.Errorf("got %+v", m)
		}
		if string(m.Properties.Append(nil)) != string(props.Append(nil)) {
			t.Errorf("got properties %+v", m.Properties)
		}
		c.ExpectNothing()
		retain(c, "y", "1") // takes the opportunity to delete what has expired
		if got := h.broker.stats.Retained.Load(); got != 2 {
			t.Errorf("counted %d, want 2", got)
		}
	})
}

// Nothing of one tenant is another's, nor of one dialect another's.
func TestRetainedMessagesOfTenants(t *testing.T) {
	h := retaining(t, t.TempDir(), Config{})
	a, _ := h.connect("a", true)
	retain(a, "x", "secret")
	h.do(func(tx *commit.Tx) error {
		return h.broker.Retain(tx, "t", "other", core.Message{Topic: "x", Payload: []byte("other"), QoS: 1})
	})
	b := h.dial()
	b.Connect(mqtt.Connect{Version: mqtt.V311, ClientID: "b", CleanStart: true, Username: "u", HasUsername: true})
	b.Subscribe("#", 1)
	b.ExpectNothing()
	a.Subscribe("#", 1)
	wantList(t, take(t, a, 1, true), "x=secret")
}

// [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11] of version 5.
func TestRetainHandling(t *testing.T) {
	h := retaining(t, t.TempDir(), Config{})
	c, _ := h.connect5(mqtt.Connect{ClientID: "a", CleanStart: true})
	retain(c, "x", "1")
	for _, s := range []struct {
		handling mqtt.RetainHandling
		filter   string
		want     int
	}{
		{mqtt.RetainDontSend, "x", 0},
		{mqtt.RetainSendIfNew, "x", 0},
		{mqtt.RetainSendIfNew, "+", 1},
		{mqtt.RetainSendIfNew, "+", 0},
		{mqtt.RetainSend, "x", 1},
		{mqtt.RetainSend, "x", 1},
		{mqtt.RetainSend, "$share/g/x", 0}, // never for a shared subscription (section 3.3.1.3)
	} {
		subscribe5(c, 0, mqtt.Subscription{Filter: s.filter, QoS: 1, RetainHandling: s.handling})
		take(t, c, s.want, true)
	}
}

// [MQTT-3.3.1-12] [MQTT-3.3.1-13] of version 5.
func TestRetainAsPublished(t *testing.T) {
	h := retaining(t, t.TempDir(), Config{})
	c, _ := h.connect5(mqtt.Connect{ClientID: "a", SessionExpiry: 1000})
	subscribe5(c, 0, mqtt.Subscription{Filter: "keep/#", QoS: 1, RetainAsPublished: true})
	subscribe5(c, 0, mqtt.Subscription{Filter: "clear/#", QoS: 1})
	for _, topic := range []string{"keep/x", "clear/x"} {
		for _, flag := range []bool{true, false} {
			c.PublishWith(mqtt.Publish{Topic: []byte(topic), QoS: 1, Retain: flag, Payload: []byte("1")})
			if m := c.ReceiveMessage(); m.Retain != (flag && topic == "keep/x") {
				t.Errorf("%s published with %v: got %v", topic, flag, m.Retain)
			}
		}
	}
	// The flag waits in the queue with the message.
	c.Close()
	eventually(t, "disconnection", func() bool { return h.broker.stats.Connections.Load() == 0 })
	b, _ := h.connect("b", true)
	retain(b, "keep/x", "2")
	retain(b, "clear/x", "2")
	c, _ = h.connect5(mqtt.Connect{ClientID: "a", SessionExpiry: 1000})
	for _, want := range []bool{true, false} {
		if m := c.ReceiveMessage(); m.Retain != want {
			t.Errorf("%s: got %v, want %v", m.Topic, m.Retain, want)
		}
	}
}

func TestRetainedLimits(t *testing.T) {
	h := retaining(t, t.TempDir(), Config{MaxRetained: 3, MaxRetainedBytes: 100})
	c, _ := h.connect5(mqtt.Connect{ClientID: "a", CleanStart: true})
	c.Subscribe("#", 1)
	for i, s := range []struct {
		topic, payload string
		want           mqtt.ReasonCode
	}{
		{"1", "x", 0},
		{"2", "x", 0},
		{"3", string(make([]byte, 100)), mqtt.ReasonQuotaExceeded},
		{"3", "x", 0},
		{"4", "x", mqtt.ReasonQuotaExceeded}, // one too many
		{"3", "y", 0},                        // no more than before
		{"3", string(make([]byte, 98)), mqtt.ReasonQuotaExceeded},
		{"3", "", 0},
		{"4", "x", 0},
	} {
		if got := retain(c, s.topic, s.payload); got.Code != s.want {
			t.Errorf("%d: got %v, want %v", i, got.Code, s.want)
		}
		if m := c.ReceiveMessage(); string(m.Payload) != s.payload { // delivered in any case
			t.Errorf("%d: got %+v", i, m)
		}
	}
	// At QoS 2 a failure would say that the message was not taken.
	if ack := c.PublishWith(mqtt.Publish{Topic: []byte("5"), QoS: 2, Retain: true, Payload: []byte("x")}); ack.Code != 0 {
		t.Errorf("QoS 2: got %v", ack.Code)
	}
	c.ReceiveMessage()
	if got := h.broker.stats.RetainedRefused.Load(); got != 4 {
		t.Errorf("counted %d refusals, want 4", got)
	}
	// Another tenant has limits of its own.
	h.do(func(tx *commit.Tx) error {
		err := h.broker.Retain(tx, "t", "plain", core.Message{Topic: "5", Payload: []byte("x")})
		if !errors.Is(err, core.ErrTooLarge) {
			t.Errorf("Retain: got %v, want %v", err, core.ErrTooLarge)
		}
		return h.broker.Retain(tx, "u", "plain", core.Message{Topic: "5", Payload: []byte("x")})
	})
}

// The dialect's side: Publish with the flag, Retain, and what is undone with its transaction.
func TestRetainByDialects(t *testing.T) {
	h := retaining(t, t.TempDir(), Config{})
	c, _ := h.connect5(mqtt.Connect{ClientID: "a", CleanStart: true})
	subscribe5(c, 0, mqtt.Subscription{Filter: "#", QoS: 1, RetainAsPublished: true})
	h.do(func(tx *commit.Tx) error {
		_, err := h.broker.Publish(tx, "t", "plain", core.Message{Topic: "x", Payload: []byte("1"), QoS: 1, Retain: true})
		return errors.Join(err, h.broker.Retain(tx, "t", "plain", core.Message{Topic: "y", Payload: []byte("2"), QoS: 1}))
	})
	wantList(t, take(t, c, 1, true), "x=1")
	errUndone := errors.New("undone")
	if err := h.com.Do(t.Context(), func(tx *commit.Tx) error {
		return errors.Join(h.broker.Retain(tx, "t", "plain", core.Message{Topic: "x"}), h.broker.Retain(tx, "t", "plain", core.Message{Topic: "z", Payload: []byte("3")}), errUndone)
	}); !errors.Is(err, errUndone) {
		t.Fatal(err)
	}
	if got := h.broker.stats.Retained.Load(); got != 2 {
		t.Errorf("counted %d, want 2", got)
	}
	c.Subscribe("#", 1)
	wantList(t, take(t, c, 2, true), "x=1", "y=2")
}

// Very many retained messages come in slices that respect the window and the limits of the queue, and others are served
// in between.
func TestManyRetainedMessages(t *testing.T) {
	const n = 3000
	for _, qos := range []byte{0, 1} {
		for _, clean := range []bool{true, false} {
			t.Run(fmt.Sprintf("qos %d clean %v", qos, clean), func(t *testing.T) {
				h := retaining(t, t.TempDir(), Config{Limits: core.Limits{MaxQueued: 150, Inflight: 20}})
				h.do(func(tx *commit.Tx) error {
					for i := range n {
						if err := h.broker.Retain(tx, "t", "plain", core.Message{Topic: fmt.Sprintf("x/%05d", i), Payload: []byte("1"), QoS: 1}); err != nil {
							return err
						}
					}
					return nil
				})
				c, _ := h.connect("c", clean)
				c.Subscribe("#", qos)
				for i := range n {
					if m := c.ReceiveMessage(); string(m.Topic) != fmt.Sprintf("x/%05d", i) || !m.Retain {
						t.Fatalf("message %d: got %+v", i, m)
					}
				}
				c.ExpectNothing()
				if got := h.broker.stats.Dropped.Load(); got != 0 {
					t.Errorf("dropped %d", got)
				}
			})
		}
	}
}

// A session that stays goes on where it was interrupted, over a restart too.
func TestRetainedMessagesGoOn(t *testing.T) {
	const n = 2000
	dir := t.TempDir()
	h := retaining(t, dir, Config{})
	h.do(func(tx *commit.Tx) error {
		for i := range n {
			if err := h.broker.Retain(tx, "t", "plain", core.Message{Topic: fmt.Sprintf("x/%05d", i), Payload: []byte("1"), QoS: 1}); err != nil {
				return err
			}
		}
		return nil
	})
	c, _ := h.connect("c", false)
	c.Subscribe("x/#", 1)
	seen := map[string]bool{}
	receive := func(n int) {
		for range n {
			m := c.ReceiveMessage()
			if seen[string(m.Topic)] && !m.Dup {
				t.Errorf("%s came twice", m.Topic)
			}
			seen[string(m.Topic)] = true
		}
	}
	receive(500)
	c.Close()
	eventually(t, "disconnection", func() bool { return h.broker.stats.Connections.Load() == 0 })
	c, _ = h.connect("c", false)
	receive(500)
	h.stop()
	h = retaining(t, dir, Config{})
	c, _ = h.connect("c", false)
	for len(seen) < n {
		receive(1)
	}
	c.Unsubscribe("x/#")
	c.ExpectNothing()
}

// A wildcard with a fixed part does not look at what cannot match, wherever that lies.
func TestWildcardsSkip(t *testing.T) {
	h := retaining(t, t.TempDir(), Config{})
	h.do(func(tx *commit.Tx) error {
		for i := range 5_000 {
			for _, topic := range []string{fmt.Sprintf("a/%05d/x", i), fmt.Sprintf("dev-%05d", i)} {
				if err := h.broker.Retain(tx, "t", "plain", core.Message{Topic: topic, Payload: []byte("1")}); err != nil {
					return err
				}
			}
		}
		return errors.Join(h.broker.Retain(tx, "t", "plain", core.Message{Topic: "dev", Payload: []byte("1")}),
			h.broker.Retain(tx, "t", "plain", core.Message{Topic: "dev/1", Payload: []byte("1")}))
	})
	for filter, most := range map[string]int{"dev/#": 50, "b/#": 1, "a/00007/+": 2, "a/00007/#": 20} {
		h.do(func(tx *commit.Tx) error {
			s := &session{Session: core.Session{Key: core.SessionKey{Tenant: "t", Dialect: "plain", ClientID: "s"}}}
			left := slice{1 << 20, 1 << 20, 1 << 20, false}
			var out deliveries
			next, err := h.broker.retainedFor(tx, s, core.Subscription{Filter: filter, RetainedFrom: firstTopic}, &left, &out)
			if looked := 1<<20 - left.scanned; looked > most || next != "" {
				t.Errorf("%s: looked at %d topics, want at most %d", filter, looked, most)
			}
			return err
		})
	}
}
