package mqtt

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/credential"
	"github.com/fairlead-iot/fairlead/hub/internal/refusal"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// last waits for the newest refusal behind a number.
func (g *rig) last(after int64) (e refusal.Entry) {
	g.Helper()
	g.eventually("a refusal", func() bool {
		list := g.refusals.List(refusal.Query{Limit: 1})
		if len(list) > 0 && list[0].Seq > after {
			e = list[0]
			return true
		}
		return false
	})
	return e
}

// TestRefusalsSayWhatToDo: each leads to the command that mends it, in words without those for programs.
func TestRefusalsSayWhatToDo(t *testing.T) {
	g := newRig(t, nil)
	password, kept := g.add("dev/pump"), g.add("dev/kept-out")
	g.addChosen("dev/old", "correct horse")
	g.do(func(tx *commit.Tx) error { return registry.SetInhibited(tx, g.holder("dev/kept-out").Num, true) })
	g.do(func(tx *commit.Tx) error { _, err := credential.Add(tx, g.key("dev/bare"), nil, nil); return err })
	try := func(user, password string) func() {
		return func() { g.try(mqtt.V5, user, password) }
	}
	var after int64
	for _, c := range []struct {
		name       string
		do         func()
		text, help string
		device     core.DeviceID
		proven     bool
	}{
		{"no such device", try("lamp", "x"), "there is no device mqtt/dev/lamp", "`fairlead device add lamp --tenant dev`", "lamp", false},
		{"no user name that can be", try("a/b/c", "x"), "TENANT/DEVICE", "fairlead device list --dialect mqtt", "", false},
		{"wrong", try("pump", "x"), "wrong password", "`fairlead device password mqtt/dev/pump`", "pump", false},
		{"no password to be wrong", try("bare", "x"), "the device has no password, and no token", "`fairlead device password mqtt/dev/bare`", "bare", false},
		{"inhibited", try("kept-out", kept), "kept out", "`fairlead device allow mqtt/dev/kept-out`", "kept-out", true},
		{"neither", func() { g.dial().TryConnect(mqtt.Connect{Version: mqtt.V5, ClientID: "c", CleanStart: true}) }, "neither a certificate nor a user name", "a user name and a password", "", false},
		{"a secret in place of the user name", func() {
			g.dial().TryConnect(mqtt.Connect{Version: mqtt.V5, ClientID: "c", CleanStart: true, Username: "token-0123456789", HasUsername: true})
		}, "without a password", "fairlead device list", "", false},
		{"will", func() {
			g.dial().TryConnect(mqtt.Connect{
				Version: mqtt.V5, ClientID: "c", CleanStart: true, Username: "pump", HasUsername: true, Password: []byte(password), HasPassword: true,
				Will: &mqtt.Will{Topic: "elsewhere/x"},
			})
		}, `will on a topic outside of what the device may: "elsewhere/x"`, "`fairlead device grant mqtt/dev/pump`", "pump", true},
		{"publish", func() {
			g.connect("pump", password, mqtt.Connect{Version: mqtt.V5, ClientID: "p", CleanStart: true}).Send(mqtt.Publish{Topic: []byte("elsewhere/y")})
		}, `publish to a topic outside of what the device may: "elsewhere/y"`, "`fairlead device grant mqtt/dev/pump`", "pump", true},
		{"subscribe", func() {
			g.connect("pump", password, mqtt.Connect{Version: mqtt.V5, ClientID: "s", CleanStart: true}).Subscribe("elsewhere/#", 0)
		}, `subscribe to a filter outside of what the device may: "elsewhere/#"`, "`fairlead device grant mqtt/dev/pump`", "pump", true},
		{"too often", func() {
			g.halt() // guesses are forgotten with time
			for i := range 10 {
				_, _, _ = g.signIn(claim("old", fmt.Sprint(i)))
				c := claim("old", "x")
				c.Remote = g.loopback()
				_, _, _ = g.signIn(c)
			}
			g.try(mqtt.V5, "old", "correct horse")
		}, "even the right one is refused now", " s, and try again", "old", false},
	} {
		c.do()
		e := g.last(after)
		after = e.Seq
		if !strings.Contains(e.Text, c.text) || !strings.Contains(e.Hint, c.help) {
			t.Errorf("%s: operators are told %q -> %q, want %q -> %q", c.name, e.Text, e.Hint, c.text, c.help)
		}
		if e.Device.ID != c.device || e.Proven != c.proven {
			t.Errorf("%s: booked under %q, proven %t", c.name, e.Device, e.Proven)
		}
		for _, noise := range []string{"sign-in", "unauthenticated", "denied", "too large", "0123456789"} {
			if strings.Contains(e.Text+e.Hint, noise) {
				t.Errorf("%s: %q has %q in it", c.name, e.Text, noise)
			}
		}
	}
}

// TestForeignRefusalsSayWhatToDo is about certificates of registered authorities.
func TestForeignRefusalsSayWhatToDo(t *testing.T) {
	g := newRig(t, nil)
	f := newFactory(t, "Factory")
	g.do(func(tx *commit.Tx) error {
		_, err := credential.RegisterAuthority(tx, credential.Authority{Tenant: "acme", PEM: f.pem()})
		return err
	})
	c := claim("", "")
	c.Certificate = f.sign("newbie", nil)
	_, _, err := g.signIn(c)
	g.refusals.Add(core.Refusal{Stage: core.StageSignIn, Claim: c, Err: err})
	e := g.last(0)
	if !strings.HasPrefix(e.Text, "there is no device mqtt/acme/newbie") || !strings.Contains(e.Hint, "`fairlead device add newbie --tenant acme`") ||
		!strings.Contains(e.Hint, "--auto-register") {
		t.Errorf("got %q -> %q", e.Text, e.Hint)
	}
}

// loopback is where the rig's clients come from.
func (g *rig) loopback() netip.AddrPort { return netip.MustParseAddrPort("127.0.0.1:1") }
