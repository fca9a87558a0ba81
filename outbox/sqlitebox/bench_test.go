//go:build !(mips || mipsle || mips64 || mips64le)

package sqlitebox_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/outbox"
)

// Budgets of the SDK: one producer appends at 0.7 times the rate at which the disk appends and syncs, or more; many together
// append 60,000 messages a second, or more. Benchmarks print what they found; they do not fail.
//
//	go test -run '^$' -bench . -benchtime 2s ./outbox/sqlitebox

// benchMessage has the size of a typical one.
func benchMessage() outbox.Message {
	return outbox.Message{Header: make([]byte, 40), Payload: make([]byte, 128)}
}

// benchDir is on the disk that TMPDIR names; on a tmpfs the comparison says nothing.
func benchBox(b *testing.B) (*outbox.Outbox, string) {
	dir := b.TempDir()
	o := openBox(b, dir, outbox.Config{MaxMessages: 1 << 30, MaxBytes: 1 << 40})
	b.Cleanup(func() {
		if err := o.Close(); err != nil {
			b.Error(err)
		}
	})
	return o, dir
}

// BenchmarkAppendAlone has one producer, and compares it with the same bytes appended to a file and synced, in turns of 50 each.
func BenchmarkAppendAlone(b *testing.B) {
	o, dir := benchBox(b)
	f, err := os.Create(filepath.Join(dir, "raw"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	m := benchMessage()
	line := make([]byte, len(m.Header)+len(m.Payload))
	var box, raw time.Duration
	n := 0
	for b.Loop() {
		start := time.Now()
		for range 50 {
			if _, err := o.Append(b.Context(), m); err != nil {
				b.Fatal(err)
			}
		}
		between := time.Now()
		for range 50 {
			if _, err := f.Write(line); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
		}
		box += between.Sub(start)
		raw += time.Since(between)
		n += 50
	}
	b.ReportMetric(float64(n)/box.Seconds(), "appends/s")
	b.ReportMetric(float64(n)/raw.Seconds(), "raw/s")
	b.ReportMetric(raw.Seconds()/box.Seconds(), "ratio")
}

// BenchmarkAppendTogether has many producers at once.
func BenchmarkAppendTogether(b *testing.B) {
	for _, c := range []struct {
		name      string
		producers int
	}{{"8", 8}, {"64", 64}, {"256", 256}} {
		b.Run(c.name, func(b *testing.B) {
			o, _ := benchBox(b)
			var wg sync.WaitGroup
			b.ResetTimer()
			for p := range c.producers {
				wg.Go(func() {
					m := benchMessage()
					for i := p; i < b.N; i += c.producers {
						if _, err := o.Append(b.Context(), m); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
		})
	}
}

// BenchmarkDrain reads and deletes in pages, as a sender does.
func BenchmarkDrain(b *testing.B) {
	o, _ := benchBox(b)
	fill(b, o, b.N)
	r := o.Reader()
	b.ResetTimer()
	for n := 0; n < b.N; {
		page, err := r.Next(b.Context(), 200)
		if err != nil {
			b.Fatal(err)
		}
		ids := make([]outbox.ID, len(page))
		for i := range page {
			ids[i] = page[i].ID
		}
		if err := o.Delete(b.Context(), ids...); err != nil {
			b.Fatal(err)
		}
		n += len(page)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "drained/s")
}

// BenchmarkDrainWhileAppending has a sender keep up with producers.
func BenchmarkDrainWhileAppending(b *testing.B) {
	o, _ := benchBox(b)
	var wg sync.WaitGroup
	b.ResetTimer()
	wg.Go(func() { fill(b, o, b.N) })
	r := o.Reader()
	for n := 0; n < b.N; {
		page, err := r.Next(b.Context(), 200)
		if err != nil {
			b.Fatal(err)
		}
		ids := make([]outbox.ID, len(page))
		for i := range page {
			ids[i] = page[i].ID
		}
		if err := o.Delete(b.Context(), ids...); err != nil {
			b.Fatal(err)
		}
		n += len(page)
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "through/s")
}

// fill appends n messages.
func fill(b *testing.B, o *outbox.Outbox, n int) {
	var wg sync.WaitGroup
	for p := range 128 {
		wg.Go(func() {
			m := benchMessage()
			for i := p; i < n; i += 128 {
				if _, err := o.Append(b.Context(), m); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
