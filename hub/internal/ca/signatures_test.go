package ca

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"testing"
)

// TestSignaturesRemember: a certificate that was found good does not make another one good.
func TestSignaturesRemember(t *testing.T) {
	k := newClock()
	c, other := open(t, Config{Now: k.now}), open(t, Config{Now: k.now})
	leaf, _ := sign(t, c, Leaf{CommonName: "a"})
	var s signatures
	issuer := c.state.Load().issuing.cert
	for range 2 {
		if err := s.check(leaf, issuer); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.young) != 1 {
		t.Errorf("%d are remembered, want 1", len(s.young))
	}
	last := len(leaf.Raw) - 1
	forged := bytes.Clone(leaf.Raw)
	forged[last] ^= 1 // the end of the signature
	bad := must(x509.ParseCertificate(forged))
	changed := bytes.Clone(leaf.Raw)
	at := bytes.Index(changed, []byte("\x0c\x01a"))
	if at < 0 {
		at = bytes.Index(changed, []byte("\x13\x01a"))
	}
	if at < 0 {
		t.Fatal("the common name is not in the certificate")
	}
	changed[at+2] = 'b' // the signature is that of the good one
	for name, crt := range map[string]*x509.Certificate{"forged": bad, "changed": must(x509.ParseCertificate(changed))} {
		for range 2 {
			if err := s.check(crt, issuer); err == nil {
				t.Errorf("%s: accepted", name)
			}
		}
	}
	if err := s.check(leaf, other.state.Load().issuing.cert); err == nil {
		t.Error("another issuer: accepted")
	}
	if len(s.young) != 1 {
		t.Errorf("%d are remembered, want 1", len(s.young))
	}
}

func TestSignaturesAreBounded(t *testing.T) {
	var s signatures
	key := func(i int) (k [sha256.Size]byte) {
		binary.BigEndian.PutUint64(k[:], uint64(i))
		return k
	}
	for i := range 5 * remembered {
		s.remember(key(i))
		if i%100 == 0 && !s.known(key(0)) {
			t.Fatalf("the first, which comes again and again, is forgotten after %d", i)
		}
	}
	if n := len(s.young) + len(s.old); n > 2*remembered {
		t.Errorf("%d are remembered, want at most %d", n, 2*remembered)
	}
	if s.known(key(1)) {
		t.Error("the second, which never came again, is still known")
	}
}
