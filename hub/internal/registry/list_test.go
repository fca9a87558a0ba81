package registry_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

func TestList(t *testing.T) {
	w := newWorld(t)
	var all []core.Device
	w.do(func(tx *commit.Tx) error {
		for i, tenant := range []core.TenantID{"b", "a", "empty"} {
			if _, err := registry.CreateTenant(tx, tenant); err != nil {
				return err
			}
			if i == 2 {
				break
			}
			for _, dialect := range []string{"mqtt", "astarte"} {
				for n := range 4 {
					d := core.Device{
						DeviceKey: core.DeviceKey{Tenant: tenant, Dialect: dialect, ID: core.DeviceID(fmt.Sprintf("%s-%d", []string{"x", "y"}[n%2], n))},
						Connected: n == 3,
					}
					if err := tx.InsertDevice(&d); err != nil {
						return err
					}
					all = append(all, d)
				}
			}
		}
		return nil
	})
	slices.SortFunc(all, func(a, b core.Device) int {
		return strings.Compare(fmt.Sprint(a.Tenant, "/", a.Dialect, "/", a.ID), fmt.Sprint(b.Tenant, "/", b.Dialect, "/", b.ID))
	})
	yes, no := true, false
	for _, f := range []registry.Filter{
		{},
		{Tenant: "a"},
		{Tenant: "none"},
		{Dialect: "mqtt"},
		{Dialect: "none"},
		{Prefix: "y"},
		{ID: "x-2"},
		{ID: "x"},
		{ID: "x-2", Prefix: "y"},
		{Tenant: "b", Dialect: "mqtt", ID: "y-3", Connected: &yes},
		{Connected: &yes},
		{Tenant: "b", Dialect: "mqtt", Prefix: "x", Connected: &no},
	} {
		var want []core.Device
		for _, d := range all {
			if (f.Tenant == "" || f.Tenant == d.Tenant) && (f.Dialect == "" || f.Dialect == d.Dialect) && (f.ID == "" || f.ID == d.ID) &&
				strings.HasPrefix(string(d.ID), f.Prefix) && (f.Connected == nil || *f.Connected == d.Connected) {
				want = append(want, d)
			}
		}
		for _, limit := range []int{1, 3, 100} {
			var got []core.Device
			err := w.store.View(t.Context(), func(rd store.Reader) error {
				after := core.DeviceKey{}
				for {
					page, err := registry.List(rd, f, after, limit)
					if err != nil || len(page) == 0 {
						return err
					}
					if len(page) > limit {
						return fmt.Errorf("%d devices, limit %d", len(page), limit)
					}
					got = append(got, page...)
					after = page[len(page)-1].DeviceKey
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%+v, limit %d: -want +got\n%s", f, limit, d)
			}
		}
	}
}

func TestCreateTenant(t *testing.T) {
	w := newWorld(t)
	create := func(id core.TenantID) error {
		return w.try(func(tx *commit.Tx) error { _, err := registry.CreateTenant(tx, id); return err })
	}
	w.wantErr("new", create("new_1-x"), nil)
	w.wantErr("again", create("new_1-x"), core.ErrConflict)
	for _, id := range []core.TenantID{"", "A", "-a", "a b", "a/b", "ä", core.TenantID(strings.Repeat("a", 65))} {
		w.wantErr(fmt.Sprintf("%q", id), create(id), core.ErrInvalid)
	}
	if got := w.events(); len(got) != 1 || got[0] != " tenant.created" {
		t.Errorf("events: got %v", got)
	}
}
