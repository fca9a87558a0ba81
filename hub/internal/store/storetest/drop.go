package storetest

import (
	"math"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// appendAt appends a block of two samples that were received at a time and are of another one.
func appendAt(t *testing.T, s store.Store, x *core.Series, at, received time.Time) {
	t.Helper()
	update(t, s, func(tx store.Tx) error {
		b := core.Block{Series: x}
		for i := range int64(2) {
			b.Add(at.UnixMicro()+i, received.UnixMicro()+i, core.AppendInt(nil, i))
		}
		return tx.AppendBlock(&b)
	})
}

// times returns the times of a series' samples, in seconds after base.
func times(t *testing.T, s store.Store, x *core.Series) (list []int) {
	t.Helper()
	view(t, s, func(r store.Reader) error {
		for v, err := range r.Samples(x, core.Range{}) {
			if err != nil {
				return err
			}
			list = append(list, int(math.Floor(v.At.Sub(base).Seconds())))
		}
		return nil
	})
	return list
}

func drop(t *testing.T, s store.Store, before time.Time, limit int) (d store.Dropped) {
	t.Helper()
	update(t, s, func(tx store.Tx) (err error) {
		d, err = tx.DropSamples(before, limit)
		return err
	})
	d.Bytes = 0 // is the driver's affair
	return d
}

func testDropSamples(t *testing.T, open driver) {
	s := fixture(t, open)
	second := func(n int) time.Time { return base.Add(time.Duration(n) * time.Second) }
	oldest := func(want time.Time) {
		t.Helper()
		view(t, s, func(r store.Reader) error {
			got, err := r.OldestSamples()
			diff(t, "oldest", got, want)
			return err
		})
	}
	oldest(time.Time{})
	diff(t, "dropped of nothing", drop(t, s, time.Time{}, 10), store.Dropped{})
	x, y := &core.Series{Device: 1, Channel: "x"}, &core.Series{Device: 2, Channel: "y"}
	appendAt(t, s, x, second(0), second(1))
	appendAt(t, s, y, second(900), second(2)) // of a time to come
	appendAt(t, s, x, second(-50), second(8)) // of the past, received late
	appendAt(t, s, y, second(5), second(4))   // the clock was set back
	appendAt(t, s, x, second(6), second(9))
	oldest(second(1))
	diff(t, "nothing is so old", drop(t, s, second(1), 10), store.Dropped{})
	diff(t, "one piece", drop(t, s, second(9), 1), store.Dropped{Blocks: 1, Samples: 2})
	diff(t, "x", times(t, s, x), []int{-50, -50, 6, 6})
	oldest(second(2))
	diff(t, "up to the last that is old", drop(t, s, second(5), 10), store.Dropped{Blocks: 3, Samples: 6})
	diff(t, "x", times(t, s, x), []int{6, 6})
	diff(t, "y", times(t, s, y), []int(nil))
	diff(t, "the rest is not old", drop(t, s, second(9), 10), store.Dropped{})
	diff(t, "whatever its age", drop(t, s, time.Time{}, 10), store.Dropped{Blocks: 1, Samples: 2})
	oldest(time.Time{})
	// Series that have lost all their blocks go on.
	appendAt(t, s, x, second(20), second(20))
	diff(t, "x", times(t, s, x), []int{20, 20})
}

func testDropSeriesSamples(t *testing.T, open driver) {
	s := fixture(t, open)
	second := func(n int) time.Time { return base.Add(time.Duration(n) * time.Second) }
	x, y := &core.Series{Device: 1, Channel: "x"}, &core.Series{Device: 2, Channel: "y"}
	for _, b := range [][2]int{{0, 0}, {-100, 50}, {3, 3}, {1, 1}, {500, 2}, {2, 2}, {60, 60}, {-3, -3}, {-3, -2}} {
		appendAt(t, s, x, second(b[0]), second(b[1]))
		appendAt(t, s, y, second(b[0]), second(b[1]))
	}
	for _, limit := range []int{1, 2, 3, 100} {
		var sum store.Dropped
		from, done := store.Place{}, false
		for n := 0; !done; n++ {
			update(t, s, func(tx store.Tx) (err error) {
				var d store.Dropped
				d, from, done, err = tx.DropSeriesSamples(x, second(10), from, limit)
				sum.Blocks += d.Blocks
				sum.Samples += d.Samples
				return err
			})
			if n > 20 {
				t.Fatal("it does not end")
			}
		}
		diff(t, "samples", sum.Samples, 2*sum.Blocks)
	}
	diff(t, "x", times(t, s, x), []int{-100, -100, 60, 60, 500, 500})
	diff(t, "y", times(t, s, y), []int{-100, -100, -3, -3, -3, -3, 0, 0, 1, 1, 2, 2, 3, 3, 60, 60, 500, 500})
	update(t, s, func(tx store.Tx) error {
		_, _, done, err := tx.DropSeriesSamples(&core.Series{Device: 9, Channel: "none"}, second(9), store.Place{}, 1)
		diff(t, "series that is not there", done, true)
		return err
	})
}

// testUsage: what was dropped is free for new data.
func testUsage(t *testing.T, open driver) {
	s := fixture(t, open)
	usage := func() (used, free int64) {
		view(t, s, func(r store.Reader) (err error) {
			used, free, err = r.Usage()
			return err
		})
		return used, free
	}
	empty, _ := usage()
	const size = 1 << 20
	b := core.Block{Series: &core.Series{Device: 1, Channel: "c"}}
	b.Add(0, 0, core.AppendBytes(nil, make([]byte, size)))
	update(t, s, func(tx store.Tx) error { return tx.AppendBlock(&b) })
	full, free := usage()
	if full < empty+size || full > empty+2*size {
		t.Errorf("used %d bytes, and %d with a megabyte", empty, full)
	}
	drop(t, s, time.Time{}, 1)
	used, more := usage()
	if used > full-size || more < free+size {
		t.Errorf("used %d and free %d after it was dropped; %d and %d before", used, more, full, free)
	}
}

// testDropTenantSamples: tenants' blocks lie among each other, and each is dropped from where it begins.
func testDropTenantSamples(t *testing.T, open driver) {
	s := fixture(t, open)
	a := insertDevice(t, s, "x", "a")
	b := core.Device{DeviceKey: core.DeviceKey{Tenant: "u", Dialect: "x", ID: "b"}}
	update(t, s, func(tx store.Tx) error {
		if err := tx.InsertTenant(core.Tenant{ID: "u"}); err != nil {
			return err
		}
		return tx.InsertDevice(&b)
	})
	x, y, orphan := &core.Series{Device: a.Num, Channel: "x"}, &core.Series{Device: b.Num, Channel: "y"}, &core.Series{Device: 99, Channel: "z"}
	for i, k := range []*core.Series{x, y, y, x, orphan, y, x} {
		at := base.Add(time.Duration(i) * time.Second)
		appendAt(t, s, k, at, at)
	}
	sizes := func(limit int) map[core.TenantID]int64 {
		t.Helper()
		sum := map[core.TenantID]int64{}
		for from, done := (store.Place{}), false; !done; {
			view(t, s, func(r store.Reader) error {
				some, next, end, err := r.SampleSizes(from, limit)
				for id, n := range some {
					sum[id] += n
				}
				from, done = next, end
				return err
			})
		}
		return sum
	}
	all := sizes(100)
	for _, limit := range []int{1, 2, 3, 7} {
		diff(t, "in pieces", sizes(limit), all)
	}
	if one := all[""]; one == 0 || all["t"] != 3*one || all["u"] != 3*one {
		t.Errorf("got %v", all)
	}
	var sum store.Dropped
	from, done := store.Place{}, false
	for range 2 { // four of seven blocks
		update(t, s, func(tx store.Tx) (err error) {
			var d store.Dropped
			d, from, done, err = tx.DropTenantSamples("u", from, 2)
			sum.Blocks, sum.Samples, sum.Bytes = sum.Blocks+d.Blocks, sum.Samples+d.Samples, sum.Bytes+d.Bytes
			return err
		})
	}
	diff(t, "dropped", sum, store.Dropped{Blocks: 2, Samples: 4, Bytes: 2 * all[""]})
	diff(t, "done", done, false)
	diff(t, "x", times(t, s, x), []int{0, 0, 3, 3, 6, 6})
	diff(t, "y", times(t, s, y), []int{5, 5})
	update(t, s, func(tx store.Tx) (err error) {
		_, _, done, err = tx.DropTenantSamples("u", from, 100)
		return err
	})
	diff(t, "done", done, true)
	diff(t, "left", sizes(100), map[core.TenantID]int64{"t": all["t"], "": all[""]})
}
