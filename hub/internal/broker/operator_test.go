package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
)

func keyOf(id string) core.SessionKey {
	return core.SessionKey{Tenant: "t", Dialect: "plain", ClientID: id}
}

func TestConnections(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	before := time.Now().Add(-time.Second)
	a, _ := h.connect("a", false)
	h.connect("b", true)
	h.connect("c/1", true)
	a.Subscribe("x/#", 1)
	a.Send(mqtt.Publish{QoS: 1, ID: 5, Topic: []byte("y"), Payload: make([]byte, 1000)})
	a.Expect(mqtt.Ack{Type: mqtt.TypePubAck, ID: 5})
	h.publish("x/1", 1, "to a")
	a.Receive()
	got, ok := h.broker.Connection(keyOf("a"))
	if !ok || got.MessagesIn != 1 || got.MessagesOut != 1 || got.BytesIn < 1000 || got.BytesOut < 10 || got.InFlight != 1 || !got.Stored ||
		got.Version != 4 || got.Transport != "plain" || got.Since.Before(before) || got.Heard.Before(got.Since.Add(-time.Second)) || !got.Addr.IsValid() {
		t.Errorf("got %+v, %v", got, ok)
	}
	for _, c := range []struct {
		q    core.SessionQuery
		want string
	}{
		{core.SessionQuery{Limit: 10}, "a b c/1"},
		{core.SessionQuery{Limit: 2}, "a b"},
		{core.SessionQuery{Limit: 2, After: keyOf("b")}, "c/1"},
		{core.SessionQuery{Limit: 2, Prefix: "c/"}, "c/1"},
		{core.SessionQuery{Limit: 2, Tenant: "u"}, ""},
		{core.SessionQuery{Limit: 2, Device: 7}, ""},
	} {
		var ids []string
		for _, x := range h.broker.Connections(c.q) {
			ids = append(ids, x.Key.ClientID)
		}
		if got := strings.Join(ids, " "); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.q, got, c.want)
		}
	}
	st, err := h.broker.SessionStates(t.Context(), []core.SessionKey{keyOf("a"), keyOf("b"), keyOf("none")})
	if err != nil || len(st) != 2 || st[keyOf("a")].Subscriptions != 1 || st[keyOf("a")].Queued != 1 || st[keyOf("b")].Stored {
		t.Errorf("states: got %+v, %v", st, err)
	}
	filters, err := h.broker.SessionFilters(t.Context(), keyOf("a"))
	if err != nil || !slices.Equal(filters, []string{"x/#"}) {
		t.Errorf("filters: got %v, %v", filters, err)
	}
}

// TestConnectionsOfMany: pages of many connections are complete and in order, while connections come and go.
func TestConnectionsOfMany(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	var clients []*mqtttest.Client
	for i := range 60 {
		c, _ := h.connect(fmt.Sprintf("%02d", i), true)
		clients = append(clients, c)
	}
	seen := 0
	for after := (core.SessionKey{}); ; {
		page := h.broker.Connections(core.SessionQuery{After: after, Limit: 7})
		if len(page) == 0 {
			break
		}
		for _, c := range page {
			if want := fmt.Sprintf("%02d", seen); c.Key.ClientID != want {
				t.Fatalf("got %s, want %s", c.Key.ClientID, want)
			}
			seen++
			after = c.Key
		}
	}
	if seen != len(clients) {
		t.Errorf("%d connections in the pages, want %d", seen, len(clients))
	}
}

func TestOperatorEndsConnectionAndSession(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	c, _ := h.connect("a", false)
	c.Subscribe("x/#", 1)
	h.store.refuse(core.ErrStorage) // which must keep nobody from it
	if !h.broker.DisconnectClient(keyOf("a"), byOperator) || h.broker.DisconnectClient(keyOf("none"), byOperator) {
		t.Error("not what was to be disconnected")
	}
	if st, err := h.broker.SessionStates(t.Context(), []core.SessionKey{keyOf("a")}); err != nil || len(st) != 1 {
		t.Errorf("while the disk refuses: %v, %v", st, err)
	}
	h.store.refuse(nil)
	c.ExpectClosed()
	eventually(t, "the end", func() bool { return slices.Contains(h.plain.logged(), "disconnected a: "+byOperator) })
	c, present := h.connect("a", false)
	if !present {
		t.Error("the session has gone with the connection")
	}
	h.do(func(tx *commit.Tx) error { return h.broker.ForgetSession(tx, keyOf("a")) })
	c.ExpectClosed()
	if _, present = h.connect("a", false); present {
		t.Error("the session is still there")
	}
	err := h.com.Do(t.Context(), func(tx *commit.Tx) error { return h.broker.ForgetSession(tx, keyOf("none")) })
	if !errors.Is(err, core.ErrNotFound) {
		t.Errorf("forget what is not there: %v", err)
	}
}

func TestDevicesAreForgotten(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	h.plain.grant = func(g *core.Grant) { g.Device = 7 }
	a, _ := h.connect("a", false)
	b, _ := h.connect("b", true)
	h.plain.grant = nil
	h.connect("c", false)
	if !h.broker.Serving(7) || h.broker.Serving(8) {
		t.Error("not the devices that are connected")
	}
	h.do(func(tx *commit.Tx) error { return h.broker.ForgetDevice(tx, 7, "deleted") })
	a.ExpectClosed()
	b.ExpectClosed()
	eventually(t, "the end", func() bool { return !h.broker.Serving(7) })
	st, err := h.broker.SessionStates(t.Context(), []core.SessionKey{keyOf("a"), keyOf("b"), keyOf("c")})
	if err != nil || len(st) != 1 {
		t.Errorf("got %v, %v", st, err)
	}
}

// TestRefusedIsTold: what clients may not do after they have signed in is told too.
func TestRefusedIsTold(t *testing.T) {
	var mu sync.Mutex
	var got []string
	h := startHub(t, t.TempDir(), Config{Refused: func(r core.Refusal) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, fmt.Sprintf("%s %s %s/%s %v %s", r.Stage, r.Claim.ClientID, r.Device.Dialect, r.Device.Tenant, r.Proven, r.Code))
	}})
	h.plain.grant = func(g *core.Grant) { g.Publish, g.Subscribe = []string{"ok"}, []string{"ok"} }
	c, _ := h.connect("a", true)
	c.Subscribe("nok", 1)
	c.Send(mqtt.Publish{Topic: []byte("nok")})
	c.Ping()
	h.plain.refuse = fmt.Errorf("no: %w", core.ErrUnauthenticated)
	c = h.dial()
	c.Send(mqtt.Connect{Version: mqtt.V311, ClientID: "b", CleanStart: true, Username: "t", HasUsername: true})
	c.Receive()
	c.ExpectClosed()
	eventually(t, "three refusals", func() bool { mu.Lock(); defer mu.Unlock(); return len(got) == 3 })
	want := []string{"subscribe a plain/t true SUBACK 0x80", "publish a plain/t true ", "sign-in b / false CONNACK 4"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLookEndsWithItsContext(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.broker.SessionFilters(ctx, keyOf("a")); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
