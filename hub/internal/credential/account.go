package credential

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
)

// Reader is what the rules read; storage and its transactions satisfy it.
type Reader interface {
	registry.Reader
	Record(t core.TenantID, dialect, key string) ([]byte, error)
}

// Tx is a transaction that rules write in; *commit.Tx satisfies it.
type Tx interface {
	registry.Tx
	Record(t core.TenantID, dialect, key string) ([]byte, error)
	PutRecord(t core.TenantID, dialect, key string, value []byte) error
	DeleteRecord(t core.TenantID, dialect, key string) error
}

// An Account is what is kept of a device besides its enrolment.
type Account struct {
	Owner  core.DeviceNum `json:"device"` // whose it is; a device of the same id that was deleted had another one
	Grants Grants         `json:"grants"`
	Tokens []Token        `json:"tokens,omitempty"`
}

// A Token is a secret that expires, for use in place of the password.
type Token struct {
	ID      string    `json:"id"`
	Hash    []byte    `json:"hash"` // SHA-256; a token has 256 random bits
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// Dialect is the dialect whose devices these are.
const Dialect = "mqtt"

// What core.CredentialsChanged tells. All but the addition of a token end the device's connections.
const (
	ChangePassword     = "password"
	ChangeTokenAdded   = "token added"
	ChangeTokenRevoked = "token revoked"
)

const accountPrefix = "device/"

func accountKey(k core.DeviceKey) string { return accountPrefix + string(k.ID) }

// A Holder is a device with all that says how it signs in.
type Holder struct {
	core.Device
	Enrolment core.Enrolment // zero: none
	Account
	raw []byte // of Account, as stored
}

// Find returns the device k; core.ErrNotFound if there is none.
func Find(rd Reader, k core.DeviceKey) (Holder, error) {
	d, err := rd.Device(k)
	if err != nil {
		return Holder{}, err
	}
	return Of(rd, d)
}

// Of returns what there is to know of a device.
func Of(rd Reader, d core.Device) (Holder, error) {
	h := Holder{Device: d, Account: Account{Owner: d.Num, Grants: DefaultGrants()}}
	var err error
	if h.Enrolment, err = rd.Enrolment(d.Num); err != nil && !errors.Is(err, core.ErrNotFound) {
		return h, err
	}
	raw, err := rd.Record(d.Tenant, d.Dialect, accountKey(d.DeviceKey))
	if errors.Is(err, core.ErrNotFound) {
		return h, nil
	} else if err != nil {
		return h, err
	}
	var a Account
	if err := json.Unmarshal(raw, &a); err != nil {
		return h, fmt.Errorf("account of %s: %w: %v", d.DeviceKey, core.ErrStorage, err)
	}
	if a.Owner == d.Num {
		h.Account, h.raw = a, raw
	}
	return h, nil
}

// Same reports whether nothing has changed that a sign-in depends on.
func (h *Holder) Same(o Holder) bool {
	return h.Num == o.Num && h.Enrolment.Inhibited == o.Enrolment.Inhibited &&
		bytes.Equal(h.Enrolment.SecretHash, o.Enrolment.SecretHash) && bytes.Equal(h.raw, o.raw)
}

// Token returns the token that secret is, if it has not expired. All are compared, whichever it is.
func (h *Holder) Token(secret []byte, now time.Time) (t Token, ok bool) {
	if len(h.Tokens) == 0 || len(secret) > MaxPasswordBytes {
		return Token{}, false
	}
	hash := HashPassword(string(secret))
	for _, x := range h.Tokens {
		if subtle.ConstantTimeCompare(x.Hash, hash) == 1 && now.Before(x.Expires) {
			t, ok = x, true
		}
	}
	return t, ok
}

// SortedTokens returns the tokens by id.
func (h *Holder) SortedTokens() []Token {
	return slices.SortedFunc(slices.Values(h.Tokens), func(a, b Token) int { return strings.Compare(a.ID, b.ID) })
}

// Username returns the user name of a device, TENANT/DEVICE; it is the common name of its certificates too.
func Username(k core.DeviceKey) string { return string(k.Tenant) + "/" + string(k.ID) }

// save writes the account back.
func (h *Holder) save(tx Tx) error {
	raw, err := json.Marshal(h.Account)
	if err != nil {
		return err
	}
	h.raw = raw // so that it is the Same as what is read back
	return tx.PutRecord(h.Tenant, h.Dialect, accountKey(h.DeviceKey), raw)
}

// Forget removes the account of a device that has been deleted.
func Forget(tx Tx, k core.DeviceKey) error {
	return tx.DeleteRecord(k.Tenant, k.Dialect, accountKey(k))
}

// Add makes a device. hash is that of its password, nil for none; grants are those of its own, nil for the default. One
// that is there already is core.ErrConflict.
func Add(tx Tx, k core.DeviceKey, hash []byte, grants *Grants) (Holder, error) {
	fail := func(err error) (Holder, error) { return Holder{}, fmt.Errorf("add %s: %w", k, err) }
	if err := k.ID.Validate(); err != nil {
		return fail(err)
	}
	h := Holder{Account: Account{Grants: DefaultGrants()}}
	if grants != nil {
		if err := grants.Validate(); err != nil {
			return fail(err)
		}
		h.Grants = *grants
	}
	h.Device = core.Device{DeviceKey: k, Created: tx.Now()}
	if err := tx.InsertDevice(&h.Device); err != nil {
		return fail(err)
	}
	h.Owner = h.Num
	h.Enrolment = core.Enrolment{Device: h.Num, SecretHash: hash, FirstRegistered: tx.Now()}
	if err := tx.PutEnrolment(h.Enrolment); err != nil {
		return fail(err)
	}
	if err := h.save(tx); err != nil {
		return fail(err)
	}
	return h, tx.Emit(core.Event{Device: k, Num: h.Num, Kind: core.DeviceRegistered})
}

// SetPassword gives a device another password, or none with a nil hash. Connections that the old one has opened are to
// end, which [core.CredentialsChanged] tells.
func SetPassword(tx Tx, k core.DeviceKey, hash []byte) error {
	h, err := Find(tx, k)
	if err != nil {
		return fmt.Errorf("set password of %s: %w", k, err)
	}
	e := h.Enrolment
	if e.Device == 0 {
		e = core.Enrolment{Device: h.Num, FirstRegistered: tx.Now()}
	}
	e.SecretHash = hash
	if err := tx.PutEnrolment(e); err != nil {
		return fmt.Errorf("set password of %s: %w", k, err)
	}
	return emit(tx, h, core.CredentialsChanged, ChangePassword)
}

// SetGrants says what a device may do from now on. Its connections are to end and its subscriptions outside the grants to
// be removed, which [core.GrantsChanged] tells.
func SetGrants(tx Tx, k core.DeviceKey, g Grants) error {
	if err := g.Validate(); err != nil {
		return fmt.Errorf("set grants of %s: %w", k, err)
	}
	h, err := Find(tx, k)
	if err != nil {
		return fmt.Errorf("set grants of %s: %w", k, err)
	}
	h.Grants = g
	if err := h.save(tx); err != nil {
		return fmt.Errorf("set grants of %s: %w", k, err)
	}
	return tx.Emit(core.Event{Device: k, Num: h.Num, Kind: core.GrantsChanged})
}

// Added reports whether an event of [core.CredentialsChanged] tells of something that opens the device too, so that what
// opened it before still does.
func Added(e core.Event) bool {
	var c change
	return json.Unmarshal(e.Data, &c) == nil && c.What == ChangeTokenAdded
}

// A change is the data of core.CredentialsChanged.
type change struct {
	What string `json:"what"`
}

// emit tells what of a device's credentials has changed.
func emit(tx Tx, h Holder, kind core.EventKind, what string) error {
	data, err := json.Marshal(change{what})
	if err != nil {
		return err
	}
	return tx.Emit(core.Event{Device: h.DeviceKey, Num: h.Num, Kind: kind, Data: data})
}
