package registry

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// NewSecret makes a secret of 256 random bits. The text, 44 characters of padded base64, is for the device and is not
// kept anywhere; the hash is for [Register].
func NewSecret() (text string, hash []byte) {
	var b [32]byte
	rand.Read(b[:]) // never fails, see crypto/rand
	text = base64.StdEncoding.EncodeToString(b[:])
	return text, HashSecret(text)
}

// HashSecret returns what is kept of a secret: its SHA-256. A slow hash is for secrets that can be guessed; this one
// has 256 random bits (decision 0005).
func HashSecret(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

// Authenticate finds the device that a secret should open. Its errors are core.ErrNotFound, if there is no such
// device, and [ErrSecret]. The time it takes does not tell how much of a secret is right.
func Authenticate(r Reader, k core.DeviceKey, secret string) (core.Device, core.Enrolment, error) {
	d, err := r.Device(k)
	if err != nil {
		return d, core.Enrolment{}, fmt.Errorf("authenticate %s: %w", k, err)
	}
	e, err := r.Enrolment(d.Num)
	if err != nil && !errors.Is(err, core.ErrNotFound) {
		return d, e, fmt.Errorf("authenticate %s: %w", k, err)
	}
	if err != nil || len(e.SecretHash) == 0 || subtle.ConstantTimeCompare(e.SecretHash, HashSecret(secret)) != 1 {
		return d, core.Enrolment{}, fmt.Errorf("authenticate %s: %w", k, ErrSecret)
	}
	return d, e, nil
}
