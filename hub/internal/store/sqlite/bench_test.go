package sqlite

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// BenchmarkCommitLatency writes 200 MB without a pause, in transactions as a busy hub has them, and reports how long
// single commits took and how large the log became. The numbers behind wal.go come from here.
func BenchmarkCommitLatency(b *testing.B) {
	const transactions, blocks = 2000, 8
	for range b.N {
		dir := b.TempDir()
		s, err := Open(b.Context(), Config{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		list := make([]core.Block, blocks)
		for i := range list {
			list[i].Series = &core.Series{Device: core.DeviceNum(i), Channel: "c"}
			for k := range 100 {
				list[i].Add(int64(k), int64(k), core.AppendBytes(nil, make([]byte, 128)))
			}
		}
		took := make([]time.Duration, transactions)
		var size int64
		for i := range took {
			start := time.Now()
			if err := s.Update(func(tx store.Tx) error {
				for k := range list {
					if err := tx.AppendBlock(&list[k]); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				b.Fatal(err)
			}
			took[i] = time.Since(start)
			if st, err := os.Stat(filepath.Join(dir, dbFile+"-wal")); err == nil {
				size = max(size, st.Size())
			}
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		slices.Sort(took)
		ms := func(share float64) float64 { return took[int(share*float64(len(took)-1))].Seconds() * 1000 }
		b.ReportMetric(ms(0.5), "p50-ms")
		b.ReportMetric(ms(0.99), "p99-ms")
		b.ReportMetric(ms(0.999), "p99.9-ms")
		b.ReportMetric(ms(1), "max-ms")
		b.ReportMetric(float64(size)/(1<<20), "max-log-MiB")
	}
}
