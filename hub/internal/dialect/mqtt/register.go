package mqtt

import (
	"fmt"
	"sync/atomic"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// DefaultMaxRegistered is that of [Config.MaxRegistered].
const DefaultMaxRegistered = 100_000

// registrations counts the devices of tenants where a certificate has made one: whoever holds an authority's key can sign
// as many certificates as he likes. Counts belong to the committer's goroutine.
type registrations struct {
	devices map[core.TenantID]int // of those tenants where somebody has asked
	refused atomic.Int64
}

// mayRegister says whether a tenant has room for a device that nobody but its certificate asks for.
func (d *Dialect) mayRegister(tx *commit.Tx, t core.TenantID) error {
	r := &d.registrations
	n, known := r.devices[t]
	if !known {
		var err error
		if n, _, err = tx.CountDevices(t, Name); err != nil {
			return err
		}
		r.devices[t] = n
		tx.Undo(func() { delete(r.devices, t) })
	}
	if d.cfg.MaxRegistered > 0 && n >= d.cfg.MaxRegistered {
		r.refused.Add(1)
		return fmt.Errorf("%w: tenant %s has %d devices, and certificates make no more than %d; an operator may add it", core.ErrTooLarge, t, n, d.cfg.MaxRegistered)
	}
	return nil
}

// registered notes that a tenant has n devices more.
func (d *Dialect) registered(tx *commit.Tx, t core.TenantID, n int) {
	r := &d.registrations
	if _, known := r.devices[t]; !known {
		return
	}
	r.devices[t] += n
	tx.Undo(func() { r.devices[t] -= n })
}

// RegistrationsRefused counts the certificates of registered authorities that made no device because there were too many.
func (d *Dialect) RegistrationsRefused() int64 { return d.registrations.refused.Load() }
