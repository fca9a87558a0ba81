package document_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/document"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/hub/internal/store/sqlite"
	"github.com/google/go-cmp/cmp"
)

// tx is a transaction on a real database that keeps its events as text.
type tx struct {
	store.Tx
	now    time.Time
	events []string
	fail   error // of Emit
}

func (t *tx) Now() time.Time { return t.now }

func (t *tx) Emit(e core.Event) error {
	if t.fail == nil {
		t.events = append(t.events, string(e.Device.ID)+" "+string(e.Kind)+" "+string(e.Data))
	}
	return t.fail
}

var (
	day = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	one = core.Value(core.AppendInt(nil, 1)) // AwI=
	two = core.Value(core.AppendInt(nil, 2)) // AwQ=
)

// within runs f on a device's document.
func within(t *testing.T, side core.Side, f func(tx *tx, r document.Ref)) {
	t.Helper()
	st, err := sqlite.Open(t.Context(), sqlite.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	err = st.Update(func(st store.Tx) error {
		if err := st.InsertTenant(core.Tenant{ID: "t"}); err != nil {
			return err
		}
		dev := core.Device{DeviceKey: core.DeviceKey{Tenant: "t", Dialect: "d", ID: "pump-7"}}
		if err := st.InsertDevice(&dev); err != nil {
			return err
		}
		f(&tx{Tx: st, now: day}, document.Ref{Device: dev, Name: "doc", Side: side})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestChangesAreEvents(t *testing.T) {
	for _, test := range []struct {
		name   string
		side   core.Side
		values []core.Value // nil: delete
		want   []string     // data of the events
	}{
		{"reported", core.Reported, []core.Value{one, two, nil}, []string{`"new":"AwI="}`, `"old":"AwI=","new":"AwQ="}`, `"old":"AwQ="}`}},
		{"reported again without a change", core.Reported, []core.Value{one, one}, []string{`"new":"AwI="}`}},
		{"reported, never set", core.Reported, []core.Value{nil}, nil},
		{"desired again: the device is to hear it again", core.Desired, []core.Value{one, one}, []string{`"new":"AwI="}`, `"old":"AwI=","new":"AwI="}`}},
		{
			"desired, never set: the device is to hear it again", core.Desired,
			[]core.Value{one, nil, nil},
			[]string{`"new":"AwI="}`, `"old":"AwI="}`, ``},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			within(t, test.side, func(tx *tx, r document.Ref) {
				var before core.Value
				for _, v := range test.values {
					var old core.Value
					var err error
					if v == nil {
						old, err = document.Delete(tx, r, "/p")
					} else {
						old, err = document.Set(tx, r, "/p", v)
					}
					if err != nil || string(old) != string(before) || (old == nil) != (before == nil) {
						t.Errorf("got old %x, %v, want %x", old, err, before)
					}
					before = v
				}
				want := slices.Clone(test.want)
				for i, data := range want {
					sep := ","
					if data == "" {
						sep, data = "", "}"
					}
					want[i] = `pump-7 document.changed {"document":"doc","side":"` + test.side.String() + `","path":"/p"` + sep + data
				}
				if d := cmp.Diff(want, tx.events); d != "" {
					t.Errorf("-want +got\n%s", d)
				}
			})
		})
	}
}

func TestListIsInOrderAndOfOneSide(t *testing.T) {
	within(t, core.Reported, func(tx *tx, r document.Ref) {
		other := r
		other.Side = core.Desired
		for _, path := range []string{"/b", "/a", "/B"} {
			if _, err := document.Set(tx, r, path, one); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := document.Set(tx, other, "/c", two); err != nil {
			t.Fatal(err)
		}
		tx.now = day.Add(time.Hour)
		if _, err := document.Set(tx, r, "/a", one); err != nil {
			t.Fatal(err)
		}
		got, err := document.List(tx, r)
		want := []core.Entry{{Path: "/B", Value: one, Changed: day}, {Path: "/a", Value: one, Changed: tx.now}, {Path: "/b", Value: one, Changed: day}}
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%v -want +got\n%s", err, d)
		}
	})
}

func TestSetRefusesNothingAndPassesErrorsOn(t *testing.T) {
	within(t, core.Desired, func(tx *tx, r document.Ref) {
		if _, err := document.Set(tx, r, "/p", nil); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("got %v", err)
		}
		tx.fail = core.ErrTooLarge // a dialect refuses the value
		if _, err := document.Set(tx, r, "/p", one); !errors.Is(err, core.ErrTooLarge) {
			t.Errorf("got %v", err)
		}
		if _, err := document.Delete(tx, r, "/p"); !errors.Is(err, core.ErrTooLarge) {
			t.Errorf("got %v", err)
		}
	})
}
