package telemetry_test

import (
	"context"
	"errors"
	"iter"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/hub/internal/store/sqlite"
	"github.com/fairlead-iot/fairlead/hub/internal/telemetry"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// stored returns a store with n samples of a series, one a second from noon on, of alternating kind: i and i+0.5.
func stored(t *testing.T, n int) (store.Store, *core.Series) {
	t.Helper()
	st, err := sqlite.Open(t.Context(), sqlite.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	var s *core.Series
	err = st.Update(func(tx store.Tx) error {
		if err := tx.InsertTenant(core.Tenant{ID: "acme", Created: noon}); err != nil {
			return err
		}
		d := core.Device{DeviceKey: core.DeviceKey{Tenant: "acme", Dialect: "x", ID: "a"}, Created: noon}
		if err := tx.InsertDevice(&d); err != nil {
			return err
		}
		s = &core.Series{Device: d.Num, Channel: "x:1/a"}
		b := core.Block{Series: s}
		for i := range n {
			at := noon.Add(time.Duration(i) * time.Second).UnixMicro()
			v := core.AppendInt(nil, int64(i))
			if i%2 == 1 {
				v = core.AppendFloat(nil, float64(i)+0.5)
			}
			if !b.Fits(at) {
				if err := tx.AppendBlock(&b); err != nil {
					return err
				}
				b.Reset()
				b.Series = s
			}
			b.Add(at, at, v)
		}
		if b.Count == 0 {
			return nil
		}
		return tx.AppendBlock(&b)
	})
	if err != nil {
		t.Fatal(err)
	}
	return st, s
}

func seconds(samples []core.Sample) (out []int) {
	for _, s := range samples {
		out = append(out, int(s.At.Sub(noon)/time.Second))
	}
	return out
}

func view(t *testing.T, st store.Store, f func(rd store.Reader) error) {
	t.Helper()
	if err := st.View(context.Background(), f); err != nil {
		t.Fatal(err)
	}
}

func TestRange(t *testing.T) {
	st, s := stored(t, 6)
	at := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Second) }
	for _, c := range []struct {
		name string
		r    core.Range
		want []int
	}{
		{"all", core.Range{}, []int{0, 1, 2, 3, 4, 5}},
		{"backwards", core.Range{Backwards: true, Limit: 2}, []int{5, 4}},
		{"between", core.Range{Since: at(1), To: at(4)}, []int{1, 2, 3}},
		{"limit", core.Range{Since: at(1), Limit: 2}, []int{1, 2}},
		{"none", core.Range{Since: at(9)}, nil},
	} {
		view(t, st, func(rd store.Reader) error {
			got, err := telemetry.Range(rd, s, c.r)
			if diff := cmp.Diff(c.want, seconds(got)); diff != "" {
				t.Errorf("%s: want -, got +:\n%s", c.name, diff)
			}
			return err
		})
	}
	view(t, st, func(rd store.Reader) error {
		last, found, err := telemetry.Last(rd, s)
		if !found || !last.At.Equal(at(5)) {
			t.Errorf("last: got %v %v", last.At, found)
		}
		_, none, err2 := telemetry.Last(rd, &core.Series{Device: s.Device, Channel: "none"})
		if none {
			t.Errorf("last of nothing: got one")
		}
		return errors.Join(err, err2)
	})
}

func TestRangeIsBounded(t *testing.T) {
	st, s := stored(t, telemetry.MaxSamples+5)
	view(t, st, func(rd store.Reader) error {
		for _, limit := range []int{0, -1, telemetry.MaxSamples + 3} {
			got, err := telemetry.Range(rd, s, core.Range{Limit: limit})
			if err != nil || len(got) != telemetry.MaxSamples {
				t.Errorf("limit %d: got %d samples (%v), want %d", limit, len(got), err, telemetry.MaxSamples)
			}
		}
		return nil
	})
}

func TestPoints(t *testing.T) {
	st, s := stored(t, 5)
	view(t, st, func(rd store.Reader) error {
		var got []any
		points, err := telemetry.Points(rd, s, core.Range{Limit: 4}, func(v core.Value) (any, bool) {
			x, err := v.Decode()
			return x, err == nil && x != int64(2)
		})
		for _, p := range points {
			got = append(got, p.Time().Sub(noon).String(), p.Value(), p.Y)
		}
		// The limit counts samples that are looked at: the one left out is one of them.
		want := []any{"0s", int64(0), 0.0, "1s", 1.5, 1.5, "3s", 3.5, 3.5}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
		points, err2 := telemetry.Points(rd, s, core.Range{}, func(core.Value) (any, bool) { return "no number", true })
		if len(points) != 0 {
			t.Errorf("text: got %v, want no points", points)
		}
		return errors.Join(err, err2)
	})
}

// broken is a reader whose disk fails after one sample.
type broken struct{}

func (broken) Samples(*core.Series, core.Range) iter.Seq2[core.Sample, error] {
	return func(yield func(core.Sample, error) bool) {
		if yield(core.Sample{Value: core.AppendInt(nil, 1)}, nil) {
			yield(core.Sample{}, core.ErrStorage)
		}
	}
}

func TestReadErrors(t *testing.T) {
	s := &core.Series{}
	_, err := telemetry.Range(broken{}, s, core.Range{})
	_, err2 := telemetry.Points(broken{}, s, core.Range{}, func(v core.Value) (any, bool) { return int64(1), true })
	if !errors.Is(err, core.ErrStorage) || !errors.Is(err2, core.ErrStorage) {
		t.Errorf("got %v and %v, want %v", err, err2, core.ErrStorage)
	}
}

// large yields samples of a megabyte without end.
type large struct{}

func (large) Samples(*core.Series, core.Range) iter.Seq2[core.Sample, error] {
	v := make(core.Value, 1<<20)
	return func(yield func(core.Sample, error) bool) {
		for yield(core.Sample{Value: v}, nil) {
		}
	}
}

// flags yields samples of arrays of booleans without end.
type flags struct{}

func (flags) Samples(*core.Series, core.Range) iter.Seq2[core.Sample, error] {
	v := core.AppendArray(nil, 1<<16)
	for range 1 << 16 {
		v = core.AppendBool(v, true)
	}
	return func(yield func(core.Sample, error) bool) {
		for yield(core.Sample{Value: v}, nil) {
		}
	}
}

// TestRangeIsBoundedInMemory: what counts is what is made of the values, not what they take in storage.
func TestRangeIsBoundedInMemory(t *testing.T) {
	got, err := telemetry.Range(flags{}, &core.Series{}, core.Range{})
	if want := telemetry.MaxBytes >> 20; err != nil || len(got) != want { // 1 MiB each
		t.Errorf("got %d samples (%v), want %d", len(got), err, want)
	}
	got, err = telemetry.RangeOf(flags{}, &core.Series{}, core.Range{}, 3<<20)
	if want := telemetry.MaxBytes >> 22; err != nil || len(got) != want {
		t.Errorf("with more for each: got %d samples (%v), want %d", len(got), err, want)
	}
	got, next, err := telemetry.Page(flags{}, &core.Series{}, core.Range{}, nil, 2<<20)
	if err != nil || len(got) != 2 || next == nil {
		t.Errorf("got a page of %d samples (%v), want 2", len(got), err)
	}
}

func TestRangeIsBoundedInBytes(t *testing.T) {
	got, err := telemetry.Range(large{}, &core.Series{}, core.Range{})
	if err != nil || len(got) != telemetry.MaxBytes>>20+1 {
		t.Errorf("got %d samples of 1 MiB (%v), want %d", len(got), err, telemetry.MaxBytes>>20+1)
	}
}
