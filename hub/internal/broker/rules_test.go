package broker

import (
	"strings"
	"sync"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// ban is rules that forbid what is in its lists.
type ban struct {
	mu                          sync.Mutex
	version                     uint64
	publish, subscribe, receive string // topics, each behind a space
	retain                      string
}

func (b *ban) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	b.version++
}

func (b *ban) Version() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.version
}

func (b *ban) lists(list *string, name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Contains(*list+" ", " "+name+" ")
}

func (b *ban) Publish(name string, retain bool) error {
	if name == "broken" {
		return &mqtt.Error{Code: mqtt.ReasonTopicNameInvalid, Text: "no such topic"}
	}
	if b.lists(&b.publish, name) || retain && b.lists(&b.retain, name) {
		return core.ErrDenied
	}
	return nil
}

func (b *ban) Subscribe(filter string) error {
	if filter == "broken" {
		return &mqtt.Error{Code: mqtt.ReasonTopicFilterInvalid, Text: "no such filter"}
	}
	if b.lists(&b.subscribe, filter) {
		return core.ErrDenied
	}
	return nil
}

func (b *ban) Receive(name string) bool { return !b.lists(&b.receive, name) }

func startRuled(t *testing.T) (*testHub, *ban) {
	h, b := startHub(t, t.TempDir(), Config{}), &ban{}
	h.plain.grant = func(g *core.Grant) {
		g.Publish, g.Subscribe, g.Rules, g.Retain = nil, nil, b, true
		g.Profile.CloseOnUntold = true
	}
	return h, b
}

func TestRulesPublish(t *testing.T) {
	h, b := startRuled(t)
	b.set(func() { b.publish, b.retain = " no", " keep" })
	c, _ := h.connect5(mqtt.Connect{ClientID: "c", CleanStart: true})
	for _, s := range []struct {
		topic  string
		retain bool
		want   mqtt.ReasonCode
	}{{"yes", false, mqtt.ReasonNoMatchingSubscribers}, {"no", false, mqtt.ReasonNotAuthorized}, {"keep", false, mqtt.ReasonNoMatchingSubscribers}, {"keep", true, mqtt.ReasonNotAuthorized}} {
		if got := c.PublishWith(mqtt.Publish{Topic: []byte(s.topic), QoS: 1, Retain: s.retain}); got.Code != s.want {
			t.Errorf("%s, retain %v: got %v, want %v", s.topic, s.retain, got.Code, s.want)
		}
	}
	b.set(func() { b.publish = " yes" })
	for name, want := range map[string]mqtt.ReasonCode{"yes": mqtt.ReasonNotAuthorized, "no": mqtt.ReasonNoMatchingSubscribers} {
		if got := c.PublishWith(mqtt.Publish{Topic: []byte(name), QoS: 1}); got.Code != want {
			t.Errorf("%s after the change: got %v, want %v", name, got.Code, want)
		}
	}
	c.Publish("yes", 0, nil) // nothing could tell it
	c.ExpectDisconnect(mqtt.ReasonNotAuthorized)
	old, _ := h.connect("old", true)
	old.Send(mqtt.Publish{Topic: []byte("yes"), QoS: 1, ID: 1})
	old.ExpectClosed()
	c, _ = h.connect5(mqtt.Connect{ClientID: "c", CleanStart: true})
	c.Send(mqtt.Publish{Topic: []byte("broken"), QoS: 1, ID: 1})
	c.ExpectDisconnect(mqtt.ReasonTopicNameInvalid)
	if got := h.received("c"); len(got) != 3 {
		t.Errorf("the dialect got %v, want what was allowed", got)
	}
}

func TestRulesSubscribeAndReceive(t *testing.T) {
	h, b := startRuled(t)
	b.set(func() { b.subscribe, b.receive = " no/#", " a/secret" })
	c, _ := h.connect5(mqtt.Connect{ClientID: "c", CleanStart: true, SessionExpiry: 3600})
	if got := c.Subscribe("no/#", 1); got != byte(mqtt.ReasonNotAuthorized) {
		t.Errorf("got %#x", got)
	}
	if got := c.Subscribe("a/#", 1); got != 1 {
		t.Errorf("got %#x", got)
	}
	if n := h.publish("a/secret", 1, "x"); n != 0 {
		t.Errorf("reached %d, want nobody", n)
	}
	h.publish("a/open", 1, "y")
	if got := c.ReceiveMessage(); string(got.Topic) != "a/open" {
		t.Errorf("got %s", got.Topic)
	}
	c.Disconnect()
	eventually(t, "gone", func() bool { return h.broker.Stats().Connections.Load() == 0 })
	// What is queued while the client is away is asked about when it is back, under the rules that hold then.
	h.publish("a/secret", 1, "x")
	h.publish("a/other", 1, "z")
	b.set(func() { b.receive = " a/other" })
	c, ack := h.connect5(mqtt.Connect{ClientID: "c", SessionExpiry: 3600})
	if !ack.SessionPresent {
		t.Fatal("no session")
	}
	if got := c.ReceiveMessage(); string(got.Topic) != "a/secret" {
		t.Errorf("got %s", got.Topic)
	}
	c.Ping()
	c.Send(mqtt.Subscribe{ID: 9, Subscriptions: []mqtt.Subscription{{Filter: "broken"}}})
	c.ExpectDisconnect(mqtt.ReasonTopicFilterInvalid)
}

func TestBelowOnly(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	h.plain.match.BelowOnly = true
	a, _ := h.connect("a", true)
	b, _ := h.connect("b", true)
	a.Subscribe("s/#", 0)
	b.Subscribe("$share/g/s/#", 0)
	if n := h.publish("s", 0, ""); n != 0 {
		t.Errorf("s reached %d, want nobody", n)
	}
	for _, name := range []string{"s/", "s/t", "s/t/u"} {
		if n := h.publish(name, 0, ""); n != 2 {
			t.Errorf("%s reached %d, want 2", name, n)
		}
	}
	a.Subscribe("s", 0)
	if n := h.publish("s", 0, ""); n != 1 {
		t.Errorf("s reached %d, want who subscribes to it", n)
	}
}

func TestProfileOfSubscriptions(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	h.plain.grant = func(g *core.Grant) {
		g.Retain = true
		g.Profile = core.Profile{QoS: core.UpToQoS1, NoSubscriptionIDs: true, RefuseUnoffered: true, RetainedExact: true, HidesReach: true, LongestMessage: 100}
		g.Limits.PacketFilters = 2
	}
	c, _ := h.connect("c", true)
	if got := c.Subscribe("a", 2); got != mqtt.SubAckFailure {
		t.Errorf("QoS 2: got %#x", got)
	}
	c.PublishWith(mqtt.Publish{Topic: []byte("keep"), QoS: 1, Retain: true, Payload: []byte("kept")})
	c.Subscribe("+", 1)
	c.Ping() // nothing came before the answer
	c.Subscribe("keep", 1)
	if got := c.ReceiveMessage(); !got.Retain || string(got.Payload) != "kept" {
		t.Errorf("got %+v", got)
	}
	for want, sub := range map[mqtt.ReasonCode]mqtt.Subscribe{
		mqtt.ReasonQoSNotSupported:             {Subscriptions: []mqtt.Subscription{{Filter: "a", QoS: 2}}},
		mqtt.ReasonSubscriptionIDsNotSupported: {SubscriptionID: 1, Subscriptions: []mqtt.Subscription{{Filter: "a"}}},
		mqtt.ReasonQuotaExceeded:               {Subscriptions: []mqtt.Subscription{{Filter: "a"}, {Filter: "b"}, {Filter: "c"}}},
	} {
		c, _ := h.connect5(mqtt.Connect{ClientID: "five", CleanStart: true})
		if got := c.PublishWith(mqtt.Publish{Topic: []byte("nobody"), QoS: 1}); got.Code != mqtt.ReasonSuccess {
			t.Errorf("got %v, want nothing told of subscribers", got.Code)
		}
		if got := c.Unsubscribe("none"); got[0] != mqtt.ReasonSuccess {
			t.Errorf("got %v, want nothing told of subscriptions", got)
		}
		c.Subscribe("brief", 0)
		for asked, lasts := range map[uint32]uint32{0: 1, 50: 50, 1000: 100} {
			c.PublishWith(mqtt.Publish{Topic: []byte("brief"), MessageExpiry: mqtt.Some(asked)})
			if got := c.ReceiveMessage().MessageExpiry; !got.Present || got.Value > lasts || got.Value+5 < lasts {
				t.Errorf("a message for %d s: got %v, want %d", asked, got, lasts)
			}
		}
		sub.ID = 7
		c.Send(sub)
		c.ExpectDisconnect(want)
	}
}

func TestWithheld(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	h.plain.grant = func(g *core.Grant) { g.Retain = true }
	c, _ := h.connect("c", true)
	c.Subscribe("withheld", 1)
	c.PublishWith(mqtt.Publish{Topic: []byte("withheld"), QoS: 1, Retain: true, Payload: []byte("x")})
	c.Publish("other", 1, nil)
	if got := h.broker.Stats(); got.MessagesOut.Load() != 0 || got.Retained.Load() != 0 {
		t.Error("a message that is the dialect's alone was passed on or retained")
	}
}

func TestSilentRefusal(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	h.plain.refuse = &core.AnswerError{Silent: true, Kind: core.ErrUnauthenticated}
	c := h.dial()
	c.Send(mqtt.Connect{Version: mqtt.V311, ClientID: "c", CleanStart: true, Username: "t", HasUsername: true})
	c.ExpectClosed()
}

func TestLongClientID(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	connect := mqtt.Connect{Version: mqtt.V31, ClientID: strings.Repeat("x", 24), CleanStart: true, Username: "t", HasUsername: true}
	if ack := h.dial().TryConnect(connect); ack.Code != mqtt.ConnAckBadClientID {
		t.Errorf("got %d, want a refusal", ack.Code)
	}
	h.plain.grant = func(g *core.Grant) { g.Profile.LongClientIDs = true }
	if ack := h.dial().TryConnect(connect); ack.Code != 0 {
		t.Errorf("got %d, want to be let in", ack.Code)
	}
}
