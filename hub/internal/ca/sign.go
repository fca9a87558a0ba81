package ca

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// Leaf describes the certificate of a device. CommonName is required.
type Leaf struct {
	// CommonName is the name that the dialect recognises the device by; 1 to 255 bytes of printable text.
	// X.509 itself ends at 64, which an Astarte realm with a long name exceeds; verifiers do not mind.
	CommonName string
	// Organization is optional; at most 64 bytes. If it is empty, that of the request survives.
	Organization string
	// Lifetime counts from now; Config.DeviceLifetime if zero. A certificate never outlives the one that signs it.
	Lifetime time.Duration
}

// Issued is a certificate that the authority has signed.
type Issued struct {
	PEM []byte // one block; the caller owns it

	Serial         string   // lower-case hexadecimal digits, see [SerialString]
	SHA256         [32]byte // of the certificate's DER
	NotBefore      time.Time
	NotAfter       time.Time
	AuthorityKeyID string // of the issuing certificate, lower-case hexadecimal digits
}

// SignDevice signs a certificate for the key of a request that [ParseCSR] has returned. Of the request, only the
// key counts, and the organization if l has none; names are ours to give.
//
// Errors about l or the key wrap [core.ErrInvalid].
func (c *CA) SignDevice(csr *x509.CertificateRequest, l Leaf) (Issued, error) {
	if csr == nil {
		return Issued{}, fmt.Errorf("sign %q: %w: no request", l.CommonName, core.ErrInvalid)
	}
	if org := csr.Subject.Organization; l.Organization == "" && len(org) > 0 && len(org[0]) <= 64 && printable(org[0]) {
		l.Organization = org[0]
	}
	return c.SignDeviceKey(csr.PublicKey, l)
}

// SignDeviceKey is [CA.SignDevice] for a key that the hub has made itself, so that no request is needed to prove
// possession of it.
func (c *CA) SignDeviceKey(pub crypto.PublicKey, l Leaf) (Issued, error) {
	issued, err := c.signDevice(pub, l)
	if err != nil {
		return Issued{}, fmt.Errorf("sign %.80q: %w", l.CommonName, err)
	}
	return issued, nil
}

func (c *CA) signDevice(pub crypto.PublicKey, l Leaf) (Issued, error) {
	if err := l.check(); err != nil {
		return Issued{}, fmt.Errorf("%w: %w", core.ErrInvalid, err)
	}
	if err := checkKey(pub); err != nil {
		return Issued{}, fmt.Errorf("%w: %w", core.ErrInvalid, err)
	}
	if l.Lifetime == 0 {
		l.Lifetime = c.cfg.DeviceLifetime
	}
	tmpl := &x509.Certificate{
		Subject:     pkix.Name{CommonName: l.CommonName},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if l.Organization != "" {
		tmpl.Subject.Organization = []string{l.Organization}
	}
	der, st, err := c.signLeaf(tmpl, pub, l.Lifetime)
	if err != nil {
		return Issued{}, err
	}
	return Issued{
		PEM:            encodeCertificate(der),
		Serial:         SerialString(tmpl.SerialNumber),
		SHA256:         sha256.Sum256(der),
		NotBefore:      tmpl.NotBefore,
		NotAfter:       tmpl.NotAfter,
		AuthorityKeyID: hex.EncodeToString(st.issuing.cert.SubjectKeyId),
	}, nil
}

func (l Leaf) check() error {
	switch {
	case l.CommonName == "" || len(l.CommonName) > 255 || !printable(l.CommonName):
		return errors.New("common name is not 1 to 255 bytes of printable text")
	case len(l.Organization) > 64 || !printable(l.Organization):
		return errors.New("organization is not up to 64 bytes of printable text")
	case l.Lifetime < 0:
		return fmt.Errorf("lifetime is negative: %v", l.Lifetime)
	}
	return nil
}

// signLeaf completes the template of an end-entity certificate and signs it with the issuing key. What strict
// verifiers want to see, basic constraints and both key identifiers, is there.
func (c *CA) signLeaf(tmpl *x509.Certificate, pub crypto.PublicKey, lifetime time.Duration) ([]byte, *state, error) {
	now := c.cfg.Now().UTC().Truncate(time.Second)
	st, err := c.issuer(now)
	if err != nil {
		return nil, nil, err
	}
	if tmpl.SubjectKeyId, err = keyID(pub); err != nil {
		return nil, nil, err
	}
	tmpl.SerialNumber = newSerial()
	tmpl.NotBefore = now.Add(-min(backdate, lifetime/10))
	tmpl.NotAfter = earlier(now.Add(lifetime), st.issuing.cert.NotAfter)
	tmpl.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, tmpl, st.issuing.cert, pub, st.issuing.key)
	return der, st, err
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
