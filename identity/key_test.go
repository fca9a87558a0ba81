package identity_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/identity"
)

func sameKey(a, b crypto.Signer) bool {
	return a.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(b.Public())
}

func pkcs8(key any) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pemOf("PRIVATE KEY", der, err)
}

func sec1(key *ecdsa.PrivateKey) []byte {
	der, err := x509.MarshalECPrivateKey(key)
	return pemOf("EC PRIVATE KEY", der, err)
}

func TestParseKey(t *testing.T) {
	p256, p384 := ecKey(elliptic.P256()), ecKey(elliptic.P384())
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	// The curve's object identifier, as OpenSSL writes it before the key.
	parameters := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}})
	for name, c := range map[string]struct {
		text []byte
		want crypto.Signer
	}{
		"PKCS 8":          {pkcs8(p256), p256},
		"SEC 1":           {sec1(p384), p384},
		"with parameters": {append(parameters, sec1(p256)...), p256},
		"PKCS 1":          {pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), nil), rsaKey},
		"RSA in PKCS 8":   {pkcs8(rsaKey), rsaKey},
		"Ed25519":         {pkcs8(ed), ed},
		"text around it":  {append([]byte("Bag Attributes\n"), pkcs8(p256)...), p256},
	} {
		got, err := identity.ParseKey(c.text)
		if err != nil || !sameKey(got, c.want) {
			t.Errorf("%s: got %v", name, err)
			continue
		}
		text, err := identity.EncodeKey(got)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if again, err := identity.ParseKey([]byte(text.Reveal())); err != nil || !sameKey(again, c.want) {
			t.Errorf("%s: written and read again: %v", name, err)
		}
	}
}

func TestParseKeyRefuses(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text []byte
		want string
	}{
		"nothing":       {nil, "no PEM block"},
		"a certificate": {identity.EncodeChain(forADay(t, newKey(t), "x")), `"CERTIFICATE"`},
		"encrypted":     {pemOf("ENCRYPTED PRIVATE KEY", []byte("x"), nil), "encrypted"},
		"old encryption": {pem.EncodeToMemory(&pem.Block{
			Type: "RSA PRIVATE KEY", Headers: map[string]string{"DEK-Info": "AES-128-CBC,00"}, Bytes: []byte("x"),
		}), "encrypted"},
		"garbage":     {pemOf("PRIVATE KEY", []byte("garbage"), nil), `"PRIVATE KEY" block`},
		"P-224":       {sec1(ecKey(elliptic.P224())), "P-224"},
		"RSA of 1024": {pkcs8(small), "1024 bits"},
	} {
		_, err := identity.ParseKey(c.text)
		if !errors.Is(err, fairlead.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want ErrInvalid with %q", name, err, c.want)
		}
	}
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "device.key")
	if _, err := identity.LoadKey(path); !errors.Is(err, fairlead.ErrNotFound) {
		t.Errorf("no file: got %v", err)
	}
	made, err := identity.LoadOrMakeKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if k, ok := made.(*ecdsa.PrivateKey); !ok || k.Curve != elliptic.P256() {
		t.Errorf("made a %T, want ECDSA on P-256", made)
	}
	again, err := identity.LoadOrMakeKey(path)
	if err != nil || !sameKey(made, again) {
		t.Errorf("second time: got %v, or another key", err)
	}
	if runtime.GOOS != "windows" {
		if fi, _ := os.Stat(path); fi.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, want 0600", fi.Mode())
		}
		_ = os.Chmod(path, 0o644)
		if _, err := identity.LoadOrMakeKey(path); !errors.Is(err, fairlead.ErrInvalid) {
			t.Errorf("open to others: got %v", err)
		}
		_ = os.Chmod(path, 0o600)
	}
	_ = os.WriteFile(path, []byte("garbage"), 0o600)
	if _, err := identity.LoadOrMakeKey(path); !errors.Is(err, fairlead.ErrInvalid) || !strings.Contains(err.Error(), path) {
		t.Errorf("damaged: got %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "garbage" {
		t.Error("a damaged key was replaced")
	}
}

// hardware is a key of which nobody sees the private part.
type hardware struct{ key crypto.Signer }

func (h hardware) Public() crypto.PublicKey { return h.key.Public() }

func (h hardware) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return h.key.Sign(rand, digest, opts)
}

func TestHardwareKey(t *testing.T) {
	key := newKey(t)
	h := hardware{key}
	if _, err := identity.EncodeKey(h); !errors.Is(err, fairlead.ErrInvalid) {
		t.Errorf("encode: got %v", err)
	}
	if _, err := identity.CSR(h, identity.Request{Subject: pkix.Name{CommonName: "x"}}); err != nil {
		t.Errorf("CSR: %v", err)
	}
	if _, err := identity.New(h, forADay(t, key, "x")); err != nil {
		t.Errorf("New: %v", err)
	}
}

func TestCSR(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []crypto.Signer{newKey(t), rsaKey, ecKey(elliptic.P384())} {
		text, err := identity.CSR(key, identity.Request{
			Subject: pkix.Name{Organization: []string{"Devices"}, CommonName: "realm/id"}, DNSNames: []string{"pump.example"},
		})
		if err != nil {
			t.Fatal(err)
		}
		block, rest := pem.Decode(text)
		if block == nil || block.Type != "CERTIFICATE REQUEST" || len(rest) > 0 {
			t.Fatalf("got %q", text)
		}
		r, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.CheckSignature(); err != nil {
			t.Error(err)
		}
		if got := r.Subject.String(); got != "CN=realm/id,O=Devices" || len(r.DNSNames) != 1 || len(r.Extensions) != 1 {
			t.Errorf("got %s, %q, %d extensions", got, r.DNSNames, len(r.Extensions))
		}
	}
	if _, err := identity.CSR(nil, identity.Request{}); !errors.Is(err, fairlead.ErrInvalid) {
		t.Errorf("no key: got %v", err)
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(pkcs8(ecKey(elliptic.P256())))
	f.Add(sec1(ecKey(elliptic.P256())))
	f.Add([]byte("-----BEGIN EC PRIVATE KEY-----\n-----END EC PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := identity.ParseKey(text)
		if err != nil {
			if !errors.Is(err, fairlead.ErrInvalid) {
				t.Errorf("error without kind: %v", err)
			}
			return
		}
		out, err := identity.EncodeKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := identity.ParseKey([]byte(out.Reveal())); err != nil || !sameKey(key, again) {
			t.Errorf("written and read again: %v", err)
		}
	})
}
