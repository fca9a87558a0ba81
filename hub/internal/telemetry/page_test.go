package telemetry_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/hub/internal/telemetry"
)

// TestPage reads series of which many samples have the same time, page by page in both directions: nothing may be
// missing and nothing come twice.
func TestPage(t *testing.T) {
	for name, base := range map[string]time.Time{
		"noon":          noon,
		"the zero time": time.Time{}.Add(-2 * time.Second),
		"one behind it": time.Time{}.Add(-time.Second - time.Microsecond),
		"the last":      time.UnixMicro(math.MaxInt64 - 4_000_000),
		"the first":     time.UnixMicro(math.MinInt64),
	} {
		t.Run(name, func(t *testing.T) { testPage(t, base) })
	}
}

func testPage(t *testing.T, base time.Time) {
	st, s := stored(t, 0)
	if err := st.Update(func(tx store.Tx) error {
		b := core.Block{Series: s}
		for i := range 30 {
			at := base.Add(time.Duration(i/7) * time.Second).UnixMicro()
			b.Add(at, at, core.AppendInt(nil, int64(i)))
			if i%4 == 3 {
				if err := tx.AppendBlock(&b); err != nil {
					return err
				}
				b.Reset()
				b.Series = s
			}
		}
		return tx.AppendBlock(&b)
	}); err != nil {
		t.Fatal(err)
	}
	for _, r := range []core.Range{
		{},
		{Since: base.Add(time.Second)},
		{To: base.Add(2 * time.Second)},
		{Since: base.Add(time.Second), To: base.Add(3 * time.Second)},
		{Since: base.Add(3*time.Second + 500*time.Millisecond)},
	} {
		for _, r.Backwards = range []bool{false, true} {
			var want []core.Sample
			view(t, st, func(rd store.Reader) (err error) {
				want, err = telemetry.Range(rd, s, r)
				return err
			})
			for _, limit := range []int{1, 3, 7, 14, 30, 31} {
				t.Run(fmt.Sprintf("%v-%v backwards %v by %d", r.Since, r.To, r.Backwards, limit), func(t *testing.T) {
					r := r
					r.Limit = limit
					var got []core.Sample
					var mark *telemetry.Mark
					for pages := 0; ; pages++ {
						var page []core.Sample
						view(t, st, func(rd store.Reader) (err error) {
							page, mark, err = telemetry.Page(rd, s, r, mark, telemetry.MaxBytes)
							return err
						})
						if len(page) > limit || pages > 40 {
							t.Fatalf("page %d has %d samples, want at most %d", pages, len(page), limit)
						}
						got = append(got, page...)
						if mark == nil {
							break
						}
					}
					if d := cmp.Diff(want, got); d != "" {
						t.Errorf("-want +got\n%s", d)
					}
				})
			}
		}
	}
}

func TestPageIsBoundedInBytes(t *testing.T) {
	st, s := stored(t, 0)
	big := core.AppendBytes(nil, make([]byte, 1<<20))
	const n = 40
	for i := range n {
		if err := st.Update(func(tx store.Tx) error {
			b := core.Block{Series: s}
			b.Add(int64(i), int64(i), big)
			return tx.AppendBlock(&b)
		}); err != nil {
			t.Fatal(err)
		}
	}
	var sizes []int
	var mark *telemetry.Mark
	for first := true; first || mark != nil; first = false {
		view(t, st, func(rd store.Reader) error {
			page, next, err := telemetry.Page(rd, s, core.Range{}, mark, telemetry.MaxBytes)
			sizes, mark = append(sizes, len(page)), next
			return err
		})
	}
	if slices.Max(sizes) > telemetry.MaxBytes>>20+1 || len(sizes) < 3 {
		t.Errorf("got pages of %v samples of 1 MiB", sizes)
	}
}
