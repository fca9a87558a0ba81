package retain

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

func minutes(n int) time.Duration { return time.Duration(n) * time.Minute }

// series makes a tenant with a device and returns a series of it.
func (r *rig) series(t core.TenantID) *core.Series {
	r.t.Helper()
	d := core.Device{DeviceKey: core.DeviceKey{Tenant: t, Dialect: "a", ID: "d"}}
	r.do(func(tx *commit.Tx) error {
		return errors.Join(tx.InsertTenant(core.Tenant{ID: t}), tx.InsertDevice(&d))
	})
	return &core.Series{Device: d.Num, Channel: "c"}
}

// TestFloodCostsOthersNothing: when the database has reached its size, the samples of whoever has most go, and another
// tenant's stay although they are older.
func TestFloodCostsOthersNothing(t *testing.T) {
	const limit = 8 << 20
	r := start(t, Config{SampleBytes: limit})
	quiet, flood := r.series("quiet"), r.series("flood")
	r.put(quiet, 1000) // 1 MiB and some, the oldest
	for range 4 {
		r.put(flood, 4000)
		r.put(quiet, 10)
		r.keep()
	}
	if n, _ := r.kept(quiet); n != 1040 {
		t.Errorf("the quiet tenant has %d samples, want all 1,040", n)
	}
	n, first := r.kept(flood)
	if n < 2000 || n > 8000 {
		t.Errorf("the flood has %d samples left", n)
	}
	if got := r.now.Sub(first).Minutes(); int(got) > n+100 {
		t.Errorf("the oldest sample of the flood is %v minutes old, with %d left: not the oldest went", got, n)
	}
	if st := r.Keeper.Status(); st.Used > limit+limit/10 || st.Largest == 0 || !st.Limiting {
		t.Errorf("status: %+v", st)
	}
	if !strings.Contains(r.log.String(), "tenant=flood") || strings.Contains(r.log.String(), "tenant=quiet") {
		t.Errorf("logged:\n%s", r.log.String())
	}
	// Then the flood ends and the quiet one grows: they come to share.
	for range 6 {
		r.put(quiet, 1500)
		r.keep()
	}
	a, _ := r.kept(quiet)
	b, _ := r.kept(flood)
	if a < b-200 || a > b+2000 {
		t.Errorf("%d and %d samples, want about the same", a, b)
	}
}

// TestTenantBytes: a bound of each tenant's own, whatever the database has room for.
func TestTenantBytes(t *testing.T) {
	r := start(t, Config{TenantBytes: 1 << 20})
	small, large := r.series("small"), r.series("large")
	r.put(small, 500)
	r.put(large, 3000)
	r.put(small, 300)
	r.keep()
	if n, _ := r.kept(small); n != 800 {
		t.Errorf("%d samples of the small one, want 800", n)
	}
	n, first := r.kept(large)
	if n < 900 || n > 1024 || !first.Equal(r.now.Add(minutes(-300-n))) {
		t.Errorf("%d samples of the large one from %v, want the newest 1 MiB", n, first)
	}
	// All are dropped, and places begin anew.
	r.do(func(tx *commit.Tx) error { _, err := tx.DropSamples(r.now, 100_000); return err })
	r.keep()
	r.put(large, 3000)
	r.keep()
	if n, _ := r.kept(large); n < 900 || n > 1024 {
		t.Errorf("then %d samples", n)
	}
	if st := r.Keeper.Status(); st.TenantLimit != 1<<20 || st.Largest < 900<<10 || st.Largest > 1<<20 {
		t.Errorf("status: %+v", st)
	}
}

// TestSharesForgetWhatWent: what has gone in other ways is out of the sums, at the latest with its segment.
func TestSharesForgetWhatWent(t *testing.T) {
	s := newShares(time.Time{})
	pages := 3 * segmentSize / sumBlocks
	for i := range pages {
		s.add(map[core.TenantID]int64{"a": 2, "b": 1}, store.Place{A: int64(i+1) * 10})
	}
	if len(s.segments) != 3 || s.bytes["a"] != int64(2*pages) {
		t.Fatalf("%d segments, %v", len(s.segments), s.bytes)
	}
	s.begin(store.Place{A: s.segments[0].to.A + 1})
	if len(s.segments) != 2 || s.bytes["a"] != int64(2*pages/3*2) {
		t.Errorf("%d segments, %v", len(s.segments), s.bytes)
	}
	g := s.oldest("b")
	s.forget(g, "b", 1<<40)
	if s.oldest("b") == g || s.oldest("a") != g || s.bytes["b"] != int64(pages/3) {
		t.Errorf("after a segment of b: %v", s.bytes)
	}
	if most, n := s.largest(); most != "a" || n != s.bytes["a"] {
		t.Errorf("largest: %s with %d", most, n)
	}
}
