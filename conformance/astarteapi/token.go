package astarteapi

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// parseKey reads a realm's private key: P-256, in either of the two PEM forms.
func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	any, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := any.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("a %T, want ECDSA", any)
	}
	return key, nil
}

// mint returns a token that may do everything in a realm.
func mint(key *ecdsa.PrivateKey, lifetime time.Duration) (string, error) {
	if key.Params().BitSize != 256 {
		return "", fmt.Errorf("sign a token: curve %s, want P-256", key.Params().Name)
	}
	all := []string{".*::.*"}
	now := time.Now()
	claims, err := json.Marshal(map[string]any{
		"iat": now.Unix() - 5, "exp": now.Add(lifetime).Unix(), "a_pa": all, "a_rma": all, "a_aea": all,
	})
	if err != nil {
		return "", err
	}
	enc := base64.RawURLEncoding
	text := enc.EncodeToString([]byte(`{"alg":"ES256","typ":"JWT"}`)) + "." + enc.EncodeToString(claims)
	sum := sha256.Sum256([]byte(text))
	sig, err := signFixed(key, sum[:])
	if err != nil {
		return "", err
	}
	return text + "." + enc.EncodeToString(sig), nil
}

// signFixed returns r and s with 32 bytes each, the form of JSON Web Signature (RFC 7518, 3.4).
func signFixed(key *ecdsa.PrivateKey, digest []byte) ([]byte, error) {
	r, s, err := ecdsa.Sign(rand.Reader, key, digest)
	if err != nil {
		return nil, err
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return sig, nil
}

// request makes a certificate signing request with a fresh key, as the official SDKs do.
func request(cn string, key crypto.Signer) (string, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, csrTemplate(cn), key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), nil
}
