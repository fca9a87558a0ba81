package credential

import (
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// MaxTokens is how many tokens a device may have.
const MaxTokens = 20

// NewToken makes a token that is good for so long. The text is for the device and is not kept anywhere.
func NewToken(now time.Time, life time.Duration) (text string, t Token) {
	text, hash := NewPassword()
	return text, Token{ID: rand.Text()[:8], Hash: hash, Created: now.UTC(), Expires: now.UTC().Add(life)}
}

// AddToken gives a device a token; those that have expired are forgotten. One too many is core.ErrTooLarge.
func AddToken(tx Tx, k core.DeviceKey, t Token) error {
	h, err := Find(tx, k)
	if err != nil {
		return fmt.Errorf("add token to %s: %w", k, err)
	}
	if !t.Expires.After(tx.Now()) {
		return fmt.Errorf("add token to %s: %w: it has expired", k, core.ErrInvalid)
	}
	h.Tokens = slices.DeleteFunc(h.Tokens, func(x Token) bool { return !x.Expires.After(tx.Now()) })
	if len(h.Tokens) >= MaxTokens {
		return fmt.Errorf("add token to %s: %w: it has %d", k, core.ErrTooLarge, len(h.Tokens))
	}
	h.Tokens = append(h.Tokens, t)
	if err := h.save(tx); err != nil {
		return fmt.Errorf("add token to %s: %w", k, err)
	}
	return emit(tx, h, core.CredentialsChanged, ChangeTokenAdded)
}

// RevokeToken ends a token; core.ErrNotFound if the device has none of this id.
func RevokeToken(tx Tx, k core.DeviceKey, id string) error {
	h, err := Find(tx, k)
	if err != nil {
		return fmt.Errorf("revoke token of %s: %w", k, err)
	}
	n := len(h.Tokens)
	h.Tokens = slices.DeleteFunc(h.Tokens, func(t Token) bool { return t.ID == id })
	if len(h.Tokens) == n {
		return fmt.Errorf("revoke token %.40q of %s: %w", id, k, core.ErrNotFound)
	}
	if err := h.save(tx); err != nil {
		return fmt.Errorf("revoke token of %s: %w", k, err)
	}
	return emit(tx, h, core.CredentialsChanged, ChangeTokenRevoked)
}
