package astartewire

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
)

// SignToken makes a JWT (RFC 7519) of claims in JSON, signed with the algorithm that belongs to the key (RFC 7518 section 3): RS256 for RSA, ES256, ES384 or ES512 for
// ECDSA. It is little enough that a device program need not link a library for it; those who verify tokens do.
func SignToken(key crypto.Signer, claims []byte) (string, error) {
	if key == nil {
		return "", errors.New("there is no key")
	}
	var algorithm string
	var hash crypto.Hash
	size := 0 // of each number of an ECDSA signature
	switch public := key.Public().(type) {
	case *rsa.PublicKey:
		algorithm, hash = "RS256", crypto.SHA256
	case *ecdsa.PublicKey:
		size = (public.Curve.Params().BitSize + 7) / 8
		switch size {
		case 32:
			algorithm, hash = "ES256", crypto.SHA256
		case 48:
			algorithm, hash = "ES384", crypto.SHA384
		case 66:
			algorithm, hash = "ES512", crypto.SHA512
		default:
			return "", fmt.Errorf("found an ECDSA key on %s, want P-256, P-384 or P-521", public.Curve.Params().Name)
		}
	default:
		return "", fmt.Errorf("found a key of type %T, want RSA or ECDSA", key)
	}
	head := fmt.Sprintf(`{"alg":%q,"typ":"JWT"}`, algorithm)
	text := base64.RawURLEncoding.EncodeToString([]byte(head)) + "." + base64.RawURLEncoding.EncodeToString(claims)
	h := hash.New()
	h.Write([]byte(text))
	signature, err := key.Sign(rand.Reader, h.Sum(nil), hash)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	if size > 0 {
		if signature, err = flatSignature(signature, size); err != nil {
			return "", err
		}
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// flatSignature turns the ASN.1 form of an ECDSA signature into the form of JWTs: both numbers in a fixed size.
func flatSignature(der []byte, size int) ([]byte, error) {
	var numbers struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &numbers); err != nil || len(rest) > 0 || numbers.R.BitLen() > size*8 || numbers.S.BitLen() > size*8 ||
		numbers.R.Sign() < 0 || numbers.S.Sign() < 0 {
		return nil, errors.New("the key has made a malformed signature")
	}
	flat := make([]byte, 2*size)
	numbers.R.FillBytes(flat[:size])
	numbers.S.FillBytes(flat[size:])
	return flat, nil
}
