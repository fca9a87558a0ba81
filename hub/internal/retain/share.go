package retain

import (
	"context"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Where several tenants share a database that has reached its size, the one whose samples take most loses its oldest: so
// nobody who has no more than an equal share loses anything because of another one.
//
// What tenants take is summed up in memory, by reading the blocks once and then what comes behind them. Samples that go in
// other ways (a series' age, a deleted device) stay in the sums until these are made anew, once a day.

const (
	sumShare    = 0.8                    // of the size; from there on sums are made
	sumTime     = 500 * time.Millisecond // of each look at the limits, for reading blocks
	sumBlocks   = 2_000                  // that one view reads
	segmentSize = 50_000                 // blocks of a segment
	lookBlocks  = 64                     // that are looked at between two looks at the clock
	sumAge      = 24 * time.Hour
)

// shares is what is known about who takes how much.
type shares struct {
	began    time.Time
	segments []*segment  // in the order of storage
	first    store.Place // the oldest block at the last look
	upTo     store.Place
	whole    bool // the end was reached once
	bytes    map[core.TenantID]int64
	told     map[core.TenantID]bool // those that lose samples now
}

// A segment is some blocks that lie behind each other.
type segment struct {
	from, to store.Place // blocks behind from, up to to
	blocks   int         // that were looked at
	bytes    map[core.TenantID]int64
	at       map[core.TenantID]store.Place // a tenant's blocks up to there are dropped
}

func newShares(now time.Time) *shares {
	return &shares{began: now, bytes: map[core.TenantID]int64{}, told: map[core.TenantID]bool{}}
}

// add sums up blocks that lie behind all the others.
func (s *shares) add(sizes map[core.TenantID]int64, next store.Place) {
	if n := len(s.segments); n == 0 || s.segments[n-1].blocks >= segmentSize {
		s.segments = append(s.segments, &segment{from: s.upTo, bytes: map[core.TenantID]int64{}, at: map[core.TenantID]store.Place{}})
	}
	last := s.segments[len(s.segments)-1]
	for t, n := range sizes {
		last.bytes[t] += n
		s.bytes[t] += n
	}
	last.blocks += sumBlocks
	last.to, s.upTo = next, next
}

// forget takes what is in a segment of a tenant out of the sums, at most n bytes.
func (s *shares) forget(g *segment, t core.TenantID, n int64) {
	n = min(n, g.bytes[t])
	if g.bytes[t] -= n; g.bytes[t] == 0 {
		delete(g.bytes, t)
	}
	if s.bytes[t] -= n; s.bytes[t] == 0 {
		delete(s.bytes, t)
	}
}

// begin drops the segments before the first block that is left.
func (s *shares) begin(first store.Place) {
	s.first = first
	for len(s.segments) > 1 && s.segments[0].to.A < first.A {
		for t, n := range s.segments[0].bytes {
			s.forget(s.segments[0], t, n)
		}
		s.segments = s.segments[1:]
	}
}

// largest returns who takes most.
func (s *shares) largest() (t core.TenantID, bytes int64) {
	for id, n := range s.bytes {
		if n > bytes || n == bytes && id < t {
			t, bytes = id, n
		}
	}
	return t, bytes
}

// oldest returns the first segment that has something of a tenant.
func (s *shares) oldest(t core.TenantID) *segment {
	for _, g := range s.segments {
		if g.bytes[t] > 0 {
			return g
		}
	}
	return nil
}

// noteLargest says what the largest tenant has, for the metrics.
func (k *Keeper) noteLargest() {
	most := int64(0)
	if k.shares != nil && k.shares.whole {
		_, most = k.shares.largest()
	}
	k.note(func(st *Status) { st.Largest = most })
}

// sum brings the sums up to date, as far as its time goes; see shares.whole.
func (k *Keeper) sum(ctx context.Context) (*shares, error) {
	now := k.cfg.Now()
	if k.shares == nil || now.Sub(k.shares.began) >= sumAge {
		k.shares = newShares(now)
	}
	s := k.shares
	for start := time.Now(); time.Since(start) < k.cfg.sumTime; {
		done := false
		err := k.cfg.Store.View(ctx, func(rd store.Reader) error {
			_, first, _, err := rd.SampleSizes(store.Place{}, 1)
			if err != nil {
				return err
			}
			if first.A < s.first.A { // all were dropped meanwhile, and places begin anew
				*s = *newShares(now)
			}
			s.begin(first)
			sizes, next, end, err := rd.SampleSizes(s.upTo, sumBlocks)
			if err != nil {
				return err
			}
			if done = end; len(sizes) > 0 {
				s.add(sizes, next)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("sum up samples: %w", err)
		}
		if done {
			s.whole = true
			break
		}
	}
	return s, nil
}

// keepShares brings each tenant below its bound, and tells whether sums are whole and of several tenants: then it is the
// largest one's samples that go when the database is too large.
func (k *Keeper) keepShares(ctx context.Context, used int64) (fair bool, err error) {
	bound := k.cfg.TenantBytes
	near := k.cfg.SampleBytes > 0 && float64(used) >= sumShare*float64(k.cfg.SampleBytes)
	if bound <= 0 && !near {
		k.shares = nil // to be made anew: it would be out of date
		return false, nil
	}
	s, err := k.sum(ctx)
	if err != nil || !s.whole {
		return false, err
	}
	for bound > 0 {
		t, most := s.largest()
		if most <= bound {
			break
		}
		if err := k.dropOf(ctx, t, "bound", func(store.Tx) (bool, time.Duration, error) { return s.bytes[t] > bound, sliceTime, nil }); err != nil {
			return false, err
		}
	}
	for t := range s.told {
		if s.bytes[t] < bound/10*9 && !k.Status().Limiting {
			delete(s.told, t)
		}
	}
	return len(s.bytes) > 1, nil
}

// dropShares drops the oldest samples of whoever takes most, while more says so.
func (k *Keeper) dropShares(ctx context.Context, more func(store.Tx) (bool, time.Duration, error)) error {
	for again := true; again; {
		t, most := k.shares.largest()
		if most == 0 {
			return nil
		}
		again = false
		err := k.dropOf(ctx, t, "share", func(tx store.Tx) (bool, time.Duration, error) {
			goOn, slice, err := more(tx)
			if other, _ := k.shares.largest(); other != t {
				again = goOn
				return false, slice, err
			}
			return goOn, slice, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// dropOf drops a tenant's oldest samples, in slices, while more says so and there are some.
func (k *Keeper) dropOf(ctx context.Context, t core.TenantID, why string, more func(store.Tx) (bool, time.Duration, error)) error {
	s := k.shares
	if !s.told[t] && t != "" {
		s.told[t] = true
		k.cfg.Logger.Warn("a tenant has as many samples as it may have; from now on its oldest are dropped for new ones",
			"tenant", string(t), "used", s.bytes[t], "reason", why)
	}
	for done := false; !done; {
		g := s.oldest(t)
		if g == nil {
			return nil
		}
		var sum store.Dropped
		err := k.cfg.Committer.Maintain(ctx, func(tx *commit.Tx) error {
			for start := time.Now(); g.bytes[t] > 0; {
				again, most, err := more(tx)
				if err != nil {
					return err
				}
				if done = !again; done || time.Since(start) >= most {
					return nil
				}
				at := g.at[t]
				if at == (store.Place{}) {
					at = g.from
				}
				d, next, end, err := tx.DropTenantSamples(t, at, lookBlocks)
				if err != nil {
					return err
				}
				sum.Samples += d.Samples
				sum.Bytes += d.Bytes
				g.at[t] = next
				s.forget(g, t, d.Bytes)
				if end || next.A >= g.to.A { // what the sums still have of it has gone in another way
					s.forget(g, t, g.bytes[t])
				}
			}
			return nil
		})
		if err != nil {
			k.shares = nil // they may have what was undone
			return fmt.Errorf("drop samples of tenant %s: %w", t, err)
		}
		k.stats.Samples.Add(sum.Samples)
		k.stats.SampleBytes.Add(sum.Bytes)
	}
	return nil
}
