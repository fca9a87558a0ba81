package ca

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// What can be wrong with a certificate or a request for one. Errors of this package wrap one of them next to the
// kind of package core; a dialect turns them into its platform's words.
var (
	// ErrMalformed means that the input is not what it should be: too long, not exactly one PEM block of the
	// right type, or not parseable.
	ErrMalformed = errors.New("malformed")
	// ErrKey means that the public key is of a kind or size that is not accepted.
	ErrKey = errors.New("key not accepted")
	// ErrBadSignature means that a signature does not verify.
	ErrBadSignature = errors.New("bad signature")
	// ErrUnknownIssuer means that the certificate names an issuer that is none of ours.
	ErrUnknownIssuer = errors.New("unknown issuer")
	// ErrKeyUsage means that the certificate is ours, but not for a device: that of a server or of an authority.
	ErrKeyUsage = errors.New("not usable as a client certificate")
	// ErrExpired means that the certificate, or the issuing one above it, has ended.
	ErrExpired = errors.New("expired")
	// ErrNotYetValid means that the certificate has not begun.
	ErrNotYetValid = errors.New("not yet valid")
)

// Verify tells whether leaf is a device certificate of this authority that is valid now. It costs one signature
// check the first time. It knows nothing of revocation, which is the registry's matter.
//
// The error wraps [core.ErrUnauthenticated] and one of ErrMalformed (nil, or a critical extension that we never
// write), ErrUnknownIssuer, ErrBadSignature, ErrKeyUsage, ErrExpired and ErrNotYetValid, which are looked for in
// this order: nothing is said about the dates of what is not ours.
func (c *CA) Verify(leaf *x509.Certificate) error {
	if err := c.verify(leaf); err != nil {
		return fmt.Errorf("verify certificate: %w: %w", core.ErrUnauthenticated, err)
	}
	return nil
}

func (c *CA) verify(leaf *x509.Certificate) error {
	if leaf == nil {
		return fmt.Errorf("%w: no certificate", ErrMalformed)
	}
	issuer := c.state.Load().find(leaf)
	if issuer == nil {
		return fmt.Errorf("%w %.200q", ErrUnknownIssuer, leaf.Issuer.String())
	}
	return verifyLeaf(leaf, issuer, &c.signatures, c.cfg.Now())
}

// verifyLeaf checks everything about the certificate of a client but who its issuer is.
func verifyLeaf(leaf, issuer *x509.Certificate, known *signatures, now time.Time) error {
	if err := known.check(leaf, issuer); err != nil {
		return fmt.Errorf("%w: %v", ErrBadSignature, err)
	}
	if len(leaf.UnhandledCriticalExtensions) > 0 {
		return fmt.Errorf("%w: critical extension %v", ErrMalformed, leaf.UnhandledCriticalExtensions[0])
	}
	if leaf.IsCA || !forClients(leaf) {
		return ErrKeyUsage
	}
	for _, crt := range []*x509.Certificate{leaf, issuer} {
		if now.After(crt.NotAfter) {
			return fmt.Errorf("%w at %s, now is %s", ErrExpired, stamp(crt.NotAfter), stamp(now))
		}
	}
	if now.Before(leaf.NotBefore) {
		return fmt.Errorf("%w: begins at %s, now is %s", ErrNotYetValid, stamp(leaf.NotBefore), stamp(now))
	}
	return nil
}

// forClients tells whether the usages that a certificate is limited to include signing in as a client. A certificate
// without limits, which an operator's own PKI may have made, is for everything.
func forClients(c *x509.Certificate) bool {
	if c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return false
	}
	if len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 {
		return true
	}
	for _, u := range c.ExtKeyUsage {
		if u == x509.ExtKeyUsageClientAuth || u == x509.ExtKeyUsageAny {
			return true
		}
	}
	return false
}
