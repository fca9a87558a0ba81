package hist

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestBucketsHoldWhatTheyStandFor(t *testing.T) {
	for _, v := range []uint64{0, 1, 63, 64, 65, 127, 128, 1000, 1 << 20, 1<<40 + 12345, math.MaxInt64} {
		i := index(v)
		if i >= len(H{}.counts) {
			t.Fatalf("%d: bucket %d is beyond the last", v, i)
		}
		if lo, hi := lowest(i), lowest(i+1); v < lo || v >= hi {
			t.Errorf("%d: bucket %d holds %d to %d", v, i, lo, hi)
		}
	}
}

func TestQuantile(t *testing.T) {
	var a, b H
	if got := a.Quantile(.5); got != 0 {
		t.Errorf("of nothing: got %v", got)
	}
	var all []time.Duration
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 20_000 {
		d := time.Duration(r.ExpFloat64() * 1e6)
		all = append(all, d)
		[]*H{&a, &b}[i%2].Add(d)
	}
	a.Merge(&b)
	slices.Sort(all)
	for _, q := range []float64{0, .5, .9, .99, 1} {
		want := all[min(int(q*float64(len(all))), len(all)-1)]
		if got := a.Quantile(q); math.Abs(float64(got-want)) > .035*float64(want)+1 {
			t.Errorf("quantile %v: got %v, want %v", q, got, want)
		}
	}
}
