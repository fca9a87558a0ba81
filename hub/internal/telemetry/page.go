package telemetry

import (
	"fmt"
	"math"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// A Mark is a place in a series: behind the Nth sample of those that have the time At. Devices choose the times, so a
// time alone is no place.
type Mark struct {
	At time.Time
	N  int
}

// Page is [Range] for one page: it begins behind a mark (nil: where r begins) and returns the mark of its last sample,
// nil if nothing follows. It ends early when its values weigh more than maxBytes, see [core.Value.Weight]. A sample that is stored between two pages may be missed if it lies in what was read; reading
// backwards one may come twice if another of the very same time is stored meanwhile.
func Page(st Reader, s *core.Series, r core.Range, after *Mark, maxBytes int) ([]core.Sample, *Mark, error) {
	if r.Limit <= 0 || r.Limit > MaxSamples {
		r.Limit = MaxSamples
	}
	limit, skip := r.Limit, 0
	r.Limit = 0
	mark := Mark{}
	if after != nil {
		mark, skip = *after, after.N
		switch end := justAfter(after.At); {
		case r.Backwards && !end.IsZero() && (r.To.IsZero() || end.Before(r.To)):
			r.To = end
		case !r.Backwards && (r.Since.IsZero() || after.At.After(r.Since)):
			r.Since = notZero(after.At)
		}
	}
	var out []core.Sample
	size := 0
	for sample, err := range st.Samples(s, r) {
		if err != nil {
			return nil, nil, fmt.Errorf("read samples of device %d, %q: %w", s.Device, s.Channel, err)
		}
		if skip > 0 && sample.At.Equal(after.At) {
			skip--
			continue
		}
		if len(out) == limit || size > maxBytes {
			return out, &mark, nil
		}
		if !sample.At.Equal(mark.At) {
			mark = Mark{At: sample.At}
		}
		mark.N++
		size += sample.Value.Weight()
		out = append(out, sample)
	}
	return out, nil, nil
}

// justAfter returns the bound that has t, whole microseconds, as the last one before it; zero, that is none, if there is
// no later time.
func justAfter(t time.Time) time.Time {
	if t.UnixMicro() == math.MaxInt64 {
		return time.Time{}
	}
	return notZero(t.Add(time.Microsecond))
}

// notZero returns t, or for the zero time, which as a bound means none, one that selects the same: samples have whole
// microseconds.
func notZero(t time.Time) time.Time {
	if t.IsZero() {
		return t.Add(-1)
	}
	return t
}
