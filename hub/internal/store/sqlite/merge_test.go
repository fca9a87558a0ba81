package sqlite

import (
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/hub/internal/store/storetest"
)

// TestMergeInPasses runs the random tests of the suite with so little memory that nearly every query needs many passes.
func TestMergeInPasses(t *testing.T) {
	defer func(n, bytes int) { maxPending, maxPendingBytes = n, bytes }(maxPending, maxPendingBytes)
	maxPending, maxPendingBytes = 8, 2000
	storetest.RunSamples(t, func(t *testing.T, dir string) store.Store { return open(t, Config{Dir: dir}) })
}

// TestOverlappingBlocks: a device that makes all its blocks overlap costs time, not memory.
func TestOverlappingBlocks(t *testing.T) {
	defer func(bytes int) { maxPendingBytes = bytes }(maxPendingBytes)
	maxPendingBytes = 256 << 10
	s := opened(t, Config{})
	x := &core.Series{Device: 1, Channel: "c"}
	const blocks = 400
	value := core.AppendBytes(nil, make([]byte, 4000)) // 3 MB in all
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	end := start + core.BlockSpan.Microseconds()
	if err := s.Update(func(tx store.Tx) error {
		for i := range int64(blocks) {
			b := core.Block{Series: x}
			b.Add(start+i, start, value)
			b.Add(end-i, start, value)
			if err := tx.AppendBlock(&b); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, backwards := range []bool{false, true} {
		if err := s.View(t.Context(), func(r store.Reader) error {
			n, last := 0, int64(0)
			for v, err := range r.Samples(x, core.Range{Backwards: backwards}) {
				if err != nil {
					return err
				}
				at := v.At.UnixMicro()
				if backwards {
					at = -at
				}
				if n > 0 && at <= last {
					t.Fatalf("sample %d: %d after %d", n, at, last)
				}
				last = at
				n++
			}
			if n != 2*blocks {
				t.Errorf("got %d samples, want %d", n, 2*blocks)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
}

// TestLastSample: the newest value of a long series is found without reading much of it.
func TestLastSample(t *testing.T) {
	s := opened(t, Config{})
	x := &core.Series{Device: 1, Channel: "c"}
	if err := s.Update(func(tx store.Tx) error {
		for i := range int64(5_000) {
			b := core.Block{Series: x}
			b.Add(i*100_000, i, core.AppendInt(nil, i)) // ten each second
			if err := tx.AppendBlock(&b); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.View(t.Context(), func(r store.Reader) error {
		m := &merge{r: r.(*reader), num: x.Num(), span: minSpan, since: 0, to: 1 << 60, left: 1, backwards: true, from: lowest}
		read := 0
		m.yield = func(v core.Sample, err error) bool {
			read = len(m.list)
			if got, _ := v.Value.Decode(); got != int64(4_999) || err != nil {
				t.Errorf("got %v, %v", got, err)
			}
			return true
		}
		m.pass()
		if read > 20 {
			t.Errorf("%d blocks were read for one sample", read)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestCeilMicro(t *testing.T) {
	base := time.Date(2026, 1, 1, 0, 0, 0, 1000, time.UTC)
	for _, c := range []struct {
		t    time.Time
		want int64
	}{
		{base, base.UnixMicro()},
		{base.Add(1), base.UnixMicro() + 1},
		{base.Add(-1), base.UnixMicro()},
		{time.Unix(-1, 1).UTC(), -999_999},
		{time.Unix(-1, 0).UTC(), -1_000_000},
	} {
		if got := ceilMicro(c.t.UnixMicro(), c.t.Nanosecond()); got != c.want {
			t.Errorf("%v: got %d, want %d", c.t, got, c.want)
		}
	}
}
