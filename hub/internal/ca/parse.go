package ca

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// Bounds of PEM input, in bytes. A request or certificate with an RSA key of 4096 bits needs about 2 KiB.
const (
	// MaxCSRBytes bounds the input of [ParseCSR].
	MaxCSRBytes = 16 << 10
	// MaxCertificateBytes bounds the input of [ParseCertificate].
	MaxCertificateBytes = 32 << 10
)

// ParseCSR reads a certificate signing request: exactly one PEM block of type CERTIFICATE REQUEST (or NEW
// CERTIFICATE REQUEST, an older name for it) with an acceptable key, whose signature proves possession of the
// private key. Accepted are ECDSA on P-256, P-384 and P-521, Ed25519, and RSA of 2048 to 4096 bits. Text around the
// block, which openssl writes on demand, is ignored.
//
// The error wraps [core.ErrInvalid] and one of ErrMalformed, ErrKey and ErrBadSignature.
func ParseCSR(text []byte) (*x509.CertificateRequest, error) {
	csr, err := parseCSR(text)
	if err != nil {
		return nil, fmt.Errorf("certificate signing request: %w: %w", core.ErrInvalid, err)
	}
	return csr, nil
}

func parseCSR(text []byte) (*x509.CertificateRequest, error) {
	der, err := oneBlock(text, MaxCSRBytes, "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")
	if err != nil {
		return nil, err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	// The key comes first: what its check bounds is the cost of the signature's.
	if err := checkKey(csr.PublicKey); err != nil {
		return nil, err
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrBadSignature, err)
	}
	return csr, nil
}

// ParseCertificate reads exactly one PEM block of type CERTIFICATE. It does not verify anything, see [CA.Verify].
// The error wraps [core.ErrInvalid] and ErrMalformed.
func ParseCertificate(text []byte) (*x509.Certificate, error) {
	der, err := oneBlock(text, MaxCertificateBytes, "CERTIFICATE")
	if err != nil {
		return nil, fmt.Errorf("certificate: %w: %w", core.ErrInvalid, err)
	}
	crt, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w: %w: %v", core.ErrInvalid, ErrMalformed, err)
	}
	return crt, nil
}

// oneBlock returns the content of the only PEM block in text. Blocks are counted by their first lines, because
// encoding/pem passes over a broken block to the next whole one.
func oneBlock(text []byte, limit int, types ...string) ([]byte, error) {
	if len(text) > limit {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are accepted", ErrMalformed, len(text), limit)
	}
	if n := bytes.Count(text, []byte("-----BEGIN ")); n != 1 {
		return nil, fmt.Errorf("%w: %d PEM blocks, want one", ErrMalformed, n)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%w: broken PEM block", ErrMalformed)
	}
	if !slices.Contains(types, block.Type) {
		return nil, fmt.Errorf("%w: PEM block is a %.40q, want a %q", ErrMalformed, block.Type, types[0])
	}
	if len(block.Headers) > 0 {
		return nil, fmt.Errorf("%w: PEM block has headers", ErrMalformed)
	}
	return block.Bytes, nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
