package mqtt

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/credential"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// A refusal has the code of the client's version, and the same one whatever is wrong with user name and password.
func TestRefusedCodes(t *testing.T) {
	g := newRig(t, nil)
	password, other := g.add("dev/pump"), g.add("acme/pump")
	g.addChosen("dev/old", "correct horse")
	g.add("dev/out")
	outPassword := g.add("dev/kept-out")
	g.do(func(tx *commit.Tx) error { return registry.SetInhibited(tx, g.holder("dev/kept-out").Num, true) })
	bad, denied := [2]byte{mqtt.ConnAckBadCredentials, byte(mqtt.ReasonBadCredentials)}, [2]byte{mqtt.ConnAckNotAuthorized, byte(mqtt.ReasonNotAuthorized)}
	for name, c := range map[string]struct {
		user, password string
		want           [2]byte
	}{
		"right":                        {"dev/pump", password, [2]byte{}},
		"right in the default tenant":  {"pump", password, [2]byte{}},
		"right, chosen":                {"dev/old", "correct horse", [2]byte{}},
		"wrong":                        {"dev/pump", "x", bad},
		"wrong, chosen":                {"dev/old", "correct hors", bad},
		"empty":                        {"dev/pump", "", bad},
		"too long":                     {"dev/pump", strings.Repeat("x", 60_000), bad},
		"of another device":            {"dev/out", password, bad},
		"of another tenant's device":   {"dev/pump", other, bad},
		"no device":                    {"dev/nobody", password, bad},
		"no tenant":                    {"none/pump", password, bad},
		"no user name that can be":     {"dev/pump/x", password, bad},
		"empty user name":              {"", password, bad},
		"kept out":                     {"dev/kept-out", outPassword, denied},
		"kept out, with a wrong guess": {"dev/kept-out", "x", bad},
	} {
		for i, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
			if got := g.try(v, c.user, c.password); got != c.want[i] {
				t.Errorf("%s, %v: code %#x, want %#x", name, v, got, c.want[i])
			}
		}
	}
	for i, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		if got := g.dial().TryConnect(mqtt.Connect{Version: v, ClientID: "c", CleanStart: true}).Code; got != denied[i] {
			t.Errorf("no user name, %v: code %#x, want %#x", v, got, denied[i])
		}
		if got := g.dial().TryConnect(mqtt.Connect{
			Version: v, ClientID: strings.Repeat("x", maxClientIDBytes+1), CleanStart: true, Username: "pump", HasUsername: true, Password: []byte(password), HasPassword: true,
		}).Code; got != [2]byte{mqtt.ConnAckBadClientID, byte(mqtt.ReasonClientIDNotValid)}[i] {
			t.Errorf("long client id, %v: code %#x", v, got)
		}
	}
}

// signIn returns the device that a claim opens.
func (g *rig) signIn(c core.Claim) (core.Grant, *link, error) {
	grant, l, err := g.d.SignIn(g.Context(), c)
	if err != nil {
		return grant, nil, err
	}
	return grant, l.(*link), nil
}

func TestToken(t *testing.T) {
	g := newRig(t, nil)
	g.add("dev/pump")
	g.add("dev/lamp")
	secret, token := credential.NewToken(g.now(), time.Hour)
	g.do(func(tx *commit.Tx) error { return credential.AddToken(tx, g.key("dev/pump"), token) })
	grant, _, err := g.signIn(claim("dev/pump", secret))
	if err != nil || grant.Lifetime <= 59*time.Minute || grant.Lifetime > time.Hour {
		t.Errorf("got a connection for %v, %v; want for an hour", grant.Lifetime, err)
	}
	if _, _, err := g.signIn(claim("dev/lamp", secret)); !errors.Is(err, core.ErrUnauthenticated) {
		t.Errorf("another device's token: got %v", err)
	}
	g.later(time.Hour)
	if _, _, err := g.signIn(claim("dev/pump", secret)); !errors.Is(err, core.ErrUnauthenticated) {
		t.Errorf("expired token: got %v", err)
	}
}

// Guessing is slowed down for who guesses, and for nobody else.
func TestGuessing(t *testing.T) {
	g := newRig(t, nil)
	g.halt() // guesses are forgotten with time
	random := g.add("dev/pump")
	g.addChosen("dev/old", "correct horse")
	try := func(addr, user, password string) error {
		c := claim(user, password)
		if addr != "" {
			c.Remote = netip.MustParseAddrPort(addr)
		}
		_, _, err := g.signIn(c)
		return err
	}
	for i := range 10 {
		if err := try("", "dev/old", fmt.Sprint("guess ", i)); !errors.Is(err, core.ErrUnauthenticated) {
			t.Fatalf("guess %d: got %v", i, err)
		}
	}
	for what, c := range map[string]struct {
		addr, user, password string
		want                 error
	}{
		"the right one, from there":            {"", "dev/old", "correct horse", errGuessing},
		"the right one, from elsewhere":        {"198.51.100.1:1", "dev/old", "correct horse", nil},
		"another device, from there":           {"", "dev/pump", "x", core.ErrUnauthenticated},
		"a password that cannot be guessed":    {"", "dev/pump", random, nil},
		"a device that is not there, like one": {"", "dev/none", "x", core.ErrUnauthenticated},
	} {
		if err := try(c.addr, c.user, c.password); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", what, err, c.want)
		}
	}
	// A device that is not there is guarded too, so that the answer does not tell.
	for range 10 {
		_ = try("203.0.113.1:1", "dev/none", "x")
	}
	if err := try("203.0.113.1:1", "dev/none", "x"); !errors.Is(err, errGuessing) || !errors.Is(err, core.ErrTooLarge) {
		t.Errorf("guesses at nobody: got %v", err)
	}
	g.later(time.Minute)
	if err := try("", "dev/old", "correct horse"); err != nil {
		t.Errorf("a minute later: got %v", err)
	}
}

// The time of a refusal does not tell whether there is such a device, nor how its password is kept.
func TestRefusalsTakeAlike(t *testing.T) {
	g := newRig(t, nil)
	g.add("dev/pump")
	g.addChosen("dev/old", "correct horse")
	for _, user := range []string{"dev/pump", "dev/old", "dev/none", "x/y/z"} {
		start := time.Now()
		if _, _, err := g.signIn(claim(user, "wrong password")); err == nil {
			t.Fatal("signed in")
		}
		if took := time.Since(start); took < failureStep { // which is longer than any of the checks takes
			t.Errorf("%s: refused after %v, want %v at least", user, took, failureStep)
		}
	}
}

// A chosen password costs time once only.
func TestPasswordIsRemembered(t *testing.T) {
	g := newRig(t, nil)
	g.addChosen("dev/old", "correct horse")
	for range 2 {
		if _, _, err := g.signIn(claim("dev/old", "correct horse")); err != nil {
			t.Fatal(err)
		}
	}
	g.do(func(tx *commit.Tx) error { return credential.SetPassword(tx, g.key("dev/old"), nil) })
	if _, _, err := g.signIn(claim("dev/old", "correct horse")); err == nil {
		t.Error("a password that was taken away still opens")
	}
}

func TestCertificateOfOurCA(t *testing.T) {
	g := newRig(t, nil)
	g.add("dev/pump")
	crt, issued := g.issue("dev/pump")
	newer, _ := g.issue("dev/pump")
	with := func(c *x509.Certificate) core.Claim {
		x := claim("", "")
		x.Certificate = c
		return x
	}
	for name, c := range map[string]*x509.Certificate{"superseded": crt, "newest": newer} {
		grant, l, err := g.signIn(with(c))
		if err != nil || l.ID != "pump" || l.Tenant != "dev" || grant.Lifetime <= 0 {
			t.Errorf("%s: got %v, %v", name, grant, err)
		}
	}
	// Signed by our CA for the same name, but not issued to the device: as other dialects have certificates signed.
	stray, err := g.ca.SignDeviceKey(newKey(t).Public(), ca.Leaf{CommonName: "dev/pump"})
	if err != nil {
		t.Fatal(err)
	}
	unknown, err := ca.ParseCertificate(stray.PEM)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := g.signIn(with(unknown)); !errors.Is(err, core.ErrUnauthenticated) {
		t.Errorf("not on record: got %v", err)
	}
	// One of another dialect's device.
	g.do(func(tx *commit.Tx) error {
		d := core.Device{DeviceKey: core.DeviceKey{Tenant: "dev", Dialect: "astarte", ID: "x"}, Created: tx.Now()}
		if err := tx.InsertDevice(&d); err != nil {
			return err
		}
		return registry.IssueDirectly(tx, d, core.Certificate{Serial: stray.Serial, SHA256: stray.SHA256, NotAfter: stray.NotAfter})
	})
	if _, _, err := g.signIn(with(unknown)); !errors.Is(err, dialect.ErrNotMine) {
		t.Errorf("another dialect's: got %v", err)
	}
	// Revoked between sign-in and session.
	_, l, err := g.signIn(with(crt))
	if err != nil {
		t.Fatal(err)
	}
	g.do(func(tx *commit.Tx) error { return registry.Revoke(tx, issued.Serial) })
	err = g.committer.Do(t.Context(), func(tx *commit.Tx) error { return l.Connected(tx, dialect.Presence{}) })
	if !errors.Is(err, core.ErrDenied) {
		t.Errorf("revoked meanwhile: got %v", err)
	}
	if _, _, err := g.signIn(with(crt)); !errors.Is(err, core.ErrDenied) {
		t.Errorf("revoked: got %v", err)
	}
	var known *core.SignInError
	if _, _, err := g.signIn(with(crt)); !errors.As(err, &known) || !known.Proven || known.Device != g.key("dev/pump") {
		t.Errorf("revoked: operators are told %+v", known)
	}
}

func TestCertificateOfARegisteredAuthority(t *testing.T) {
	g := newRig(t, nil)
	g.add("acme/pump")
	ours, theirs := newFactory(t, "Factory"), newFactory(t, "Factory") // of the same name
	register := func(f *factory, auto bool) (a credential.Authority) {
		g.do(func(tx *commit.Tx) (err error) {
			a, err = credential.RegisterAuthority(tx, credential.Authority{Tenant: "acme", PEM: f.pem(), Register: auto})
			return err
		})
		return a
	}
	with := func(c *x509.Certificate) core.Claim {
		x := claim("", "")
		x.Certificate = c
		return x
	}
	pump := ours.sign("pump", nil)
	if _, _, err := g.signIn(with(pump)); !errors.Is(err, dialect.ErrNotMine) {
		t.Errorf("before it is registered: got %v", err)
	}
	if err := g.d.VerifyForeign(t.Context(), pump); !errors.Is(err, ca.ErrUnknownIssuer) {
		t.Errorf("handshake before it is registered: got %v", err)
	}
	a := register(ours, false)
	grant, l, err := g.signIn(with(pump))
	if err != nil || l.DeviceKey != g.key("acme/pump") || grant.Lifetime <= 0 || grant.Lifetime > time.Hour {
		t.Errorf("got %v, %v", grant, err)
	}
	if err := g.d.VerifyForeign(t.Context(), pump); err != nil {
		t.Errorf("handshake: got %v", err)
	}
	for name, c := range map[string]struct {
		crt  *x509.Certificate
		want error
	}{
		"an authority of the same name":     {theirs.sign("pump", nil), dialect.ErrNotMine},
		"expired":                           {ours.sign("pump", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), ca.ErrExpired},
		"not yet valid":                     {ours.sign("pump", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), ca.ErrNotYetValid},
		"of a server":                       {ours.sign("pump", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), ca.ErrKeyUsage},
		"no device id":                      {ours.sign("a/b", nil), core.ErrUnauthenticated},
		"no such device":                    {ours.sign("lamp", nil), core.ErrDenied},
		"a device of another tenant's name": {ours.sign("dev/pump", nil), core.ErrUnauthenticated},
	} {
		if _, _, err := g.signIn(with(c.crt)); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	register(theirs, true)
	if _, l, err := g.signIn(with(theirs.sign("new", nil))); err != nil || l.DeviceKey != g.key("acme/new") {
		t.Errorf("auto-registered: got %v", err)
	}
	_, between, err := g.signIn(with(pump))
	if err != nil {
		t.Fatal(err)
	}
	g.do(func(tx *commit.Tx) error { return credential.RemoveAuthority(tx, "acme", a.ID) })
	err = g.committer.Do(t.Context(), func(tx *commit.Tx) error { return between.Connected(tx, dialect.Presence{Addr: "192.0.2.7"}) })
	if !errors.Is(err, errMeanwhile) {
		t.Errorf("one that was being let in: got %v", err)
	}
	if _, _, err := g.signIn(with(pump)); !errors.Is(err, dialect.ErrNotMine) {
		t.Errorf("after it was removed: got %v", err)
	}
}

// A refusal is seen by the tenant that it concerns, and by no other: that of a certificate is its authority's.
func TestRefusalsBelongToTheAuthoritysTenant(t *testing.T) {
	g := newRig(t, nil)
	ours, nobodys := newFactory(t, "Factory"), newFactory(t, "Elsewhere")
	g.do(func(tx *commit.Tx) error {
		_, err := credential.RegisterAuthority(tx, credential.Authority{Tenant: "acme", PEM: ours.pem()})
		return err
	})
	acme := func(id core.DeviceID) core.DeviceKey { return core.DeviceKey{Tenant: "acme", Dialect: Name, ID: id} }
	old := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
	user := claim("dev/pump", "x")
	for name, c := range map[string]struct {
		crt    *x509.Certificate
		claim  core.Claim
		want   core.DeviceKey
		proven bool // at sign-in
	}{
		"no such device":           {ours.sign("newbie", nil), claim("", ""), acme("newbie"), true},
		"expired":                  {ours.sign("newbie", old), claim("", ""), acme("newbie"), false},
		"no device id":             {ours.sign("dev/newbie", nil), claim("", ""), acme(""), false},
		"and another's user name":  {ours.sign("newbie", nil), user, acme("newbie"), true},
		"nobody's":                 {nobodys.sign("newbie", nil), claim("", ""), core.DeviceKey{}, false},
		"nobody's, with a tenant":  {nobodys.sign("dev/newbie", nil), claim("", ""), core.DeviceKey{}, false},
		"nobody's and a user name": {nobodys.sign("newbie", nil), user, g.key("dev/pump"), false},
	} {
		c.claim.Certificate = c.crt
		if got, _ := g.d.Identify(c.claim); got != c.want {
			t.Errorf("%s: before sign-in it is booked under %q, want %q", name, got, c.want)
		}
		_, _, err := g.signIn(c.claim)
		var known *core.SignInError
		if errors.As(err, &known) {
			if known.Device != c.want || known.Proven != c.proven {
				t.Errorf("%s: booked under %q (proven: %t), want %q", name, known.Device, known.Proven, c.want)
			}
		} else if c.want.Tenant != "" || !errors.Is(err, dialect.ErrNotMine) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Without credentials one gets in only where that is allowed: on a port without TLS.
func TestAnonymous(t *testing.T) {
	g := newRig(t, func(c *Config) { c.Anonymous = true })
	if _, _, err := g.signIn(claim("", "")); !errors.Is(err, dialect.ErrNotMine) {
		t.Errorf("over TLS: got %v", err)
	}
	password := g.add("dev/pump")
	real := g.connect("pump", password, mqtt.Connect{ClientID: "x"})
	a, b := g.dial(), g.dial()
	a.Connect(mqtt.Connect{ClientID: "x"}) // the client id of the device's own session
	b.Connect(mqtt.Connect{Version: mqtt.V5, ClientID: "y", CleanStart: true})
	real.Ping()
	b.Subscribe("#", 1)
	if code := b.Subscribe("$TopicA/#", 1); code != 1 {
		t.Errorf("subscribe to a topic with $: got %#x", code)
	}
	if code := b.Subscribe("$SYS/#", 1); code != byte(mqtt.ReasonNotAuthorized) {
		t.Errorf("subscribe to the hub's own: got %#x", code)
	}
	a.Publish("any/where", 1, []byte("1"))
	if m := b.ReceiveMessage(); string(m.Topic) != "any/where" {
		t.Errorf("got %s", m.Topic)
	}
	a.Publish("$TopicA/x", 1, []byte("1"))
	if m := b.ReceiveMessage(); string(m.Topic) != "$TopicA/x" {
		t.Errorf("got %s", m.Topic)
	}
	if got := g.samples("dev/anonymous"); got["any/where"] != int64(1) {
		t.Errorf("got %v", got)
	}
	if code := g.try(mqtt.V311, "pump", "wrong"); code != mqtt.ConnAckBadCredentials {
		t.Errorf("with a wrong password: got code %d", code)
	}
	a.Disconnect()
	if !g.holder("dev/anonymous").Connected {
		t.Error("one of two has left, and the device counts as disconnected")
	}
	b.Disconnect()
	g.eventually("disconnected", func() bool { return !g.holder("dev/anonymous").Connected })
}
