package commit_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store/sqlite"
)

// publisher is a connection with a window of one batch.
type publisher struct {
	batch  commit.Batch
	series core.Series
	done   chan error
}

func (p *publisher) Committed(_ *commit.Batch, err error) { p.done <- err }

// BenchmarkIngest measures samples that are on disk, each of 128 bytes, by the number of connections and by how many
// samples each hands in at once before it waits for the acknowledgement.
func BenchmarkIngest(b *testing.B) {
	for _, c := range []struct{ publishers, batch int }{{8, 100}, {500, 10}, {1, 1}} {
		b.Run(fmt.Sprintf("publishers=%d/batch=%d", c.publishers, c.batch), func(b *testing.B) { ingest(b, c.publishers, c.batch, false) })
		b.Run(fmt.Sprintf("publishers=%d/batch=%d/counted", c.publishers, c.batch), func(b *testing.B) { ingest(b, c.publishers, c.batch, true) })
	}
}

func ingest(b *testing.B, publishers, size int, counted bool) {
	st, err := sqlite.Open(b.Context(), sqlite.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	c := commit.New(commit.Config{Store: st})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = c.Run(ctx) })
	defer running.Wait()
	defer stop()

	value := core.Value(core.AppendBytes(nil, make([]byte, 128)))
	b.ReportAllocs()
	b.ResetTimer()
	start, commits := time.Now(), c.Stats().Commits.Load()
	var wg sync.WaitGroup
	for i := range publishers {
		wg.Go(func() {
			p := &publisher{done: make(chan error, 1)}
			p.series = core.Series{Device: core.DeviceNum(i + 1), Channel: "org.example.Telemetry:1/value"}
			for n := 0; n < b.N/publishers+1; n += size {
				p.batch.Owner = p
				now := time.Now().UnixMicro()
				for k := range size {
					p.batch.Sample(&p.series, now+int64(k), now, value)
				}
				if counted {
					p.batch.Count(p.series.Device, "", int64(size), int64(size)*128)
					p.batch.Count(p.series.Device, "org.example.Telemetry:1", int64(size), int64(size)*128)
				}
				if err := c.Submit(&p.batch); err != nil {
					b.Error(err)
					return
				}
				if err := <-p.done; err != nil {
					b.Error(err)
					return
				}
				p.batch.Reset()
			}
		})
	}
	wg.Wait()
	d := time.Since(start).Seconds()
	b.ReportMetric(float64(b.N)/d, "samples/s")
	b.ReportMetric(float64(c.Stats().Commits.Load()-commits)/d, "syncs/s")
}
