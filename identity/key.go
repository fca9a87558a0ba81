package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/fairlead-iot/fairlead"
)

// minRSABits is what platforms accept at least.
const minRSABits = 2048

// NewKey makes an ECDSA key on the curve P-256, which every platform accepts and small processors are quick with.
func NewKey() (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return key, nil
}

// ParseKey reads a private key in PEM: PKCS #8, SEC 1 ("EC PRIVATE KEY") or PKCS #1 ("RSA PRIVATE KEY"). ECDSA on P-256, P-384
// and P-521, RSA from 2048 bits, and Ed25519 are accepted. Other blocks before it, such as curve parameters or certificates, are
// passed over. Errors wrap fairlead.ErrInvalid and show nothing of the key.
func ParseKey(text []byte) (crypto.Signer, error) {
	key, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("parse key: %w: %w", fairlead.ErrInvalid, err)
	}
	return key, nil
}

func parseKey(text []byte) (crypto.Signer, error) {
	var seen []string
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil {
			break
		}
		if _, ok := block.Headers["DEK-Info"]; ok || block.Type == "ENCRYPTED PRIVATE KEY" {
			return nil, errors.New("the key is encrypted with a password; store it decrypted, with mode 0600, or use a key in hardware")
		}
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		default:
			if len(seen) < 8 {
				seen = append(seen, block.Type)
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%q block: %w", block.Type, err)
		}
		return accept(key)
	}
	if seen != nil {
		return nil, fmt.Errorf("found PEM blocks %q, want a private key", seen)
	}
	return nil, errors.New("found no PEM block, want a private key")
}

// accept refuses what no platform accepts.
func accept(key any) (crypto.Signer, error) {
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		if !slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, k.Curve) {
			return nil, fmt.Errorf("found an ECDSA key on %s, want P-256, P-384 or P-521", k.Curve.Params().Name)
		}
		return k, nil
	case *rsa.PrivateKey:
		if bits := k.N.BitLen(); bits < minRSABits {
			return nil, fmt.Errorf("found an RSA key of %d bits, want at least %d", bits, minRSABits)
		}
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	}
	return nil, fmt.Errorf("found a key of type %T, want ECDSA, RSA or Ed25519", key)
}

// EncodeKey returns a private key as PEM, in PKCS #8. The error wraps fairlead.ErrInvalid for a key in hardware, which cannot be written.
func EncodeKey(key crypto.Signer) (Secret, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Secret{}, fmt.Errorf("encode key: %w: a key of type %T cannot be written to a file", fairlead.ErrInvalid, key)
	}
	return NewSecret(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))), nil
}

// LoadKey reads a private key from a file, see [ParseKey]. The error wraps fairlead.ErrNotFound if there is no file, fairlead.ErrInvalid if
// it holds no usable key or others may read it.
func LoadKey(path string) (crypto.Signer, error) {
	b, err := readFile(path, true)
	if err != nil {
		return nil, fmt.Errorf("load key: %w", err)
	}
	key, err := parseKey(b)
	if err != nil {
		return nil, fmt.Errorf("load key %s: %w: %w", path, fairlead.ErrInvalid, err)
	}
	return key, nil
}

// SaveKey writes a private key into a file, durably, in the form of [EncodeKey]. Folders that do not exist are made.
func SaveKey(path string, key crypto.Signer) error {
	text, err := EncodeKey(key)
	if err == nil {
		err = writeFile(path, []byte(text.Reveal()), secretMode)
	}
	if err != nil {
		return fmt.Errorf("save key %s: %w", path, err)
	}
	return nil
}

// LoadOrMakeKey reads the key from a file, or makes one with [NewKey] and writes it there if there is no file. A file
// that cannot be used is an error, and stays as it is: a certificate may belong to it.
func LoadOrMakeKey(path string) (crypto.Signer, error) {
	key, err := LoadKey(path)
	if !errors.Is(err, fairlead.ErrNotFound) {
		return key, err
	}
	if key, err = NewKey(); err != nil {
		return nil, err
	}
	return key, SaveKey(path, key)
}
