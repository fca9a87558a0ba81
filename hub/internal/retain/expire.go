package retain

import (
	"context"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// expiring is a series and its age.
type expiring struct {
	series *core.Series
	age    time.Duration
}

// expire drops the samples of series that have an age of their own. Which they are is read in a view; what is dropped
// goes through the committer in slices, which can be about several series.
func (k *Keeper) expire(ctx context.Context) error {
	var list []expiring
	for _, e := range k.cfg.Expiring {
		err := k.cfg.Store.View(ctx, func(rd store.Reader) error {
			return e.Expiring(rd, func(s *core.Series, age time.Duration) bool {
				list = append(list, expiring{s, age})
				return ctx.Err() == nil
			})
		})
		if err != nil {
			return fmt.Errorf("series that expire: %w", err)
		}
	}
	now := k.cfg.Now()
	var from store.Place
	for len(list) > 0 {
		rest, at, samples, bytes := list, from, int64(0), int64(0)
		err := k.cfg.Committer.Maintain(ctx, func(tx *commit.Tx) error {
			rest, at, samples, bytes = list, from, 0, 0
			for start := time.Now(); len(rest) > 0 && time.Since(start) < sliceTime; {
				d, next, done, err := tx.DropSeriesSamples(rest[0].series, now.Add(-rest[0].age), at, sliceBlocks)
				if err != nil {
					return err
				}
				samples += d.Samples
				bytes += d.Bytes
				if at = next; done {
					rest, at = rest[1:], store.Place{}
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("drop samples that have expired: %w", err)
		}
		list, from = rest, at
		k.stats.Samples.Add(samples)
		k.stats.SampleBytes.Add(bytes)
	}
	return nil
}
