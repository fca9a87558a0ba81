package astartego

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// client is a client that trusts the hub.
func (p *platform) client() *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.realm.Roots()}}}
}

// newRealm creates a realm with a key, by Housekeeping.
func (p *platform) newRealm(t *testing.T, name string, key crypto.Signer, extra map[string]any) *astarte.Pairing {
	t.Helper()
	house, err := identity.LoadKey(p.vars["ASTARTE_HOUSEKEEPING_PRIVATE_KEY"])
	must(t, err)
	claims, err := json.Marshal(map[string]any{"iat": time.Now().Unix() - 5, "exp": time.Now().Add(time.Hour).Unix(), "a_ha": []string{".*::.*"}})
	must(t, err)
	token, err := astartewire.SignToken(house, claims)
	must(t, err)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	must(t, err)
	data := map[string]any{"realm_name": name, "jwt_public_key_pem": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))}
	for k, v := range extra {
		data[k] = v
	}
	body, err := json.Marshal(map[string]any{"data": data})
	must(t, err)
	req, err := http.NewRequestWithContext(t.Context(), "POST", p.vars["ASTARTE_HOUSEKEEPING_URL"]+"/v1/realms?async_operation=false", bytes.NewReader(body))
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := p.client().Do(req)
	must(t, err)
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusCreated {
		t.Fatalf("status %d: %s", res.StatusCode, text)
	}
	return &astarte.Pairing{URL: p.realm.PairingURL(), Realm: name, HTTP: p.client()}
}

// refused checks a refusal: its kind, and the platform's own code and text.
func refused(t *testing.T, err, kind error, code, detail string) {
	t.Helper()
	var e *fairlead.PlatformError
	if !errors.As(err, &e) || !errors.Is(err, kind) || e.Code != code || !strings.Contains(e.Detail, detail) {
		t.Errorf("got %v, want %v with code %s and %q", err, kind, code, detail)
	}
}

func TestRegister(t *testing.T) {
	p := shared(t)
	ctx := t.Context()
	a := p.pairing()
	id := astarte.NamedDeviceID([16]byte{0xf7, 0x9a, 0xd9, 0x1f, 0xc6, 0x38, 0x48, 0x89, 0xae, 0x74, 0x9d, 0, 0x1a, 0x3b, 0x4c, 0xf8}, "sn-0001")
	if id != "Vi3j3M8YVpOPyuzqk8sg5A" { // as generate_device_id of the official SDK
		t.Errorf("got %s", id)
	}
	first, err := a.Register(ctx, id, p.token())
	must(t, err)
	second, err := a.Register(ctx, id, p.token()) // again, before it has had a certificate: another secret
	must(t, err)
	raw, err := base64.StdEncoding.DecodeString(first.Reveal())
	if err != nil || len(raw) != 32 || first.Reveal() == second.Reveal() {
		t.Errorf("got secrets of %d bytes, %v", len(raw), err)
	}
	_, err = a.Transport(ctx, id, first)
	refused(t, err, fairlead.ErrDenied, "403", "Forbidden")
	info, err := a.Transport(ctx, id, second)
	must(t, err)
	if info.Status != "pending" || info.Host == "" || info.Port != p.hub.MQTTPort {
		t.Errorf("got %+v", info)
	}

	c := &astarte.Credentials{Pairing: a, DeviceID: id, Secret: second, Dir: t.TempDir()}
	old, err := c.Obtain(ctx)
	must(t, err)
	if info, err = a.Transport(ctx, id, second); err != nil || info.Status != "confirmed" {
		t.Errorf("got %+v, %v", info, err)
	}
	_, err = a.Register(ctx, id, p.token())
	refused(t, err, astarte.ErrAlreadyRegistered, "422", "already registered")

	before := old.Certificate()
	_, err = c.Obtain(ctx)
	must(t, err)
	if v, err := a.Verify(ctx, id, second, []*x509.Certificate{before}); err != nil || !v.Valid {
		t.Errorf("the certificate before: got %+v, %v", v, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	if v, err := a.Verify(ctx, id, second, stranger(t, key, "x", time.Now().Add(time.Hour))); err != nil || v.Valid || v.Cause == "" {
		t.Errorf("a foreign certificate: got %+v, %v", v, err)
	}

	must(t, a.Unregister(ctx, id, p.token()))
	_, err = a.Transport(ctx, id, second)
	refused(t, err, fairlead.ErrDenied, "403", "Forbidden")
	third, err := a.Register(ctx, id, p.token())
	must(t, err)
	if _, err := a.Transport(ctx, id, third); err != nil {
		t.Error(err)
	}
	must(t, a.Unregister(ctx, id, p.token()))
}

// Registration with the realm's private key: with each kind of key that a realm may have.
func TestRegisterWithPrivateKey(t *testing.T) {
	p := shared(t)
	for n, make := range []func() (crypto.Signer, error){
		func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
		func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) },
		func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P521(), rand.Reader) },
		func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) },
	} {
		key, err := make()
		must(t, err)
		t.Run(fmt.Sprintf("%T %d", key, n), func(t *testing.T) {
			a := p.newRealm(t, fmt.Sprintf("gokeys%d", n), key, nil)
			file := filepath.Join(t.TempDir(), "realm.pem")
			must(t, identity.SaveKey(file, key))
			secret, err := a.RegisterWithKeyFile(t.Context(), astarte.RandomDeviceID(), file)
			if err != nil || len(secret.Reveal()) != 44 {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestPairingRefusals(t *testing.T) {
	p := shared(t)
	ctx := t.Context()
	a := p.pairing()
	id := astarte.RandomDeviceID()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	mint := func(key crypto.Signer, life time.Duration) identity.Secret {
		token, err := astarte.RegistrationToken(key, life)
		must(t, err)
		return token.Value
	}
	realmKey, err := identity.LoadKey(p.vars["ASTARTE_REALM_PRIVATE_KEY"])
	must(t, err)
	secret, err := a.Register(ctx, id, p.token())
	must(t, err)
	register := func(a *astarte.Pairing, id string, token identity.Secret) error {
		_, err := a.Register(ctx, id, token)
		return err
	}
	transport := func(a *astarte.Pairing, id string, secret identity.Secret) error {
		_, err := a.Transport(ctx, id, secret)
		return err
	}
	elsewhere := &astarte.Pairing{URL: a.URL, Realm: "nosuchrealm", HTTP: a.HTTP}
	astray := &astarte.Pairing{URL: a.URL + "/v1/nothing", Realm: a.Realm, HTTP: a.HTTP}
	bad := identity.NewSecret(strings.Repeat("A", 43) + "=")
	other := astarte.RandomDeviceID()
	for _, c := range []struct {
		name   string
		err    error
		kind   error
		code   string
		detail string
	}{
		{"forged token", register(a, other, mint(key, time.Minute)), fairlead.ErrUnauthenticated, "401", "Invalid JWT token"},
		{"expired token", register(a, other, mint(realmKey, -time.Minute)), fairlead.ErrUnauthenticated, "401", "Invalid JWT token"},
		{"unknown realm", register(elsewhere, other, p.token()), fairlead.ErrDenied, "403", "Forbidden"},
		{"wrong address", register(astray, other, p.token()), fairlead.ErrNotFound, "404", "Page not found"},
		{"wrong secret", transport(a, id, bad), fairlead.ErrDenied, "403", "Forbidden"},
		{"unknown device", transport(a, other, secret), fairlead.ErrNotFound, "404", "Device not found"},
		{"unregister unknown", a.Unregister(ctx, other, p.token()), fairlead.ErrNotFound, "404", "Device not found"},
	} {
		t.Run(c.name, func(t *testing.T) { refused(t, c.err, c.kind, c.code, c.detail) })
	}
	t.Run("registration limit", func(t *testing.T) {
		one := p.newRealm(t, "golimit", key, map[string]any{"device_registration_limit": 1})
		must(t, register(one, id, mint(key, time.Minute)))
		err := register(one, other, mint(key, time.Minute))
		refused(t, err, fairlead.ErrInvalid, "422", "limit reached")
		if errors.Is(err, astarte.ErrAlreadyRegistered) {
			t.Error("taken for a device that is registered")
		}
		must(t, register(one, id, mint(key, time.Minute))) // only new ones count
	})
	t.Run("slash at the end", func(t *testing.T) {
		must(t, register(&astarte.Pairing{URL: a.URL + "/", Realm: a.Realm, HTTP: a.HTTP}, other, p.token()))
	})
	t.Run("untrusted", func(t *testing.T) {
		var unknown x509.UnknownAuthorityError
		if err := register(&astarte.Pairing{URL: a.URL, Realm: a.Realm}, other, p.token()); !errors.As(err, &unknown) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the device says so at once", func(t *testing.T) {
		g := p.gadget(t)
		g.cfg.CredentialsSecret = bad
		g.make()
		refused(t, g.Pair(ctx), fairlead.ErrDenied, "403", "Forbidden")
		g.halt()
		refused(t, g.failed(), fairlead.ErrDenied, "403", "Forbidden")
	})
}

// Unregistering takes the secret away, not the connection.
func TestUnregisteredWhileConnected(t *testing.T) {
	p := shared(t)
	g := p.connected(t, "DeviceQos")
	must(t, p.realm.Unregister(t.Context(), g.ID()))
	g.send("DeviceQos", "/unique", 1)
	g.settle()
	equal(t, g.series("DeviceQos", "/unique"), numbers(1, 2))
	if len(g.states) > 0 {
		t.Errorf("the connection was lost: %v", <-g.states)
	}
	refused(t, g.Pair(t.Context()), fairlead.ErrDenied, "403", "Forbidden")
}

// Key and certificate as they are on disk.
func TestCredentialFiles(t *testing.T) {
	g := shared(t).connected(t)
	dir := filepath.Join(g.cfg.Dir, "crypto")
	fi, err := os.Stat(filepath.Join(dir, "device.key"))
	must(t, err)
	if fi.Mode().Perm() != 0o600 {
		t.Errorf("device.key has mode %v", fi.Mode())
	}
	chain, err := identity.LoadChain(filepath.Join(dir, "device.crt"))
	must(t, err)
	if got := chain[0].Subject.CommonName; got != g.cfg.Realm+"/"+g.cfg.DeviceID {
		t.Errorf("got %q", got)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &astarte.Credentials{Pairing: g.p.pairing(), DeviceID: g.cfg.DeviceID, Dir: dir}
	other := stranger(t, key, "x", time.Now().Add(time.Hour))
	if _, err := c.Import(identity.EncodeChain(other)); !errors.Is(err, fairlead.ErrConflict) {
		t.Errorf("import of a certificate of another key: got %v", err)
	}
	if now, err := identity.LoadChain(filepath.Join(dir, "device.crt")); err != nil || !now[0].Equal(chain[0]) {
		t.Errorf("the certificate was replaced: %v", err)
	}
}
