package retain

import (
	"context"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// expire drops the samples of series that have an age of their own. Which they are is read in short views, some devices at
// a time; what is dropped goes through the committer in slices, which can be about several series.
func (k *Keeper) expire(ctx context.Context) error {
	var tenants []core.Tenant
	err := k.cfg.Store.View(ctx, func(rd store.Reader) (err error) {
		tenants, err = rd.Tenants()
		return err
	})
	if err != nil {
		return fmt.Errorf("series that expire: %w", err)
	}
	for _, e := range k.cfg.Expiring {
		for _, t := range tenants {
			for next := core.DeviceNum(0); ; {
				var list []core.Expiring
				err := k.cfg.Store.View(ctx, func(rd store.Reader) (err error) {
					list, next, err = e.Expiring(rd, t.ID, next)
					return err
				})
				if err != nil {
					return fmt.Errorf("series that expire: %w", err)
				}
				if err := k.expireSome(ctx, list); err != nil {
					return fmt.Errorf("drop samples that have expired: %w", err)
				}
				if next == 0 {
					break
				}
			}
		}
	}
	return nil
}

func (k *Keeper) expireSome(ctx context.Context, list []core.Expiring) error {
	now := k.cfg.Now()
	var from store.Place
	for len(list) > 0 {
		var rest []core.Expiring
		var at store.Place
		var sum store.Dropped
		err := k.cfg.Committer.Maintain(ctx, func(tx *commit.Tx) error {
			rest, at, sum = list, from, store.Dropped{}
			for start := time.Now(); len(rest) > 0 && time.Since(start) < sliceTime; {
				d, next, done, err := tx.DropSeriesSamples(rest[0].Series, now.Add(-rest[0].Age), at, sliceBlocks)
				if err != nil {
					return err
				}
				sum.Samples += d.Samples
				sum.Bytes += d.Bytes
				if at = next; done {
					rest, at = rest[1:], store.Place{}
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		list, from = rest, at
		k.stats.Samples.Add(sum.Samples)
		k.stats.SampleBytes.Add(sum.Bytes)
	}
	return nil
}
