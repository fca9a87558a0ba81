package ca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

func TestServerCertificate(t *testing.T) {
	for _, alg := range []Algorithm{ECDSAP256, RSA2048} {
		c := open(t, Config{Algorithm: alg})
		crt, err := c.ServerCertificate([]string{"Hub.Example.org", "::1", "localhost", "127.0.0.1", "*.iot.example.org", "localhost", "::ffff:127.0.0.1"})
		if err != nil {
			t.Fatal(err)
		}
		leaf := crt.Leaf
		if want := []string{"*.iot.example.org", "hub.example.org", "localhost"}; !slices.Equal(leaf.DNSNames, want) {
			t.Errorf("names: got %v, want %v", leaf.DNSNames, want)
		}
		if len(leaf.IPAddresses) != 2 || leaf.IPAddresses[0].String() != "127.0.0.1" || leaf.IPAddresses[1].String() != "::1" {
			t.Errorf("addresses: got %v", leaf.IPAddresses)
		}
		want := x509.KeyUsageDigitalSignature
		switch crt.PrivateKey.(type) {
		case *rsa.PrivateKey:
			want |= x509.KeyUsageKeyEncipherment
		case *ecdsa.PrivateKey:
		default:
			t.Errorf("key is a %T", crt.PrivateKey)
		}
		if leaf.KeyUsage != want || !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) {
			t.Errorf("%s: usages %v, %v", alg, leaf.KeyUsage, leaf.ExtKeyUsage)
		}
		if !leaf.BasicConstraintsValid || leaf.IsCA || len(leaf.SubjectKeyId) == 0 || len(leaf.AuthorityKeyId) == 0 {
			t.Errorf("%s: constraints %v, CA %v, key identifiers %x, %x", alg, leaf.BasicConstraintsValid, leaf.IsCA, leaf.SubjectKeyId, leaf.AuthorityKeyId)
		}
		if len(crt.Certificate) != 2 || !bytes.Equal(crt.Certificate[1], c.state.Load().issuing.cert.Raw) {
			t.Errorf("chain has %d certificates, want the leaf and the issuing one", len(crt.Certificate))
		}
	}
}

func TestServerNames(t *testing.T) {
	c := open(t, Config{})
	for _, name := range []string{
		"", ".", "a..b", "a.", "-a", "a-", "*", "*.org", "a.*.org", "*a.example.org", "a b", "käse.de", "a/b", "http://a", "a:8883", "fe80::1%eth0",
		"1.2.3", "1.2.3.456", strings.Repeat("a", 64), strings.Repeat("a.", 127) + "a", "a\x00b",
	} {
		if _, err := c.ServerCertificate([]string{"localhost", name}); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%q: got %v, want an error of kind invalid", name, err)
		}
	}
	if _, err := c.GetCertificate(nil); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("no names: got %v, want an error of kind invalid", err)
	}
	for _, name := range []string{"a", "my_service", "xn--kse-qla.de", "a-b.c", "3com.org", "dev.iot.us-east-1.amazonaws.localhost", strings.Repeat("a", 63)} {
		if _, err := c.ServerCertificate([]string{name}); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func serve(t *testing.T, c *CA, names ...string) func() *tls.Certificate {
	t.Helper()
	get, err := c.GetCertificate(names)
	if err != nil {
		t.Fatal(err)
	}
	return func() *tls.Certificate {
		t.Helper()
		crt, err := get(&tls.ClientHelloInfo{}) // no server name
		if err != nil {
			t.Fatal(err)
		}
		return crt
	}
}

func TestGetCertificateKeeps(t *testing.T) {
	k := newClock()
	dir := t.TempDir()
	cfg := Config{Dir: dir, Now: k.now}
	first := serve(t, open(t, cfg), "localhost", "127.0.0.1")()

	again := serve(t, open(t, cfg), "127.0.0.1", "LOCALHOST", "localhost")()
	if !again.Leaf.Equal(first.Leaf) {
		t.Error("made anew for the same names")
	}
	more := serve(t, open(t, cfg), "localhost", "127.0.0.1", "hub")()
	if more.Leaf.Equal(first.Leaf) || more.Leaf.VerifyHostname("hub") != nil {
		t.Error("not made anew for another name")
	}
	fewer := serve(t, open(t, cfg), "hub")()
	if fewer.Leaf.Equal(more.Leaf) || fewer.Leaf.VerifyHostname("localhost") == nil {
		t.Error("not made anew without a name")
	}
	cfg.Algorithm = RSA2048
	if crt := serve(t, open(t, cfg), "hub")(); crt.Leaf.PublicKeyAlgorithm != x509.RSA {
		t.Error("not made anew for another algorithm")
	}
}

// Nothing that is wrong with the kept certificate stops the start: it can be made anew.
func TestGetCertificateReplaces(t *testing.T) {
	k := newClock()
	dir := t.TempDir()
	first := serve(t, open(t, Config{Dir: dir, Now: k.now}), "localhost")()
	whole := snapshot(t, dir)
	other := t.TempDir()
	serve(t, open(t, Config{Dir: other, Now: k.now}), "localhost")
	foreign := snapshot(t, other)
	for name, tt := range map[string]struct {
		change map[string]string
		mode   os.FileMode
		later  time.Duration
	}{
		"key lost":         {change: map[string]string{serverKey: ""}},
		"certificate lost": {change: map[string]string{serverCert: ""}},
		"broken":           {change: map[string]string{serverCert: "x"}},
		"other key":        {change: map[string]string{serverKey: foreign[serverKey]}},
		"other pair":       {change: map[string]string{serverKey: foreign[serverKey], serverCert: foreign[serverCert]}},
		"no chain":         {change: map[string]string{serverCert: string(encodeCertificate(first.Leaf.Raw))}},
		"open to all":      {mode: 0o644},
		"expired":          {later: DefaultServerLifetime + time.Second},
		"of tomorrow":      {later: -time.Hour},
	} {
		files := map[string]string{}
		for n, content := range whole {
			files[n] = content
		}
		for n, content := range tt.change {
			if files[n] = content; content == "" {
				delete(files, n)
			}
		}
		dir := folderOf(t, files)
		if tt.mode != 0 {
			if err := os.Chmod(filepath.Join(dir, serverKey), tt.mode); err != nil {
				t.Fatal(err)
			}
		}
		cfg := Config{Dir: dir, Now: func() time.Time { return k.now().Add(tt.later) }}
		crt := serve(t, open(t, cfg), "localhost")()
		if crt.Leaf.Equal(first.Leaf) || !within(crt.Leaf, cfg.Now()) {
			t.Errorf("%s: not made anew", name)
		}
		if got := must(os.Stat(filepath.Join(dir, serverKey))).Mode(); posix && got != modeKey {
			t.Errorf("%s: key has mode %v, want %v", name, got, modeKey)
		}
		if again := serve(t, open(t, cfg), "localhost")(); !again.Leaf.Equal(crt.Leaf) {
			t.Errorf("%s: the new one was not kept", name)
		}
	}
}

func TestGetCertificateRenews(t *testing.T) {
	k := newClock()
	dir := t.TempDir()
	c := open(t, Config{Dir: dir, Now: k.now})
	get := serve(t, c, "localhost")
	first := get()
	k.add(DefaultServerLifetime * 65 / 100)
	if !get().Leaf.Equal(first.Leaf) {
		t.Error("renewed before two thirds of its life")
	}
	k.add(DefaultServerLifetime * 2 / 100)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { get() })
	}
	wg.Wait()
	second := get()
	if second.Leaf.Equal(first.Leaf) {
		t.Error("not renewed after two thirds of its life")
	}
	if kept := serve(t, open(t, Config{Dir: dir, Now: k.now}), "localhost")(); !kept.Leaf.Equal(second.Leaf) {
		t.Error("the new one was not kept")
	}

	// The disk may refuse to keep it; that must not show to clients.
	if err := os.MkdirAll(filepath.Join(dir, serverKey+".tmp", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	k.add(DefaultServerLifetime)
	third := get()
	if third.Leaf.Equal(second.Leaf) || !within(third.Leaf, k.now()) || !get().Leaf.Equal(third.Leaf) {
		t.Error("not renewed once on a full disk")
	}
}

// Near the end of the issuing certificate, when that cannot be renewed, a new one would not last longer.
func TestGetCertificateAtTheEnd(t *testing.T) {
	k := newClock()
	files := snapshot(t, open(t, Config{Now: k.now}).cfg.Dir)
	delete(files, rootKey)
	c := open(t, Config{Dir: folderOf(t, files), OfflineRoot: true, Now: k.now})
	k.add(DefaultIssuingLifetime - 24*time.Hour)
	get := serve(t, c, "localhost")
	first := get()
	k.add(23 * time.Hour)
	if !get().Leaf.Equal(first.Leaf) {
		t.Error("renewed without gain")
	}
	k.add(2 * time.Hour)
	if crt := get(); crt == nil {
		t.Error("nothing is served after the end")
	}
}
