package telemetry

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func points(ys ...float64) []Point {
	out := make([]Point, len(ys))
	for i, y := range ys {
		out[i] = Point{At: 1_700_000_000_000_000 + int64(i)*1_000_000, Y: y}
	}
	return out
}

func reversed(in []Point) []Point {
	out := make([]Point, len(in))
	for i, p := range in {
		out[len(in)-1-i] = p
	}
	return out
}

func ys(in []Point) (out []float64) {
	for _, p := range in {
		out = append(out, p.Y)
	}
	return out
}

func TestDownsample(t *testing.T) {
	spike := points(0, 0, 0, 9, 0, 0, 0, 0, -7, 0)
	for _, c := range []struct {
		name string
		in   []Point
		n    int
		want []float64
	}{
		{"nothing", nil, 5, nil},
		{"fewer than asked for", points(1, 2, 3), 5, []float64{1, 2, 3}},
		{"as many as asked for", points(1, 2, 3), 3, []float64{1, 2, 3}},
		{"n too small to mean anything", points(1, 2, 3, 4), 2, []float64{1, 2, 3, 4}},
		{"three: ends and the farthest", spike, 3, []float64{0, 9, 0}},
		{"both spikes survive", spike, 4, []float64{0, 9, -7, 0}},
		{"backwards", reversed(spike), 4, []float64{0, -7, 9, 0}},
		{"no numbers", points(0, math.NaN(), 5, math.NaN(), 0), 3, []float64{0, 5, 0}},
		{"one less", points(1, 2, 3, 4), 3, []float64{1, 2, 4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, ys(Downsample(c.in, c.n))); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

// FuzzDownsample checks what holds for all input: the right number of points, all of them from the input and in its
// order, both ends kept.
func FuzzDownsample(f *testing.F) {
	f.Add(uint16(10), uint16(3), uint64(1))
	f.Add(uint16(1000), uint16(999), uint64(7))
	f.Fuzz(func(t *testing.T, size, n uint16, seed uint64) {
		in := make([]Point, size%5000)
		for i := range in {
			seed = seed*6364136223846793005 + 1442695040888963407
			in[i] = Point{At: int64(i) * 1000, Y: math.Float64frombits(seed)}
		}
		out := Downsample(in, int(n))
		want := len(in)
		if n >= 3 {
			want = min(want, int(n))
		}
		if len(out) != want {
			t.Fatalf("got %d points of %d for %d, want %d", len(out), len(in), n, want)
		}
		if want > 0 && (out[0].At != in[0].At || out[want-1].At != in[len(in)-1].At) {
			t.Fatalf("the ends are not kept")
		}
		for i := 1; i < len(out); i++ {
			if out[i].At <= out[i-1].At {
				t.Fatalf("point %d is not after the one before it", i)
			}
		}
	})
}
