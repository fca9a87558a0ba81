package identity

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead"
)

// A Request is what a certificate is to say about the device.
type Request struct {
	Subject  pkix.Name // for most platforms the common name is the device's ID
	DNSNames []string  // seldom needed by devices
}

// CSR makes a certificate signing request in PEM, signed with the key. It asks for exactly what r says; the hash follows from the key: SHA-256 for
// ECDSA on P-256 and for RSA.
func CSR(key crypto.Signer, r Request) ([]byte, error) {
	if key == nil {
		return nil, fmt.Errorf("make certificate request: %w: there is no key", fairlead.ErrInvalid)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: r.Subject, DNSNames: r.DNSNames}, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate request for %q: %w", r.Subject, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// maxChain is more certificates than any chain has.
const maxChain = 16

// ParseChain reads certificates in PEM: the device's own first, then those that signed it, as far as they have to be sent
// along. Blocks of other types are passed over. Errors wrap fairlead.ErrInvalid.
func ParseChain(text []byte) ([]*x509.Certificate, error) {
	chain, err := parseChain(text)
	if err != nil {
		return nil, fmt.Errorf("parse certificates: %w: %w", fairlead.ErrInvalid, err)
	}
	return chain, nil
}

func parseChain(text []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if len(chain) == maxChain {
			return nil, fmt.Errorf("found more than %d certificates", maxChain)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(chain)+1, err)
		}
		chain = append(chain, c)
	}
	if chain == nil {
		return nil, errors.New(`found no PEM block "CERTIFICATE"`)
	}
	return chain, nil
}

// EncodeChain returns certificates as PEM, in the same order.
func EncodeChain(chain []*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range chain {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a Buffer does not fail
	}
	return b.Bytes()
}

// LoadChain reads certificates from a file, see [ParseChain]. The error wraps fairlead.ErrNotFound if there is no file.
func LoadChain(path string) ([]*x509.Certificate, error) {
	b, err := readFile(path, false)
	if err != nil {
		return nil, fmt.Errorf("load certificates: %w", err)
	}
	chain, err := parseChain(b)
	if err != nil {
		return nil, fmt.Errorf("load certificates %s: %w: %w", path, fairlead.ErrInvalid, err)
	}
	return chain, nil
}

// SaveChain writes certificates into a file, durably. Folders that do not exist are made.
func SaveChain(path string, chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return fmt.Errorf("save certificates %s: %w: there are none", path, fairlead.ErrInvalid)
	}
	if err := writeFile(path, EncodeChain(chain), publicMode); err != nil {
		return fmt.Errorf("save certificates: %w", err)
	}
	return nil
}

// LoadRoots reads the certificates of authorities from files, for tls.Config.RootCAs. Without any file it
// returns nil, which means those of the system.
func LoadRoots(paths ...string) (*x509.CertPool, error) {
	var pool *x509.CertPool
	for _, path := range paths {
		chain, err := LoadChain(path)
		if err != nil {
			return nil, err
		}
		if pool == nil {
			pool = x509.NewCertPool()
		}
		for _, c := range chain {
			pool.AddCert(c)
		}
	}
	return pool, nil
}

// CheckTime returns an error that wraps fairlead.ErrExpired if a certificate is not valid at a time.
func CheckTime(c *x509.Certificate, now time.Time) error {
	var problem string
	switch {
	case now.Before(c.NotBefore):
		problem = "is not valid yet; is the device's clock right?"
	case now.After(c.NotAfter):
		problem = "has expired"
	default:
		return nil
	}
	return fmt.Errorf("%w: certificate of %q %s: it is valid from %s to %s, now is %s", fairlead.ErrExpired, c.Subject, problem,
		c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
}

// CheckFit returns an error that wraps fairlead.ErrConflict unless the certificate belongs to the key.
func CheckFit(c *x509.Certificate, key crypto.Signer) error {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return fmt.Errorf("%w: cannot compare a public key of type %T", fairlead.ErrInvalid, key.Public())
	}
	if !public.Equal(c.PublicKey) {
		return fmt.Errorf("%w: the certificate of %q (serial %x) belongs to another key", fairlead.ErrConflict, c.Subject, c.SerialNumber)
	}
	return nil
}
