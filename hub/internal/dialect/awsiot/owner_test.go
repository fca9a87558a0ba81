package awsiot

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
)

// evil is a tenant that comes before the other one in any order of names.
const evil core.TenantID = "aaa-evil"

func (g *connRig) makeEvil() {
	g.Helper()
	g.do(func(tx *commit.Tx) error {
		_, err := g.d.makeAccount(tx, evil)
		return errors.Join(tx.InsertTenant(core.Tenant{ID: evil, Created: tx.Now()}), err)
	})
}

// registerFor puts a certificate on record in an account as if that happened some time from now.
func (g *connRig) registerFor(t core.TenantID, leaf *x509.Certificate, mode string, after time.Duration) {
	g.Helper()
	c := g.d.certificateRecord(leaf, string(pemOf(leaf.Raw)), statusActive)
	c.Mode, c.Created = mode, c.Created.Add(after)
	g.do(func(tx *commit.Tx) error { return g.d.insertCertificate(tx, t, c) })
}

// Whoever registers the certificate of another account's device does not get the device, unless it says that it means this
// account.
func TestCertificateInTwoAccounts(t *testing.T) {
	const evilHost, goodHost = "aaa-evil.iot.us-east-1.amazonaws.localhost", "acme.iot.us-east-1.amazonaws.localhost"
	for name, c := range map[string]struct {
		mode      string        // of the record in the account that has the device
		evilAfter time.Duration // when the other one registers it
		host      string
		want      core.TenantID
	}{
		"issued by the hub":              {modeDefault, time.Minute, "localhost", testTenant},
		"registered first by the others": {modeDefault, -time.Minute, "localhost", testTenant},
		"registered without a proof":     {modeSNIOnly, time.Minute, "localhost", testTenant},
		"both without, the others first": {modeSNIOnly, -time.Minute, "localhost", evil},
		"the host is ours":               {modeSNIOnly, -time.Minute, goodHost, testTenant},
		"the host is theirs":             {modeDefault, time.Minute, evilHost, evil},
		"the host is nobody's":           {modeDefault, -time.Minute, "none.iot.us-east-1.amazonaws.localhost", testTenant},
	} {
		t.Run(name, func(t *testing.T) {
			g := newConnRig(t)
			g.makeEvil()
			_, crt := g.foreign("pump")
			leaf, _ := x509.ParseCertificate(crt.Certificate[0])
			g.registerFor(testTenant, leaf, c.mode, 0)
			g.registerFor(evil, leaf, modeSNIOnly, c.evilAfter)
			a, _, err := g.d.findCertificate(t.Context(), c.host, leaf)
			if err != nil || a.Tenant != c.want {
				t.Errorf("got %q, %v, want %s", a.Tenant, err, c.want)
			}
		})
	}
}

// An authority that an account has proven to own goes before what others register of it and of its devices.
func TestAuthorityInTwoAccounts(t *testing.T) {
	g := newConnRig(t)
	g.makeEvil()
	authority, crt := g.foreign("pump")
	leaf, _ := x509.ParseCertificate(crt.Certificate[0])
	put := func(t core.TenantID, mode string, after time.Duration) {
		g.do(func(tx *commit.Tx) error {
			return g.d.putCACertificate(tx, t, caCertificate{
				ID: certificateID(authority.Raw), PEM: string(pemOf(authority.Raw)), Status: statusActive, Mode: mode,
				AutoRegister: true, Created: tx.Now().Add(after),
			})
		})
	}
	whose := func(host string) core.TenantID {
		by, err := g.d.issuer(t.Context(), host, leaf)
		if errors.Is(err, ca.ErrUnknownIssuer) {
			return ""
		} else if err != nil {
			t.Fatal(err)
		}
		return by.account.Tenant
	}
	put(evil, modeSNIOnly, -time.Minute)
	if got := whose("localhost"); got != "" {
		t.Errorf("an authority without a proof takes devices that do not mean its account: got %q", got)
	}
	if err := g.d.VerifyForeign(t.Context(), leaf); err != nil {
		t.Errorf("in the handshake, where the account is not known: %v", err)
	}
	put(testTenant, modeDefault, 0)
	if got := whose("localhost"); got != testTenant {
		t.Errorf("got %q, want the one with the proof", got)
	}
	if got := whose("aaa-evil.iot.us-east-1.amazonaws.localhost"); got != evil {
		t.Errorf("got %q, want the one that the host names", got)
	}
	// The device's certificate on record elsewhere, without a proof, changes nothing.
	g.registerFor(evil, leaf, modeSNIOnly, -time.Minute)
	if a, _, err := g.d.findCertificate(t.Context(), "localhost", leaf); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("got %q, %v, want that of the authority's owner, where it is not yet on record", a.Tenant, err)
	}
}

// Certificates of the hub's own devices on other platforms cannot be registered.
func TestRegisterAnotherPlatformsCertificate(t *testing.T) {
	g := newHTTPRig(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := g.d.cfg.CA.SignDeviceKey(key.Public(), ca.Leaf{CommonName: "acme/pump"})
	if err != nil {
		t.Fatal(err)
	}
	body, err := marshalJSON(map[string]string{"certificatePem": string(other.PEM), "status": "ACTIVE"})
	if err != nil {
		t.Fatal(err)
	}
	w := g.send(g.request("POST /certificate/register-no-ca", serviceControl, string(body), nil))
	if got := w.Header().Get("x-amzn-ErrorType"); got != badCertificate {
		t.Errorf("got %q %s, want %s", got, w.Body, badCertificate)
	}
}

// What our CA has signed for a device of another platform is not looked for here, also where it was registered before that was
// refused.
func TestAnotherPlatformsCertificateSignsInElsewhere(t *testing.T) {
	g := newConnRig(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := g.d.cfg.CA.SignDeviceKey(key.Public(), ca.Leaf{CommonName: "acme/pump"})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.ParseCertificate(other.PEM)
	if err != nil {
		t.Fatal(err)
	}
	g.registerFor(testTenant, leaf, modeSNIOnly, 0)
	if _, _, err := g.d.SignIn(t.Context(), core.Claim{Certificate: leaf, ClientID: "pump", ServerName: "localhost"}); !errors.Is(err, dialect.ErrNotMine) {
		t.Errorf("got %v, want that it is another dialect's", err)
	}
}
