package astarte

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/identity"
)

var secret = identity.NewSecret("c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTAxMjM=")

// authority signs certificates as a fake of Pairing.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return &authority{key, c}
}

func (a *authority) sign(t *testing.T, public crypto.PublicKey, name string, life time.Duration) string {
	t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(life)}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func (a *authority) signCSR(t *testing.T, csr, name string, life time.Duration) string {
	t.Helper()
	block, _ := pem.Decode([]byte(csr))
	if block == nil {
		t.Fatalf("no CSR: %q", csr)
	}
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || r.CheckSignature() != nil {
		t.Fatalf("CSR: %v", err)
	}
	return a.sign(t, r.PublicKey, name, life)
}

// fake is a Pairing API that answers one thing, and keeps what it was asked.
type fake struct {
	*Pairing
	status int
	answer any
	header http.Header

	method, path, authorization string
	body                        map[string]map[string]any
}

func newFake(t *testing.T) *fake {
	f := &fake{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		f.method, f.path, f.authorization, f.body = r.Method, r.URL.Path, r.Header.Get("Authorization"), nil
		_ = json.Unmarshal(b, &f.body)
		for k, v := range f.header {
			w.Header()[k] = v
		}
		w.WriteHeader(f.status)
		if text, ok := f.answer.(string); ok {
			_, _ = io.WriteString(w, text)
			return
		}
		_ = json.NewEncoder(w).Encode(f.answer)
	}))
	t.Cleanup(s.Close)
	f.Pairing = &Pairing{URL: s.URL + "/pairing", Realm: "test"}
	return f
}

func data(kv ...any) any {
	d := map[string]any{}
	for i := 0; i < len(kv); i += 2 {
		d[kv[i].(string)] = kv[i+1]
	}
	return map[string]any{"data": d}
}

// TestPairingRequests compares our requests with those of the official SDK.
func TestPairingRequests(t *testing.T) {
	f, ctx := newFake(t), t.Context()
	a := newAuthority(t)
	key, err := identity.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	crt := a.sign(t, key.Public(), "test/"+device, time.Hour)
	chain, err := identity.ParseChain([]byte(crt))
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]func() error{
		"register_jwt": func() error {
			f.status, f.answer = 201, data("credentials_secret", secret.Reveal())
			s, err := f.Register(ctx, device, identity.NewSecret("TOKEN.OF.AGENT"))
			if !s.Equal(secret) {
				t.Error("another secret")
			}
			return err
		},
		"credentials": func() error {
			f.status, f.answer = 201, data("client_crt", crt)
			csr, err := CSR(key, "test", device)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.Certificate(ctx, device, secret, csr)
			return err
		},
		"info": func() error {
			f.status, f.answer = 200, data("version", "1.2.0", "status", "confirmed", "protocols", map[string]any{"astarte_mqtt_v1": map[string]any{"broker_url": "mqtts://localhost:21883/"}})
			got, err := f.Transport(ctx, device, secret)
			if want := (Transport{"1.2.0", "confirmed", "mqtts://localhost:21883/", "localhost", 21883}); got != want {
				t.Errorf("got %+v", got)
			}
			return err
		},
		"verify": func() error {
			f.status, f.answer = 200, data("valid", true, "timestamp", "2026-03-25 18:25:00.123Z", "until", "2026-06-24 19:25:00.000Z")
			v, err := f.Verify(ctx, device, secret, chain)
			if !v.Valid || !v.Until.Equal(time.Date(2026, 6, 24, 19, 25, 0, 0, time.UTC)) {
				t.Errorf("got %+v", v)
			}
			return err
		},
	}
	for _, v := range loadVectors(t, "pairing_http.json") {
		call := calls[v.Name]
		if call == nil {
			continue // the same over another URL, or a token: TestRegistrationToken
		}
		delete(calls, v.Name)
		if err := call(); err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		head, body, _ := strings.Cut(v.Text, "\r\n\r\n")
		line := strings.Fields(head)
		if f.method != line[0] || f.path != line[1] || !strings.Contains(head+"\r\n", "\r\nAuthorization: "+f.authorization+"\r\n") {
			t.Errorf("%s: got %s %s %s, want\n%s", v.Name, f.method, f.path, f.authorization, head)
		}
		var want map[string]map[string]any
		if body != "" {
			if err := json.Unmarshal([]byte(body), &want); err != nil {
				t.Fatal(err)
			}
		}
		if len(want["data"]) != len(f.body["data"]) {
			t.Errorf("%s: got body %v, want %v", v.Name, f.body, want)
		}
		for k, v := range want["data"] {
			if got := f.body["data"][k]; got != v && k == "hw_id" || got == nil {
				t.Errorf("%s: got %v, want %v", k, got, v)
			}
		}
	}
	if len(calls) > 0 {
		t.Errorf("no vectors for %v", calls)
	}
	f.URL += "/"
	f.status, f.answer = 204, ""
	if err := f.Unregister(ctx, device, secret); err != nil || f.path != "/pairing/v1/test/agent/devices/"+device {
		t.Errorf("got %v, %s", err, f.path)
	}
	f.status, f.answer = 201, data("credentials_secret", "x")
	if _, err := f.RegisterWith(ctx, device, secret, capture(t)); err != nil || f.body["data"]["initial_introspection"] == nil {
		t.Errorf("got %v, %v", err, f.body)
	}
}

// TestPairingErrorVectors gives the answers of the vectors, and expects the counterparts of the official SDK's exceptions.
func TestPairingErrorVectors(t *testing.T) {
	f, ctx := newFake(t), t.Context()
	key, err := identity.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := identity.ParseChain([]byte(newAuthority(t).sign(t, key.Public(), "x", time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]func() error{
		"register":    func() error { _, err := f.Register(ctx, device, secret); return err },
		"credentials": func() error { _, err := f.Certificate(ctx, device, secret, []byte("csr")); return err },
		"info":        func() error { _, err := f.Transport(ctx, device, secret); return err },
		"verify":      func() error { _, err := f.Verify(ctx, device, secret, chain); return err },
	}
	name := regexp.MustCompile(`^(register|credentials|info|verify)_(\d+)`)
	seen := 0
	for _, v := range loadVectors(t, "pairing_errors.json") {
		m := name.FindStringSubmatch(v.Name)
		if m == nil {
			continue
		}
		seen++
		var d struct{ Raised, Str string }
		v.decode(t, &d)
		f.status = int(json.Number(m[2]).String()[0]-'0')*100 + int(m[2][1]-'0')*10 + int(m[2][2]-'0')
		f.answer = map[string]any{"errors": map[string]any{"detail": "Some reason"}}
		if strings.Contains(v.Name, "nonjson") {
			f.answer = "<html>"
		}
		if strings.Contains(d.Raised, "AlreadyRegistered") {
			f.answer = map[string]any{"errors": map[string]any{"detail": "Device already registered"}}
		}
		err := calls[m[1]]()
		var p *fairlead.PlatformError
		if !errors.As(err, &p) || p.Op == "" || p.Kind == nil && f.status >= 400 {
			t.Errorf("%s: got %v, want a PlatformError", v.Name, err)
			continue
		}
		if want := m[2]; p.Code != want && f.status != 201 && f.status != 200 {
			t.Errorf("%s: got code %s", v.Name, p.Code)
		}
		auth := errors.Is(err, fairlead.ErrUnauthenticated) || errors.Is(err, fairlead.ErrDenied)
		if want := strings.Contains(d.Raised, "AuthorizationError"); want != auth && !strings.Contains(v.Name, "nonjson") {
			t.Errorf("%s: got %v, want %s", v.Name, err, d.Raised)
		}
		if strings.Contains(d.Raised, "AlreadyRegistered") && (!errors.Is(err, ErrAlreadyRegistered) || !errors.Is(err, fairlead.ErrConflict)) {
			t.Errorf("%s: got %v", v.Name, err)
		}
	}
	if seen < 20 {
		t.Errorf("only %d vectors", seen)
	}
	// The official SDK calls every 422 "already registered".
	f.status, f.answer = 422, map[string]any{"errors": map[string]any{"hw_id": []string{"can't be blank"}}}
	if err := calls["register"](); errors.Is(err, ErrAlreadyRegistered) || !errors.Is(err, fairlead.ErrInvalid) || !strings.Contains(err.Error(), "can't be blank") {
		t.Errorf("got %v", err)
	}
	f.status, f.header = 503, http.Header{"Retry-After": {"7"}}
	var p *fairlead.PlatformError
	if err := calls["info"](); !errors.As(err, &p) || p.RetryAfter != 7*time.Second || !errors.Is(err, fairlead.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestPairingOddAnswers(t *testing.T) {
	f, ctx := newFake(t), t.Context()
	broker := func(url string) any {
		return data("version", "1", "status", "pending", "protocols", map[string]any{"astarte_mqtt_v1": map[string]any{"broker_url": url}})
	}
	for _, answer := range []any{"", "{}", `{"data":7}`, broker("mqtts://host/"), broker(""), broker("mqtts://:8883"), broker("mqtts://h:99999"), strings.Repeat("x", maxAnswerBytes+1)} {
		f.status, f.answer = 200, answer
		if _, err := f.Transport(ctx, device, secret); !errors.Is(err, fairlead.ErrUnavailable) {
			t.Errorf("%.50v: got %v", answer, err)
		}
	}
	key, err := identity.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, crt := range []string{"", "garbage", newAuthority(t).sign(t, key.Public(), "other/CN", time.Hour)} {
		f.status, f.answer = 201, data("client_crt", crt)
		if _, err := f.Certificate(ctx, device, secret, nil); !errors.Is(err, fairlead.ErrUnavailable) {
			t.Errorf("%.50q: got %v", crt, err)
		}
	}
	if _, err := f.Verify(ctx, device, secret, nil); !errors.Is(err, fairlead.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if _, err := (&Pairing{URL: f.URL, Realm: "No"}).Transport(ctx, device, secret); !errors.Is(err, fairlead.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if _, err := (&Pairing{URL: "http://127.0.0.1:1", Realm: "test"}).Transport(ctx, device, secret); !errors.Is(err, fairlead.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := f.Transport(ended, device, secret); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestRegistrationToken(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]crypto.Signer{"RS256": rsaKey}
	for name, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		if keys[name], err = ecdsa.GenerateKey(curve, rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	for name, key := range keys {
		token, err := RegistrationToken(key, agentTokenLife)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(token.Value.Reveal(), ".")
		var text [3][]byte
		for i := range parts {
			if text[i], err = base64.RawURLEncoding.DecodeString(parts[i]); err != nil {
				t.Fatal(err)
			}
		}
		var head struct{ Alg, Typ string }
		var claims struct {
			Iat, Exp int64
			Paths    []string `json:"a_pa"`
		}
		if json.Unmarshal(text[0], &head) != nil || json.Unmarshal(text[1], &claims) != nil || head.Alg != name || head.Typ != "JWT" ||
			claims.Exp-claims.Iat != 30 || len(claims.Paths) != 1 || claims.Paths[0] != ".*::.*" {
			t.Errorf("%s: got %s %s", name, text[0], text[1])
		}
		signed := []byte(parts[0] + "." + parts[1])
		if !verifies(key.Public(), name, signed, text[2]) {
			t.Errorf("%s: wrong signature", name)
		}
	}
	odd, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []crypto.Signer{nil, odd} {
		if _, err := RegistrationToken(key, time.Minute); !errors.Is(err, ErrToken) || !errors.Is(err, fairlead.ErrInvalid) {
			t.Errorf("got %v", err)
		}
	}
	p := &Pairing{URL: "http://127.0.0.1:1", Realm: "test"}
	if _, err := p.RegisterWithKeyFile(t.Context(), device, filepath.Join(t.TempDir(), "none")); !errors.Is(err, ErrToken) || !errors.Is(err, fairlead.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func verifies(public crypto.PublicKey, algorithm string, text, signature []byte) bool {
	var sum []byte
	switch algorithm {
	case "RS256", "ES256":
		h := sha256.Sum256(text)
		sum = h[:]
	case "ES384":
		h := sha512.Sum384(text)
		sum = h[:]
	default:
		h := sha512.Sum512(text)
		sum = h[:]
	}
	if k, ok := public.(*rsa.PublicKey); ok {
		return rsa.VerifyPKCS1v15(k, crypto.SHA256, sum, signature) == nil
	}
	half := len(signature) / 2
	return ecdsa.Verify(public.(*ecdsa.PublicKey), sum, new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:]))
}

func TestDeviceIDs(t *testing.T) {
	namespace := [16]byte{0xf7, 0x9a, 0xd9, 0x1f, 0xc6, 0x38, 0x48, 0x89, 0xae, 0x74, 0x9d, 0x00, 0x1a, 0x3b, 0x4c, 0xf8}
	if got := NamedDeviceID(namespace, "sn-0001"); got != device {
		t.Errorf("got %s, want %s", got, device)
	}
	a, b := RandomDeviceID(), RandomDeviceID()
	if a == b || !ValidDeviceID(a) || ValidDeviceID(a+"==") || ValidDeviceID("x") || !ValidRealm("test") || ValidRealm("Test") {
		t.Errorf("%s %s", a, b)
	}
}

func TestCSRVector(t *testing.T) {
	key, err := identity.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	text, err := CSR(key, "test", device)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	got, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	want, err := x509.ParseCertificateRequest(loadVectors(t, "csr.json")[0].bytes(t))
	if err != nil {
		t.Fatal(err)
	}
	if got.Subject.String() != want.Subject.String() || got.SignatureAlgorithm != want.SignatureAlgorithm || len(got.Extensions) != len(want.Extensions) {
		t.Errorf("got %v %v, want %v %v", got.Subject, got.SignatureAlgorithm, want.Subject, want.SignatureAlgorithm)
	}
}

func TestCredentials(t *testing.T) {
	f, ctx := newFake(t), t.Context()
	a := newAuthority(t)
	c := &Credentials{Pairing: f.Pairing, DeviceID: device, Secret: secret, Dir: filepath.Join(t.TempDir(), "new", "crypto")}
	if ok, err := c.Usable(ctx); ok || err != nil || f.path != "" {
		t.Errorf("empty folder: got %v, %v, asked %q", ok, err, f.path)
	}
	csr, err := c.CSR()
	if err != nil {
		t.Fatal(err)
	}
	crt := a.signCSR(t, string(csr), "test/"+device, time.Hour)
	f.status, f.answer = 201, data("client_crt", crt)
	id, err := c.Obtain(ctx)
	if err != nil || id.Certificate().Subject.CommonName != "test/"+device {
		t.Fatalf("got %v, %v", id, err)
	}
	if fi, err := os.Stat(filepath.Join(c.Dir, "device.key")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("device.key: %v, %v", fi.Mode(), err)
	}
	for _, valid := range []bool{true, false} {
		f.status, f.answer = 200, data("valid", valid, "cause", "EXPIRED")
		if ok, err := c.Usable(ctx); ok != valid || err != nil {
			t.Errorf("got %v, %v, want %v", ok, err, valid)
		}
	}
	f.status, f.answer = 403, map[string]any{"errors": map[string]any{"detail": "Forbidden"}}
	if _, err := c.Usable(ctx); !errors.Is(err, fairlead.ErrDenied) {
		t.Errorf("got %v", err)
	}
	// A certificate for another key must not replace a good one.
	other, err := identity.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	foreign := a.sign(t, other.Public(), "test/"+device, time.Hour)
	f.status, f.answer = 201, data("client_crt", foreign)
	if _, err := c.Obtain(ctx); !errors.Is(err, fairlead.ErrConflict) {
		t.Errorf("obtain: got %v", err)
	}
	if _, err := c.Import([]byte(foreign)); !errors.Is(err, fairlead.ErrConflict) {
		t.Errorf("import: got %v", err)
	}
	if err := c.Renew(ctx, id); !errors.Is(err, fairlead.ErrConflict) {
		t.Errorf("renew: got %v", err)
	}
	if again, err := c.Load(); err != nil || !again.Certificate().Equal(id.Certificate()) {
		t.Errorf("load: got %v", err)
	}
	renewed := a.sign(t, id.Key().Public(), "test/"+device, 2*time.Hour)
	f.answer = data("client_crt", renewed)
	old := id.Certificate()
	if err := c.Renew(ctx, id); err != nil || id.Certificate().Equal(old) {
		t.Errorf("renew: %v", err)
	}
	if again, err := c.Import([]byte(crt)); err != nil || !again.Certificate().Equal(old) {
		t.Errorf("import: %v", err)
	}
	// An expired one needs no question.
	if _, err := c.Import([]byte(a.sign(t, id.Key().Public(), "test/"+device, -time.Second))); err != nil {
		t.Fatal(err)
	}
	f.path = ""
	if ok, err := c.Usable(ctx); ok || err != nil || f.path != "" {
		t.Errorf("expired: got %v, %v, asked %q", ok, err, f.path)
	}
	// A key from elsewhere leaves no key file.
	c = &Credentials{Pairing: f.Pairing, DeviceID: device, Secret: secret, Dir: t.TempDir(), Key: other}
	if _, err := c.Import([]byte(foreign)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(c.Dir, "device.key")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("device.key: %v", err)
	}
	f.answer = data("client_crt", a.sign(t, other.Public(), "test/"+device, 2*time.Hour))
	if id, err = c.Load(); err == nil {
		err = c.Renew(ctx, id)
	}
	if err != nil {
		t.Error(err)
	}
	if again, err := c.Load(); err != nil || !again.Certificate().Equal(id.Certificate()) {
		t.Errorf("a renewed certificate of a key from elsewhere is not stored: %v", err)
	}
}
