package ca

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"
)

// ServerCertificate signs a certificate for a TLS server, with a new key. Names are DNS names, wildcards such as
// *.example.org, and IP addresses; order and repetitions do not matter. The chain has the issuing certificate, not
// the root. Nothing is kept on disk; a listener uses [CA.GetCertificate].
func (c *CA) ServerCertificate(names []string) (*tls.Certificate, error) {
	sans, err := parseNames(names)
	if err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	crt, err := c.serverCertificate(sans)
	if err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	return crt, nil
}

func (c *CA) serverCertificate(sans subjectNames) (*tls.Certificate, error) {
	key, err := c.cfg.Algorithm.newKey()
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		Subject:     pkix.Name{CommonName: c.cfg.CommonName + " hub"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    sans.dns,
		IPAddresses: sans.addresses(),
	}
	if c.cfg.Algorithm != ECDSAP256 {
		tmpl.KeyUsage |= x509.KeyUsageKeyEncipherment // for the RSA key exchange of TLS 1.2
	}
	der, st, err := c.signLeaf(tmpl, key.Public(), c.cfg.ServerLifetime)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, st.issuing.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// GetCertificate returns a function for the field of that name in tls.Config. It serves one certificate for all the
// names, also to clients that send no server name or an unknown one. The certificate is kept in the folder, and
// made anew when it is not for exactly these names or two thirds of its life are over, also while the hub runs; a
// handshake that meets that moment makes it, others go on with the old one.
//
// A folder holds one such certificate, so all listeners of a hub share one call. The function may be called concurrently.
func (c *CA) GetCertificate(names []string) (func(*tls.ClientHelloInfo) (*tls.Certificate, error), error) {
	sans, err := parseNames(names)
	if err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	s := &server{ca: c, sans: sans}
	if crt, err := c.loadServer(sans); errors.Is(err, fs.ErrNotExist) {
		// The first start.
	} else if err != nil {
		c.cfg.Logger.Info("kept server certificate not usable", "err", err)
	} else {
		s.current.Store(crt)
	}
	if _, err := s.get(); err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.get() }, nil
}

// server is the certificate behind the function that GetCertificate returns.
type server struct {
	ca      *CA
	sans    subjectNames
	current atomic.Pointer[tls.Certificate]

	renewal sync.Mutex
	retryAt time.Time
}

func (s *server) get() (*tls.Certificate, error) {
	now := s.ca.cfg.Now()
	crt := s.current.Load()
	if crt != nil && !s.due(crt.Leaf, now) {
		return crt, nil
	}
	if crt == nil || !within(crt.Leaf, now) {
		s.renewal.Lock() // there is nothing else to serve
	} else if !s.renewal.TryLock() {
		return crt, nil
	}
	defer s.renewal.Unlock()
	if crt = s.current.Load(); crt != nil && (!s.due(crt.Leaf, now) || now.Before(s.retryAt)) {
		return crt, nil
	}
	next, err := s.ca.serverCertificate(s.sans)
	if err != nil {
		s.retryAt = now.Add(retryRenewal)
		if crt == nil {
			return nil, err
		}
		s.ca.cfg.Logger.Warn("server certificate not renewed", "until", crt.Leaf.NotAfter, "err", err)
		return crt, nil
	}
	s.current.Store(next)
	// A disk that refuses must not stop the listeners: unsaved, the certificate serves until the next start.
	if err := s.ca.saveServer(next); err != nil {
		s.ca.cfg.Logger.Warn("server certificate not saved", "err", err)
	}
	s.ca.cfg.Logger.Info("server certificate made", "names", s.sans.list(), "until", next.Leaf.NotAfter)
	return next, nil
}

// due tells whether the certificate should be made anew. One that ends with its issuing certificate is not, until a
// new one would last longer.
func (s *server) due(leaf *x509.Certificate, now time.Time) bool {
	return !within(leaf, now) ||
		!now.Before(twoThirds(leaf)) && leaf.NotAfter.Before(s.ca.state.Load().issuing.cert.NotAfter)
}

func (c *CA) saveServer(crt *tls.Certificate) error {
	issuing, err := x509.ParseCertificate(crt.Certificate[1])
	if err != nil {
		return err
	}
	// After a crash between the two, the pair does not match, and the next start makes a new one.
	if err := c.dir().writeKey(serverKey, crt.PrivateKey.(crypto.Signer)); err != nil {
		return err
	}
	return c.dir().writeCertificate(serverCert, crt.Leaf, issuing)
}

// loadServer reads the kept certificate and checks that it can be served: for these names, with its key, and with a
// chain that leads to our root. Its age is looked at elsewhere.
func (c *CA) loadServer(sans subjectNames) (*tls.Certificate, error) {
	d := c.dir()
	text, err := d.read(serverCert, false)
	if err != nil {
		return nil, err
	}
	key, err := d.readKey(serverKey)
	if err != nil {
		return nil, err
	}
	crt := &tls.Certificate{PrivateKey: key}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		crt.Certificate = append(crt.Certificate, block.Bytes)
	}
	if len(crt.Certificate) != 2 {
		return nil, fmt.Errorf("%s: %d certificates, want 2", d.path(serverCert), len(crt.Certificate))
	}
	if crt.Leaf, err = x509.ParseCertificate(crt.Certificate[0]); err != nil {
		return nil, fmt.Errorf("%s: %w", d.path(serverCert), err)
	}
	issuer := c.state.Load().find(crt.Leaf)
	switch {
	case issuer == nil || !bytes.Equal(issuer.Raw, crt.Certificate[1]) || crt.Leaf.CheckSignatureFrom(issuer) != nil:
		return nil, fmt.Errorf("%s: not signed by this authority", d.path(serverCert))
	case !sameKey(key, crt.Leaf.PublicKey):
		return nil, fmt.Errorf("%s is not the key of %s", d.path(serverKey), serverCert)
	case !c.cfg.Algorithm.made(key.Public()):
		return nil, fmt.Errorf("%s is not a key of algorithm %s", d.path(serverKey), c.cfg.Algorithm)
	case !sans.match(crt.Leaf):
		return nil, fmt.Errorf("%s: made for other names", d.path(serverCert))
	}
	return crt, nil
}
