package astarte

import (
	"crypto"
	"encoding/json"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// agentTokenLife is how long a token for one registration is valid; the official SDK's is as short (observed with astarte-device-sdk 0.14.0).
const agentTokenLife = 30 * time.Second

// RegistrationToken makes a token that lets its bearer register devices in a realm, signed with the realm's private key, an RSA key or an
// ECDSA key on P-256, P-384 or P-521. Such a key opens the whole realm: it belongs on the machine where devices are made, not on devices.
// The error wraps [ErrToken].
func RegistrationToken(realmKey crypto.Signer, life time.Duration) (identity.Token, error) {
	now := time.Now()
	t := identity.Token{Issued: now, Ends: now.Add(life)}
	claims, err := json.Marshal(map[string]any{"iat": now.Unix(), "exp": t.Ends.Unix(), "a_pa": []string{".*::.*"}})
	if err != nil {
		return identity.Token{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	text, err := astartewire.SignToken(realmKey, claims)
	if err != nil {
		return identity.Token{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	t.Value = identity.NewSecret(text)
	return t, nil
}
