package astarte

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// Why a caller is refused; the answers are in the table in answer.go.
var (
	errNoToken      = fmt.Errorf("%w: no bearer token", core.ErrUnauthenticated)
	errToken        = fmt.Errorf("%w: token does not verify", core.ErrUnauthenticated)
	errNoSecret     = fmt.Errorf("%w: no credentials secret", core.ErrUnauthenticated)
	errUnknownRealm = fmt.Errorf("%w: unknown realm", core.ErrDenied)
)

const (
	maxPublicKeyPEM = 16 << 10 // bytes; an RSA key of 16,384 bits needs 3 KiB
	maxTokenBytes   = 16 << 10 // a token with hundreds of entries; what is longer is not looked at
)

// bearer is the expression that the platform's authentication library (Guardian, for device endpoints too) finds the
// token with; it is not anchored at the beginning.
var bearer = regexp.MustCompile(`(?i)bearer:?\s+(.*)$`)

// bearerToken returns what follows "Bearer" in the Authorization header.
func bearerToken(h http.Header) (string, bool) {
	text := h.Get("Authorization")
	if len(text) > maxTokenBytes {
		return "", false
	}
	m := bearer.FindStringSubmatch(text)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// A tokenKey verifies tokens that were signed with the private half of one key.
type tokenKey struct {
	public  crypto.PublicKey
	methods []string
}

// parsePublicKey reads a realm's public key: exactly one PEM block "PUBLIC KEY" with an RSA key or an EC key on one of
// the three curves that the platform's algorithms use.
func parsePublicKey(text []byte) (*tokenKey, error) {
	if len(text) > maxPublicKeyPEM {
		return nil, fmt.Errorf("%w: public key of %d bytes", core.ErrInvalid, len(text))
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, fmt.Errorf("%w: no PEM block of type PUBLIC KEY", core.ErrInvalid)
	}
	if more, _ := pem.Decode(rest); more != nil {
		return nil, fmt.Errorf("%w: more than one PEM block", core.ErrInvalid)
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: public key: %v", core.ErrInvalid, err)
	}
	k := &tokenKey{public: pub}
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		if pub.N.BitLen() >= 1024 { // crypto/rsa uses no shorter ones
			k.methods = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
		}
	case *ecdsa.PublicKey:
		switch pub.Curve {
		case elliptic.P256():
			k.methods = []string{"ES256"}
		case elliptic.P384():
			k.methods = []string{"ES384"}
		case elliptic.P521():
			k.methods = []string{"ES512"}
		}
	}
	if k.methods == nil {
		return nil, fmt.Errorf("%w: no token algorithm for a %T of this size", core.ErrInvalid, pub)
	}
	return k, nil
}

// claims returns the claims of a token whose signature, exp and nbf are good; a token without exp is good for ever, as
// on the platform. The key decides which algorithms may be used, never the token: HS256 with the public key as the
// secret, and "none", are the known attacks.
func (k *tokenKey) claims(token string, now func() time.Time) (jwt.MapClaims, error) {
	if k == nil {
		return nil, fmt.Errorf("%w: there is no key", errToken)
	}
	parser := jwt.NewParser(jwt.WithValidMethods(k.methods), jwt.WithTimeFunc(now))
	claims := jwt.MapClaims{}
	if _, err := parser.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return k.public, nil }); err != nil {
		return nil, fmt.Errorf("%w: %v", errToken, err)
	}
	return claims, nil
}

// entries returns the authorisation entries in a claim; anything but strings in an array authorises nothing.
func entries(claims jwt.MapClaims, claim string) []string {
	list, _ := claims[claim].([]any)
	out := make([]string, 0, len(list))
	for _, e := range list {
		if s, ok := e.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// A permissionError is the answer to a good token that does not allow the request.
type permissionError struct {
	method, path string // path as the service sees it: without the prefix
}

func (e *permissionError) Error() string {
	return fmt.Sprintf("Unauthorized access to %s %s. Please verify your permissions", e.method, e.path)
}

func (e *permissionError) Unwrap() error { return core.ErrDenied }

// authorize checks the request's token: signed with one of the keys, and with an entry in the service's claim that
// allows the method on the path (below the realm).
func (c *call) authorize(keys ...*tokenKey) error {
	token, ok := bearerToken(c.r.Header)
	if !ok {
		return errNoToken
	}
	err := errToken
	for _, k := range keys {
		claims, e := k.claims(token, c.d.cfg.Now)
		if e != nil {
			err = e
			continue
		}
		if !astartewire.Authorized(entries(claims, c.service.claim), c.method, c.below) {
			return &permissionError{method: c.method, path: c.path}
		}
		return nil
	}
	return err
}
