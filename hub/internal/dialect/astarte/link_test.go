package astarte

import (
	"context"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
	"github.com/fairlead-iot/fairlead/internal/topic"
)

func TestSignInGrantsTheBaseTopicAndWhatIsBelow(t *testing.T) {
	r := newRig(t)
	r.realm("test")
	dev, crt := r.device("test", testID)
	g, _, err := r.d.SignIn(context.Background(), core.Claim{Certificate: crt, ClientID: "", CleanStart: true})
	if err != nil {
		t.Fatal(err)
	}
	base := "test/" + testID
	if g.Session != (core.SessionKey{Tenant: "test", Dialect: "astarte", ClientID: base}) || g.Device != dev.Num || !g.Private {
		t.Errorf("got %+v", g)
	}
	if left := crt.NotAfter.Sub(r.now); g.Lifetime <= 0 || g.Lifetime > left+time.Minute || g.Lifetime < left-time.Minute {
		t.Errorf("the grant lasts %v, the certificate %v", g.Lifetime, left)
	}
	if g.Limits.MaxPacketBytes != 65_535 || g.Limits.Inflight != 100 {
		t.Errorf("limits: got %+v", g.Limits)
	}
	for name, allowed := range map[string]bool{
		base: true, base + "/a/b": true, base + "x": false, "test/" + strings.ToLower(testID): false, "other/" + testID: false,
	} {
		if got := topic.Match(g.Publish[0], name); got != allowed {
			t.Errorf("publish to %s: got %v, want %v", name, got, allowed)
		}
	}
	for filter, allowed := range map[string]bool{
		base + "/#": true, base + "/org.example.A/#": true, base + "/+/x": true, "test/+/x": false, "#": false, "+/" + testID + "/#": false,
	} {
		if got := topic.Covers(g.Subscribe[0], filter); got != allowed {
			t.Errorf("subscribe to %s: got %v, want %v", filter, got, allowed)
		}
	}
}

func TestQuirkIdentityIsTheCertificateNotTheClientID(t *testing.T) {
	r := newRig(t)
	r.realm("test")
	_, crt := r.device("test", testID)
	for _, id := range []string{"", "test/" + testID, "kdj3kd92jf93kdl30fkdle", "test/AAAAAAAAAAAAAAAAAAAAAA"} {
		g, _, err := r.d.SignIn(context.Background(), core.Claim{Certificate: crt, ClientID: id, Username: "x", HasUsername: true})
		if err != nil || g.Session.ClientID != "test/"+testID {
			t.Errorf("client id %q: got %q, %v", id, g.Session.ClientID, err)
		}
	}
}

func TestSignInRefuses(t *testing.T) {
	r := newRig(t)
	r.realm("test")
	dev, good := r.device("test", testID)
	other, err := ca.Open(ca.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	record := func(cn string, n core.DeviceNum, st core.CertificateState) *x509.Certificate {
		crt, issued := r.sign(cn)
		r.do(func(tx *commit.Tx) error {
			return tx.PutCertificate(core.Certificate{Serial: issued.Serial, Device: n, SHA256: issued.SHA256, State: st})
		})
		return crt
	}
	cn := "test/" + testID
	unrecorded, _ := r.sign(cn)
	alien := core.Device{DeviceKey: core.DeviceKey{Tenant: "test", Dialect: "aws", ID: testID}}
	second := core.Device{DeviceKey: deviceKey("test", "AAAAAAAAAAAAAAAAAAAAAA")}
	lost := core.Device{DeviceKey: deviceKey("norealm", testID)}
	r.do(func(tx *commit.Tx) error {
		if err := tx.InsertTenant(core.Tenant{ID: "norealm"}); err != nil {
			return err
		}
		for _, d := range []*core.Device{&alien, &second, &lost} {
			if err := tx.InsertDevice(d); err != nil {
				return err
			}
		}
		return nil
	})
	foreign := &rig{TB: t, ca: other, key: r.key}
	foreignCrt, _ := foreign.sign(cn)
	for name, c := range map[string]struct {
		crt  *x509.Certificate
		want error
	}{
		"good":                          {good, nil},
		"superseded, as upstream":       {record(cn, dev.Num, core.CertificateSuperseded), nil},
		"extended id, canonical inside": {record(cn+"AAAA", dev.Num, core.CertificateActive), nil},
		"no certificate":                {nil, dialect.ErrNotMine},
		"another form of name":          {record("pump-7", dev.Num, core.CertificateActive), dialect.ErrNotMine},
		"three levels":                  {record(cn+"/x", dev.Num, core.CertificateActive), dialect.ErrNotMine},
		"short id":                      {record("test/abc", dev.Num, core.CertificateActive), dialect.ErrNotMine},
		"another CA":                    {foreignCrt, dialect.ErrNotMine},
		"another dialect's device":      {record(cn, alien.Num, core.CertificateActive), dialect.ErrNotMine},
		"name of another device":        {record(cn, second.Num, core.CertificateActive), core.ErrDenied},
		"not on record":                 {unrecorded, core.ErrDenied},
		"revoked":                       {record(cn, dev.Num, core.CertificateRevoked), core.ErrDenied},
		"unknown realm":                 {record("norealm/"+testID, lost.Num, core.CertificateActive), core.ErrDenied},
	} {
		t.Run(name, func(t *testing.T) {
			_, l, err := r.d.SignIn(context.Background(), core.Claim{Certificate: c.crt})
			if c.want == nil {
				if err != nil || l == nil {
					t.Fatal(err)
				}
				return
			}
			wantIs(t, err, c.want)
		})
	}
}

func TestRevokedBetweenSignInAndConnect(t *testing.T) {
	r := newRig(t)
	r.realm("test")
	_, crt := r.device("test", testID)
	_, l, err := r.d.SignIn(context.Background(), core.Claim{Certificate: crt})
	if err != nil {
		t.Fatal(err)
	}
	r.do(func(tx *commit.Tx) error { return registry.Revoke(tx, ca.SerialString(crt.SerialNumber)) })
	wantIs(t, r.try(func(tx *commit.Tx) error { return l.Connected(tx, dialect.Presence{}) }), core.ErrDenied)
	_, _, err = r.d.SignIn(context.Background(), core.Claim{Certificate: crt}) // also where it was remembered
	wantIs(t, err, core.ErrDenied)
}

func TestConnectAndDisconnectAreSeen(t *testing.T) {
	r := newRig(t)
	r.realm("test")
	c := r.online()
	row := c.row()
	if !row.Connected || !row.LastConnected.Equal(r.now) || row.LastAddr != "10.0.0.9" || !row.LastDisconnected.IsZero() {
		t.Errorf("connected: got %+v", row)
	}
	r.now = r.now.Add(time.Minute)
	c.disconnect()
	row = c.row()
	if row.Connected || !row.LastDisconnected.Equal(r.now) || row.LastAddr != "10.0.0.9" {
		t.Errorf("disconnected: got %+v", row)
	}
	wantList(t, "events", c.events(),
		`device.connected {"addr":"10.0.0.9"}`, `device.disconnected {"reason":"client disconnected"}`)
}

func TestWhatWasDeclaredHoldsOnTheNextConnection(t *testing.T) {
	r := newRig(t)
	r.realm("test", temps)
	dev, crt := r.device("test", testID)
	c := r.connect(dev, crt)
	c.declares("org.example.Temps:1:0")
	c.disconnect()
	r.start() // the hub was restarted meanwhile
	c = r.connect(dev, crt)
	c.publish("/org.example.Temps/kitchen/temp", v(t, 1, 2.5))
	wantList(t, "faults", c.faults())
	if got := c.samples("org.example.Temps:1/kitchen/temp"); len(got) != 1 || got[0] != 2.5 {
		t.Errorf("got %v", got)
	}
}
