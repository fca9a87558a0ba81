package ca

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

func TestVerify(t *testing.T) {
	k := newClock()
	c := open(t, Config{Now: k.now})
	st := c.state.Load()
	good, key := sign(t, c, Leaf{CommonName: "a"})
	foreign, _ := sign(t, open(t, Config{Now: k.now}), Leaf{CommonName: "a"})
	server, err := c.ServerCertificate([]string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	// made signs what the CA itself would not, with a key that may not be its own.
	made := func(by crypto.Signer, change func(*x509.Certificate)) *x509.Certificate {
		t.Helper()
		tmpl := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a"}, NotBefore: k.now().Add(-time.Hour), NotAfter: k.now().Add(time.Hour),
		}
		if change != nil {
			change(tmpl)
		}
		parent := *st.issuing.cert
		parent.PublicKey = by.Public() // crypto/x509 refuses to sign with the wrong key
		der, err := x509.CreateCertificate(rand.Reader, tmpl, &parent, key.Public(), by)
		if err != nil {
			t.Fatal(err)
		}
		return must(x509.ParseCertificate(der))
	}

	for name, tt := range map[string]struct {
		crt   *x509.Certificate
		later time.Duration
		want  error
	}{
		"good":             {crt: good},
		"first moment":     {crt: good, later: -backdate},
		"last moment":      {crt: good, later: DefaultDeviceLifetime},
		"expired":          {crt: good, later: DefaultDeviceLifetime + time.Second, want: ErrExpired},
		"not yet valid":    {crt: good, later: -backdate - time.Second, want: ErrNotYetValid},
		"nothing":          {want: ErrMalformed},
		"foreign":          {crt: foreign, want: ErrUnknownIssuer},
		"foreign, expired": {crt: foreign, later: DefaultRootLifetime, want: ErrUnknownIssuer},
		"server":           {crt: server.Leaf, want: ErrKeyUsage},
		"issuing":          {crt: st.issuing.cert, want: ErrKeyUsage},
		"root":             {crt: st.root.cert, want: ErrKeyUsage},
		"forged":           {crt: made(key, nil), want: ErrBadSignature},
		"forged, expired":  {crt: made(key, func(c *x509.Certificate) { c.NotAfter = c.NotBefore }), want: ErrBadSignature},
		"without usages":   {crt: made(st.issuing.key, nil)},
		"any usage":        {crt: made(st.issuing.key, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} })},
		"unknown usage":    {crt: made(st.issuing.key, func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} }), want: ErrKeyUsage},
		"for encryption":   {crt: made(st.issuing.key, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), want: ErrKeyUsage},
		"critical extension": {crt: made(st.issuing.key, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true}}
		}), want: ErrMalformed},
		"longer than issuer": {crt: made(st.issuing.key, func(c *x509.Certificate) { c.NotAfter = k.now().Add(DefaultRootLifetime) }), later: DefaultIssuingLifetime + time.Second, want: ErrExpired},
	} {
		c.cfg.Now = func() time.Time { return k.now().Add(tt.later) }
		err := c.Verify(tt.crt)
		if tt.want == nil && err != nil || tt.want != nil && (!errors.Is(err, tt.want) || !errors.Is(err, core.ErrUnauthenticated)) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
		// What we accept, crypto/tls with our pool accepts too, and the other way round, authorities apart.
		if tt.crt == nil || tt.crt.IsCA || name == "for encryption" {
			continue
		}
		_, err = tt.crt.Verify(x509.VerifyOptions{
			Roots: c.ClientPool(), CurrentTime: c.cfg.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
		if (err == nil) != (tt.want == nil) {
			t.Errorf("%s: crypto/x509 says %v, want %v", name, err, tt.want)
		}
	}
}

// A single changed bit anywhere in a certificate must not go unnoticed.
func TestVerifyEveryBit(t *testing.T) {
	c := open(t, Config{})
	good, _ := sign(t, c, Leaf{CommonName: "a"})
	for i := range len(good.Raw) * 8 {
		der := bytes.Clone(good.Raw)
		der[i/8] ^= 1 << (i % 8)
		if crt, err := x509.ParseCertificate(der); err == nil && c.Verify(crt) == nil {
			t.Errorf("bit %d changed: accepted", i)
		}
	}
}

func TestCRL(t *testing.T) {
	k := newClock()
	dir := t.TempDir()
	c := open(t, Config{Dir: dir, Now: k.now})
	key := newECDSA(t)
	early := must(c.SignDeviceKey(key.Public(), Leaf{CommonName: "early"}))
	k.add(DefaultIssuingLifetime * 7 / 10)
	late := must(c.SignDeviceKey(key.Public(), Leaf{CommonName: "late"}))
	if early.AuthorityKeyID == late.AuthorityKeyID {
		t.Fatal("not renewed")
	}
	var number *big.Int
	for _, tt := range []struct {
		id     string
		issued Issued
	}{{"", late}, {late.AuthorityKeyID, late}, {early.AuthorityKeyID, early}} {
		der, err := c.CRL(tt.id, []Revocation{{Serial: tt.issued.Serial, At: k.now(), Reason: ReasonSuperseded}})
		if err != nil {
			t.Fatal(err)
		}
		list := must(x509.ParseRevocationList(der))
		issuer := c.state.Load().find(parse(t, tt.issued.PEM))
		if err := list.CheckSignatureFrom(issuer); err != nil {
			t.Error(err)
		}
		if n := len(list.RevokedCertificateEntries); n != 1 {
			t.Fatalf("%d entries, want 1", n)
		}
		e := list.RevokedCertificateEntries[0]
		if SerialString(e.SerialNumber) != tt.issued.Serial || e.ReasonCode != 4 || !e.RevocationTime.Equal(k.now()) {
			t.Errorf("entry: got %x, %d, %v", e.SerialNumber, e.ReasonCode, e.RevocationTime)
		}
		if got := list.NextUpdate.Sub(k.now()); got != DefaultCRLLifetime {
			t.Errorf("next update in %v, want %v", got, DefaultCRLLifetime)
		}
		if number != nil && number.Cmp(list.Number) >= 0 {
			t.Errorf("number %v after %v", list.Number, number)
		}
		number = list.Number
		k.add(time.Second)
	}
	if der, err := c.CRL("", nil); err != nil || len(must(x509.ParseRevocationList(der)).RevokedCertificateEntries) != 0 {
		t.Errorf("empty list: %v", err)
	}

	for _, serial := range []string{"", "0", "-1", "xyz", "0x1", "1_0", strings.Repeat("f", 41)} {
		if _, err := c.CRL("", []Revocation{{Serial: serial, At: k.now()}}); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("serial number %q: got %v, want an error of kind invalid", serial, err)
		}
	}
	for _, id := range []string{"00", "x", SerialString(new(big.Int).SetBytes(c.state.Load().root.cert.SubjectKeyId))} {
		if _, err := c.CRL(id, nil); !errors.Is(err, core.ErrNotFound) {
			t.Errorf("issuer %q: got %v, want an error of kind not found", id, err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "issuing-"+early.AuthorityKeyID+".key")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CRL(early.AuthorityKeyID, nil); err == nil {
		t.Error("signed a list without the key")
	}
}

// OpenSSL's strict checks are what current Python versions apply by default.
func TestOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	for _, alg := range []Algorithm{ECDSAP256, RSA2048} {
		dir := folder(t.TempDir())
		c := open(t, Config{Dir: string(dir), Algorithm: alg})
		if _, err := c.GetCertificate([]string{"localhost", "*.example.org", "127.0.0.1", "::1"}); err != nil {
			t.Fatal(err)
		}
		issued := must(c.SignDeviceKey(newECDSA(t).Public(), Leaf{CommonName: "realm/id"}))
		if err := dir.write("device.pem", issued.PEM, modeCert); err != nil {
			t.Fatal(err)
		}
		verify := func(args ...string) string {
			args = append([]string{"verify", "-x509_strict", "-CAfile", dir.path(rootCert), "-untrusted", dir.path(issuingCert)}, args...)
			out, _ := exec.Command(openssl, args...).CombinedOutput()
			return string(out)
		}
		for _, args := range [][]string{
			{"-purpose", "sslclient", dir.path("device.pem")},
			{"-purpose", "sslserver", "-verify_hostname", "localhost", dir.path(serverCert)},
			{"-purpose", "sslserver", "-verify_hostname", "a.example.org", dir.path(serverCert)},
			{"-purpose", "sslserver", "-verify_ip", "127.0.0.1", dir.path(serverCert)},
			{"-purpose", "sslserver", "-verify_ip", "::1", dir.path(serverCert)},
		} {
			if out := verify(args...); !strings.Contains(out, ": OK") {
				t.Errorf("%s: openssl verify %v: %s", alg, args, out)
			}
		}
		for _, args := range [][]string{
			{"-purpose", "sslserver", dir.path("device.pem")},
			{"-purpose", "sslclient", dir.path(serverCert)},
			{"-purpose", "sslserver", "-verify_hostname", "other.org", dir.path(serverCert)},
		} {
			if out := verify(args...); strings.Contains(out, ": OK") {
				t.Errorf("%s: openssl verify %v accepts", alg, args)
			}
		}
	}
}
