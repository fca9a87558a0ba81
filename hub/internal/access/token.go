package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// prefix is what tokens begin with, so that people and programs that look for leaked secrets recognise one.
const prefix = "fairlead_"

// Bounds of what is kept.
const (
	MaxTokens       = 1000 // of all
	MaxTenantTokens = 100  // that open one tenant only; so no tenant can use up the others'
	MaxNameBytes    = 100
)

// Reasons to refuse a token that was shown.
var (
	ErrUnknown = fmt.Errorf("%w: unknown token", core.ErrUnauthenticated)
	ErrExpired = fmt.Errorf("%w: expired token", core.ErrUnauthenticated)
)

// NewToken makes a token of 128 random bits or more. The text is for its user and is not kept anywhere.
func NewToken() (text string, hash [32]byte) {
	text = prefix + rand.Text()
	return text, Hash(text)
}

// NewID makes a name for a token, which is no secret.
func NewID() string { return strings.ToLower(rand.Text()[:12]) }

// Hash returns what is kept of a token; that it is fast does no harm, see decision 0005.
func Hash(text string) [32]byte { return sha256.Sum256([]byte(text)) }

// Reader is what the rules read; storage satisfies it.
type Reader interface {
	Tenant(id core.TenantID) (core.Tenant, error)
	Token(id string) (core.Token, error)
	TokenByHash(hash [32]byte) (core.Token, error)
	Tokens() ([]core.Token, error)
}

// Tx is a transaction that rules write in; *commit.Tx satisfies it.
type Tx interface {
	Reader
	InsertToken(t core.Token) error
	DeleteToken(id string) error
	Emit(e core.Event) error
	Now() time.Time
}

// Find returns the token with a hash, [ErrUnknown] or [ErrExpired]. It is found by its hash, so that the time this
// takes tells nothing about other tokens.
func Find(rd Reader, hash [32]byte, now time.Time) (core.Token, error) {
	t, err := rd.TokenByHash(hash)
	switch {
	case errors.Is(err, core.ErrNotFound):
		return core.Token{}, ErrUnknown
	case err != nil:
		return core.Token{}, fmt.Errorf("find token: %w", err)
	case !t.Expires.IsZero() && !now.Before(t.Expires):
		return core.Token{}, ErrExpired
	}
	return t, nil
}

// Create keeps a new token; its ID, Hash, Name and Scope are required. by is the token of whoever makes it: nobody can
// make one that may do more, opens more or lasts longer than his own. Without Expires it lasts as long as that does.
func Create(tx Tx, by, t core.Token) (core.Token, error) {
	if err := check(tx, by, &t); err != nil {
		return core.Token{}, fmt.Errorf("create token %.100q: %w", t.Name, err)
	}
	t.Created = tx.Now()
	if err := tx.InsertToken(t); err != nil {
		return core.Token{}, fmt.Errorf("create token %.100q: %w", t.Name, err)
	}
	return t, emit(tx, core.TokenCreated, t)
}

func check(tx Tx, by core.Token, t *core.Token) error {
	switch {
	case by.Scope < core.ScopeAdmin:
		return fmt.Errorf("%w: it takes a token of scope admin to make one", core.ErrDenied)
	case t.Scope < core.ScopeRead || t.Scope > core.ScopeAdmin:
		return fmt.Errorf("%w: no such scope", core.ErrInvalid)
	case t.Name == "" || len(t.Name) > MaxNameBytes || !printable(t.Name):
		return fmt.Errorf("%w: a name is 1 to %d bytes of printable text", core.ErrInvalid, MaxNameBytes)
	case by.Tenant != "" && t.Tenant != by.Tenant:
		return fmt.Errorf("%w: a token for one tenant makes tokens for that tenant only", core.ErrDenied)
	case !t.Expires.IsZero() && !t.Expires.After(tx.Now()):
		return fmt.Errorf("%w: it would have expired already", core.ErrInvalid)
	case !by.Expires.IsZero() && t.Expires.After(by.Expires):
		return fmt.Errorf("%w: it would outlast the token that makes it, which ends %s", core.ErrDenied, by.Expires.Format(time.RFC3339))
	}
	if t.Expires.IsZero() {
		t.Expires = by.Expires
	}
	if t.Tenant != "" {
		if _, err := tx.Tenant(t.Tenant); err != nil {
			return err
		}
	}
	all, err := tx.Tokens()
	if err != nil {
		return err
	}
	same := 0
	for _, x := range all {
		if x.Tenant == t.Tenant {
			same++
		}
	}
	if len(all) >= MaxTokens || t.Tenant != "" && same >= MaxTenantTokens {
		return fmt.Errorf("%w: there are %d tokens, %d of them for this tenant", core.ErrTooLarge, len(all), same)
	}
	return nil
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// Visible returns the token of an id if by may see it, else core.ErrNotFound.
func Visible(rd Reader, by core.Token, id string) (core.Token, error) {
	t, err := rd.Token(id)
	if err == nil && by.Tenant != "" && t.Tenant != by.Tenant {
		err = core.ErrNotFound
	}
	if err != nil {
		return core.Token{}, fmt.Errorf("token %.64q: %w", id, err)
	}
	return t, nil
}

// Revoke ends a token that by may see. It opens nothing from the commit on.
func Revoke(tx Tx, by core.Token, id string) error {
	t, err := Visible(tx, by, id)
	if err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	if err := tx.DeleteToken(id); err != nil {
		return fmt.Errorf("revoke token %s: %w", id, err)
	}
	return emit(tx, core.TokenRevoked, t)
}

func emit(tx Tx, kind core.EventKind, t core.Token) error {
	data, err := json.Marshal(struct {
		ID    string `json:"id"`
		Name  string `json:"name"`
		Scope string `json:"scope"`
	}{t.ID, t.Name, t.Scope.String()})
	if err != nil {
		return err
	}
	return tx.Emit(core.Event{Device: core.DeviceKey{Tenant: t.Tenant}, Kind: kind, Data: data})
}
