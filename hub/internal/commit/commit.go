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
	"slices"
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
	// MaxQueuedBytes bounds what waits for a transaction; submitters wait while it is exceeded. 0: 32 MiB.
	MaxQueuedBytes int
	// MaxTransactionBytes bounds what goes into one transaction, so that nobody waits long for one that has begun; see
	// [Batch] for what counts. A single batch may be larger. 0: 4 MiB.
	MaxTransactionBytes int
	// Observe is told of each transaction when it has ended: when it began, how many batches and operations it had, and
	// whether the disk refused it. It runs on the committer's goroutine and must be quick. nil: nobody is told.
	Observe func(begun time.Time, batches, operations int, err error)
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// A Committer commits. See the package comment.
type Committer struct {
	cfg Config

	mu       sync.Mutex
	work     sync.Cond // something in the queue is due, or stopping
	room     sync.Cond // the queue has been taken, or stopping
	queue    []*Batch
	due      bool      // somebody waits for what is in the queue
	dueAt    time.Time // when it will be, if nobody comes before; zero: never
	alarm    *time.Timer
	bytes    int
	stopping bool
	probe    bool // it is time to see whether the disk is well again

	emitted chan struct{}                 // closed when the next transaction with events is on disk; nil: nobody waits
	changed atomic.Pointer[chan struct{}] // likewise with anything but maintenance

	taken []*Batch // of the running transaction; only Run
	wary  int      // so many transactions are to have savepoints in any case; only Run
	stats Stats
	down  atomic.Bool

	refusal atomic.Pointer[error] // not nil: why new data is refused
}

// Stats counts what a [Committer] has done: transactions on disk, the batches in them, and transactions that failed.
type Stats struct {
	Commits, Batches, Failures atomic.Int64
}

// probeInterval is how often a failing disk is tried when nobody else writes.
const probeInterval = time.Second

// New returns a Committer; nothing is committed before [Committer.Run].
func New(cfg Config) *Committer {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxQueuedBytes == 0 {
		cfg.MaxQueuedBytes = 32 << 20
	}
	if cfg.MaxTransactionBytes == 0 {
		cfg.MaxTransactionBytes = 4 << 20
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

// Healthy reports whether the disk accepted the last transaction. While it does not, and nobody else writes, Run tries
// again each second, so that this becomes true by itself.
func (c *Committer) Healthy() bool { return !c.down.Load() && c.refusal.Load() == nil }

// Refuse has everything refused with an error, which is core.ErrStorage, except what goes through [Committer.Maintain]: so
// that a disk that is nearly full has room left for making room. nil accepts again.
func (c *Committer) Refuse(why error) {
	if why == nil {
		c.refusal.Store(nil)
		return
	}
	c.refusal.Store(&why)
}

// Refusal returns the error of [Committer.Refuse] that is in force, nil if there is none.
func (c *Committer) Refusal() error {
	if why := c.refusal.Load(); why != nil {
		return *why
	}
	return nil
}

// Submit hands a batch in, and waits while too much is queued. After an error, which is core.ErrStopping, the batch is
// still the caller's and its owner is not called. It must not be called from what runs on the committer's goroutine:
// operations, their done functions, [Owner.Committed] and [Tx.After] would wait for themselves.
func (c *Committer) Submit(b *Batch) error { return c.submit(context.Background(), b) }

func (c *Committer) submit(ctx context.Context, b *Batch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bytes > c.cfg.MaxQueuedBytes && ctx.Done() != nil {
		defer context.AfterFunc(ctx, func() {
			c.mu.Lock() // so that it does not come between the check and the wait below
			defer c.mu.Unlock()
			c.room.Broadcast()
		})()
	}
	for c.bytes > c.cfg.MaxQueuedBytes && !c.stopping && ctx.Err() == nil {
		c.room.Wait()
	}
	if c.stopping {
		return fmt.Errorf("commit: %w", core.ErrStopping)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("commit: nothing was changed: %w", err)
	}
	c.queue = append(c.queue, b)
	c.bytes += b.Size()
	if b.patience > 0 && c.bytes <= c.cfg.MaxQueuedBytes/2 {
		c.later(b.patience)
	} else {
		c.hurry()
	}
	return nil
}

// hurry has what is in the queue taken as soon as the disk is free, and later in a moment at the latest; c.mu is held.
func (c *Committer) hurry() {
	if !c.due && len(c.queue) > 0 {
		c.due = true
		c.work.Signal()
	}
}

// later has what is in the queue taken after a time at the latest; c.mu is held.
func (c *Committer) later(patience time.Duration) {
	at := time.Now().Add(patience)
	if c.due || !c.dueAt.IsZero() && !at.Before(c.dueAt) {
		return
	}
	c.dueAt = at
	if c.alarm != nil {
		c.alarm.Reset(patience)
		return
	}
	c.alarm = time.AfterFunc(patience, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.dueAt.IsZero() && !time.Now().Before(c.dueAt) { // else that was taken before
			c.hurry()
		}
	})
}

// Hurry ends the patience of what [Committer.DoSoon] has handed in: somebody has come who waits for it.
func (c *Committer) Hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hurry()
}

// Do commits one operation and returns its error, or nil when it is on disk. When ctx ends while the operation waits or
// runs, its outcome is not known to the caller: it may still be committed. See [Committer.Submit] for where not to call it.
func (c *Committer) Do(ctx context.Context, do func(*Tx) error) error {
	return c.do(ctx, op{do: do}, Batch{})
}

// DoRepeatable is Do for an operation that may run twice, see [Batch.DoRepeatable].
func (c *Committer) DoRepeatable(ctx context.Context, do func(*Tx) error) error {
	return c.do(ctx, op{do: do, repeatable: true}, Batch{})
}

// DoSoon is DoRepeatable for what can wait a little for company: it comes into the next transaction that others make, or
// after its patience into one of its own. A transaction costs several times what a small operation in it does.
func (c *Committer) DoSoon(ctx context.Context, patience time.Duration, do func(*Tx) error) error {
	return c.do(ctx, op{do: do, repeatable: true}, Batch{patience: patience})
}

// Maintain is Do for what makes room: it is committed even while everything else is refused.
func (c *Committer) Maintain(ctx context.Context, do func(*Tx) error) error {
	return c.do(ctx, op{do: do}, Batch{maintains: true})
}

func (c *Committer) do(ctx context.Context, o op, as Batch) error {
	w := &waiter{batch: as, done: make(chan error, 1)}
	w.batch.Owner = w
	o.done = func(err error) { w.err = err }
	w.batch.add(o)
	if err := c.submit(ctx, &w.batch); err != nil {
		return err
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("commit: not known whether it is done: %w", ctx.Err())
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

// Run commits until ctx ends, then finishes what was submitted and returns nil. What is submitted later is refused.
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
		for !c.due && !c.stopping && !c.probe {
			c.work.Wait()
		}
		if len(c.queue) == 0 && c.stopping {
			c.mu.Unlock()
			return nil
		}
		c.take()
		c.probe = false
		c.mu.Unlock()
		c.room.Broadcast()
		if len(c.taken) > 0 {
			c.commit(c.taken)
			clear(c.taken) // the batches have gone back to their owners
		} else if c.down.Load() {
			c.report(c.cfg.Store.Update(probe))
		}
	}
}

// take moves from the queue what the next transaction may hold; c.mu is held.
func (c *Committer) take() {
	c.taken = c.taken[:0]
	weight := 0
	for _, b := range c.queue {
		if weight += b.weight(); weight > c.cfg.MaxTransactionBytes && len(c.taken) > 0 {
			break
		}
		c.taken = append(c.taken, b)
		c.bytes -= b.Size()
	}
	n := copy(c.queue, c.queue[len(c.taken):])
	clear(c.queue[n:])
	c.queue = c.queue[:n]
	c.due, c.dueAt = n > 0, time.Time{}
}

// probe writes, because a full disk has no objection to an empty transaction. No dialect has the name "".
func probe(tx store.Tx) error {
	return tx.PutRecord("", "", "commit/probe", time.Now().UTC().AppendFormat(nil, time.RFC3339Nano))
}

// refuse tells the owners of batches that would change something that they are refused, and returns the others.
func refuse(batches []*Batch, why error) []*Batch {
	kept := batches[:0]
	for _, b := range batches {
		if b.maintains {
			kept = append(kept, b)
			continue
		}
		if b.Empty() { // and now, because what comes behind it is refused now
			b.Owner.Committed(b, nil)
			continue
		}
		for _, o := range b.ops {
			if o.done != nil {
				o.done(why)
			}
		}
		b.Owner.Committed(b, why)
	}
	return kept
}

// commit writes the batches in one transaction and tells their owners.
func (c *Committer) commit(batches []*Batch) {
	if why := c.Refusal(); why != nil {
		batches = refuse(batches, why)
	}
	tx := &Tx{committer: c, now: c.cfg.Now()}
	var results []error // of the operations, in order
	var err error
	var begun time.Time
	if c.cfg.Observe != nil {
		begun = time.Now()
	}
	if slices.ContainsFunc(batches, func(b *Batch) bool { return !b.Empty() }) {
		results, err = c.write(tx, batches)
		c.report(err)
		if c.cfg.Observe != nil {
			c.cfg.Observe(begun, len(batches), len(results), err)
		}
		if err == nil {
			c.stats.Batches.Add(int64(len(batches)))
		}
	}
	if err != nil {
		tx.rollback(0)
		if !errors.Is(err, core.ErrStorage) {
			err = fmt.Errorf("%w: %v", core.ErrStorage, err)
		}
	}
	// Asked before the owners have their batches back, to fill them again.
	changes := slices.ContainsFunc(batches, func(b *Batch) bool { return !b.maintains && !b.Empty() })
	i := 0
	refused := make([]error, len(batches)) // the first operation of each batch that failed
	for n, b := range batches {
		for _, o := range b.ops {
			res := err
			if err == nil {
				res = results[i]
			}
			i++
			if o.done != nil {
				o.done(res)
			}
			if refused[n] == nil {
				refused[n] = res
			}
		}
	}
	// Acknowledgements first, then what the changes cause: a client that hears of its own message has its PUBACK already.
	for n, b := range batches {
		if err != nil {
			refused[n] = err
		}
		b.Alone = len(batches) == 1
		b.Owner.Committed(b, refused[n])
	}
	if err == nil {
		for _, f := range tx.after {
			f()
		}
		if tx.emitted {
			c.ring()
		}
		if changes {
			c.tellChanged()
		}
	}
}

// waryFor is for how many transactions savepoints are made after one had to be made again: a client that is refused over
// and over must not have everybody's work done twice.
const waryFor = 64

// write makes the transaction and returns the results of its operations. An error is the disk's.
func (c *Committer) write(tx *Tx, batches []*Batch) (results []error, err error) {
	update := func() error {
		return c.cfg.Store.Update(func(st store.Tx) error {
			tx.Tx = st
			results, err = tx.apply(batches)
			return err
		})
	}
	if c.wary > 0 {
		c.wary--
	} else {
		tx.light = repeatable(batches)
	}
	if err = update(); errors.Is(err, errSpoiled) {
		c.wary = waryFor
		tx.rollback(0)
		*tx = Tx{committer: c, now: tx.now}
		err = update()
	}
	return results, err
}

// Emitted returns a channel that is closed when the next transaction that emits events is on disk (or one that would
// have, had it not refused). Whoever waits for events takes the channel first and then reads what is stored, so that
// none can come in between.
func (c *Committer) Emitted() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.emitted == nil {
		c.emitted = make(chan struct{})
	}
	return c.emitted
}

func (c *Committer) ring() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.emitted != nil {
		close(c.emitted)
		c.emitted = nil
	}
}

// Changed returns a channel that is closed when the next transaction is on disk that changes something but by
// [Committer.Maintain]: for those who look after what is stored, and need not while nothing comes.
func (c *Committer) Changed() <-chan struct{} {
	for {
		if p := c.changed.Load(); p != nil {
			return *p
		}
		made := make(chan struct{})
		if c.changed.CompareAndSwap(nil, &made) {
			return made
		}
	}
}

func (c *Committer) tellChanged() {
	if c.changed.Load() != nil {
		close(*c.changed.Swap(nil))
	}
}

// Queued says what waits for a transaction now.
func (c *Committer) Queued() (batches, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue), c.bytes
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
	time.AfterFunc(probeInterval, func() {
		c.mu.Lock()
		c.probe = true
		c.mu.Unlock()
		c.work.Signal()
	})
	if !c.down.Swap(true) {
		c.cfg.Logger.Error("storage refuses writes; clients are refused until it recovers", "err", err)
	}
}
