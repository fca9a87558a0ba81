// Package telemetry reads samples: the newest one, a range of a series, a range thinned out for a chart. What it returns
// is bounded, however much is stored. Writing has no rules beyond the dialects' and goes through package commit directly.
package telemetry

import (
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

const (
	// MaxSamples is the most samples that one [Range] returns.
	MaxSamples = 10_000
	// MaxBytes is what the values that one [Range] returns weigh at most, see [core.Value.Weight], but for the last sample:
	// 10,000 strings of the size that a device may send would be 640 MB, and as many arrays of booleans 10 GB.
	MaxBytes = 16 << 20
	// MaxPoints is the most samples that one [Points] looks at: enough for a day at five a second, 16 MB.
	MaxPoints = 500_000
)

// Reader is what the package reads; storage satisfies it.
type Reader interface {
	// Samples yields the samples of a series in the order of time, those of a series that was never stored being none.
	Samples(s *core.Series, r core.Range) iter.Seq2[core.Sample, error]
}

// Range returns samples of a series in the order that r asks for: at most r.Limit, and never more than [MaxSamples] or
// [MaxBytes].
// Note that a limit of 0 is "no limit of the caller's".
func Range(st Reader, s *core.Series, r core.Range) ([]core.Sample, error) {
	return RangeOf(st, s, r, 0)
}

// RangeOf is [Range] for who makes more of each sample than it is: each weighs so many bytes more.
func RangeOf(st Reader, s *core.Series, r core.Range, each int) ([]core.Sample, error) {
	if r.Limit <= 0 || r.Limit > MaxSamples {
		r.Limit = MaxSamples
	}
	var out []core.Sample
	size := 0
	for sample, err := range st.Samples(s, r) {
		if err != nil {
			return nil, fmt.Errorf("read samples of device %d, %q: %w", s.Device, s.Channel, err)
		}
		size += sample.Value.Weight() + each
		if out = append(out, sample); len(out) == r.Limit || size > MaxBytes {
			break
		}
	}
	return out, nil
}

// Last returns the newest sample of a series; ok is false if it has none.
func Last(st Reader, s *core.Series) (last core.Sample, ok bool, err error) {
	got, err := Range(st, s, core.Range{Limit: 1, Backwards: true})
	if err != nil || len(got) == 0 {
		return core.Sample{}, false, err
	}
	return got[0], true, nil
}

// A Point is a number at a time: all that a chart needs of a sample.
type Point struct {
	At int64   // microseconds since 1970
	Y  float64 // the number
	N  int64   // the same where IsInt, exact beyond 2^53
	// IsInt tells that the value was stored as an integer.
	IsInt bool
}

// Time returns the time of the point.
func (p Point) Time() time.Time { return time.UnixMicro(p.At).UTC() }

// Value returns the number as it was stored: an int64 or a float64.
func (p Point) Value() any {
	if p.IsInt {
		return p.N
	}
	return p.Y
}

// Points returns the numbers in a range of a series, at most r.Limit and never more than [MaxPoints]. number finds
// the number of a sample's value; samples for which it returns false are left out.
func Points(st Reader, s *core.Series, r core.Range, number func(core.Value) (any, bool)) ([]Point, error) {
	if r.Limit <= 0 || r.Limit > MaxPoints {
		r.Limit = MaxPoints
	}
	var out []Point
	for sample, err := range st.Samples(s, r) {
		if err != nil {
			return nil, fmt.Errorf("read samples of device %d, %q: %w", s.Device, s.Channel, err)
		}
		x, ok := number(sample.Value)
		if !ok {
			continue
		}
		p := Point{At: sample.At.UnixMicro()}
		switch x := x.(type) {
		case int64:
			p.Y, p.N, p.IsInt = float64(x), x, true
		case float64:
			p.Y = x
		default:
			continue
		}
		out = append(out, p)
	}
	return out, nil
}

// Downsample thins points out to n of them that keep the shape of the curve, by "largest triangle three buckets"
// (S. Steinarsson, "Downsampling Time Series for Visual Representation", 2013): the first and the last one stay, and of
// each bucket between them the point that spans the largest triangle with the one chosen before it and the average of
// the next bucket. The points must be in order of time, ascending or descending. Fewer than n+1 points, or n below 3,
// are returned as they are; the result may share the memory of in.
func Downsample(in []Point, n int) []Point {
	if n < 3 || len(in) <= n {
		return in
	}
	// Bucket i is in[edge(i):edge(i+1)], none of them empty; behind the last bucket is the last point alone.
	edge := func(i int) int { return 1 + int(int64(i)*int64(len(in)-2)/int64(n-2)) }
	out := make([]Point, 0, n)
	out = append(out, in[0])
	for i := range n - 2 {
		from, to, next := edge(i), edge(i+1), len(in)
		if i < n-3 {
			next = edge(i + 2)
		}
		x, y := average(in[to:next])
		out = append(out, in[from+largest(out[i], in[from:to], x, y)])
	}
	return append(out, in[len(in)-1])
}

// average returns the middle of points, of which there is at least one.
func average(points []Point) (x, y float64) {
	for _, p := range points {
		x += float64(p.At - points[0].At)
		y += p.Y
	}
	return float64(points[0].At) + x/float64(len(points)), y / float64(len(points))
}

// largest returns the index of the point that spans the largest triangle with a and (x, y). Numbers that are none, as
// devices may send them, span nothing.
func largest(a Point, points []Point, x, y float64) int {
	best, area := 0, math.Inf(-1)
	for i, p := range points {
		s := math.Abs((float64(a.At)-x)*(p.Y-a.Y) - float64(a.At-p.At)*(y-a.Y))
		if s > area {
			best, area = i, s
		}
	}
	return best
}
