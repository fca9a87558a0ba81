package core

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBlockRoundTrip(t *testing.T) {
	base := time.Date(2026, 5, 6, 7, 8, 9, 123456000, time.UTC)
	want := []Sample{
		{At: base, Received: base, Value: AppendInt(nil, 1)},
		{At: base.Add(-time.Minute), Received: base.Add(time.Second), Value: AppendString(nil, "x")},
		{At: base.Add(time.Minute), Received: base.Add(2 * time.Second), Value: AppendBool(nil, true)},
	}
	var b Block
	for _, s := range want {
		if !b.Fits(s.At.UnixMicro()) {
			t.Fatalf("%v does not fit", s.At)
		}
		b.Add(s.At.UnixMicro(), s.Received.UnixMicro(), s.Value)
	}
	var got []Sample
	for s, ok := range Samples(b.Data) {
		if !ok {
			t.Fatal("malformed")
		}
		got = append(got, s)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	if b.First != want[1].At.UnixMicro() || b.Last != want[2].At.UnixMicro() {
		t.Errorf("span: got %d to %d", b.First, b.Last)
	}
	if b.Fits(base.Add(2 * time.Hour).UnixMicro()) {
		t.Error("a sample two hours later fits")
	}
}

func FuzzSamples(f *testing.F) {
	var b Block
	b.Add(5, 6, []byte{KindNull})
	f.Add(b.Data)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, ok := range Samples(data) {
			if !ok {
				return
			}
		}
	})
}

func BenchmarkBlockAdd(bm *testing.B) {
	v := AppendBytes(nil, make([]byte, 128))
	var b Block
	bm.ReportAllocs()
	for i := range bm.N {
		if !b.Fits(int64(i)) {
			b.Reset()
		}
		b.Add(int64(i), int64(i), v)
	}
}
