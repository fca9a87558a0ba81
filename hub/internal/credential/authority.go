package credential

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// MaxAuthorities is how many authorities a tenant may register.
const MaxAuthorities = 50

// An Authority is a certificate authority, not the hub's, whose certificates open devices of one tenant.
type Authority struct {
	ID     string        `json:"id"` // SHA-256 of the certificate, lower-case hexadecimal
	Tenant core.TenantID `json:"-"`
	PEM    string        `json:"pem"`
	// Register says that a device which shows a certificate of this authority, and is not there, is made.
	Register bool      `json:"register,omitempty"`
	Created  time.Time `json:"created"`
}

const authorityPrefix = "authority/"

// AuthorityReader is what finding authorities reads; storage and its transactions satisfy it.
type AuthorityReader interface {
	Tenants() ([]core.Tenant, error)
	Record(t core.TenantID, dialect, key string) ([]byte, error)
	Records(t core.TenantID, dialect, prefix string) iter.Seq2[store.Record, error]
}

// AuthorityTx is a transaction that authorities are registered in; *commit.Tx satisfies it.
type AuthorityTx interface {
	AuthorityReader
	PutRecord(t core.TenantID, dialect, key string, value []byte) error
	DeleteRecord(t core.TenantID, dialect, key string) error
	Emit(e core.Event) error
	Now() time.Time
}

// Authorities returns those of a tenant, by id.
func Authorities(rd AuthorityReader, t core.TenantID) ([]Authority, error) {
	list := []Authority{}
	for r, err := range rd.Records(t, Dialect, authorityPrefix) {
		if err != nil {
			return nil, fmt.Errorf("authorities of %s: %w", t, err)
		}
		a := Authority{Tenant: t}
		if err := json.Unmarshal(r.Value, &a); err != nil {
			return nil, fmt.Errorf("authority %s of %s: %w: %v", r.Key, t, core.ErrStorage, err)
		}
		list = append(list, a)
	}
	return list, nil
}

// AllAuthorities returns those of all tenants.
func AllAuthorities(rd AuthorityReader) ([]Authority, error) {
	tenants, err := rd.Tenants()
	if err != nil {
		return nil, err
	}
	var all []Authority
	for _, t := range tenants {
		list, err := Authorities(rd, t.ID)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

// RegisterAuthority lets certificates of an authority, given in PEM, open devices of a tenant. An authority belongs to one
// tenant: the certificate says which device it is, and the authority whose. One that is there already is core.ErrConflict.
func RegisterAuthority(tx AuthorityTx, a Authority) (Authority, error) {
	fail := func(err error) (Authority, error) {
		return Authority{}, fmt.Errorf("register authority for %s: %w", a.Tenant, err)
	}
	f, err := ca.ParseForeign([]byte(a.PEM))
	if err != nil {
		return fail(err)
	}
	sum := sha256.Sum256(f.Certificate.Raw)
	a.ID, a.Created, a.PEM = hex.EncodeToString(sum[:]), tx.Now(), string(f.PEM())
	all, err := AllAuthorities(tx)
	if err != nil {
		return fail(err)
	}
	mine := 0
	for _, o := range all {
		if o.Tenant == a.Tenant {
			mine++
		}
		if o.ID == a.ID {
			return fail(fmt.Errorf("%w: it is registered for tenant %s", core.ErrConflict, o.Tenant))
		}
	}
	if mine >= MaxAuthorities {
		return fail(fmt.Errorf("%w: there are %d", core.ErrTooLarge, mine))
	}
	raw, err := json.Marshal(a)
	if err != nil {
		return fail(err)
	}
	if err := tx.PutRecord(a.Tenant, Dialect, authorityPrefix+a.ID, raw); err != nil {
		return fail(err)
	}
	return a, emitAuthority(tx, core.AuthorityRegistered, a.Tenant, a.ID)
}

// AuthorityOf returns the id of the authority that an event is about.
func AuthorityOf(e core.Event) string {
	var data struct {
		ID string `json:"id"`
	}
	_ = json.Unmarshal(e.Data, &data) // of our own making
	return data.ID
}

// HasAuthority reports whether a tenant has registered an authority.
func HasAuthority(rd interface {
	Record(t core.TenantID, dialect, key string) ([]byte, error)
}, t core.TenantID, id string,
) (bool, error) {
	_, err := rd.Record(t, Dialect, authorityPrefix+id)
	if errors.Is(err, core.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func emitAuthority(tx AuthorityTx, kind core.EventKind, t core.TenantID, id string) error {
	data, err := json.Marshal(struct {
		ID string `json:"id"`
	}{id})
	if err != nil {
		return err
	}
	return tx.Emit(core.Event{Kind: kind, Device: core.DeviceKey{Tenant: t, Dialect: Dialect}, Data: data})
}

// RemoveAuthority ends what RegisterAuthority began; core.ErrNotFound if the tenant has none of this id.
func RemoveAuthority(tx AuthorityTx, t core.TenantID, id string) error {
	_, err := tx.Record(t, Dialect, authorityPrefix+id)
	if err == nil {
		err = tx.DeleteRecord(t, Dialect, authorityPrefix+id)
	}
	if err != nil {
		return fmt.Errorf("remove authority %.64q of %s: %w", id, t, err)
	}
	return emitAuthority(tx, core.AuthorityRemoved, t, id)
}
