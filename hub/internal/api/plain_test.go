package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/credential"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

const lamp = "/v1/devices/mqtt/acme/lamp"

// Authorities that are not the hub's: the first is registered for acme.
var (
	knownAuthority, _ = newAuthority("Known CA", true)
	newAuthorityPEM   = jsonText(must(newAuthority("New CA", true)))
	noAuthorityPEM    = jsonText(must(newAuthority("A device", false)))
	csrPEM            = jsonText(newCSR())
)

func newAuthority(name string, isCA bool) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: isCA, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), err
}

func newCSR() string {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key))
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func jsonText(s string) string { return string(must(json.Marshal(s))) }

func authorityID(text string) string {
	block, _ := pem.Decode([]byte(text))
	sum := sha256.Sum256(block.Bytes)
	return hex.EncodeToString(sum[:])
}

// fillPlain gives acme's lamp a token and grants, and acme an authority.
func fillPlain(tx *commit.Tx, n core.DeviceNum) error {
	a := must(json.Marshal(credential.Account{
		Owner: n, Grants: credential.DefaultGrants(), Tokens: []credential.Token{{ID: "TOK1", Created: noon, Expires: noon.Add(time.Hour)}},
	}))
	if err := tx.PutRecord("acme", "mqtt", "device/lamp", a); err != nil {
		return err
	}
	id := authorityID(knownAuthority)
	return tx.PutRecord("acme", "mqtt", "authority/"+id, must(json.Marshal(credential.Authority{ID: id, PEM: knownAuthority, Created: noon})))
}

var plainScenarios = []scenario{
	{name: "add device", do: "POST /v1/devices", token: writeAcme, body: `{"dialect":"mqtt","tenant":"acme","id":"pump-7"}`, code: 201, want: []string{`"username": "acme/pump-7"`, `"password": "`, `"topic_prefix": "pump-7/"`}, event: "device.registered"},
	{name: "add device with a password", do: "POST /v1/devices", token: writeAcme, body: `{"dialect":"mqtt","tenant":"acme","id":"pump-7","password":"correct horse"}`, code: 201, not: []string{`"password"`, "horse"}, event: "device.registered"},
	{name: "add device without password", do: "POST /v1/devices", token: writeAcme, body: `{"dialect":"mqtt","tenant":"acme","id":"pump-7","no_password":true}`, code: 201, not: []string{`"password"`}, event: "device.registered"},
	{name: "add device with and without password", do: "POST /v1/devices", token: writeAcme, body: `{"dialect":"mqtt","tenant":"acme","id":"pump-7","no_password":true,"password":"correct horse"}`, code: 400},
	{name: "add device with a short password", do: "POST /v1/devices", token: writeAcme, body: `{"dialect":"mqtt","tenant":"acme","id":"pump-7","password":"1234567"}`, code: 400, want: []string{"8 to 256"}, not: []string{"1234567"}},
	{name: "add device again", do: "POST /v1/devices", token: writeAcme, body: `{"dialect":"mqtt","tenant":"acme","id":"lamp"}`, code: 409, want: []string{"there is a device mqtt/acme/lamp already"}},
	{name: "add device with a bad id", do: "POST /v1/devices", token: writeAcme, body: `{"dialect":"mqtt","tenant":"acme","id":"a/b"}`, code: 400, want: []string{"device id"}},
	{name: "add device of a platform", do: "POST /v1/devices", token: writeAcme, body: `{"dialect":"astarte","tenant":"acme","id":"x"}`, code: 400, want: []string{"want one of mqtt"}},
	{name: "add device to another's tenant", do: "POST /v1/devices", token: writeAcme, body: `{"dialect":"mqtt","tenant":"other","id":"x"}`, code: 404},
	{name: "add device as reader", do: "POST /v1/devices", body: `{"dialect":"mqtt","tenant":"acme","id":"x"}`, code: 403},

	{name: "password", do: "PUT " + lamp + "/password", token: writeAcme, body: `{}`, want: []string{`"username": "acme/lamp"`, `"password": "`}, event: "credentials.changed", after: func(t *testing.T, g *rig) {
		if e := g.enrolment(3); len(e.SecretHash) != 32 {
			t.Errorf("the password is kept as %d bytes, want those of a SHA-256", len(e.SecretHash))
		}
	}},
	{name: "chosen password", do: "PUT " + lamp + "/password", token: writeAcme, body: `{"password":"correct horse"}`, not: []string{`"password"`}, event: "credentials.changed", after: func(t *testing.T, g *rig) {
		if e := g.enrolment(3); !strings.HasPrefix(string(e.SecretHash), "$argon2id$") {
			t.Errorf("the password is kept as %q", e.SecretHash)
		}
	}},
	{name: "password of a platform's device", do: "PUT " + pump + "/password", token: writeAcme, body: `{}`, code: 400, want: []string{"speaks the dialect of a platform"}},
	{name: "password of another's device", do: "PUT /v1/devices/mqtt/other/lamp/password", token: writeAcme, body: `{}`, code: 404},

	{name: "device tokens", do: "GET " + lamp + "/tokens", token: readAcme, want: []string{`"id": "TOK1"`, `"expires": "2026-05-06T13:00:00Z"`}, not: []string{"hash"}},
	{name: "add device token", do: "POST " + lamp + "/tokens", token: writeAcme, body: `{"lifetime_seconds":60}`, code: 201, want: []string{`"token": "`, `"expires": "2026-05-06T12:01:00Z"`}, event: "credentials.changed"},
	{name: "add device token for ever", do: "POST " + lamp + "/tokens", token: writeAcme, body: `{"lifetime_seconds":999999999999}`, code: 400},
	{name: "revoke device token", do: "DELETE " + lamp + "/tokens/TOK1", token: writeAcme, code: 204, event: "credentials.changed"},
	{name: "revoke no device token", do: "DELETE " + lamp + "/tokens/TOK2", token: writeAcme, code: 404, want: []string{"has no token"}},

	{name: "grants", do: "GET " + lamp + "/grants", token: readAcme, want: []string{`"${device}/#"`}},
	{name: "set grants", do: "PUT " + lamp + "/grants", token: writeAcme, body: `{"publish":["${device}/#","plant/${tenant}/+"],"subscribe":[],"no_samples":true}`, want: []string{"plant/${tenant}/+", `"subscribe": []`}, event: "grants.changed"},
	{name: "set grants with an unknown name", do: "PUT " + lamp + "/grants", token: writeAcme, body: `{"publish":["${clientid}/#"],"subscribe":[]}`, code: 400, want: []string{"unknown name ${clientid}"}},
	{name: "set grants that are no filter", do: "PUT " + lamp + "/grants", token: writeAcme, body: `{"publish":["a/#/b"],"subscribe":[]}`, code: 400, want: []string{"publish filter"}},
	{name: "set shared grants", do: "PUT " + lamp + "/grants", token: writeAcme, body: `{"publish":[],"subscribe":["$share/g/a"]}`, code: 400, want: []string{"$share"}},
	{name: "grants of a platform's device", do: "GET " + pump + "/grants", token: readAcme, code: 400},

	{name: "issue certificate", do: "POST " + lamp + "/certificates", token: writeAcme, body: `{}`, code: 201, want: []string{"BEGIN CERTIFICATE", "BEGIN PRIVATE KEY", `"state": "active"`}, event: "certificate.issued"},
	{name: "issue certificate for a key", do: "POST " + lamp + "/certificates", token: writeAcme, body: `{"csr":` + csrPEM + `}`, code: 201, want: []string{"BEGIN CERTIFICATE"}, not: []string{"PRIVATE"}, event: "certificate.issued"},
	{name: "issue certificate for nonsense", do: "POST " + lamp + "/certificates", token: writeAcme, body: `{"csr":"x"}`, code: 400, want: []string{"PEM"}},
	{name: "issue certificate for a platform's device", do: "POST " + pump + "/certificates", token: writeAcme, body: `{}`, code: 400},

	{name: "authorities", do: "GET /v1/tenants/acme/authorities", token: readAcme, want: []string{"CN=Known CA", `"auto_register": false`}},
	{name: "another's authorities", do: "GET /v1/tenants/other/authorities", token: readAcme, code: 404},
	{name: "register authority", do: "POST /v1/tenants/acme/authorities", token: ownerToken, body: `{"pem":` + newAuthorityPEM + `,"auto_register":true}`, code: 201, want: []string{"CN=New CA", `"auto_register": true`, `"tenant": "acme"`}, event: "authority.registered", after: func(t *testing.T, g *rig) {
		g.view(func(rd store.Reader) error {
			list, err := credential.AllAuthorities(rd)
			if len(list) != 2 {
				t.Errorf("got %d authorities, want 2", len(list))
			}
			return err
		})
	}},
	{name: "register authority of another tenant", do: "POST /v1/tenants/other/authorities", token: ownerToken, body: `{"pem":` + jsonText(knownAuthority) + `}`, code: 409, want: []string{"registered for tenant acme"}},
	{name: "register what is no authority", do: "POST /v1/tenants/acme/authorities", token: ownerToken, body: `{"pem":` + noAuthorityPEM + `}`, code: 400, want: []string{"not an authority"}},
	{name: "register authority as one tenant", do: "POST /v1/tenants/acme/authorities", token: adminAcme, body: `{"pem":` + newAuthorityPEM + `}`, code: 403},
	{name: "remove authority", do: "DELETE /v1/tenants/acme/authorities/" + authorityID(knownAuthority), token: ownerToken, code: 204, event: "authority.removed"},
	{name: "remove no authority", do: "DELETE /v1/tenants/other/authorities/" + authorityID(knownAuthority), token: ownerToken, code: 404},

	{name: "publish", do: "POST /v1/tenants/acme/publish", token: writeAcme, body: `{"topic":"lamp/cmd","text":"on","qos":1,"retain":true}`, want: []string{`"reached": 2`}, after: func(t *testing.T, g *rig) {
		g.left()
		if want := `mqtt/acme lamp/cmd "on" qos 1 retain true`; len(g.published) != 1 || g.published[0] != want {
			t.Errorf("got %q, want %q", g.published, want)
		}
	}},
	{name: "publish bytes", do: "POST /v1/tenants/acme/publish", token: writeAcme, body: `{"topic":"lamp/cmd","base64":"AP8="}`, want: []string{`"reached": 2`}},
	{name: "publish text and bytes", do: "POST /v1/tenants/acme/publish", token: writeAcme, body: `{"topic":"lamp/cmd","base64":"AP8=","text":"x"}`, code: 400},
	{name: "publish to a filter", do: "POST /v1/tenants/acme/publish", token: writeAcme, body: `{"topic":"lamp/#"}`, code: 400, want: []string{"topic"}},
	{name: "publish to the hub", do: "POST /v1/tenants/acme/publish", token: writeAcme, body: `{"topic":"$SYS/x"}`, code: 400},
	{name: "publish with QoS 3", do: "POST /v1/tenants/acme/publish", token: writeAcme, body: `{"topic":"lamp/cmd","qos":3}`, code: 400},
	{name: "publish to another's tenant", do: "POST /v1/tenants/other/publish", token: writeAcme, body: `{"topic":"lamp/cmd"}`, code: 404},
	{name: "publish as reader", do: "POST /v1/tenants/acme/publish", token: readAcme, body: `{"topic":"lamp/cmd"}`, code: 403},
}

// The client says what the routes want.
func TestClientOfPlainDevices(t *testing.T) {
	g := newRig(t, nil)
	c := client(t, g, ownerToken)
	ctx := t.Context()
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	made, err := c.AddDevice(ctx, admin.NewDevice{Dialect: "mqtt", Tenant: "acme", ID: "pump-7"})
	check("add", err)
	if made.ID != "pump-7" || made.Username != "acme/pump-7" || len(made.Login.Password) != 43 {
		t.Errorf("got %+v", made)
	}
	k := made.DeviceKey
	login, err := c.SetPassword(ctx, k, admin.SetPassword{})
	check("password", err)
	if login.Password == made.Login.Password || login.Password == "" {
		t.Error("the password is the same")
	}
	tok, err := c.AddDeviceToken(ctx, k, admin.NewDeviceToken{LifetimeSeconds: 60})
	check("token", err)
	list, err := c.DeviceTokens(ctx, k, 0, "")
	check("tokens", err)
	if len(list.Items) != 1 || list.Items[0] != tok.DeviceToken {
		t.Errorf("got %+v, want %+v", list, tok)
	}
	check("revoke", c.RevokeDeviceToken(ctx, k, tok.ID))
	_, err = c.SetGrants(ctx, k, admin.Grants{Publish: []string{"a"}, Subscribe: []string{"b"}})
	check("set grants", err)
	grants, err := c.Grants(ctx, k)
	check("grants", err)
	if len(grants.Publish) != 1 || grants.Publish[0] != "a" || grants.Subscribe[0] != "b" {
		t.Errorf("got %+v", grants)
	}
	crt, err := c.IssueCertificate(ctx, k, admin.NewCertificate{})
	check("certificate", err)
	if crt.Device != k || crt.PEM == "" || crt.Key == "" {
		t.Errorf("got %+v", crt)
	}
	text := must(newAuthority("Another CA", true))
	a, err := c.RegisterAuthority(ctx, "acme", admin.NewAuthority{PEM: text})
	check("register authority", err)
	authorities, err := c.Authorities(ctx, "acme", 0, "")
	check("authorities", err)
	if len(authorities.Items) != 2 {
		t.Errorf("got %+v", authorities)
	}
	check("remove authority", c.RemoveAuthority(ctx, "acme", a.ID))
	done, err := c.Publish(ctx, "acme", admin.NewMessage{Topic: "x", Text: "y"})
	check("publish", err)
	if done.Reached != 2 || len(g.left()) != 0 {
		t.Errorf("got %+v", done)
	}
}

// TestCertificateOfAnInhibitedDevice: what helps is not another token.
func TestCertificateOfAnInhibitedDevice(t *testing.T) {
	g := newRig(t, nil)
	g.do(func(tx *commit.Tx) error {
		d, err := tx.Device(core.DeviceKey{Tenant: "acme", Dialect: "mqtt", ID: "lamp"})
		return errors.Join(err, tx.PutEnrolment(core.Enrolment{Device: d.Num, Inhibited: true}))
	})
	w := g.call("POST "+lamp+"/certificates", writeAcme, `{}`)
	if body := w.Body.String(); w.Code != 403 || !strings.Contains(body, "are inhibited") || !strings.Contains(body, "fairlead device allow mqtt/acme/lamp") || !strings.Contains(body, "PUT /v1/devices/mqtt/acme/lamp/credentials") {
		t.Errorf("got %d %s", w.Code, body)
	}
}
