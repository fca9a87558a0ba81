package sqlite

import (
	"errors"
	"fmt"
	"iter"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

func (r *reader) Tenant(id core.TenantID) (t core.Tenant, err error) {
	found, err := r.c.one(func(r row) { t = tenant(r) }, "SELECT id, created, deleting FROM tenants WHERE id = ?", id)
	if err == nil && !found {
		err = fmt.Errorf("%w: tenant %q", core.ErrNotFound, id)
	}
	return t, err
}

func (r *reader) Tenants() ([]core.Tenant, error) {
	var list []core.Tenant
	for r, err := range r.c.rows("SELECT id, created, deleting FROM tenants ORDER BY id") {
		if err != nil {
			return nil, err
		}
		list = append(list, tenant(r))
	}
	return list, nil
}

func tenant(r row) core.Tenant {
	return core.Tenant{ID: core.TenantID(r.ColumnText(0)), Created: r.time(1), Deleting: r.ColumnBool(2)}
}

const eventColumns = "SELECT seq, at, tenant, dialect, device, kind, data "

func (r *reader) Events(after int64, limit int) ([]core.Event, error) {
	return events(r.c.rows(eventColumns+"FROM events WHERE seq > ? ORDER BY seq LIMIT ?", after, limit))
}

func events(rows iter.Seq2[row, error]) ([]core.Event, error) {
	var list []core.Event
	for r, err := range rows {
		if err != nil {
			return nil, err
		}
		list = append(list, core.Event{
			Seq: r.ColumnInt64(0), At: r.time(1),
			Device: core.DeviceKey{Tenant: core.TenantID(r.ColumnText(2)), Dialect: r.ColumnText(3), ID: core.DeviceID(r.ColumnText(4))},
			Kind:   core.EventKind(r.ColumnText(5)), Data: r.blob(6),
		})
	}
	return list, nil
}

func (r *reader) LastEvent() (seq int64, err error) {
	// Not max(seq): old events may all have been dropped.
	_, err = r.c.one(func(r row) { seq = r.ColumnInt64(0) }, "SELECT seq FROM sqlite_sequence WHERE name = 'events'")
	return seq, err
}

func (t *tx) InsertTenant(x core.Tenant) error {
	err := t.c.exec("INSERT INTO tenants (id, created) VALUES (?, ?)", x.ID, micro(x.Created))
	return exists(err, "tenant", x.ID)
}

func (t *tx) CloseTenant(id core.TenantID) error {
	return t.c.change("tenant", "UPDATE tenants SET deleting = 1 WHERE id = ?", id)
}

// SweepTenant goes through the tables one by one; only the last slice looks at all of them.
func (t *tx) SweepTenant(id core.TenantID, limit int) (done int, err error) {
	devices, err := t.Devices(id, "", 0, limit)
	if err != nil {
		return 0, err
	}
	for _, d := range devices {
		if err := t.DeleteDevice(d.Num); err != nil {
			return done, err
		}
		done++
	}
	for _, sql := range []string{
		"DELETE FROM records WHERE (tenant, dialect, key) IN (SELECT tenant, dialect, key FROM records WHERE tenant = ? LIMIT ?)",
		"DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE tenant = ? LIMIT ?)",
		"DELETE FROM wills WHERE num IN (SELECT num FROM wills WHERE tenant = ? LIMIT ?)",
		"DELETE FROM tokens WHERE id IN (SELECT id FROM tokens WHERE tenant = ? LIMIT ?)",
	} {
		if done >= limit {
			return done, nil
		}
		if err := t.c.exec(sql, id, limit-done); err != nil {
			return done, err
		}
		done += t.c.sq.Changes()
	}
	return done, nil
}

func (t *tx) DeleteTenant(id core.TenantID) error {
	for _, sql := range []string{
		"SELECT 1 FROM devices WHERE tenant = ? LIMIT 1", "SELECT 1 FROM records WHERE tenant = ? LIMIT 1",
		"SELECT 1 FROM sessions WHERE tenant = ? LIMIT 1", "SELECT 1 FROM retained WHERE tenant = ? LIMIT 1",
	} {
		if found, err := t.c.one(func(row) {}, sql, id); err != nil {
			return err
		} else if found {
			return fmt.Errorf("%w: tenant %q is not empty", core.ErrConflict, id)
		}
	}
	return t.c.change("tenant", "DELETE FROM tenants WHERE id = ?", id)
}

func (t *tx) AppendEvent(e *core.Event) error {
	err := t.c.exec("INSERT INTO events (at, tenant, dialect, device, kind, data) VALUES (?, ?, ?, ?, ?, ?)",
		micro(e.At), e.Device.Tenant, e.Device.Dialect, e.Device.ID, string(e.Kind), []byte(e.Data))
	if err != nil {
		return err
	}
	e.Seq = t.c.sq.LastInsertRowID()
	return nil
}

func (t *tx) DropEvents(before int64) (n int, err error) {
	if err := t.c.exec("DELETE FROM events WHERE seq < ?", before); err != nil {
		return 0, err
	}
	return t.c.sq.Changes(), nil
}

// exists says in a conflict what exists already.
func exists(err error, what string, id any) error {
	if errors.Is(err, core.ErrConflict) {
		return fmt.Errorf("%w: %s %v exists", core.ErrConflict, what, id)
	}
	return err
}
