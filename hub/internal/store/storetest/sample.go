package storetest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// at is a sample so many seconds after base; its value is its time.
func at(seconds float64) core.Sample {
	tm := base.Add(time.Duration(seconds * float64(time.Second))).Truncate(time.Microsecond)
	return core.Sample{At: tm, Received: tm.Add(time.Millisecond), Value: core.AppendTime(nil, tm)}
}

func block(s *core.Series, samples ...core.Sample) *core.Block {
	b := &core.Block{Series: s}
	for _, x := range samples {
		b.Add(x.At.UnixMicro(), x.Received.UnixMicro(), x.Value)
	}
	return b
}

// collect reads samples, checks that the caller may write to their values, and stops at the first error.
func collect(t *testing.T, r store.Reader, s *core.Series, rng core.Range) (list []core.Sample) {
	t.Helper()
	for x, err := range r.Samples(s, rng) {
		if err != nil {
			t.Errorf("samples: after %d: %v", len(list), err)
			break
		}
		copied := x
		copied.Value = slices.Clone(x.Value)
		list = append(list, copied)
		_ = append(x.Value, "overwritten"...)
		clear(x.Value)
	}
	return list
}

func testSeries(t *testing.T, open driver) {
	s := fixture(t, open)
	d, e := insertDevice(t, s, "a", "d"), insertDevice(t, s, "a", "e")
	channels := []string{"", "A", "a/", "a/b", "a/b\xff", "a0", "ä"}
	update(t, s, func(tx store.Tx) error {
		for _, i := range shuffled(len(channels)) {
			if err := tx.AppendBlock(block(&core.Series{Device: d.Num, Channel: channels[i]}, at(0))); err != nil {
				return err
			}
		}
		return tx.AppendBlock(block(&core.Series{Device: e.Num, Channel: "a/other"}, at(0)))
	})
	view(t, s, func(r store.Reader) error {
		for prefix, want := range map[string][]string{"": channels, "a/": channels[2:5], "a/b": channels[3:5], "x": nil, "ä": channels[6:]} {
			list, err := r.Series(d.Num, prefix)
			if err != nil {
				return err
			}
			var got []string
			for _, x := range list {
				got = append(got, x.Channel)
				if x.Device != d.Num || len(collect(t, r, x, core.Range{})) != 1 {
					t.Errorf("%q: device %d, or not one sample", x.Channel, x.Device)
				}
			}
			diff(t, fmt.Sprintf("prefix %q", prefix), got, want)
		}
		if got := collect(t, r, &core.Series{Device: d.Num, Channel: "never"}, core.Range{}); len(got) != 0 {
			t.Errorf("of a series never stored: got %v", got)
		}
		return nil
	})
}

func testSeriesUndone(t *testing.T, open driver) {
	s := fixture(t, open)
	a, b, c := &core.Series{Device: 1, Channel: "a"}, &core.Series{Device: 1, Channel: "b"}, &core.Series{Device: 1, Channel: "c"}
	err := s.Update(func(tx store.Tx) error {
		if err := tx.AppendBlock(block(a, at(0))); err != nil {
			t.Error(err)
		}
		return errRefused
	})
	if err != errRefused || a.Num() != 0 {
		t.Errorf("after a transaction that was undone: got %v, number %d", err, a.Num())
	}
	update(t, s, func(tx store.Tx) error {
		err := tx.Savepoint(func() error {
			if err := tx.AppendBlock(block(a, at(1))); err != nil {
				t.Error(err)
			}
			return errRefused
		})
		if err != errRefused || a.Num() != 0 {
			t.Errorf("after a savepoint that was undone: got %v, number %d", err, a.Num())
		}
		// b is given the number that a had.
		if err := tx.AppendBlock(block(b, at(2))); err != nil {
			return err
		}
		return tx.Savepoint(func() error { return tx.AppendBlock(block(c, at(3))) })
	})
	num := c.Num()
	if b.Num() == 0 || num == 0 {
		t.Error("numbers are not remembered")
	}
	update(t, s, func(tx store.Tx) error { return tx.AppendBlock(block(a, at(4))) })
	_ = s.Update(func(tx store.Tx) error { _ = tx.AppendBlock(block(c, at(9))); return errRefused })
	view(t, s, func(r store.Reader) error {
		for x, want := range map[*core.Series]core.Sample{a: at(4), b: at(2), c: at(3)} {
			diff(t, x.Channel, collect(t, r, x, core.Range{}), []core.Sample{want})
		}
		return nil
	})
}

// testWideUndone: what a driver learned from a block that is undone is not known of those that follow.
func testWideUndone(t *testing.T, open driver) {
	s := fixture(t, open)
	x := &core.Series{Device: 1, Channel: "x"}
	wide := []core.Sample{at(0), at(3000)}
	update(t, s, func(tx store.Tx) error { return tx.AppendBlock(block(x, at(-10))) })
	if err := s.Update(func(tx store.Tx) error { return errors.Join(tx.AppendBlock(block(x, wide...)), errRefused) }); !errors.Is(err, errRefused) {
		t.Error(err)
	}
	update(t, s, func(tx store.Tx) error {
		_ = tx.Savepoint(func() error { return errors.Join(tx.AppendBlock(block(x, wide...)), errRefused) })
		return tx.AppendBlock(block(x, wide...))
	})
	view(t, s, func(r store.Reader) error {
		diff(t, "forwards", collect(t, r, x, core.Range{Since: base.Add(time.Minute)}), wide[1:])
		diff(t, "backwards", collect(t, r, x, core.Range{Backwards: true}), []core.Sample{at(3000), at(0), at(-10)})
		return nil
	})
}

func testSeriesDeleted(t *testing.T, open driver) {
	s := fixture(t, open)
	a, b := &core.Series{Device: 1, Channel: "x/a"}, &core.Series{Device: 1, Channel: "y"}
	other := &core.Series{Device: 2, Channel: "x/a"}
	long := []core.Sample{at(0), at(3000)}
	update(t, s, func(tx store.Tx) error {
		for _, x := range []*core.Series{a, b, other} {
			if err := tx.AppendBlock(block(x, long...)); err != nil {
				return err
			}
		}
		return nil
	})
	err := s.Update(func(tx store.Tx) error {
		if n, err := tx.DeleteSeries(1, "x/", 1000); err != nil || n == 0 {
			t.Error(n, err)
		}
		return errRefused
	})
	if err != errRefused {
		t.Error(err)
	}
	update(t, s, func(tx store.Tx) error { return tx.AppendBlock(block(a, at(1))) })
	view(t, s, func(r store.Reader) error {
		diff(t, "after an undone deletion", len(collect(t, r, a, core.Range{})), 3)
		return nil
	})
	slices := 0
	for more := true; more; slices++ {
		update(t, s, func(tx store.Tx) error {
			n, err := tx.DeleteSeries(1, "x/", 1)
			more = n > 0
			return err
		})
	}
	if slices < 4 {
		t.Errorf("deleted in %d slices of one row", slices)
	}
	view(t, s, func(r store.Reader) error {
		list, err := r.Series(1, "")
		if len(list) != 1 || list[0].Channel != "y" {
			t.Errorf("got %d series", len(list))
		}
		diff(t, "deleted", len(collect(t, r, a, core.Range{})), 0)
		diff(t, "the other device's", len(collect(t, r, other, core.Range{})), 2)
		return err
	})
	// Whoever still holds the series goes on with it.
	update(t, s, func(tx store.Tx) error { return tx.AppendBlock(block(a, long...)) })
	view(t, s, func(r store.Reader) error {
		diff(t, "stored anew", collect(t, r, &core.Series{Device: 1, Channel: "x/a"}, core.Range{Since: base.Add(time.Second)}), long[1:])
		return nil
	})
}

func testSamples(t *testing.T, open driver) {
	s := fixture(t, open)
	x := &core.Series{Device: 1, Channel: "x"}
	// Out of order within a block, across blocks, and equal times, which keep the order of acceptance.
	same := []core.Sample{at(5), at(5), at(5)}
	for i := range same {
		same[i].Value = core.AppendInt(nil, int64(i))
	}
	update(t, s, func(tx store.Tx) error {
		for _, b := range [][]core.Sample{{at(10), at(8), at(12)}, {at(9), same[0], at(3500)}, {same[1], at(-100), same[2]}, {at(11)}} {
			if err := tx.AppendBlock(block(x, b...)); err != nil {
				return err
			}
		}
		return nil
	})
	want := []core.Sample{at(-100), same[0], same[1], same[2], at(8), at(9), at(10), at(11), at(12), at(3500)}
	back := slices.Clone(want)
	slices.Reverse(back)
	from := func(seconds float64) time.Time { return at(seconds).At }
	view(t, s, func(r store.Reader) error {
		for name, c := range map[string]struct {
			rng  core.Range
			want []core.Sample
		}{
			"all":                   {core.Range{}, want},
			"backwards":             {core.Range{Backwards: true}, back},
			"since is inclusive":    {core.Range{Since: from(8)}, want[4:]},
			"to is exclusive":       {core.Range{To: from(8)}, want[:4]},
			"since just after":      {core.Range{Since: from(8).Add(time.Nanosecond)}, want[5:]},
			"to just after":         {core.Range{To: from(8).Add(time.Nanosecond)}, want[:5]},
			"between":               {core.Range{Since: from(5), To: from(10)}, want[1:6]},
			"between, backwards":    {core.Range{Since: from(5), To: from(10), Backwards: true}, back[4:9]},
			"first":                 {core.Range{Limit: 1}, want[:1]},
			"last":                  {core.Range{Limit: 1, Backwards: true}, back[:1]},
			"limit within equals":   {core.Range{Limit: 3}, want[:3]},
			"limit, backwards":      {core.Range{To: from(6), Limit: 2, Backwards: true}, back[6:8]},
			"limit above":           {core.Range{Limit: 100}, want},
			"empty":                 {core.Range{Since: from(8), To: from(8)}, nil},
			"inverted":              {core.Range{Since: from(9), To: from(8)}, nil},
			"before everything":     {core.Range{To: from(-100)}, nil},
			"after everything":      {core.Range{Since: from(3501)}, nil},
			"only by a long block":  {core.Range{Since: from(3000)}, want[9:]},
			"the same, backwards":   {core.Range{Since: from(3000), Backwards: true}, want[9:]},
			"far from any block":    {core.Range{Since: from(1e7), Backwards: true}, nil},
			"before year one, sort": {core.Range{Since: time.Date(-5000, 1, 1, 0, 0, 0, 0, time.UTC)}, want},
		} {
			diff(t, name, collect(t, r, x, c.rng), c.want)
		}
		return nil
	})
}

func testSamplesNested(t *testing.T, open driver) {
	s := fixture(t, open)
	x := &core.Series{Device: 1, Channel: "x"}
	update(t, s, func(tx store.Tx) error {
		for i := range 5 {
			if err := tx.AppendBlock(block(x, at(float64(i)))); err != nil {
				return err
			}
		}
		n := 0
		for range tx.Samples(x, core.Range{}) {
			for range tx.Samples(x, core.Range{Backwards: true}) {
				n++
			}
			for range tx.Samples(x, core.Range{}) {
				break
			}
		}
		diff(t, "nested", n, 25)
		return nil
	})
}

// testSamplesRandom compares with a sorted slice.
func testSamplesRandom(t *testing.T, open driver) {
	for round := range 8 {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { samplesRandom(t, open, round, rand.New(rand.NewPCG(seed, 0))) })
	}
}

func samplesRandom(t *testing.T, open driver, round int, rnd *rand.Rand) {
	s := fixture(t, open)
	x, other := &core.Series{Device: 1, Channel: "x"}, &core.Series{Device: 1, Channel: "y"}
	spread := []time.Duration{time.Millisecond, time.Second, time.Minute, core.BlockSpan}[round%4]
	var model []core.Sample // in the order of acceptance
	var now time.Duration
	for range 3 {
		update(t, s, func(tx store.Tx) error {
			for range 1 + rnd.IntN(40) {
				b := &core.Block{Series: x}
				for range 1 + rnd.IntN(20) {
					now += time.Duration(rnd.Int64N(int64(spread) / 10))
					tm := base.Add(now - time.Duration(rnd.Int64N(int64(spread)))).Truncate(time.Duration(1+rnd.IntN(3)) * spread / 100).Truncate(time.Microsecond)
					v := core.Sample{At: tm, Received: base.Add(now).Truncate(time.Microsecond), Value: core.AppendInt(nil, int64(len(model)))}
					if !b.Fits(tm.UnixMicro()) {
						break
					}
					b.Add(tm.UnixMicro(), v.Received.UnixMicro(), v.Value)
					model = append(model, v)
				}
				if err := tx.AppendBlock(b); err != nil {
					return err
				}
				if err := tx.AppendBlock(block(other, at(float64(rnd.IntN(100))))); err != nil {
					return err
				}
			}
			return nil
		})
	}
	byTime := slices.Clone(model)
	slices.SortStableFunc(byTime, func(a, b core.Sample) int { return cmp.Compare(a.At.UnixMicro(), b.At.UnixMicro()) })
	view(t, s, func(r store.Reader) error {
		for range 25 {
			rng := core.Range{Backwards: rnd.IntN(2) == 0}
			bound := func() time.Time {
				return byTime[rnd.IntN(len(byTime))].At.Add(time.Duration(rnd.IntN(3)-1) * time.Microsecond)
			}
			if rnd.IntN(3) > 0 {
				rng.Since = bound()
			}
			if rnd.IntN(3) > 0 {
				rng.To = bound()
			}
			if rnd.IntN(2) == 0 {
				rng.Limit = 1 + rnd.IntN(len(model)+5)
			}
			got, want := collect(t, r, x, rng), naive(byTime, rng)
			if !slices.EqualFunc(got, want, same) { // much faster than a diff
				diff(t, fmt.Sprintf("%+v of %d", rng, len(model)), got, want)
			}
		}
		return nil
	})
}

func same(a, b core.Sample) bool {
	return a.At == b.At && a.Received == b.Received && bytes.Equal(a.Value, b.Value)
}

// naive is the meaning of a range on sorted samples.
func naive(sorted []core.Sample, rng core.Range) (list []core.Sample) {
	for _, s := range sorted {
		if (rng.Since.IsZero() || !s.At.Before(rng.Since)) && (rng.To.IsZero() || s.At.Before(rng.To)) {
			list = append(list, s)
		}
	}
	if rng.Backwards {
		slices.Reverse(list)
	}
	if rng.Limit > 0 && len(list) > rng.Limit {
		list = list[:rng.Limit]
	}
	return list
}
