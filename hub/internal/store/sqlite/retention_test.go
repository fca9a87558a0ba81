package sqlite

import (
	"fmt"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// BenchmarkDrop measures what dropping costs, by the size of blocks: how long a transaction with 16 blocks takes. The
// bounds in package retain come from here.
func BenchmarkDrop(b *testing.B) {
	for _, samples := range []int{1, 10, 100, 240} {
		b.Run(fmt.Sprintf("samples=%d", samples), func(b *testing.B) {
			s := opened(b, Config{})
			n := max(b.N*16, 20_000)
			for i := 0; i < n; {
				if err := s.Update(func(tx store.Tx) error {
					for range 500 {
						k := core.Block{Series: &core.Series{Device: core.DeviceNum(i % 1000), Channel: "c"}}
						for range samples {
							k.Add(int64(i), int64(i), core.AppendBytes(nil, make([]byte, 128)))
						}
						i++
						if err := tx.AppendBlock(&k); err != nil {
							return err
						}
					}
					return nil
				}); err != nil {
					b.Fatal(err)
				}
			}
			b.ResetTimer()
			var inside time.Duration
			for range b.N {
				if err := s.Update(func(tx store.Tx) error {
					start := time.Now()
					defer func() { inside += time.Since(start) }()
					d, err := tx.DropSamples(time.UnixMicro(int64(n)), 16)
					if err == nil && d.Blocks != 16 {
						b.Fatal(d)
					}
					return err
				}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(inside.Microseconds())/float64(b.N), "µs-in-tx")
		})
	}
}
