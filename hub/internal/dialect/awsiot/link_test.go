package awsiot

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// startPump returns a rig with a thing "pump" that may do what permissive allows, and what else is given.
func startPump(t *testing.T, more ...string) (*connRig, func(version mqtt.Version) *clientOf) {
	g := newConnRig(t)
	g.policy("p", append(slices.Clone(permissive), more...)...)
	g.thing(thing{Name: "pump", Type: "pumps", Attributes: map[string]string{"site": "north"}})
	crt, id := g.enrol([]string{"p"}, "pump")
	return g, func(version mqtt.Version) *clientOf {
		return &clientOf{g.connect(crt, mqtt.Connect{Version: version, ClientID: "pump", CleanStart: true}), id}
	}
}

func TestPublishRules(t *testing.T) {
	g, connect := startPump(t, allow("iot:Publish", "arn:topic/$aws/*"))
	deep := "pump/" + strings.Repeat("/", 6)
	for name, c := range map[string]struct {
		publish mqtt.Publish
		closes  mqtt.ReasonCode // of DISCONNECT; 0: it goes on
		code    mqtt.ReasonCode // of PUBACK, where it goes on
	}{
		"allowed":            {mqtt.Publish{Topic: []byte("pump/t"), QoS: 1}, 0, 0},
		"retained":           {mqtt.Publish{Topic: []byte("pump/keep"), QoS: 1, Retain: true}, 0, 0},
		"not to retain":      {mqtt.Publish{Topic: []byte("pump/t"), QoS: 1, Retain: true}, 0, mqtt.ReasonNotAuthorized},
		"not allowed":        {mqtt.Publish{Topic: []byte("other/t"), QoS: 1}, 0, mqtt.ReasonNotAuthorized},
		"not allowed, QoS 0": {mqtt.Publish{Topic: []byte("other/t")}, mqtt.ReasonNotAuthorized, 0},
		"QoS 2":              {mqtt.Publish{Topic: []byte("pump/t"), QoS: 2}, mqtt.ReasonQoSNotSupported, 0},
		"deep":               {mqtt.Publish{Topic: []byte(deep), QoS: 1}, 0, 0},
		"too deep":           {mqtt.Publish{Topic: []byte(deep + "/"), QoS: 1}, mqtt.ReasonTopicNameInvalid, 0},
		"too long":           {mqtt.Publish{Topic: []byte("pump/" + strings.Repeat("x", 252)), QoS: 1}, mqtt.ReasonTopicNameInvalid, 0},
		"as long as can be":  {mqtt.Publish{Topic: []byte("pump/" + strings.Repeat("x", 251)), QoS: 1}, 0, 0},
		"payload":            {mqtt.Publish{Topic: []byte("pump/t"), QoS: 1, Payload: make([]byte, 128<<10)}, 0, 0},
		"payload too large":  {mqtt.Publish{Topic: []byte("pump/t"), QoS: 1, Payload: make([]byte, 128<<10+1)}, mqtt.ReasonQuotaExceeded, 0},
		"basic ingest":       {mqtt.Publish{Topic: []byte("$aws/rules/r/" + strings.Repeat("x", 256)), QoS: 1}, 0, 0},
		"reserved":           {mqtt.Publish{Topic: []byte("$aws/things/pump/shadow/update/accepted"), QoS: 1}, mqtt.ReasonTopicNameInvalid, 0},
		"reserved, retained": {mqtt.Publish{Topic: []byte("$aws/rules/r/x"), QoS: 1, Retain: true}, mqtt.ReasonTopicNameInvalid, 0},
		"others' reserved":   {mqtt.Publish{Topic: []byte("$SYS/x"), QoS: 1}, mqtt.ReasonTopicNameInvalid, 0},
	} {
		five := connect(mqtt.V5)
		c.publish.ID = 7
		switch {
		case c.closes != 0:
			if c.publish.QoS == 0 {
				c.publish.ID = 0
			}
			five.Send(c.publish)
			five.ExpectDisconnect(c.closes)
		case five.PublishWith(c.publish).Code != c.code:
			t.Errorf("%s: got another answer than %v", name, c.code)
		}
		five.Close()
		old := connect(mqtt.V311)
		old.Send(c.publish)
		if c.closes != 0 || c.code != 0 {
			old.ExpectClosed()
		} else {
			old.Expect(mqtt.Ack{Type: mqtt.TypePubAck, ID: 7})
		}
		old.Close()
	}
	if got := g.samples("pump"); got["pump/t"] != 4 || got[strings.Repeat("x", 256)] != 2 {
		t.Errorf("got samples %v", got)
	}
}

func TestSubscribeRules(t *testing.T) {
	_, connect := startPump(t, allow("iot:Subscribe", "arn:topicfilter/$*"))
	for filter, want := range map[string]byte{
		"pump/#": 1, "pump/+/x": 1, "other/#": 0x80, "#": 0x80, "$aws/things/pump/shadow/#": 1, "$aws/rules/r/x": 0x80, "$SYS/#": 0x80,
		"$share/group/pump/x": 1, "$share/group/$aws/rules/r": 0x80,
	} {
		if got := connect(mqtt.V311).Subscribe(filter, 1); got != want {
			t.Errorf("%s: got %#x, want %#x", filter, got, want)
		}
	}
	c := connect(mqtt.V311)
	if got := c.Subscribe("pump/two", 2); got != 0x80 {
		t.Errorf("QoS 2: got %#x", got)
	}
	for i := range 50 {
		if got := c.Subscribe("pump/"+strings.Repeat("x", i+1), 0); got != 0 {
			t.Fatalf("subscription %d: got %#x", i, got)
		}
	}
	if got := c.Subscribe("pump/one/more", 0); got != 0x80 {
		t.Errorf("subscription 51: got %#x", got)
	}
	for name, sub := range map[string]mqtt.Subscribe{
		"nine filters": {Subscriptions: slices.Repeat([]mqtt.Subscription{{Filter: "pump/a"}}, 9)},
		"too long":     {Subscriptions: []mqtt.Subscription{{Filter: "pump/" + strings.Repeat("x", 252)}}},
		"too deep":     {Subscriptions: []mqtt.Subscription{{Filter: "pump/" + strings.Repeat("/", 7)}}},
		"long share":   {Subscriptions: []mqtt.Subscription{{Filter: "$share/" + strings.Repeat("x", 129) + "/pump/x"}}},
	} {
		c := connect(mqtt.V311)
		sub.ID = 3
		c.Send(sub)
		if c.ExpectClosed(); t.Failed() {
			t.Fatalf("%s: not closed", name)
		}
	}
	five := connect(mqtt.V5)
	five.Send(mqtt.Subscribe{ID: 3, SubscriptionID: 1, Subscriptions: []mqtt.Subscription{{Filter: "pump/a"}}})
	five.ExpectDisconnect(mqtt.ReasonSubscriptionIDsNotSupported)
}

// What policies say counts at once for connections that are there.
func TestPoliciesChangeLive(t *testing.T) {
	g, connect := startPump(t)
	c := connect(mqtt.V5)
	publish := func(topic string) mqtt.ReasonCode {
		return c.PublishWith(mqtt.Publish{Topic: []byte(topic), QoS: 1}).Code
	}
	want := func(what, topic string, code mqtt.ReasonCode) {
		t.Helper()
		if got := publish(topic); got != code {
			t.Errorf("%s: publish to %s: got %v, want %v", what, topic, got, code)
		}
	}
	const yes, no = mqtt.ReasonSuccess, mqtt.ReasonNotAuthorized
	want("at first", "pump/t", yes)
	want("at first", "extra/t", no)
	g.policy("p", allow("iot:*", "arn:topic/extra/*"))
	want("other policy", "pump/t", no)
	want("other policy", "extra/t", yes)
	target := certResource + c.id
	g.do(func(tx *commit.Tx) error { return g.d.detachPolicy(tx, testTenant, "p", target) })
	want("detached", "extra/t", no)
	g.policy("group", allow("iot:Publish", "arn:topic/${iot:Connection.Thing.ThingTypeName}/${iot:Connection.Thing.Attributes[site]}"))
	g.do(func(tx *commit.Tx) error {
		for _, x := range []thingGroup{{Name: "root"}, {Name: "leaf", Parent: "root"}} {
			if err := g.d.putThingGroup(tx, testTenant, x); err != nil {
				return err
			}
		}
		return g.d.attachPolicy(tx, testTenant, "group", groupResource+"root")
	})
	want("not in the group", "pumps/north", no)
	g.do(func(tx *commit.Tx) error { return g.d.joinGroup(tx, testTenant, "leaf", "pump") })
	want("in a group below", "pumps/north", yes)
	g.do(func(tx *commit.Tx) error {
		x, err := readThing(tx, testTenant, "pump")
		if err != nil {
			return err
		}
		x.Attributes = map[string]string{"site": "south"}
		return g.d.putThing(tx, testTenant, x)
	})
	want("another attribute", "pumps/north", no)
	want("another attribute", "pumps/south", yes)
	g.do(func(tx *commit.Tx) error { return g.d.detachPolicy(tx, testTenant, "group", groupResource+"root") })
	want("detached from the group", "pumps/south", no)
	g.do(func(tx *commit.Tx) error { return g.d.attachPolicy(tx, testTenant, "group", groupResource+"root") })
	want("attached again", "pumps/south", yes)
	g.do(func(tx *commit.Tx) error { return g.d.detachPrincipal(tx, testTenant, "pump", target) })
	want("no thing", "pumps/south", no)
	g.setStatus(c.id, statusInactive)
	c.ExpectDisconnect(mqtt.ReasonAdministrativeAction)
	g.eventually("nothing is kept of a connection that has ended", func() bool {
		ok := false
		g.do(func(*commit.Tx) error {
			ok = len(g.d.live.links) == 0 && len(g.d.standing(testTenant).policies) == 0
			return nil
		})
		return ok
	})
}

func TestReceive(t *testing.T) {
	g, connect := startPump(t, `{"Effect":"Deny","Action":"iot:Receive","Resource":"arn:topic/pump/secret"}`)
	c := connect(mqtt.V311)
	c.Subscribe("pump/#", 1)
	publish := func(topic string) (n int) {
		g.do(func(tx *commit.Tx) (err error) {
			n, err = g.broker.Publish(tx, testTenant, Name, core.Message{Topic: topic, QoS: 1})
			return err
		})
		return n
	}
	if n := publish("pump/secret"); n != 0 {
		t.Error("a message was delivered that may not be received")
	}
	if n := publish("pump"); n != 0 { // "pump/#" has it not
		t.Error("a filter matched the parent of what it names")
	}
	publish("pump/open")
	if m := c.ReceiveMessage(); string(m.Topic) != "pump/open" {
		t.Errorf("got %s", m.Topic)
	}
	g.policy("p", append(slices.Clone(permissive), `{"Effect":"Deny","Action":"iot:Receive","Resource":"arn:topic/pump/open"}`)...)
	if n := publish("pump/open"); n != 0 {
		t.Error("delivered under the policy of before")
	}
	publish("pump/secret")
	if m := c.ReceiveMessage(); string(m.Topic) != "pump/secret" {
		t.Errorf("got %s", m.Topic)
	}
}

func TestConnectAttributes(t *testing.T) {
	g := newConnRig(t)
	g.policy("p", `{"Effect":"Allow","Action":"iot:Connect","Resource":"*","Condition":{"ForAllValues:StringEquals":{"iot:ConnectAttributes":["LastWill"]}}}`,
		allow("iot:Publish", "*"))
	crt, _ := g.enrol([]string{"p"})
	will := &mqtt.Will{Topic: "w"}
	for name, c := range map[string]struct {
		connect mqtt.Connect
		want    byte
	}{
		"none":         {mqtt.Connect{ClientID: "a", CleanStart: true}, 0},
		"will":         {mqtt.Connect{ClientID: "a", CleanStart: true, Will: will}, 0},
		"persistent":   {mqtt.Connect{ClientID: "a"}, mqtt.ConnAckNotAuthorized},
		"both":         {mqtt.Connect{ClientID: "a", Will: will}, mqtt.ConnAckNotAuthorized},
		"persistent 5": {mqtt.Connect{Version: mqtt.V5, ClientID: "a", CleanStart: true, SessionExpiry: 9}, byte(mqtt.ReasonNotAuthorized)},
		"of no time 5": {mqtt.Connect{Version: mqtt.V5, ClientID: "a"}, 0},
	} {
		if ack := g.tryConnect(crt, c.connect); ack.Code != c.want {
			t.Errorf("%s: got %#x, want %#x", name, ack.Code, c.want)
		}
	}
}

func TestLifecycleEvents(t *testing.T) {
	g, connect := startPump(t)
	g.policy("app", allow("*", "*"))
	crt, _ := g.enrol([]string{"app"})
	app := g.connect(crt, mqtt.Connect{ClientID: "app", CleanStart: true})
	app.Subscribe("$aws/events/+/+/pump", 1)
	next := func(topic string) map[string]any {
		t.Helper()
		m := app.ReceiveMessage()
		if string(m.Topic) != "$aws/events/"+topic+"/pump" {
			t.Fatalf("got %s, want %s", m.Topic, topic)
		}
		e := g.event(m)
		if e["clientId"] != "pump" || e["timestamp"].(float64) < 1e12 || e["sessionIdentifier"] == "" {
			t.Errorf("got %v", e)
		}
		return e
	}
	c := connect(mqtt.V5)
	first := next("presence/connected")
	if first["principalIdentifier"] != c.id || first["ipAddress"] != "127.0.0.1" || first["versionNumber"] != 0.0 || first["eventType"] != "connected" {
		t.Errorf("got %v", first)
	}
	c.Subscribe("pump/#", 1)
	if e := next("subscriptions/subscribed"); !slices.Equal(e["topics"].([]any), []any{"pump/#"}) || e["sessionIdentifier"] != first["sessionIdentifier"] {
		t.Errorf("got %v", e)
	}
	c.Unsubscribe("pump/#")
	next("subscriptions/unsubscribed")
	c.Disconnect()
	if e := next("presence/disconnected"); e["disconnectReason"] != "CLIENT_INITIATED_DISCONNECT" || e["clientInitiatedDisconnect"] != true || e["versionNumber"] != 0.0 {
		t.Errorf("got %v", e)
	}
	for reason, end := range map[string]func(c *clientOf){
		"CONNECTION_LOST":             func(c *clientOf) { c.Close() },
		"FORBIDDEN_ACCESS":            func(c *clientOf) { c.Publish("other", 0, nil); c.ExpectDisconnect(mqtt.ReasonNotAuthorized) },
		"CLIENT_ERROR":                func(c *clientOf) { c.Publish("$x", 0, nil); c.ExpectDisconnect(mqtt.ReasonTopicNameInvalid) },
		"SERVER_INITIATED_DISCONNECT": func(c *clientOf) { g.setStatus(c.id, statusInactive); g.setStatus(c.id, statusActive) },
		"DUPLICATE_CLIENTID": func(c *clientOf) {
			connect(mqtt.V5).Disconnect()
		},
	} {
		c := connect(mqtt.V5)
		n := next("presence/connected")["versionNumber"]
		end(c)
		if e := next("presence/disconnected"); e["disconnectReason"] != reason || e["clientInitiatedDisconnect"] != false || e["versionNumber"] != n {
			t.Errorf("%s: got %v", reason, e)
		}
		if reason == "DUPLICATE_CLIENTID" {
			next("presence/connected")
			next("presence/disconnected")
		}
	}
}

// A deleted thing leaves nothing behind.
func TestDeleteThing(t *testing.T) {
	g, connect := startPump(t)
	c := connect(mqtt.V311)
	g.do(func(tx *commit.Tx) error {
		return g.d.putThingGroup(tx, testTenant, thingGroup{Name: "group"})
	})
	g.do(func(tx *commit.Tx) error { return g.d.joinGroup(tx, testTenant, "group", "pump") })
	g.do(func(tx *commit.Tx) error {
		dev, err := tx.Device(deviceKey(testTenant, "pump"))
		if err != nil {
			return err
		}
		return registry.Delete(tx, dev)
	})
	c.Ping() // that connections end is the matter of who deletes
	var left []string
	g.do(func(tx *commit.Tx) error {
		for r, err := range tx.Records(testTenant, Name, "") {
			if err != nil {
				return err
			}
			if strings.Contains(r.Key, "pump") {
				left = append(left, r.Key)
			}
		}
		return nil
	})
	if len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// Persistent sessions last for an hour at most, and are the client id's.
func TestPersistentSession(t *testing.T) {
	g := newConnRig(t)
	g.policy("p", permissive...)
	crt, _ := g.enrol([]string{"p"})
	c := g.connect(crt, mqtt.Connect{ClientID: "pump"})
	c.Subscribe("pump/#", 1)
	c.Disconnect()
	k := sessionKey(testTenant, "pump")
	g.eventually("disconnected", func() bool {
		found := false
		g.do(func(tx *commit.Tx) error {
			list, err := tx.FindSessions(core.SessionQuery{Tenant: testTenant, Dialect: Name, ClientID: "pump", Limit: 1})
			found = len(list) == 1 && list[0].Key == k && !list[0].Expires.IsZero() && list[0].Expiry == time.Hour
			return err
		})
		return found
	})
	g.do(func(tx *commit.Tx) error {
		_, err := g.broker.Publish(tx, testTenant, Name, core.Message{Topic: "pump/a", QoS: 1})
		return err
	})
	again := g.dial(crt)
	if ack := again.TryConnect(mqtt.Connect{Version: mqtt.V311, ClientID: "pump"}); !ack.SessionPresent {
		t.Error("no session")
	}
	if m := again.ReceiveMessage(); string(m.Topic) != "pump/a" {
		t.Errorf("got %s", m.Topic)
	}
}

func TestCounts(t *testing.T) {
	g, connect := startPump(t, allow("iot:Publish", "arn:topic/$aws/rules/*"))
	c := connect(mqtt.V311)
	c.Subscribe("pump/t", 1)
	c.Publish("pump/t", 1, []byte("1"))
	c.ReceiveMessage()
	c.Publish("$aws/rules/r/pump/t", 1, []byte("2")) // to the rule, and to nobody else
	c.Publish("$aws/rules/r", 1, []byte("3"))
	c.Ping()
	if got := g.samples("pump"); !maps.Equal(got, map[string]int{"pump/t": 2}) {
		t.Errorf("got samples %v", got)
	}
}

// Counts of connections are forgotten when nobody can compare them any more.
func TestVersionsAreSwept(t *testing.T) {
	g := newConnRig(t)
	v := &g.d.versions
	k := liveKey{testTenant, "pump"}
	next := func() (n int) {
		g.do(func(tx *commit.Tx) error {
			n = v.next(tx, k)
			v.left(tx, k, time.Minute, "NONE")
			return nil
		})
		return n
	}
	if a, b := next(), next(); a != 0 || b != 1 {
		t.Errorf("got %d and %d, want 0 and 1", a, b)
	}
	g.do(func(tx *commit.Tx) error { v.sweep(tx.Now().Add(2 * time.Hour)); return nil })
	if n := next(); n != 0 {
		t.Errorf("after two hours: got %d, want 0", n)
	}
}
