// Package accesskey holds the rules about access keys: the names and secrets that programs sign requests to a platform's API with.
// A key belongs to one tenant and may do there whatever that API offers. Signatures are computed with the secret,
// so that a hash of it would not do: it is kept sealed (package seal), and told to its maker once. A [Pass] is a key for a while
// that stands for somebody, a device for instance, and is kept nowhere.
package accesskey

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/seal"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Bounds of what is kept.
const (
	MaxKeys      = 100 // of one tenant
	MaxNameBytes = 100
)

const prefix = "accesskey/"

// A Key is an access key without its secret.
type Key struct {
	ID      string        `json:"-"` // begins as the Config says
	Tenant  core.TenantID `json:"-"`
	Name    string        `json:"name,omitempty"` // what it is for, in its maker's words
	Created time.Time     `json:"created"`
	Expires time.Time     `json:"expires,omitzero"` // zero: never
}

// A Secret is what only the key's user and the hub know.
type Secret struct {
	Secret string `json:"secret"`
	Token  string `json:"token,omitempty"` // has to come with each request; "" for keys that do not expire
}

// kept is the record of a key.
type kept struct {
	Key
	Sealed []byte `json:"sealed"` // a Secret
}

// Reader is what the rules read; storage satisfies it.
type Reader interface {
	Tenant(id core.TenantID) (core.Tenant, error)
	Record(t core.TenantID, dialect, key string) ([]byte, error)
	Records(t core.TenantID, dialect, prefix string) iter.Seq2[store.Record, error]
}

// Tx is a transaction that rules write in; *commit.Tx satisfies it.
type Tx interface {
	Reader
	PutRecord(t core.TenantID, dialect, key string, value []byte) error
	DeleteRecord(t core.TenantID, dialect, key string) error
	Emit(e core.Event) error
	After(f func())
	Undo(f func())
	Now() time.Time
}

// Config configures [New]. All of it is required.
type Config struct {
	Store store.Store
	Seal  *seal.Key // of the secrets
	// Dialect is the platform whose API the keys are for: they are among its records.
	Dialect string
	// Permanent and Temporary are what ids of keys begin with, the latter those of keys that expire: by platforms' own words
	// programs that look for leaked secrets recognise keys, and clients tell temporary ones.
	Permanent, Temporary string
}

// Keys are all access keys of a platform. Its methods may be called concurrently.
type Keys struct {
	cfg Config

	// ring has the keys once they have been read, and is dropped when they change: there are few, they change rarely, and
	// each request looks for one.
	ring    atomic.Pointer[map[string]kept]
	changes atomic.Int64 // so far
	pending atomic.Int64 // of those, how many are in transactions that have not ended
}

// New returns the access keys. It does no I/O.
func New(cfg Config) *Keys { return &Keys{cfg: cfg} }

func (ks *Keys) label(t core.TenantID, id string) string {
	return ks.cfg.Dialect + "/" + string(t) + "/" + prefix + id
}

// Make makes a key; expires may be the zero time. The secret is kept nowhere in clear; tell it when the transaction is on
// disk.
func (ks *Keys) Make(tx Tx, t core.TenantID, name string, expires time.Time) (k Key, s Secret, err error) {
	k = Key{ID: ks.cfg.Permanent + rand.Text()[:16], Tenant: t, Name: name, Created: tx.Now(), Expires: expires}
	s = Secret{Secret: random(30)} // forty characters, as clients expect
	if !expires.IsZero() {
		k.ID, s.Token = ks.cfg.Temporary+rand.Text()[:16], random(60)
	}
	if err := ks.make(tx, k, s); err != nil {
		return Key{}, Secret{}, fmt.Errorf("make access key %.100q of %s: %w", name, t, err)
	}
	return k, s, nil
}

func random(n int) string {
	raw := make([]byte, n)
	rand.Read(raw)
	return base64.StdEncoding.EncodeToString(raw)
}

func (ks *Keys) make(tx Tx, k Key, s Secret) error {
	switch {
	case len(k.Name) > MaxNameBytes || !printable(k.Name):
		return fmt.Errorf("%w: a name is at most %d bytes of printable text", core.ErrInvalid, MaxNameBytes)
	case !k.Expires.IsZero() && !k.Expires.After(tx.Now()):
		return fmt.Errorf("%w: it would have expired already", core.ErrInvalid)
	}
	if _, err := tx.Tenant(k.Tenant); err != nil {
		return err
	}
	if err := ks.makeRoom(tx, k.Tenant); err != nil {
		return err
	}
	secret, err := json.Marshal(s)
	if err != nil {
		return err
	}
	value, err := json.Marshal(kept{Key: k, Sealed: ks.cfg.Seal.Seal(secret, ks.label(k.Tenant, k.ID))})
	if err != nil {
		return err
	}
	ks.changing(tx)
	if err := tx.PutRecord(k.Tenant, ks.cfg.Dialect, prefix+k.ID, value); err != nil {
		return err
	}
	return ks.emit(tx, core.AccessKeyCreated, k)
}

// makeRoom deletes keys that have expired, and says if there are too many all the same.
func (ks *Keys) makeRoom(tx Tx, t core.TenantID) error {
	all, err := ks.List(tx, t)
	if err != nil {
		return err
	}
	n := len(all)
	for _, old := range all {
		if old.expired(tx.Now()) {
			n--
			if err := tx.DeleteRecord(t, ks.cfg.Dialect, prefix+old.ID); err != nil {
				return err
			}
		}
	}
	if n >= MaxKeys {
		return fmt.Errorf("%w: there are %d keys", core.ErrTooLarge, n)
	}
	return nil
}

func (k *Key) expired(now time.Time) bool { return !k.Expires.IsZero() && !now.Before(k.Expires) }

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// List returns the keys of a tenant, by id.
func (ks *Keys) List(rd Reader, t core.TenantID) ([]Key, error) {
	list := []Key{}
	for k, err := range ks.records(rd, t) {
		if err != nil {
			return nil, err
		}
		list = append(list, k.Key)
	}
	return list, nil
}

func (ks *Keys) records(rd Reader, t core.TenantID) iter.Seq2[kept, error] {
	return func(yield func(kept, error) bool) {
		for r, err := range rd.Records(t, ks.cfg.Dialect, prefix) {
			var k kept
			if err == nil {
				k, err = parse(t, strings.TrimPrefix(r.Key, prefix), r.Value)
			}
			if !yield(k, err) || err != nil {
				return
			}
		}
	}
}

func parse(t core.TenantID, id string, value []byte) (kept, error) {
	var k kept
	if err := json.Unmarshal(value, &k); err != nil {
		return kept{}, fmt.Errorf("access key %s of %s: %w: %v", id, t, core.ErrStorage, err)
	}
	k.ID, k.Tenant = id, t
	return k, nil
}

// Delete ends a key: it opens nothing from the commit on. The dialect learns of it by the event, and ends connections that it
// has opened. One that is not there is core.ErrNotFound.
func (ks *Keys) Delete(tx Tx, t core.TenantID, id string) error {
	if err := ks.delete(tx, t, id); err != nil {
		return fmt.Errorf("delete access key %.64q of %s: %w", id, t, err)
	}
	return nil
}

func (ks *Keys) delete(tx Tx, t core.TenantID, id string) error {
	value, err := tx.Record(t, ks.cfg.Dialect, prefix+id)
	if err != nil {
		return err
	}
	k, err := parse(t, id, value)
	if err != nil {
		return err
	}
	ks.changing(tx)
	if err := tx.DeleteRecord(t, ks.cfg.Dialect, prefix+id); err != nil {
		return err
	}
	return ks.emit(tx, core.AccessKeyDeleted, k.Key)
}

func (ks *Keys) emit(tx Tx, kind core.EventKind, k Key) error {
	data, err := json.Marshal(struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}{k.ID, k.Name})
	if err != nil {
		return err
	}
	return tx.Emit(core.Event{Device: core.DeviceKey{Tenant: k.Tenant, Dialect: ks.cfg.Dialect}, Kind: kind, Data: data})
}

// changing is called in transactions that change keys. From before such a transaction is on disk until after that no ring is
// kept: whoever is told that a key is gone finds it gone.
func (ks *Keys) changing(tx Tx) {
	ks.pending.Add(1)
	ks.changes.Add(1)
	ks.ring.Store(nil)
	ended := func() { ks.pending.Add(-1) }
	tx.After(ended)
	tx.Undo(ended)
}

// Forget has the keys read anew: it is called in transactions that delete the records of a whole tenant.
func (ks *Keys) Forget(tx Tx) { ks.changing(tx) }

// Find returns a key by its id, whosever it is, with its secret. One that is not there, or has expired, is core.ErrNotFound.
func (ks *Keys) Find(ctx context.Context, id string, now time.Time) (Key, Secret, error) {
	ring := ks.ring.Load()
	if ring == nil {
		var err error
		if ring, err = ks.load(ctx); err != nil {
			return Key{}, Secret{}, err
		}
	}
	k, ok := (*ring)[id]
	if !ok || k.expired(now) {
		return Key{}, Secret{}, fmt.Errorf("access key %.64q: %w", id, core.ErrNotFound)
	}
	text, err := ks.cfg.Seal.Open(k.Sealed, ks.label(k.Tenant, id))
	if err != nil {
		return Key{}, Secret{}, err
	}
	var s Secret
	if err := json.Unmarshal(text, &s); err != nil {
		return Key{}, Secret{}, fmt.Errorf("access key %s: %w: its secret is unreadable", id, core.ErrStorage)
	}
	return k.Key, s, nil
}

// load reads all keys. What was read while some changed is used once and not kept.
func (ks *Keys) load(ctx context.Context) (*map[string]kept, error) {
	before, quiet := ks.changes.Load(), ks.pending.Load() == 0
	ring := map[string]kept{}
	err := ks.cfg.Store.View(ctx, func(rd store.Reader) error {
		tenants, err := rd.Tenants()
		if err != nil {
			return err
		}
		for _, t := range tenants {
			for k, err := range ks.records(rd, t.ID) {
				if err != nil {
					return err
				}
				ring[k.ID] = k
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read access keys: %w", err)
	}
	if quiet && ks.changes.Load() == before {
		ks.ring.Store(&ring)
		if ks.changes.Load() != before { // changed since we looked
			ks.ring.CompareAndSwap(&ring, nil)
		}
	}
	return &ring, nil
}
