package broker

import (
	"errors"
	"fmt"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// Tenants that are being deleted. The transaction that closes a tenant ends its connections, and nobody gets in any more;
// sessions and what is retained go in slices, see package sweep.

// errClosed is how bind refuses clients of a tenant that is being deleted.
var errClosed = fmt.Errorf("%w: the tenant is being deleted", core.ErrDenied)

// loadClosed brings back which tenants are being deleted.
func (b *Broker) loadClosed(tx *commit.Tx) error {
	tenants, err := tx.Tenants()
	for _, t := range tenants {
		if t.Deleting {
			b.closed[t.ID] = true
		}
	}
	return err
}

// CloseTenant ends all connections of a tenant that is to be deleted, and lets nobody in any more.
func (b *Broker) CloseTenant(tx *commit.Tx, t core.TenantID) {
	if b.closed[t] {
		return
	}
	b.closed[t] = true
	tx.Undo(func() { delete(b.closed, t) })
	tx.After(func() {
		for _, c := range b.connections() {
			if c.grant.Session.Tenant == t {
				c.leave(&ending{mqtt.ReasonAdministrativeAction, "tenant deleted"})
			}
		}
	})
}

// ServingTenant reports whether a tenant has a connection that has not ended yet.
func (b *Broker) ServingTenant(t core.TenantID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k := range b.current {
		if k.Tenant == t {
			return true
		}
	}
	return false
}

// ForgetTenant forgets at most limit sessions and retained messages of a tenant that is closed and has no connections, and
// returns how many; 0 is the end. Wills are not published: nobody is left to hear them.
func (b *Broker) ForgetTenant(tx *commit.Tx, t core.TenantID, limit int) (done int, err error) {
	if b.tenants[t] > 0 {
		for k, s := range b.sessions {
			if k.Tenant != t || s.conn != nil {
				continue
			}
			if done == limit {
				return done, nil
			}
			if err := b.forget(tx, s); err != nil {
				return done, err
			}
			done++
		}
	}
	dropped, err := tx.DropTenantRetained(t, limit-done)
	for _, d := range dropped {
		b.counted(tx, b.audience(core.SessionKey{Tenant: d.Tenant, Dialect: d.Dialect}), -d.Count, -int64(d.Bytes))
	}
	return done + len(dropped), err
}

// TenantDeleted takes a tenant that has nothing any more out of what the broker knows: a new one may have its name.
func (b *Broker) TenantDeleted(tx *commit.Tx, t core.TenantID) {
	tx.After(func() {
		delete(b.closed, t)
		delete(b.kept, t)
		for sc := range b.scopes {
			if sc.tenant == t {
				delete(b.scopes, sc)
			}
		}
	})
}

// hasTenant reports whether a tenant is there, and is not being deleted.
func hasTenant(tx *commit.Tx, id core.TenantID) (bool, error) {
	t, err := tx.Tenant(id)
	if errors.Is(err, core.ErrNotFound) {
		return false, nil
	}
	return err == nil && !t.Deleting, err
}
