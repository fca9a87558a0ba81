package identity_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/identity"
)

func TestNew(t *testing.T) {
	key := newKey(t)
	chain := append(forADay(t, key, "device"), forADay(t, newKey(t), "authority")...)
	id, err := identity.New(key, chain)
	if err != nil {
		t.Fatal(err)
	}
	if !sameKey(id.Key(), key) || !id.Certificate().Equal(chain[0]) || len(id.TLS().Certificate) != 2 || id.Check() != nil {
		t.Error("not what was handed in")
	}
	if _, err := identity.New(newKey(t), chain); !errors.Is(err, fairlead.ErrConflict) || !strings.Contains(err.Error(), "CN=device") {
		t.Errorf("another key: got %v", err)
	}
	if _, err := identity.New(nil, chain); !errors.Is(err, fairlead.ErrInvalid) {
		t.Errorf("no key: got %v", err)
	}
	if _, err := identity.New(key, nil); !errors.Is(err, fairlead.ErrInvalid) {
		t.Errorf("no certificate: got %v", err)
	}
}

func TestCheckTime(t *testing.T) {
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := sign(t, newKey(t), "x", from, from.Add(time.Hour))[0]
	for d, want := range map[time.Duration]string{-time.Second: "not valid yet", time.Hour + time.Second: "expired", 0: "", time.Hour: ""} {
		err := identity.CheckTime(c, from.Add(d))
		if (err == nil) != (want == "") || err != nil && (!errors.Is(err, fairlead.ErrExpired) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v: got %v, want %q", d, err, want)
		}
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	keyFile, certFile := filepath.Join(dir, "device.key"), filepath.Join(dir, "device.crt")
	if _, err := identity.Load(keyFile, certFile); !errors.Is(err, fairlead.ErrNotFound) {
		t.Errorf("no files: got %v", err)
	}
	key := newKey(t)
	if _, err := identity.Save(keyFile, certFile, newKey(t), forADay(t, key, "a")); !errors.Is(err, fairlead.ErrConflict) {
		t.Errorf("do not fit: got %v", err)
	}
	id, err := identity.Save(keyFile, certFile, key, forADay(t, key, "a"))
	if err != nil {
		t.Fatal(err)
	}
	current := func(what, name string) {
		t.Helper()
		loaded, err := identity.Load(keyFile, certFile)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := loaded.Certificate().Subject.CommonName; got != name || id.Certificate().Subject.CommonName != name {
			t.Errorf("%s: files have %q, memory has %q, want %q", what, got, id.Certificate().Subject.CommonName, name)
		}
	}
	current("saved", "a")
	if err := id.Renew(forADay(t, key, "b")); err != nil {
		t.Fatal(err)
	}
	current("renewed", "b")
	other := newKey(t)
	if err := id.Renew(forADay(t, other, "c")); !errors.Is(err, fairlead.ErrConflict) {
		t.Errorf("renewed with another key: got %v", err)
	}
	current("refused", "b")
	if err := id.Replace(other, forADay(t, other, "c")); err != nil {
		t.Fatal(err)
	}
	current("replaced", "c")

	// Somebody else replaces the files.
	if err := identity.SaveChain(certFile, forADay(t, other, "d")); err != nil {
		t.Fatal(err)
	}
	if err := id.Reload(); err != nil {
		t.Fatal(err)
	}
	current("reloaded", "d")
	if err := os.WriteFile(certFile, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := id.Reload(); !errors.Is(err, fairlead.ErrInvalid) || id.Certificate().Subject.CommonName != "d" {
		t.Errorf("damaged: got %v", err)
	}
	if err := id.Remove(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left after Remove: %v", left)
	}
}

// TestReplaceCutShort has a power cut after each step of Replace.
func TestReplaceCutShort(t *testing.T) {
	a, b := newKey(t), newKey(t)
	old, renewed := forADay(t, a, "old"), forADay(t, b, "new")
	for steps, want := range []string{"old", "old", "new", "new"} {
		dir := t.TempDir()
		keyFile, certFile := filepath.Join(dir, "key"), filepath.Join(dir, "crt")
		if _, err := identity.Save(keyFile, certFile, a, old); err != nil {
			t.Fatal(err)
		}
		for _, step := range []func() error{
			func() error { return identity.SaveKey(keyFile+".next", b) },
			func() error { return identity.SaveChain(certFile, renewed) },
			func() error { return os.Rename(keyFile+".next", keyFile) },
		}[:steps] {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			id, err := identity.Load(keyFile, certFile)
			if err != nil {
				t.Fatalf("after %d steps: %v", steps, err)
			}
			if got := id.Certificate().Subject.CommonName; got != want {
				t.Errorf("after %d steps: got %q, want %q", steps, got, want)
			}
		}
	}
}

// TestHandshake replaces the certificate between two handshakes.
func TestHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := newKey(t)
		id, err := identity.New(key, forADay(t, key, "first"))
		if err != nil {
			t.Fatal(err)
		}
		serverKey := newKey(t)
		server, err := identity.New(serverKey, forADay(t, serverKey, "hub.example"))
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AddCert(server.Certificate())
		shake := func() (name string, err error) {
			a, b := net.Pipe()
			client := tls.Client(a, &tls.Config{RootCAs: roots, ServerName: "hub.example", GetClientCertificate: id.GetClientCertificate})
			hub := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{*server.TLS()}, ClientAuth: tls.RequireAnyClientCert})
			done := make(chan error, 1)
			go func() {
				err := client.HandshakeContext(t.Context())
				a.SetDeadline(time.Now().Add(time.Second))
				if err != nil {
					a.Close()
				}
				done <- err
			}()
			_ = hub.HandshakeContext(t.Context())
			if peer := hub.ConnectionState().PeerCertificates; len(peer) > 0 {
				name = peer[0].Subject.CommonName
			}
			b.Close()
			err = <-done
			a.Close()
			return name, err
		}
		for _, want := range []string{"first", "second"} {
			if got, err := shake(); err != nil || got != want {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
			if err := id.Renew(forADay(t, key, "second")); err != nil {
				t.Fatal(err)
			}
		}
		if err := id.Renew(sign(t, key, "third", time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))); err != nil {
			t.Fatal(err)
		}
		if _, err := shake(); !errors.Is(err, fairlead.ErrExpired) {
			t.Errorf("expired: got %v", err)
		}
	})
}

func TestChain(t *testing.T) {
	one, two := forADay(t, newKey(t), "one"), forADay(t, newKey(t), "two")
	both := append(one, two...)
	text := identity.EncodeChain(both)
	chain, err := identity.ParseChain(append(pkcs8(newKey(t)), text...))
	if err != nil || len(chain) != 2 || !chain[0].Equal(one[0]) || !chain[1].Equal(two[0]) {
		t.Errorf("got %v", err)
	}
	for name, text := range map[string][]byte{
		"nothing": nil, "a key": pkcs8(newKey(t)), "garbage": pemOf("CERTIFICATE", []byte("x"), nil),
		"too many": bytes.Repeat(text, 10),
	} {
		if _, err := identity.ParseChain(text); !errors.Is(err, fairlead.ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := identity.SaveChain(path, nil); !errors.Is(err, fairlead.ErrInvalid) {
		t.Errorf("none: got %v", err)
	}
	if err := identity.SaveChain(path, both); err != nil {
		t.Fatal(err)
	}
	pool, err := identity.LoadRoots(path)
	want := x509.NewCertPool()
	want.AddCert(one[0])
	want.AddCert(two[0])
	if err != nil || !pool.Equal(want) {
		t.Errorf("roots: %v", err)
	}
	if pool, err := identity.LoadRoots(); err != nil || pool != nil {
		t.Errorf("no files: got %v, %v; want nil", pool, err)
	}
	if _, err := identity.LoadRoots(path + "x"); !errors.Is(err, fairlead.ErrNotFound) {
		t.Errorf("missing file: got %v", err)
	}
}

func FuzzParseChain(f *testing.F) {
	f.Add(identity.EncodeChain(forADay(f, newKey(f), "x")))
	f.Fuzz(func(t *testing.T, text []byte) {
		chain, err := identity.ParseChain(text)
		if err != nil {
			if !errors.Is(err, fairlead.ErrInvalid) {
				t.Errorf("error without kind: %v", err)
			}
			return
		}
		again, err := identity.ParseChain(identity.EncodeChain(chain))
		if err != nil || len(again) != len(chain) {
			t.Errorf("written and read again: %v", err)
		}
	})
}
