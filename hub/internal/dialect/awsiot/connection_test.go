package awsiot

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/sigv4"
)

// ask asks the data plane of a hub with connections, and returns the members of the answer.
func (g *connRig) ask(key sigv4.Credentials, what string) (status int, members map[string]any) {
	g.Helper()
	method, target, _ := strings.Cut(what, " ")
	r := httptest.NewRequest(method, "https://hub.example.org"+target, nil)
	for _, h := range sigv4.Sign(sigv4.Request{
		Method: method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Host: r.Host, Header: r.Header, Hash: sigv4.Hash(nil),
	}, key, sigv4.Scope{Region: DefaultRegion, Service: serviceData}, g.now()) {
		r.Header.Set(h.Name, h.Value)
	}
	w := httptest.NewRecorder()
	g.d.Handler().ServeHTTP(w, r)
	if err := json.Unmarshal(w.Body.Bytes(), &members); err != nil {
		g.Fatalf("%s: %d %s: %v", what, w.Code, w.Body, err)
	}
	return w.Code, members
}

// connected reports whether the API says that a client is.
func (g *connRig) connected(key sigv4.Credentials, clientID string) bool {
	_, c := g.ask(key, "GET /connections/"+clientID)
	return c["connected"] == true
}

// A connection as the data plane shows it: while it is there, and afterwards as long as its session is.
func TestConnectionOverHTTP(t *testing.T) {
	g := newConnRig(t)
	g.policy("p", permissive...)
	crt, _ := g.enrol([]string{"p"})
	key := g.accessKey()
	c := g.connect(crt, mqtt.Connect{Version: mqtt.V5, ClientID: "pump", SessionExpiry: 600, KeepAlive: 60})
	c.Subscribe("pump/1", 1)
	c.Subscribe("pump/0", 0)
	if _, got := g.ask(key, "GET /connections/pump?includeSocketInformation=true"); got["connected"] != true || got["cleanSession"] != false ||
		got["sessionExpiry"] != 600.0 || got["keepAliveDuration"] != 60.0 || got["sourceIp"] != "127.0.0.1" || got["disconnectedSince"] != nil || got["disconnectReason"] != nil {
		t.Errorf("connected: got %v", got)
	}
	want := `[{"qos":0,"topicFilter":"pump/0"},{"qos":1,"topicFilter":"pump/1"}]`
	if _, got := g.ask(key, "GET /connections/pump/subscriptions"); mustJSON(t, got["subscriptions"]) != want {
		t.Errorf("subscriptions: got %v", got)
	}
	before := time.Now().Add(-time.Second)
	c.Disconnect()
	g.eventually("the client is away", func() bool { return !g.connected(key, "pump") })
	_, got := g.ask(key, "GET /connections/pump")
	since, _ := got["disconnectedSince"].(float64)
	if got["disconnectReason"] != "CLIENT_INITIATED_DISCONNECT" || got["connectedSince"] != nil || got["sessionExpiry"] != 600.0 ||
		since < float64(before.UnixMilli()) || since > float64(time.Now().Add(time.Second).UnixMilli()) {
		t.Errorf("away: got %v", got)
	}
	if _, got := g.ask(key, "GET /connections/pump/subscriptions"); mustJSON(t, got["subscriptions"]) != want {
		t.Errorf("subscriptions of who is away: got %v", got)
	}
	clean := g.connect(crt, mqtt.Connect{ClientID: "pump", CleanStart: true})
	for i := range 8 * 3 {
		clean.Subscribe(fmt.Sprintf("pump/%02d", i), 1)
	}
	if _, got := g.ask(key, "GET /connections/pump"); got["cleanSession"] != true || got["sessionExpiry"] != 0.0 {
		t.Errorf("clean: got %v", got)
	}
	_, page := g.ask(key, "GET /connections/pump/subscriptions")
	if list, _ := page["subscriptions"].([]any); len(list) != defaultSubscriptions || page["nextToken"] == nil {
		t.Errorf("the first page has %v", page)
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Whoever ends a connection can have its will not published, be it due at once or later.
func TestDeleteConnectionAndItsWill(t *testing.T) {
	g := newConnRig(t)
	g.policy("all", `{"Effect":"Allow","Action":"iot:*","Resource":"*"}`)
	crt, _ := g.enrol([]string{"all"})
	key := g.accessKey()
	watcher := g.connect(crt, mqtt.Connect{ClientID: "app", CleanStart: true})
	watcher.Subscribe("pump/#", 1)
	for _, c := range []struct {
		parameters string
		delay      uint32
		published  bool
	}{
		{"", 0, true},
		{"?preventWillMessage=false", 0, true},
		{"?preventWillMessage=true", 0, false},
		{"?preventWillMessage=true&cleanSession=true", 0, false},
		{"?cleanSession=true", 0, true},
		{"?preventWillMessage=true&cleanSession=true", 60, false},
	} {
		will := mqtt.Will{Topic: "pump/will", Payload: []byte(c.parameters), QoS: 1, Delay: c.delay}
		d := g.connect(crt, mqtt.Connect{Version: mqtt.V5, ClientID: "pump", SessionExpiry: 600, Will: &will})
		if status, got := g.ask(key, "DELETE /connections/pump"+c.parameters); status != http.StatusOK {
			t.Fatalf("%s: got %d %v", c.parameters, status, got)
		}
		d.ExpectDisconnect(mqtt.ReasonAdministrativeAction)
		g.eventually("the connection has ended", func() bool { return !g.connected(key, "pump") })
		if !c.published {
			watcher.ExpectNothing()
			continue
		}
		if m := watcher.ReceiveMessage(); string(m.Payload) != c.parameters {
			t.Errorf("%s: got the will of %q", c.parameters, m.Payload)
		}
	}
}

// Who subscribes to all of a shadow hears the request first, and then what became of it.
func TestShadowAnswersComeBehindTheRequest(t *testing.T) {
	g := newConnRig(t)
	g.policy("all", `{"Effect":"Allow","Action":"iot:*","Resource":"*"}`)
	crt, _ := g.enrol([]string{"all"})
	watcher := g.connect(crt, mqtt.Connect{ClientID: "app", CleanStart: true})
	watcher.Subscribe("$aws/things/pump/shadow/#", 1)
	c := g.connect(crt, mqtt.Connect{ClientID: "pump", CleanStart: true})
	const shadow = "$aws/things/pump/shadow/"
	for qos := range byte(2) {
		c.Publish(shadow+"update", qos, fmt.Appendf(nil, `{"state":{"desired":{"x":%d}}}`, qos))
		for _, want := range []string{"update", "update/delta", "update/documents", "update/accepted"} {
			if m := watcher.ReceiveMessage(); string(m.Topic) != shadow+want {
				t.Errorf("QoS %d: got %s, want %s", qos, m.Topic, want)
			}
		}
		c.Publish(shadow+"get", qos, nil)
		for _, want := range []string{"get", "get/accepted"} {
			if m := watcher.ReceiveMessage(); string(m.Topic) != shadow+want {
				t.Errorf("QoS %d: got %s, want %s", qos, m.Topic, want)
			}
		}
	}
}
