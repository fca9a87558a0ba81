// Package retain keeps the database from growing without end. It drops what was accepted first, samples by age and by
// the size of the database, events by age and number, and it has new data refused while the disk is nearly full, so that
// there is always room for what makes room.
//
// It works in small slices through the committer: between two of them everybody else's data is committed.
package retain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Config configures [New]. Store, Committer and Disk are required. Limits that are zero or negative are none.
type Config struct {
	Store     store.Store
	Committer *commit.Committer
	// Disk returns the size of the disk that the database is on and what is free on it; 0, 0 where that cannot be known.
	Disk func() (size, free int64, err error)

	SampleAge    time.Duration // since they were received
	SampleBytes  int64         // of the database that are in use
	TenantBytes  int64         // of the samples of each tenant
	EventAge     time.Duration
	EventCount   int64
	MinFreeBytes int64 // on the disk and in the database together

	// Expiring are those who know series with an age of their own; may be empty.
	Expiring []Expiring

	Logger *slog.Logger     // nil: discard
	Now    func() time.Time // nil: time.Now

	sumTime time.Duration // for tests; 0: the constant of that name
}

// Expiring knows of series whose samples are kept for a shorter time than others; see dialect.Expirer.
type Expiring interface {
	Expiring(rd store.Reader, t core.TenantID, after core.DeviceNum) (list []core.Expiring, next core.DeviceNum, err error)
}

// A Keeper keeps the limits.
type Keeper struct {
	cfg   Config
	stats Stats

	shares *shares // nil: not known; only Run
	events eventSum

	mu     sync.Mutex
	status Status
}

// Stats counts; all of them only grow.
type Stats struct {
	Samples, SampleBytes, Events atomic.Int64 // dropped
	Refusals                     atomic.Int64 // times that the disk became nearly full
}

// Status says how things stood at the last look.
type Status struct {
	Used, Reusable      int64 // bytes of the database that hold data, and that are free for new data
	DiskSize, DiskFree  int64 // 0: not known
	SampleLimit         int64 // bytes; 0: none
	TenantLimit         int64 // bytes; 0: none
	Largest             int64 // bytes of the samples of the tenant that has most; 0: not known
	MinFree             int64 // bytes; 0: none
	Oldest              time.Time
	Limiting, Refusing  bool // samples are dropped for the size of the database; new data is refused
	Events, OldestEvent int64
}

// Times of the loop.
const (
	guardInterval = time.Second      // between two looks at the disk
	restInterval  = time.Minute      // likewise while nothing is stored
	dropInterval  = 10 * time.Second // between two looks at the limits
	oldInterval   = 5 * time.Minute  // likewise while nothing is stored, and between two looks at all series that have an age of their own
)

// A slice ends after one of these: of its time in a transaction, so that nobody waits long for it. When far too much is
// there it may take longer, or it would never catch up with devices that send a sample in each of very many channels.
// Measured with BenchmarkKeep, without a pause on two busy cores and a database at its limit: 384,000 samples/s in blocks of
// 100 where it is 601,000 without a limit, 18,000 in blocks of one where it is 27,000; the longest commit is the same, with blocks
// of one 371 ms where it is 305.
const (
	sliceTime   = 2 * time.Millisecond
	hurriedTime = 10 * time.Millisecond
	sliceBlocks = 16  // that are dropped between two looks at the clock
	sliceEvents = 100 // likewise
)

// defaults where the configuration has zero: of what the database and the disk have together, at the start.
const (
	defaultShare   = 0.7
	defaultMinFree = 256 << 20
	minFreeShare   = 50 // a disk has at least so many times what stays free
	unknownDisk    = 10 << 30
)

// Defaults returns limits for a disk: the size of the database at which samples go, and what stays free. used is what
// the database takes now, with what is free in it.
func Defaults(used, size, free int64) (sampleBytes, minFree int64) {
	if size == 0 {
		return unknownDisk, 0
	}
	return int64(defaultShare * float64(used+free)), min(defaultMinFree, size/minFreeShare)
}

// New returns a Keeper; nothing happens before [Keeper.Run].
func New(cfg Config) *Keeper {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.sumTime == 0 {
		cfg.sumTime = sumTime
	}
	return &Keeper{cfg: cfg, status: Status{SampleLimit: max(0, cfg.SampleBytes), TenantLimit: max(0, cfg.TenantBytes), MinFree: max(0, cfg.MinFreeBytes)}}
}

// Stats returns the counters, which go on changing.
func (k *Keeper) Stats() *Stats { return &k.stats }

// Status says how things stood at the last look.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status
}

func (k *Keeper) note(change func(*Status)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(&k.status)
}

// Run keeps the limits until ctx ends. What fails is logged and tried again. While nobody stores anything it looks at the
// disk each minute, and at what has become old each five.
func (k *Keeper) Run(ctx context.Context) {
	var drop, expire time.Time
	var stored <-chan struct{} // closed when something was stored since the last look at the limits; nil: there was none
	failing := false
	for {
		now := time.Now() // by the timers' clock, which cannot be set
		err := k.guard(ctx)
		if since := now.Sub(drop); err == nil && (since >= oldInterval || since >= dropInterval && !open(stored)) {
			drop, stored = now, k.cfg.Committer.Changed()
			err = k.drop(ctx)
		}
		if err == nil && len(k.cfg.Expiring) > 0 && now.Sub(expire) >= oldInterval {
			expire = now
			err = k.expire(ctx)
		}
		if ctx.Err() != nil { // also from the waits below
			return
		}
		if err != nil && !failing {
			k.cfg.Logger.Warn("old data cannot be dropped now; it will be tried again", "err", err)
		}
		failing = err != nil
		if wait(ctx, nil, guardInterval); !failing && !k.Status().Refusing && open(stored) {
			wait(ctx, stored, restInterval-guardInterval)
		}
	}
}

// open reports whether a channel is there and not closed.
func open(c <-chan struct{}) bool {
	select {
	case <-c:
		return false
	default:
		return c != nil
	}
}

// wait waits for a while, for a channel (nil: none) or for the end of ctx.
func wait(ctx context.Context, c <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-c:
	case <-timer.C:
	}
}

// guard has new data refused while the disk is nearly full. Room within the database counts, because data that was
// dropped leaves its room there and not on the disk.
func (k *Keeper) guard(ctx context.Context) error {
	size, free, err := k.cfg.Disk()
	if err != nil {
		return fmt.Errorf("free space of the disk: %w", err)
	}
	k.note(func(s *Status) { s.DiskSize, s.DiskFree = size, free })
	least := k.cfg.MinFreeBytes
	refusing := k.cfg.Committer.Refusal() != nil
	if least <= 0 || size == 0 || free >= least && !refusing {
		return nil
	}
	_, reusable, err := k.usage(ctx)
	if err != nil {
		return err
	}
	switch have := free + reusable; {
	case have < least && !refusing:
		k.stats.Refusals.Add(1)
		k.cfg.Logger.Error("the disk is nearly full; new data is refused until there is room", "free", free, "reusable", reusable, "least", least)
		k.cfg.Committer.Refuse(fmt.Errorf("%w: %d MiB of the disk are free, and %d MiB have to stay so", core.ErrStorage, have>>20, least>>20))
	case have >= least+least/8 && refusing: // not back and forth
		k.cfg.Logger.Info("the disk has room again; new data is accepted", "free", free, "reusable", reusable)
		k.cfg.Committer.Refuse(nil)
	}
	k.note(func(s *Status) { s.Refusing = k.cfg.Committer.Refusal() != nil })
	return nil
}

// usage looks at the database and notes what it sees.
func (k *Keeper) usage(ctx context.Context) (used, reusable int64, err error) {
	var oldest time.Time
	err = k.cfg.Store.View(ctx, func(rd store.Reader) error {
		var err, err2 error
		used, reusable, err = rd.Usage()
		oldest, err2 = rd.OldestSamples()
		return errors.Join(err, err2)
	})
	if err == nil {
		k.note(func(s *Status) { s.Used, s.Reusable, s.Oldest = used, reusable, oldest })
	}
	return used, reusable, err
}

// drop brings everything below its limits.
func (k *Keeper) drop(ctx context.Context) error {
	if err := k.dropEvents(ctx); err != nil {
		return err
	}
	if k.cfg.SampleAge > 0 {
		before := k.cfg.Now().Add(-k.cfg.SampleAge)
		if err := k.dropSamples(ctx, before, func(store.Tx) (bool, time.Duration, error) { return true, sliceTime, nil }); err != nil {
			return err
		}
	}
	used, _, err := k.usage(ctx)
	if err != nil {
		return err
	}
	defer k.noteLargest()
	fair, err := k.keepShares(ctx, used)
	limit := k.cfg.SampleBytes
	if err != nil || limit <= 0 {
		return err
	}
	switch limiting := k.Status().Limiting; {
	case used > limit && !limiting:
		k.cfg.Logger.Warn("the database has reached its size; from now on the oldest samples are dropped for new ones", "used", used, "limit", limit)
		k.note(func(s *Status) { s.Limiting = true })
	case used < limit/10*9 && limiting:
		k.note(func(s *Status) { s.Limiting = false })
	}
	if used <= limit {
		return nil
	}
	more := func(tx store.Tx) (bool, time.Duration, error) {
		used, _, err := tx.Usage()
		if used > limit+limit/20 {
			return true, hurriedTime, err
		}
		return used > limit, sliceTime, err
	}
	if fair {
		err = k.dropShares(ctx, more)
	} else {
		err = k.dropSamples(ctx, time.Time{}, more)
	}
	if err != nil {
		return err
	}
	_, _, err = k.usage(ctx)
	return err
}

// dropSamples drops samples from before a time, while more says so, which also says how long a slice may be.
func (k *Keeper) dropSamples(ctx context.Context, before time.Time, more func(store.Tx) (bool, time.Duration, error)) error {
	for done := false; !done; {
		var sum store.Dropped
		err := k.cfg.Committer.Maintain(ctx, func(tx *commit.Tx) error {
			sum, done = store.Dropped{}, false
			for start := time.Now(); ; {
				again, most, err := more(tx)
				if err != nil {
					return err
				}
				if done = !again; done || time.Since(start) >= most {
					return nil
				}
				d, err := tx.DropSamples(before, sliceBlocks)
				if err != nil {
					return err
				}
				sum.Samples += d.Samples
				sum.Bytes += d.Bytes
				if done = d.Blocks == 0; done {
					return nil
				}
			}
		})
		if err != nil {
			return fmt.Errorf("drop samples: %w", err)
		}
		k.stats.Samples.Add(sum.Samples)
		k.stats.SampleBytes.Add(sum.Bytes)
	}
	return nil
}
