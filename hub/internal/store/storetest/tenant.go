package storetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// populate gives a tenant several of everything, and returns a device of it.
func populate(tx store.Tx, id core.TenantID) (core.DeviceNum, error) {
	errs := []error{tx.InsertTenant(core.Tenant{ID: id, Created: base})}
	num := core.DeviceNum(0)
	for i := range 7 {
		name := fmt.Sprint(i)
		d := core.Device{DeviceKey: core.DeviceKey{Tenant: id, Dialect: []string{"a", "b"}[i%2], ID: core.DeviceID(name)}}
		w := core.Will{Session: core.SessionKey{Tenant: id, Dialect: "a", ClientID: name}}
		errs = append(errs, tx.InsertDevice(&d), tx.PutRecord(id, d.Dialect, name, nil), tx.InsertWill(&w),
			tx.InsertToken(core.Token{ID: string(id) + name, Hash: [32]byte{byte(i), id[0]}, Tenant: id}),
			tx.AppendEvent(&core.Event{Device: d.DeviceKey, Kind: core.DeviceConnected}),
			tx.PutEntry(core.DocumentKey{Device: d.Num}, core.Entry{Path: "/", Value: core.AppendNull(nil)}))
		num = d.Num
	}
	return num, errors.Join(errs...)
}

// inventory counts what a tenant has.
func inventory(t *testing.T, s store.Store, id core.TenantID) (n int) {
	t.Helper()
	view(t, s, func(r store.Reader) error {
		devices, err := r.Devices(id, "", 0, 100)
		events, err2 := r.TenantEvents(id, 0, 100)
		tokens, err3 := r.Tokens()
		n = len(devices) + len(events)
		for _, x := range tokens {
			if x.Tenant == id {
				n++
			}
		}
		for w := range r.Wills() {
			if w.Session.Tenant == id {
				n++
			}
		}
		for _, d := range []string{"a", "b"} {
			n += len(all(t, r.Records(id, d, "")))
		}
		return errors.Join(err, err2, err3)
	})
	return n
}

func testDeleteTenant(t *testing.T, open driver) {
	s := fixture(t, open)
	var num core.DeviceNum
	update(t, s, func(tx store.Tx) (err error) {
		if _, err = populate(tx, "other"); err == nil {
			num, err = populate(tx, "gone")
		}
		return err
	})
	wantKind(t, "close what is not there", s.Update(func(tx store.Tx) error { return tx.CloseTenant("none") }), core.ErrNotFound)
	wantKind(t, "delete what is not there", s.Update(func(tx store.Tx) error { return tx.DeleteTenant("none") }), core.ErrNotFound)
	update(t, s, func(tx store.Tx) error { return errors.Join(tx.CloseTenant("gone"), tx.CloseTenant("gone")) })
	view(t, s, func(r store.Reader) error {
		x, err := r.Tenant("gone")
		diff(t, "tenant", x, core.Tenant{ID: "gone", Created: base, Deleting: true})
		list, err2 := r.Tenants()
		diff(t, "tenants", list, []core.Tenant{x, {ID: "other", Created: base}, {ID: "t", Created: base}})
		return errors.Join(err, err2)
	})
	wantKind(t, "a new device", s.Update(func(tx store.Tx) error {
		return tx.InsertDevice(&core.Device{DeviceKey: core.DeviceKey{Tenant: "gone", Dialect: "a", ID: "new"}})
	}), core.ErrNotFound)
	wantKind(t, "the same name", s.Update(func(tx store.Tx) error { return tx.InsertTenant(core.Tenant{ID: "gone"}) }), core.ErrConflict)
	wantKind(t, "too early", s.Update(func(tx store.Tx) error { return tx.DeleteTenant("gone") }), core.ErrConflict)

	const rows = 7 * 5
	for n := rows; n > 0; {
		changed := 0
		update(t, s, func(tx store.Tx) (err error) {
			changed, err = tx.SweepTenant("gone", 3)
			return err
		})
		if n -= changed; changed < 1 || changed > 3 || n < 0 {
			t.Fatalf("a slice of %d rows, %d left", changed, n)
		}
		diff(t, "left", inventory(t, s, "gone"), n)
	}
	update(t, s, func(tx store.Tx) error {
		n, err := tx.SweepTenant("gone", 3)
		diff(t, "nothing left", n, 0)
		return errors.Join(err, tx.DeleteTenant("gone"))
	})
	view(t, s, func(r store.Reader) error {
		_, err := r.Tenant("gone")
		wantKind(t, "afterwards", err, core.ErrNotFound)
		list, err := r.DeletedDevices(base, 100)
		diff(t, "devices to sweep", len(list), 7)
		diff(t, "one of them", list[6], num)
		return err
	})
	diff(t, "the other one's", inventory(t, s, "other"), rows)
	update(t, s, func(tx store.Tx) error { return tx.InsertTenant(core.Tenant{ID: "gone"}) })
	diff(t, "a new one's", inventory(t, s, "gone"), 0)

	// Sessions and retained messages are not SweepTenant's, and keep the tenant.
	update(t, s, func(tx store.Tx) error {
		x := core.Session{Key: core.SessionKey{Tenant: "gone", Dialect: "a", ClientID: "c"}}
		return errors.Join(tx.InsertSession(&x), tx.CloseTenant("gone"))
	})
	wantKind(t, "with a session", s.Update(func(tx store.Tx) error { return tx.DeleteTenant("gone") }), core.ErrConflict)
}
