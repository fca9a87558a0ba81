package retain

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// emit stores n events of a device.
func (r *rig) emit(k core.DeviceKey, n int) {
	r.t.Helper()
	r.do(func(tx *commit.Tx) error {
		for range n {
			if err := tx.AppendEvent(&core.Event{At: r.now, Device: k, Kind: "x"}); err != nil {
				return err
			}
		}
		return nil
	})
}

// counts returns how many events each device has.
func (r *rig) counts() map[core.DeviceKey]int64 {
	r.t.Helper()
	all := map[core.DeviceKey]int64{}
	if err := r.store.View(r.t.Context(), func(rd store.Reader) error {
		for c, err := range rd.EventCounts(core.DeviceKey{}) {
			if err != nil {
				return err
			}
			all[c.Device] = c.Count
		}
		return nil
	}); err != nil {
		r.t.Fatal(err)
	}
	return all
}

// TestEventFlood: who has most events loses its oldest; other tenants lose none, and neither do other devices of the same
// tenant, although theirs are older.
func TestEventFlood(t *testing.T) {
	const limit = 1000
	r := start(t, Config{EventCount: limit})
	quiet := core.DeviceKey{Tenant: "a", Dialect: "x", ID: "quiet"}
	sibling := core.DeviceKey{Tenant: "b", Dialect: "x", ID: "sibling"}
	flood := core.DeviceKey{Tenant: "b", Dialect: "x", ID: "flood"}
	tenant := core.DeviceKey{Tenant: "b"}
	r.emit(quiet, 300)
	r.emit(sibling, 100)
	r.emit(tenant, 10)
	for range 5 {
		r.emit(flood, 500)
		r.keep()
	}
	got := r.counts()
	if got[quiet] != 300 || got[sibling] != 100 || got[tenant] != 10 {
		t.Errorf("got %v: want that the others lose nothing", got)
	}
	if n := got[flood]; n != limit-410 {
		t.Errorf("the flood has %d events left, want %d", n, limit-410)
	}
	if st := r.Status(); st.Events != limit || r.Keeper.Stats().Events.Load() != 2910-limit {
		t.Errorf("status: %+v, %d dropped", st, r.Keeper.Stats().Events.Load())
	}
	// It is the oldest ones of the flood that have gone, and the stream of events knows.
	if err := r.store.View(t.Context(), func(rd store.Reader) error {
		list, err := rd.DeviceEvents(flood, 0, 1)
		if last := int64(2910); err == nil && list[0].Seq != last-(limit-410)+1 {
			t.Errorf("the first that is left is %d", list[0].Seq)
		}
		for id, want := range map[core.TenantID]bool{"a": false, "b": true, "": true} {
			if seq, err := rd.DroppedEvents(id); err != nil || (seq > 0) != want {
				t.Errorf("tenant %q: dropped up to %d, %v", id, seq, err)
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	// A little more than the limit is left alone: counting is not for each event.
	r.emit(quiet, limit/eventSlack)
	r.keep()
	if got := r.Status().Events; got != limit+limit/eventSlack {
		t.Errorf("got %d events", got)
	}
	// Then the quiet one grows: the tenants come to share.
	r.emit(quiet, 1000)
	r.keep()
	got = r.counts()
	if a, b := got[quiet], got[flood]+got[sibling]+got[tenant]; a != limit/2 || b != limit/2 || got[sibling] != 100 {
		t.Errorf("got %v", got)
	}
}

// TestManyDevicesWithEvents: of a tenant with more devices than are told apart nothing is dropped twice, nor too much.
func TestManyDevicesWithEvents(t *testing.T) {
	const devices, limit = 3*topDevices + 7, topDevices
	r := start(t, Config{EventCount: limit})
	r.do(func(tx *commit.Tx) error {
		for i := range devices {
			for range 1 + i%3 {
				e := core.Event{At: r.now, Device: core.DeviceKey{Tenant: "a", Dialect: "x", ID: core.DeviceID(fmt.Sprint(i))}, Kind: "x"}
				if err := tx.AppendEvent(&e); err != nil {
					return err
				}
			}
		}
		return nil
	})
	r.keep()
	sum := int64(0)
	for _, n := range r.counts() {
		sum += n
	}
	if sum != limit || r.Keeper.Stats().Events.Load() != 2*devices-limit-1 {
		t.Errorf("got %d events, %d dropped; want %d", sum, r.Keeper.Stats().Events.Load(), limit)
	}
}

func TestLevel(t *testing.T) {
	for _, tt := range []struct {
		has         []int64
		least, take int64
		want        []int64
	}{
		{nil, 0, 5, []int64{}},
		{[]int64{10, 5, 1}, 0, 3, []int64{3}},
		{[]int64{10, 5, 1}, 0, 7, []int64{6, 1}},
		{[]int64{10, 5, 1}, 0, 15, []int64{9, 5, 1}},
		{[]int64{10, 5, 1}, 4, 15, []int64{6, 1}},
		{[]int64{7, 7, 7}, 0, 1, []int64{0, 0, 1}},
	} {
		if got := level(tt.has, func(n int64) int64 { return n }, tt.least, tt.take); !slices.Equal(got, tt.want) {
			t.Errorf("level(%v, %d, %d): got %v, want %v", tt.has, tt.least, tt.take, got, tt.want)
		}
	}
	// Whoever has less than others never ends up with less than before, while these end up with more than it.
	for range 1000 {
		has, sum := make([]int64, 1+rand.IntN(8)), int64(0)
		for i := range has {
			has[i] = rand.Int64N(20)
			sum += has[i]
		}
		slices.SortFunc(has, func(a, b int64) int { return int(b - a) })
		take := rand.Int64N(sum + 1)
		give := level(has, func(n int64) int64 { return n }, 0, take)
		given, left := int64(0), slices.Clone(has)
		for i, n := range give {
			given += n
			left[i] -= n
		}
		if given != take || slices.Min(left) < 0 {
			t.Fatalf("%v, %d: gave %v", has, take, give)
		}
		for i := range give {
			if give[i] > 0 && left[i] < slices.Max(left)-1 {
				t.Fatalf("%v, %d: %v left", has, take, left)
			}
		}
	}
}
