package accesskey

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// A Pass is a temporary key that stands for somebody: its bearer may do what that one may, and no more. Passes are kept
// nowhere. All that the hub has to know of one is in its token, sealed, so that there may be any number of them, and making one
// writes nothing.
type Pass struct {
	ID      string        // begins as that of any temporary key
	Tenant  core.TenantID // whose account it belongs to
	For     string        // who it stands for, in the words of its maker
	Expires time.Time
}

// Expired reports whether a pass opens nothing any more.
func (p *Pass) Expired(now time.Time) bool { return !now.Before(p.Expires) }

// passLabel is what passes are sealed under: no sealed secret of the database is one.
func (ks *Keys) passLabel() string { return ks.cfg.Dialect + "/pass" }

// tokenMark begins the tokens of passes, so that others need not be opened.
const tokenMark = "pass."

// maxToken bounds tokens that are opened.
const maxToken = 4 << 10

// sealedPass is what a token holds.
type sealedPass struct {
	ID      string        `json:"id"`
	Tenant  core.TenantID `json:"tenant"`
	For     string        `json:"for"`
	Expires time.Time     `json:"expires"`
	Secret  string        `json:"secret"`
}

// Lend makes a pass. The secret is kept nowhere, not even by the hub.
func (ks *Keys) Lend(t core.TenantID, who string, expires time.Time) (Pass, Secret, error) {
	x := sealedPass{ID: ks.cfg.Temporary + rand.Text()[:16], Tenant: t, For: who, Expires: expires.UTC(), Secret: random(30)}
	text, err := json.Marshal(x)
	if err != nil {
		return Pass{}, Secret{}, fmt.Errorf("make a pass for %.100q of %s: %w", who, t, err)
	}
	token := tokenMark + base64.RawURLEncoding.EncodeToString(ks.cfg.Seal.Seal(text, ks.passLabel()))
	return Pass{x.ID, t, who, x.Expires}, Secret{Secret: x.Secret, Token: token}, nil
}

// Pass returns the pass that a token is, with its secret, also one that has expired. ok is false where the token is none, none of
// this hub, or belongs to another id.
func (ks *Keys) Pass(id, token string) (p Pass, s Secret, ok bool) {
	rest, marked := strings.CutPrefix(token, tokenMark)
	if !marked || len(rest) > maxToken {
		return Pass{}, Secret{}, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(rest)
	if err != nil {
		return Pass{}, Secret{}, false
	}
	text, err := ks.cfg.Seal.Open(raw, ks.passLabel())
	if err != nil {
		return Pass{}, Secret{}, false
	}
	var x sealedPass
	if err := json.Unmarshal(text, &x); err != nil || x.ID != id {
		return Pass{}, Secret{}, false
	}
	return Pass{x.ID, x.Tenant, x.For, x.Expires}, Secret{Secret: x.Secret, Token: token}, true
}
