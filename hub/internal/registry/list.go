package registry

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// Lister is what [List] reads; storage satisfies it.
type Lister interface {
	Tenants() ([]core.Tenant, error)
	DeviceDialects(t core.TenantID) ([]string, error)
	FindDevices(q core.DeviceQuery) ([]core.Device, error)
}

// A Filter selects devices; zero fields select all.
type Filter struct {
	Tenant    core.TenantID
	Dialect   string
	ID        core.DeviceID
	Prefix    string // the beginning of their ids
	Connected *bool
}

// List returns at most limit devices by tenant, dialect and id, those behind after only. The zero key is before all.
// Whatever is asked for, no more is read than is returned.
func List(rd Lister, f Filter, after core.DeviceKey, limit int) ([]core.Device, error) {
	tenants := []core.Tenant{{ID: f.Tenant}}
	if f.Tenant == "" {
		var err error
		if tenants, err = rd.Tenants(); err != nil {
			return nil, fmt.Errorf("list devices: %w", err)
		}
	}
	var list []core.Device
	for _, t := range tenants {
		if t.ID < after.Tenant {
			continue
		}
		dialects := []string{f.Dialect}
		if f.Dialect == "" {
			var err error
			if dialects, err = rd.DeviceDialects(t.ID); err != nil {
				return nil, fmt.Errorf("list devices: %w", err)
			}
		}
		for _, d := range dialects {
			q := core.DeviceQuery{Tenant: t.ID, Dialect: d, Prefix: f.Prefix, Connected: f.Connected, Limit: limit - len(list)}
			if f.ID != "" { // the first one of those that begin so
				q.Prefix, q.Limit = string(f.ID), 1
			}
			if t.ID == after.Tenant {
				if d < after.Dialect {
					continue
				}
				if d == after.Dialect {
					q.After = after.ID
				}
			}
			page, err := rd.FindDevices(q)
			if err != nil {
				return nil, fmt.Errorf("list devices: %w", err)
			}
			if f.ID != "" {
				page = slices.DeleteFunc(page, func(d core.Device) bool { return d.ID != f.ID || !strings.HasPrefix(string(d.ID), f.Prefix) })
			}
			if list = append(list, page...); len(list) >= limit {
				return list, nil
			}
		}
	}
	return list, nil
}

// TenantTx is what [CreateTenant] needs of a transaction; *commit.Tx satisfies it.
type TenantTx interface {
	Tx
	Tenant(id core.TenantID) (core.Tenant, error)
	InsertTenant(t core.Tenant) error
}

// CloseTenantTx is what [CloseTenant] needs of a transaction; *commit.Tx satisfies it.
type CloseTenantTx interface {
	Tenant(id core.TenantID) (core.Tenant, error)
	CloseTenant(id core.TenantID) error
	Tokens() ([]core.Token, error)
	DeleteToken(id string) error
}

// CloseTenant begins to delete a tenant: it gets no new devices, and its tokens open nothing any more. The rest is deleted
// by and by, see package sweep; until then its name is taken. That its connections end is the caller's business.
func CloseTenant(tx CloseTenantTx, id core.TenantID) (core.Tenant, error) {
	t, err := tx.Tenant(id)
	if err != nil || t.Deleting {
		return t, err
	}
	if err := tx.CloseTenant(id); err != nil {
		return t, fmt.Errorf("delete tenant %s: %w", id, err)
	}
	tokens, err := tx.Tokens()
	if err != nil {
		return t, fmt.Errorf("delete tenant %s: %w", id, err)
	}
	for _, x := range tokens {
		if x.Tenant != id {
			continue
		}
		if err := tx.DeleteToken(x.ID); err != nil {
			return t, fmt.Errorf("delete tenant %s: %w", id, err)
		}
	}
	t.Deleting = true
	return t, nil
}

// CreateTenant makes a tenant without anything in it. One of that name is core.ErrConflict.
func CreateTenant(tx TenantTx, id core.TenantID) (core.Tenant, error) {
	if err := id.Validate(); err != nil {
		return core.Tenant{}, fmt.Errorf("create tenant: %w", err)
	}
	if t, err := tx.Tenant(id); t.Deleting {
		return core.Tenant{}, fmt.Errorf("create tenant %s: %w: one of that name is being deleted", id, core.ErrConflict)
	} else if err == nil {
		return core.Tenant{}, fmt.Errorf("create tenant %s: %w: it exists", id, core.ErrConflict)
	} else if !errors.Is(err, core.ErrNotFound) {
		return core.Tenant{}, fmt.Errorf("create tenant %s: %w", id, err)
	}
	t := core.Tenant{ID: id, Created: tx.Now()}
	if err := tx.InsertTenant(t); err != nil {
		return core.Tenant{}, fmt.Errorf("create tenant %s: %w", id, err)
	}
	return t, tx.Emit(core.Event{Device: core.DeviceKey{Tenant: id}, Kind: core.TenantCreated})
}
