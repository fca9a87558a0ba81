package ca

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// A Foreign is another authority's certificate, whose holder may sign certificates of devices. The hub has none of its keys.
type Foreign struct {
	Certificate *x509.Certificate
}

// ParseForeign reads the certificate of an authority: exactly one PEM block, with an acceptable key, made for signing
// certificates. Whether it is valid now shows when it is used.
//
// The error wraps [core.ErrInvalid] and one of ErrMalformed, ErrKey and ErrNotAuthority.
func ParseForeign(text []byte) (*Foreign, error) {
	crt, err := ParseCertificate(text)
	if err != nil {
		return nil, err
	}
	if err := checkKey(crt.PublicKey); err != nil {
		return nil, fmt.Errorf("certificate: %w: %w", core.ErrInvalid, err)
	}
	if !crt.BasicConstraintsValid || !crt.IsCA || crt.KeyUsage != 0 && crt.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, fmt.Errorf("certificate: %w: %w", core.ErrInvalid, ErrNotAuthority)
	}
	return &Foreign{Certificate: crt}, nil
}

// ErrNotAuthority means that a certificate does not allow its holder to sign others.
var ErrNotAuthority = errors.New("not an authority's certificate")

// PEM returns the certificate without what stood around it.
func (f *Foreign) PEM() []byte { return encodeCertificate(f.Certificate.Raw) }

// Verify tells whether leaf is a certificate for clients that this authority has signed itself and that is valid now; one
// by an authority below it is not. Its errors are those of [CA.Verify].
func (f *Foreign) Verify(leaf *x509.Certificate, now time.Time) error {
	if err := verifyLeaf(leaf, f.Certificate, nil, now); err != nil {
		return fmt.Errorf("verify certificate: %w: %w", core.ErrUnauthenticated, err)
	}
	if now.Before(f.Certificate.NotBefore) {
		return fmt.Errorf("verify certificate: %w: %w: that of the authority", core.ErrUnauthenticated, ErrNotYetValid)
	}
	return nil
}
