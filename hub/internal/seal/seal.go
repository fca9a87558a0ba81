// Package seal keeps secrets that the hub must be able to read again, such as the keys that requests are signed with, out
// of the database's clear text: whoever gets hold of the database alone, or of a copy of it, has none of them. They are sealed
// with AES-256-GCM under a key that lies in a file of its own in the data folder. Where a hash suffices no secret is kept
// at all, so passwords and tokens never come here.
//
// A backup has both the database and the key file: it opens everything, like the data folder itself.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/durable"
)

const keyBytes = 32

// version is the first byte of what is sealed, so that the form can change one day.
const version = 1

// A Key seals and opens. Its methods may be called concurrently.
type Key struct{ aead cipher.AEAD }

// OpenFile reads the key in a file, and makes one if there is none.
func OpenFile(name string) (*Key, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		raw := make([]byte, keyBytes)
		rand.Read(raw)
		text = []byte(hex.EncodeToString(raw) + "\n")
		err = durable.WriteFile(name, text, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("key of stored secrets: %w", err)
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(raw) != keyBytes {
		return nil, fmt.Errorf("key of stored secrets: %s: want %d hexadecimal digits", name, 2*keyBytes)
	}
	return New(raw)
}

// New returns the key of 32 bytes.
func New(raw []byte) (*Key, error) {
	if len(raw) != keyBytes {
		return nil, fmt.Errorf("%w: key of stored secrets: %d bytes, want %d", core.ErrInvalid, len(raw), keyBytes)
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, err
	}
	// With random nonces one key is good for 2^32 secrets.
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Key{aead: aead}, nil
}

// Seal returns the sealed form of a secret. The label says whose it is, best with the tenant and the name of the key: what is
// sealed opens under the same label only, so that nobody can put one secret in the place of another.
func (k *Key) Seal(secret []byte, label string) []byte {
	return k.aead.Seal([]byte{version}, nil, secret, []byte(label))
}

// Open returns a secret that was sealed under that label. The error means that it was sealed with another key file or under
// another label, or has been changed; it says nothing of the content.
func (k *Key) Open(sealed []byte, label string) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != version {
		return nil, fmt.Errorf("secret of %s: unknown form", label)
	}
	secret, err := k.aead.Open(nil, nil, sealed[1:], []byte(label))
	if err != nil {
		return nil, fmt.Errorf("secret of %s: not sealed with the key in the data folder", label)
	}
	return secret, nil
}
