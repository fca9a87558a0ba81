// Package commit is the one way to disk. Connections and HTTP handlers hand in what they want stored; one goroutine
// takes everything that has come together, writes it in one transaction, syncs, and only then lets acknowledgements,
// replies and messages out. So a sync is shared by all who wait for it, and nothing is ever acknowledged that a power
// cut could still take away.
//
// Everything that depends on stored state is decided inside the transaction, on that one goroutine: there is nothing
// to lock and nothing to race with.
package commit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Config configures a [Committer]. Store is required.
type Config struct {
	Store  store.Store
	Logger *slog.Logger // nil: discard
	// Notify is called for each event inside the transaction that emits it, so that the messages it causes are
	// committed together with it. An error undoes the operation that emitted the event. nil: nobody is told.
	Notify func(*Tx, core.Event) error
	// MaxQueuedBytes bounds what waits for the next transaction; submitters wait while it is exceeded. 0: 32 MiB.
	MaxQueuedBytes int
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// A Committer commits. See the package comment.
type Committer struct {
	cfg Config

	mu       sync.Mutex
	work     sync.Cond // the queue is not empty, or stopping
	room     sync.Cond // the queue has been taken, or stopping
	queue    []*Batch
	bytes    int
	stopping bool

	spare []*Batch // the slice that the queue used before
	stats Stats
	down  atomic.Bool
}

// Stats counts what a [Committer] has done.
type Stats struct {
	Commits, Batches, Failures atomic.Int64
}

// New returns a Committer; nothing is committed before [Committer.Run].
func New(cfg Config) *Committer {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxQueuedBytes == 0 {
		cfg.MaxQueuedBytes = 32 << 20
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &Committer{cfg: cfg}
	c.work.L, c.room.L = &c.mu, &c.mu
	return c
}

// Stats returns the counters, which go on changing.
func (c *Committer) Stats() *Stats { return &c.stats }

// Healthy reports whether the last commit succeeded.
func (c *Committer) Healthy() bool { return !c.down.Load() }

// Submit hands a batch in, and waits while too much is queued. After core.ErrStopping the batch is still the caller's
// and its owner is not called.
func (c *Committer) Submit(b *Batch) error {
	c.mu.Lock()
	for c.bytes > c.cfg.MaxQueuedBytes && !c.stopping {
		c.room.Wait()
	}
	if c.stopping {
		c.mu.Unlock()
		return fmt.Errorf("commit: %w", core.ErrStopping)
	}
	c.queue = append(c.queue, b)
	c.bytes += b.Size()
	if len(c.queue) == 1 {
		c.work.Signal()
	}
	c.mu.Unlock()
	return nil
}

// Do commits one operation and returns its error, or nil when it is on disk. When ctx ends first the outcome is not
// known to the caller: the operation may still be committed.
func (c *Committer) Do(ctx context.Context, do func(*Tx) error) error {
	w := &waiter{done: make(chan error, 1)}
	w.batch.Owner = w
	w.batch.Do(do, func(err error) { w.err = err })
	if err := c.Submit(&w.batch); err != nil {
		return err
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// waiter is the owner of a batch of one operation.
type waiter struct {
	batch Batch
	err   error
	done  chan error
}

func (w *waiter) Committed(_ *Batch, err error) {
	if err == nil {
		err = w.err
	}
	w.done <- err
}

// Run commits until ctx ends, then finishes what was submitted and returns. What is submitted later is refused.
func (c *Committer) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		c.stopping = true
		c.mu.Unlock()
		c.work.Broadcast()
		c.room.Broadcast()
	})
	defer stop()
	for {
		c.mu.Lock()
		for len(c.queue) == 0 && !c.stopping {
			c.work.Wait()
		}
		if len(c.queue) == 0 {
			c.mu.Unlock()
			return nil
		}
		batches := c.queue
		c.queue, c.bytes = c.spare[:0], 0
		c.mu.Unlock()
		c.room.Broadcast()
		c.commit(batches)
		clear(batches)
		c.spare = batches
	}
}

// commit writes the batches in one transaction and tells their owners.
func (c *Committer) commit(batches []*Batch) {
	tx := &Tx{committer: c, now: c.cfg.Now()}
	var results []error // of the operations, in order
	changes := false
	for _, b := range batches {
		changes = changes || !b.Empty()
	}
	var err error
	if changes {
		err = c.cfg.Store.Update(func(st store.Tx) error {
			tx.Tx = st
			results, err = tx.apply(batches)
			return err
		})
		c.report(err)
	}
	if err != nil {
		tx.rollback(0)
		if !errors.Is(err, core.ErrStorage) {
			err = fmt.Errorf("%w: %v", core.ErrStorage, err)
		}
	}
	i := 0
	for _, b := range batches {
		for _, o := range b.ops {
			res := err
			if err == nil {
				res = results[i]
			}
			i++
			if o.done != nil {
				o.done(res)
			}
		}
	}
	// Acknowledgements first, then what the changes cause: a client that hears of its own message has its PUBACK already.
	for _, b := range batches {
		b.Owner.Committed(b, err)
	}
	if err == nil {
		for _, f := range tx.after {
			f()
		}
	}
}

// report counts, and logs when the disk begins to refuse and when it is well again, once each.
func (c *Committer) report(err error) {
	if err == nil {
		c.stats.Commits.Add(1)
		if c.down.Swap(false) {
			c.cfg.Logger.Info("storage accepts writes again")
		}
		return
	}
	c.stats.Failures.Add(1)
	if !c.down.Swap(true) {
		c.cfg.Logger.Error("storage refuses writes; clients are refused until it recovers", "err", err)
	}
}
