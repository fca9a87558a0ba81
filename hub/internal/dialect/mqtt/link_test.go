package mqtt

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/credential"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/feed"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/google/go-cmp/cmp"
)

var versions = []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5}

// What a device publishes is stored by topic, in every version, at every quality of service, retained or not, and as a will.
func TestSamples(t *testing.T) {
	g := newRig(t, nil)
	password := g.add("dev/pump")
	want := map[string]any{}
	for _, v := range versions {
		for qos := range byte(3) {
			c := g.connect("dev/pump", password, mqtt.Connect{Version: v, ClientID: "c", CleanStart: true})
			topic := fmt.Sprintf("pump/%d/%d", v, qos)
			c.PublishWith(mqtt.Publish{Topic: []byte(topic), QoS: qos, Retain: qos == 2, Payload: []byte(`{"t":21.5}`)})
			want[topic] = map[string]any{"t": 21.5}
			c.Ping() // what nobody acknowledges may be lost to the connection that takes the session over
			c.Disconnect()
		}
	}
	c := g.connect("dev/pump", password, mqtt.Connect{
		ClientID: "c", CleanStart: true, Will: &mqtt.Will{Topic: "pump/gone", Payload: []byte("lost"), QoS: 1},
	})
	c.Close()
	want["pump/gone"] = "lost"
	g.eventually("the will", func() bool { return g.samples("dev/pump")["pump/gone"] != nil })
	if d := cmp.Diff(want, g.samples("dev/pump")); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	if n := g.counts("dev/pump"); n[""] != 10 || n[feed.NotStored] != 0 {
		t.Errorf("got counts %v", n)
	}
}

func TestContentType(t *testing.T) {
	g := newRig(t, nil)
	password := g.add("dev/pump")
	c := g.connect("dev/pump", password, mqtt.Connect{Version: mqtt.V5, ClientID: "c", CleanStart: true})
	for media, want := range map[string]any{"": int64(7), "application/json": int64(7), "text/plain": "7", "application/octet-stream": []byte("7")} {
		c.PublishWith(mqtt.Publish{Topic: []byte("pump/x"), QoS: 1, Payload: []byte("7"), Properties: &mqtt.MessageProperties{
			ContentType: mqtt.Optional[string]{Value: media, Present: media != ""}, User: []mqtt.UserProperty{{Key: "a", Value: "b"}},
		}})
		if d := cmp.Diff(want, g.samples("dev/pump")["pump/x"]); d != "" {
			t.Errorf("%q: -want +got\n%s", media, d)
		}
	}
}

// A device that publishes to ever new topics fills no table; what it publishes is passed on.
func TestMaxChannels(t *testing.T) {
	g := newRig(t, func(c *Config) { c.MaxChannels = 3 })
	password := g.add("dev/pump")
	c := g.connect("dev/pump", password, mqtt.Connect{ClientID: "c", CleanStart: true})
	c.Subscribe("pump/#", 0)
	flood := func(c interface {
		Publish(string, byte, []byte)
	}, from int,
	) {
		for i := range 5 {
			c.Publish(fmt.Sprintf("pump/%d", from+i), 1, []byte("1"))
		}
	}
	flood(c, 0)
	for range 5 {
		c.ReceiveMessage()
	}
	// Channels that are there stay usable, on another connection too.
	second := g.connect("dev/pump", password, mqtt.Connect{ClientID: "d", CleanStart: true})
	flood(second, 10)
	second.Publish("pump/1", 1, []byte("2"))
	c.Close()
	second.Close()
	g.eventually("disconnected", func() bool { return !g.holder("dev/pump").Connected })
	third := g.connect("dev/pump", password, mqtt.Connect{ClientID: "c", CleanStart: true})
	flood(third, 20)
	third.Publish("pump/"+strings.Repeat("x", 1024), 1, []byte("2"))
	if d := cmp.Diff(map[string]any{"pump/0": int64(1), "pump/1": int64(2), "pump/2": int64(1)}, g.samples("dev/pump")); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	if n := g.counts("dev/pump"); n[""] != 17 || n[feed.NotStored] != 13 {
		t.Errorf("got counts %v", n)
	}
}

func TestNoSamples(t *testing.T) {
	g := newRig(t, nil)
	password := g.add("dev/pump")
	grants := credential.DefaultGrants()
	grants.NoSamples = true
	g.grant("dev/pump", grants)
	c := g.connect("dev/pump", password, mqtt.Connect{ClientID: "c", CleanStart: true})
	c.Publish("pump/x", 1, []byte("1"))
	if got := g.samples("dev/pump"); len(got) != 0 {
		t.Errorf("stored %v", got)
	}
	if n := g.counts("dev/pump"); n[feed.NotStored] != 1 {
		t.Errorf("got counts %v", n)
	}
}

// Grants hold for messages, wills, subscriptions and shared ones, in each version in its words.
func TestGrants(t *testing.T) {
	g := newRig(t, nil)
	password, reader := g.add("dev/pump"), g.add("dev/reader")
	g.grant("dev/reader", credential.Grants{Subscribe: []string{"#"}})
	r := g.connect("dev/reader", reader, mqtt.Connect{ClientID: "r", CleanStart: true})
	r.Subscribe("#", 2)
	for _, v := range versions {
		for qos := range byte(3) {
			c := g.connect("dev/pump", password, mqtt.Connect{Version: v, ClientID: "c", CleanStart: true})
			ack := c.PublishWith(mqtt.Publish{Topic: []byte("pumps/x"), QoS: qos, Payload: []byte("1")})
			if v == mqtt.V5 && qos > 0 && ack.Code != mqtt.ReasonNotAuthorized {
				t.Errorf("%v, QoS %d: got code %v", v, qos, ack.Code)
			}
			c.Close()
		}
		c := g.connect("dev/pump", password, mqtt.Connect{Version: v, ClientID: "c", CleanStart: true})
		refused := map[mqtt.Version]byte{mqtt.V31: 1, mqtt.V311: mqtt.SubAckFailure, mqtt.V5: byte(mqtt.ReasonNotAuthorized)}[v]
		for filter, want := range map[string]byte{
			"pump/#": 1, "pump": 1, "pump/+/x": 1, "#": refused, "+/x": refused, "other/#": refused, "pumps": refused,
			"$share/g/pump/#": 1, "$share/g/#": refused, "$share/g/other": refused, "$SYS/#": refused,
		} {
			if got := c.Subscribe(filter, 1); got != want {
				t.Errorf("%v, %q: got %#x, want %#x", v, filter, got, want)
			}
		}
		c.Close()
		// A will is a message that is sent later: it is refused at once.
		w := g.dial()
		ack := w.TryConnect(mqtt.Connect{
			Version: v, ClientID: "w", CleanStart: true, Username: "dev/pump", HasUsername: true, Password: []byte(password), HasPassword: true,
			Will: &mqtt.Will{Topic: "other/gone", Payload: []byte("x")},
		})
		if want := map[bool]byte{false: mqtt.ConnAckNotAuthorized, true: byte(mqtt.ReasonNotAuthorized)}[v == mqtt.V5]; ack.Code != want {
			t.Errorf("%v: will: got code %#x, want %#x", v, ack.Code, want)
		}
	}
	r.ExpectNothing()
	if got := g.samples("dev/pump"); len(got) != 0 {
		t.Errorf("stored %v", got)
	}
}

// Nobody gets at another device's session with its client id, nor at another tenant's messages.
func TestClientIDTheft(t *testing.T) {
	g := newRig(t, nil)
	users := []string{"dev/pump", "dev/lamp", "acme/pump"}
	passwords := map[string]string{}
	for _, u := range users {
		passwords[u] = g.add(u)
		g.grant(u, credential.Grants{Publish: []string{"#"}, Subscribe: []string{"#"}})
	}
	victim := g.connect("dev/pump", passwords["dev/pump"], mqtt.Connect{ClientID: "same"})
	victim.Subscribe("#", 1)
	for _, id := range []string{"same", "pump/same", "/same", "dev/pump/same"} {
		for _, u := range users[1:] {
			c := g.dial()
			ack := c.Connect(mqtt.Connect{ClientID: id, Username: u, HasUsername: true, Password: []byte(passwords[u]), HasPassword: true})
			if ack.SessionPresent {
				t.Errorf("%s with client id %q: got a session of somebody else", u, id)
			}
			c.Disconnect()
		}
	}
	victim.Ping()
	acme := g.connect("acme/pump", passwords["acme/pump"], mqtt.Connect{ClientID: "same"})
	acme.PublishWith(mqtt.Publish{Topic: []byte("secret"), QoS: 1, Retain: true, Payload: []byte("acme's")})
	victim.ExpectNothing()
	lamp := g.connect("dev/lamp", passwords["dev/lamp"], mqtt.Connect{ClientID: "same"})
	lamp.Subscribe("#", 1)
	lamp.ExpectNothing()
	// The same device takes over its own.
	again := g.connect("dev/pump", passwords["dev/pump"], mqtt.Connect{ClientID: "same"})
	victim.ExpectClosed()
	again.Ping()
}

// A client without an id gets one that it can come back with.
func TestAssignedClientID(t *testing.T) {
	g := newRig(t, nil)
	password := g.add("dev/pump")
	p := mqtt.Connect{
		Version: mqtt.V5, SessionExpiry: 100, Username: "pump", HasUsername: true, Password: []byte(password), HasPassword: true,
	}
	first, second := g.dial(), g.dial()
	p.CleanStart = true
	ack := first.Connect(p)
	if other := second.Connect(p); ack.AssignedClientID == "" || ack.AssignedClientID == other.AssignedClientID {
		t.Fatalf("assigned %q and %q", ack.AssignedClientID, other.AssignedClientID)
	}
	first.Ping() // the second one did not take its session
	first.Close()
	p.ClientID, p.CleanStart = ack.AssignedClientID, false
	if again := g.dial().Connect(p); !again.SessionPresent {
		t.Error("the assigned client id does not find its session")
	}
	for range 2 { // before version 5 nobody is told, and each is another
		g.connect("pump", password, mqtt.Connect{CleanStart: true}).Ping()
	}
}

// What an operator takes away holds at once: for connections, and for sessions that are away.
func TestChangesEndConnections(t *testing.T) {
	for name, change := range map[string]func(g *rig, k core.DeviceKey) func(*commit.Tx) error{
		"password": func(g *rig, k core.DeviceKey) func(*commit.Tx) error {
			return func(tx *commit.Tx) error { return credential.SetPassword(tx, k, nil) }
		},
		"inhibited": func(g *rig, k core.DeviceKey) func(*commit.Tx) error {
			return func(tx *commit.Tx) error { return registry.SetInhibited(tx, g.holder("dev/pump").Num, true) }
		},
		"token revoked": func(g *rig, k core.DeviceKey) func(*commit.Tx) error {
			_, token := credential.NewToken(g.now(), 1e12)
			g.do(func(tx *commit.Tx) error { return credential.AddToken(tx, k, token) }) // which ends nothing
			return func(tx *commit.Tx) error { return credential.RevokeToken(tx, k, token.ID) }
		},
		"grants": func(g *rig, k core.DeviceKey) func(*commit.Tx) error {
			return func(tx *commit.Tx) error {
				return credential.SetGrants(tx, k, credential.Grants{Publish: []string{"b"}, Subscribe: []string{"pump/keep/#"}})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, nil)
			password := g.add("dev/pump")
			away := g.connect("dev/pump", password, mqtt.Connect{ClientID: "away"})
			for _, f := range []string{"pump/keep/x", "pump/drop", "$share/g/pump/drop"} {
				if got := away.Subscribe(f, 1); got != 1 {
					t.Fatalf("%s: got %#x", f, got)
				}
			}
			away.Disconnect()
			c := g.connect("dev/pump", password, mqtt.Connect{ClientID: "c"})
			f := change(g, g.key("dev/pump"))
			c.Ping()
			g.do(f)
			c.ExpectClosed()
			if name != "grants" {
				return
			}
			list, err := g.broker.SessionFilters(context.Background(), core.SessionKey{Tenant: "dev", Dialect: Name, ClientID: "pump/away"})
			if d := cmp.Diff([]string{"pump/keep/x"}, list); d != "" || err != nil {
				t.Errorf("%v, -want +got\n%s", err, d)
			}
		})
	}
}

// Credentials that changed while a connection was signing in are not good any more.
func TestChangeWhileSigningIn(t *testing.T) {
	g := newRig(t, nil)
	password := g.add("dev/pump")
	_, l, err := g.signIn(claim("dev/pump", password))
	if err != nil {
		t.Fatal(err)
	}
	g.grant("dev/pump", credential.Grants{})
	if err := g.committer.Do(t.Context(), func(tx *commit.Tx) error { return l.Connected(tx, dialect.Presence{}) }); err == nil {
		t.Error("connected with the grants of before")
	}
	if g.holder("dev/pump").Connected {
		t.Error("a refused connection counts")
	}
}

// A device is connected as long as one of its connections is.
func TestBookkeeping(t *testing.T) {
	g := newRig(t, nil)
	password := g.add("dev/pump")
	a := g.connect("dev/pump", password, mqtt.Connect{ClientID: "a", CleanStart: true})
	b := g.connect("dev/pump", password, mqtt.Connect{ClientID: "b", CleanStart: true})
	if h := g.holder("dev/pump"); !h.Connected || h.LastAddr != "127.0.0.1" || h.LastConnected.IsZero() {
		t.Errorf("got %+v", h.Device)
	}
	a.Disconnect()
	b.Ping()
	if !g.holder("dev/pump").Connected {
		t.Error("disconnected with a connection left")
	}
	b.Close()
	g.eventually("disconnected", func() bool { return !g.holder("dev/pump").Connected })
	if h := g.holder("dev/pump"); h.LastDisconnected.IsZero() {
		t.Errorf("got %+v", h.Device)
	}
	want := []string{"device.registered", "device.connected", "device.disconnected"}
	if got := g.events("dev/pump"); !slices.Equal(got, want) {
		t.Errorf("got events %v, want %v", got, want)
	}
}
