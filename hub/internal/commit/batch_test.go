package commit_test

import (
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

func TestBatchSampleDoesNotAllocate(t *testing.T) {
	var b commit.Batch
	series := make([]*core.Series, 20) // more than are searched for
	for i := range series {
		series[i] = &core.Series{Device: core.DeviceNum(i), Channel: "c"}
	}
	value := core.AppendBytes(nil, make([]byte, 128))
	fill := func() {
		for k := range 10 {
			for i, s := range series {
				b.Sample(s, int64(k), int64(k), value)
				b.Count(core.DeviceNum(i%4), "scope", 1, 128)
			}
		}
		b.Reset()
	}
	fill()
	if n := testing.AllocsPerRun(100, fill); n != 0 {
		t.Errorf("got %v allocations for 200 samples, want 0", n)
	}
}

func TestBatchReset(t *testing.T) {
	b := commit.Batch{Owner: newOwner("", nil), Reply: []byte("reply")}
	if !b.Empty() || b.Size() != 5 {
		t.Errorf("a reply changes nothing: empty %v, size %d", b.Empty(), b.Size())
	}
	b.Sample(&core.Series{}, 1, 1, make([]byte, 100))
	b.Count(1, "", 1, 1)
	b.Do(func(*commit.Tx) error { return nil }, nil)
	if b.Empty() || b.Size() < 100 {
		t.Errorf("empty %v, size %d", b.Empty(), b.Size())
	}
	b.Reset()
	if !b.Empty() || b.Size() != 0 || b.Owner != nil || len(b.Reply) != 0 {
		t.Errorf("after reset: %+v", b)
	}
}

// BenchmarkBatchSample is one PUBLISH's share of a batch.
func BenchmarkBatchSample(bm *testing.B) {
	var b commit.Batch
	s := &core.Series{Device: 1, Channel: "c"}
	value := core.AppendBytes(nil, make([]byte, 128))
	bm.ReportAllocs()
	for i := range bm.N {
		if b.Sample(s, int64(i), int64(i), value); b.Size() > 16<<10 {
			b.Reset()
		}
	}
}
