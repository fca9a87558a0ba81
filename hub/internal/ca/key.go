package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Algorithm names a kind of key, with its size.
type Algorithm string

// The algorithms for keys that the authority makes.
const (
	ECDSAP256 Algorithm = "ecdsa-p256"
	RSA2048   Algorithm = "rsa-2048"
	RSA3072   Algorithm = "rsa-3072"
	RSA4096   Algorithm = "rsa-4096"
)

var algorithms = []Algorithm{ECDSAP256, RSA2048, RSA3072, RSA4096}

func (a Algorithm) valid() bool { return slices.Contains(algorithms, a) }

// newKey makes a private key.
func (a Algorithm) newKey() (crypto.Signer, error) {
	switch a {
	case ECDSAP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	case RSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	}
	return nil, fmt.Errorf("unknown algorithm %q", string(a))
}

// made tells whether pub is of the algorithm.
func (a Algorithm) made(pub crypto.PublicKey) bool {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		return a == ECDSAP256 && k.Curve == elliptic.P256()
	case *rsa.PublicKey:
		return string(a) == fmt.Sprintf("rsa-%d", k.N.BitLen())
	}
	return false
}

// Bounds of an RSA modulus. Below, it is weak; above, each signature check would cost more than a peer may cause.
const minRSABits, maxRSABits = 2048, 4096

// checkKey applies the policy for public keys: ECDSA on P-256, P-384 or P-521, Ed25519, RSA of 2048 to 4096 bits.
// Its errors wrap [ErrKey].
func checkKey(pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if k != nil && k.Curve != nil {
			switch k.Curve {
			case elliptic.P256(), elliptic.P384(), elliptic.P521():
				return nil
			}
			return fmt.Errorf("%w: ECDSA curve is %s, want P-256, P-384 or P-521", ErrKey, k.Params().Name)
		}
	case ed25519.PublicKey:
		if len(k) == ed25519.PublicKeySize {
			return nil
		}
	case *rsa.PublicKey:
		if k != nil && k.N != nil {
			if n := k.N.BitLen(); n < minRSABits || n > maxRSABits {
				return fmt.Errorf("%w: RSA modulus has %d bits, want %d to %d", ErrKey, n, minRSABits, maxRSABits)
			}
			if k.E < 3 || k.E&1 == 0 || k.N.Bit(0) == 0 {
				return fmt.Errorf("%w: RSA modulus or exponent is even or too small", ErrKey)
			}
			return nil
		}
	}
	return fmt.Errorf("%w: %T, want ECDSA, Ed25519 or RSA", ErrKey, pub)
}

// keyID returns the subject key identifier of a public key: the first 160 bits of the SHA-256 of the key's bits,
// method 1 of RFC 7093. crypto/x509 does this by itself for authorities only, and strict verifiers want it everywhere.
func keyID(pub crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrKey, err)
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrKey, err)
	}
	sum := sha256.Sum256(info.Key.Bytes)
	return sum[:20], nil
}

// sameKey tells whether pub is the public half of key.
func sameKey(key crypto.Signer, pub crypto.PublicKey) bool {
	k, ok := key.Public().(interface{ Equal(x crypto.PublicKey) bool })
	return ok && k.Equal(pub)
}

// newSerial returns a random positive serial number of exactly 128 bits: the top bits are 01, so that it needs no
// padding, neither in DER nor as 32 hexadecimal digits.
func newSerial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // never fails, see crypto/rand
	b[0] = b[0]&0x3f | 0x40
	return new(big.Int).SetBytes(b[:])
}

// SerialString returns a serial number as [Issued] has it: lower-case hexadecimal digits without leading zeros.
// It returns "" for nil.
func SerialString(n *big.Int) string {
	if n == nil {
		return ""
	}
	return n.Text(16)
}

func parseSerial(s string) (*big.Int, error) {
	n, ok := new(big.Int), false
	if len(s) <= 40 && strings.Trim(s, "0123456789abcdefABCDEF") == "" {
		n, ok = n.SetString(s, 16)
	}
	if !ok || n.Sign() <= 0 {
		return nil, errors.New("want 1 to 40 hexadecimal digits, not zero")
	}
	return n, nil
}

// printable tells whether s is text that may stand in a name of a certificate.
func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}
