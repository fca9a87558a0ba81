package awsiot

import (
	"crypto/x509"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// permissive allows a client everything below topics of its own id, and to connect with that id.
var permissive = []string{
	allow("iot:Connect", "arn:client/${iot:ClientId}"),
	allow("iot:Publish", "arn:topic/${iot:ClientId}/*"),
	allow("iot:RetainPublish", "arn:topic/${iot:ClientId}/keep"),
	allow("iot:Subscribe", "arn:topicfilter/${iot:ClientId}/*"),
	allow("iot:Receive", "arn:topic/${iot:ClientId}/*"),
}

func TestCertificates(t *testing.T) {
	g := newConnRig(t)
	g.policy("p", permissive...)
	crt, id := g.enrol([]string{"p"})
	connect := mqtt.Connect{ClientID: "pump", CleanStart: true}
	g.connect(crt, connect).Ping()
	for _, status := range []string{statusInactive, statusRevoked, statusPendingTransfer} {
		g.setStatus(id, status)
		g.silentlyRefused(crt, "pump")
		if !g.refusedFor("is " + status) {
			t.Errorf("%s: operators are not told why", status)
		}
	}
	g.setStatus(id, statusActive)
	g.connect(crt, connect).Ping()
	g.do(func(tx *commit.Tx) error { return g.d.deleteCertificate(tx, testTenant, id) })
	g.silentlyRefused(crt, "pump")
	// One that is none of ours is for other dialects; here there is none, and so MQTT has the answer.
	_, strange := g.foreign("pump")
	if ack := g.tryConnect(strange, connect); ack.Code != mqtt.ConnAckNotAuthorized {
		t.Errorf("a stranger's certificate: got %d", ack.Code)
	}
}

func TestExpiredCertificate(t *testing.T) {
	g := newConnRig(t)
	g.policy("p", permissive...)
	_, crt := g.foreign("x")
	leaf, err := x509.ParseCertificate(crt.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	g.register(leaf, certificate{Status: statusActive, Mode: modeSNIOnly})
	g.do(func(tx *commit.Tx) error {
		return g.d.attachPolicy(tx, testTenant, "p", certResource+certificateID(leaf.Raw))
	})
	g.connect(crt, mqtt.Connect{ClientID: "pump", CleanStart: true}).Ping() // registered without its authority
	if err := g.d.VerifyForeign(t.Context(), leaf); err != nil {
		t.Errorf("in the handshake: %v", err)
	}
	g.mu.Lock()
	g.skew = 2 * time.Hour
	g.mu.Unlock()
	g.silentlyRefused(crt, "pump")
}

func TestRegisteredAuthority(t *testing.T) {
	g := newConnRig(t)
	authority, crt := g.foreign("pump")
	leaf, _ := x509.ParseCertificate(crt.Certificate[0])
	if g.d.VerifyForeign(t.Context(), leaf) == nil {
		t.Error("a certificate of nobody's authority passes the handshake")
	}
	entry := caCertificate{ID: certificateID(authority.Raw), PEM: string(pemOf(authority.Raw)), Status: statusActive, Mode: modeDefault}
	put := func() {
		g.do(func(tx *commit.Tx) error { return g.d.putCACertificate(tx, testTenant, entry) })
	}
	put()
	if err := g.d.VerifyForeign(t.Context(), leaf); err != nil {
		t.Errorf("a certificate of a registered authority does not pass: %v", err)
	}
	g.silentlyRefused(crt, "pump")
	if !g.refusedFor("does not register devices") {
		t.Error("operators are not told why")
	}
	entry.AutoRegister = true
	put()
	g.policy("app", allow("*", "*"))
	app, _ := g.enrol([]string{"app"})
	listener := g.connect(app, mqtt.Connect{ClientID: "app", CleanStart: true})
	listener.Subscribe("$aws/events/certificates/registered/#", 1)
	g.silentlyRefused(crt, "pump")
	id := certificateID(leaf.Raw)
	m := listener.ReceiveMessage()
	if got := string(m.Topic); got != "$aws/events/certificates/registered/"+entry.ID {
		t.Errorf("got %s", got)
	}
	if e := g.event(m); e["certificateId"] != id || e["certificateStatus"] != "PENDING_ACTIVATION" || e["awsAccountId"] != accountID(testTenant) {
		t.Errorf("got %v", e)
	}
	g.silentlyRefused(crt, "pump") // and says so again
	if e := g.event(listener.ReceiveMessage()); e["certificateId"] != id {
		t.Errorf("got %v", e)
	}
	g.setStatus(id, statusActive)
	g.do(func(tx *commit.Tx) error { return g.d.attachPolicy(tx, testTenant, "app", certResource+id) })
	g.connect(crt, mqtt.Connect{ClientID: "pump", CleanStart: true}).Ping()
}

func TestConnectRules(t *testing.T) {
	g := newConnRig(t)
	g.policy("p", permissive...)
	crt, _ := g.enrol([]string{"p"})
	none, _ := g.enrol(nil)
	for name, c := range map[string]struct {
		connect mqtt.Connect
		old     byte
		code    mqtt.ReasonCode
	}{
		"right":           {mqtt.Connect{ClientID: "pump", CleanStart: true}, 0, 0},
		"long id":         {mqtt.Connect{ClientID: strings.Repeat("x", 128), CleanStart: true}, 0, 0},
		"too long id":     {mqtt.Connect{ClientID: strings.Repeat("x", 129), CleanStart: true}, mqtt.ConnAckBadClientID, mqtt.ReasonClientIDNotValid},
		"id of two bytes": {mqtt.Connect{ClientID: strings.Repeat("é", 65), CleanStart: true}, mqtt.ConnAckBadClientID, mqtt.ReasonClientIDNotValid},
		"reserved id":     {mqtt.Connect{ClientID: "$pump", CleanStart: true}, mqtt.ConnAckBadClientID, mqtt.ReasonClientIDNotValid},
		"user name":       {mqtt.Connect{ClientID: "pump", CleanStart: true, HasUsername: true, Username: "?SDK=Python&Version=1.6.2"}, 0, 0},
		"will":            {mqtt.Connect{ClientID: "pump", CleanStart: true, Will: &mqtt.Will{Topic: "pump/will"}}, 0, 0},
		"will elsewhere":  {mqtt.Connect{ClientID: "pump", CleanStart: true, Will: &mqtt.Will{Topic: "other/will"}}, mqtt.ConnAckNotAuthorized, mqtt.ReasonNotAuthorized},
		"will to keep":    {mqtt.Connect{ClientID: "pump", CleanStart: true, Will: &mqtt.Will{Topic: "pump/keep", Retain: true}}, 0, 0},
		"will not to":     {mqtt.Connect{ClientID: "pump", CleanStart: true, Will: &mqtt.Will{Topic: "pump/will", Retain: true}}, mqtt.ConnAckNotAuthorized, mqtt.ReasonNotAuthorized},
		"will of QoS 2":   {mqtt.Connect{ClientID: "pump", CleanStart: true, Will: &mqtt.Will{Topic: "pump/will", QoS: 2}}, mqtt.ConnAckNotAuthorized, mqtt.ReasonQoSNotSupported},
		"will on a topic": {mqtt.Connect{ClientID: "pump", CleanStart: true, Will: &mqtt.Will{Topic: "$aws/x"}}, mqtt.ConnAckNotAuthorized, mqtt.ReasonTopicNameInvalid},
	} {
		for version, want := range map[mqtt.Version]byte{mqtt.V31: c.old, mqtt.V311: c.old, mqtt.V5: byte(c.code)} {
			c.connect.Version = version
			if ack := g.tryConnect(crt, c.connect); ack.Code != want {
				t.Errorf("%s, %v: got %#x, want %#x", name, version, ack.Code, want)
			}
		}
	}
	for version, want := range map[mqtt.Version]byte{mqtt.V311: mqtt.ConnAckNotAuthorized, mqtt.V5: byte(mqtt.ReasonNotAuthorized)} {
		if ack := g.tryConnect(none, mqtt.Connect{Version: version, ClientID: "pump", CleanStart: true}); ack.Code != want {
			t.Errorf("without a policy, %v: got %#x, want %#x", version, ack.Code, want)
		}
	}
	if !g.refusedFor("no policy of cert/") {
		t.Error("operators are not told why")
	}
	if ack := g.tryConnect(crt, mqtt.Connect{ClientID: "", CleanStart: true}); ack.Code != 0 {
		t.Errorf("no id: got %d", ack.Code)
	}
}

// The rates of the service are there for who asks for them.
func TestServiceLimits(t *testing.T) {
	for _, on := range []bool{false, true} {
		g := newConnRig(t)
		g.d.cfg.ServiceLimits = on
		g.policy("p", permissive...)
		crt, _ := g.enrol([]string{"p"})
		began := time.Now()
		c := g.connect(crt, mqtt.Connect{Version: mqtt.V5, ClientID: "pump", CleanStart: true})
		// most is how many can have been taken by now: a second's worth at once, and what has come in since.
		most := func() int64 { return int64(serviceMessages*(1+time.Since(began).Seconds())) + 1 }
		discarded := 0
		for range 300 {
			if ack := c.PublishWith(mqtt.Publish{Topic: []byte("pump/x"), QoS: 1}); ack.Code == mqtt.ReasonQuotaExceeded {
				discarded++
			} else if ack.Code.Failed() {
				t.Fatalf("got %v", ack.Code)
			}
		}
		if discarded > 200 || !on && discarded > 0 {
			t.Errorf("limits %v: %d messages of 300 were discarded", on, discarded)
		}
		if got := g.broker.Stats().ThrottledIn.Load(); got != int64(discarded) {
			t.Errorf("limits %v: %d were counted, %d discarded", on, got, discarded)
		}
		if taken := int64(300 - discarded); on && taken > most() {
			t.Errorf("%d messages were taken, want at most %d", taken, most())
		}
		for range 1000 { // nothing is waited for, so that it takes next to no time
			c.Publish("pump/x", 0, nil)
		}
		c.Ping()
		got := g.broker.Stats().ThrottledIn.Load()
		if taken := 1300 - got; on && taken > most() {
			t.Errorf("%d messages of a flood were taken, want at most %d", taken, most())
		}
		if on != (got > 0) {
			t.Errorf("limits %v: %d messages of 1300 were discarded", on, got)
		}
		if l := g.d.limits(account{}); on && (l.MessageRate != 100 || l.ByteRate != 524_288 || l.ConnectInterval != time.Second) {
			t.Errorf("got %+v", l)
		}
	}
}

func TestConnAck5(t *testing.T) {
	g := newConnRig(t)
	g.policy("p", permissive...)
	crt, _ := g.enrol([]string{"p"})
	for asked, want := range map[uint16]uint16{0: 1200, 10: 30, 30: 0, 1200: 0, 2000: 1200} {
		ack := g.tryConnect(crt, mqtt.Connect{Version: mqtt.V5, ClientID: "pump", CleanStart: true, KeepAlive: asked, SessionExpiry: 7200})
		if got := ack.ServerKeepAlive; got.Value != want || got.Present != (want != 0) {
			t.Errorf("keep-alive of %d: got %v, want %d", asked, got, want)
		}
		if ack.MaximumQoS != mqtt.Some(byte(1)) || ack.RetainUnavailable || ack.WildcardUnavailable || ack.SharedUnavailable || !ack.SubscriptionIDUnavailable ||
			ack.TopicAliasMaximum != 8 || ack.ReceiveMaximum != 100 || ack.MaximumPacketSize != 149_504 || ack.SessionExpiry != mqtt.Some(uint32(3600)) {
			t.Errorf("got %+v", ack)
		}
	}
	if ack := g.tryConnect(crt, mqtt.Connect{Version: mqtt.V5, CleanStart: true}); ack.AssignedClientID == "" {
		t.Error("no client id was assigned")
	}
}

// A certificate of an account opens connections in that account, also where another one has it too.
func TestThingOfConnection(t *testing.T) {
	g := newConnRig(t)
	g.policy("p", allow("*", "*"))
	for _, name := range []string{"one", "two", "three"} {
		g.thing(thing{Name: name})
	}
	publish := func(things []string, clientID string) {
		crt, _ := g.enrol([]string{"p"}, things...)
		c := g.connect(crt, mqtt.Connect{ClientID: clientID, CleanStart: true})
		c.Publish("t/"+clientID, 1, []byte("1"))
		c.Disconnect()
	}
	publish([]string{"one", "two"}, "one") // the client id's
	publish([]string{"one", "two"}, "zero")
	publish([]string{"two"}, "app") // the only one
	publish(nil, "three")           // not attached
	for name, want := range map[string]map[string]int{"one": {"t/one": 1}, "two": {"t/app": 1}, "three": {}} {
		if got := g.samples(name); !maps.Equal(got, want) {
			t.Errorf("%s: got samples %v, want %v", name, got, want)
		}
	}
}

// An account that was deleted with its tenant opens nothing, and one that comes after it has nothing of it.
func TestDeletedTenant(t *testing.T) {
	g := newConnRig(t)
	g.policy("p", permissive...)
	crt, _ := g.enrol([]string{"p"})
	g.connect(crt, mqtt.Connect{ClientID: "pump", CleanStart: true}).Disconnect()
	g.do(func(tx *commit.Tx) error {
		var keys []string
		for r, err := range tx.Records(testTenant, Name, "") {
			if err != nil {
				return err
			}
			keys = append(keys, r.Key)
		}
		for _, k := range keys {
			if err := tx.DeleteRecord(testTenant, Name, k); err != nil {
				return err
			}
		}
		return tx.Emit(core.Event{Device: core.DeviceKey{Tenant: testTenant, Dialect: Name}, Kind: core.TenantDeleted})
	})
	g.silentlyRefused(crt, "pump") // it is of our CA, and on nobody's record
	if all, err := g.d.allAccounts(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("got %v, %v", all, err)
	}
}
