package awsiot

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/engine"
	"github.com/fairlead-iot/fairlead/outbox"
)

// queue keeps messages in memory until they are acknowledged, and bounds how many of them wait to be sent. The outbox's own limit would
// count those in flight, too.
type queue struct {
	OfflineQueue
	box   *outbox.Outbox
	order chan struct{} // held by who appends: what is accepted first waits first

	mu      sync.Mutex  // held while a message is appended, so that it is noted before it is sent
	waiting []outbox.ID // accepted and not sent, in order

	dropMu  sync.Mutex
	expired []outbox.ID   // of waiting, perhaps: dropped by the outbox
	room    chan struct{} // closed when there may be some; nil if nobody waits
}

// newQueue returns nil if nothing is to be kept. dropped is told of messages whose lifetime has ended, and of those that made room.
func newQueue(cfg *OfflineQueue, dropped func(outbox.Drop)) (*queue, error) {
	q := &queue{OfflineQueue: OfflineQueue{Size: -1}, order: make(chan struct{}, 1)}
	if cfg != nil {
		q.OfflineQueue = *cfg
	}
	if q.Size == 0 {
		return nil, nil
	}
	var err error
	q.box, err = outbox.Open(context.Background(), outbox.Config{
		Store: outbox.NewMemory(), MaxMessages: math.MaxInt32, MaxBytes: q.MaxBytes,
		OnDrop: func(d outbox.Drop) {
			if d.Reason == outbox.Full { // the caller is told
				return
			}
			q.dropMu.Lock() // not mu: this may be within append
			q.expired = append(q.expired, d.Entry.ID)
			q.dropMu.Unlock()
			q.wake()
			dropped(d)
		},
	})
	return q, err
}

// put appends a message when there is room, or does what is configured when there is none.
func (q *queue) put(ctx context.Context, e *engine.Engine, m outbox.Message) (*engine.Receipt, error) {
	select {
	case q.order <- struct{}{}:
		defer func() { <-q.order }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrQueueFull, context.Cause(ctx))
	}
	for {
		room := q.look()
		if room == nil {
			r, err := q.append(ctx, e, m)
			if !errors.Is(err, fairlead.ErrFull) {
				return r, err
			}
			room = q.watch() // MaxBytes
		}
		switch {
		case q.Drop == WaitForRoom || e.Connected():
			select {
			case <-room:
			case <-ctx.Done():
				return nil, fmt.Errorf("%w: %w", ErrQueueFull, context.Cause(ctx))
			}
		case q.Drop == DropNewest, !q.dropOldest(ctx, e):
			return nil, ErrQueueFull
		}
	}
}

// look returns nil if there is room, otherwise what tells when there may be.
func (q *queue) look() <-chan struct{} {
	room := q.watch() // before looking, so as not to miss any
	q.dropMu.Lock()
	expired := q.expired
	q.expired = nil
	q.dropMu.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, id := range expired {
		q.remove(id)
	}
	if q.Size < 0 || len(q.waiting) < q.Size {
		return nil
	}
	return room
}

// watch returns what tells when there may be room.
func (q *queue) watch() <-chan struct{} {
	q.dropMu.Lock()
	defer q.dropMu.Unlock()
	if q.room == nil {
		q.room = make(chan struct{})
	}
	return q.room
}

// wake lets those who wait look again.
func (q *queue) wake() {
	q.dropMu.Lock()
	defer q.dropMu.Unlock()
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
}

// append is called by the holder of order.
func (q *queue) append(ctx context.Context, e *engine.Engine, m outbox.Message) (*engine.Receipt, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	r, err := e.Append(ctx, m) // in memory, so it does not wait
	if err == nil {
		q.waiting = append(q.waiting, r.ID())
	}
	return r, err
}

// sending notes that a message is about to be sent, perhaps again.
func (q *queue) sending(id outbox.ID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.remove(id) {
		q.wake()
	}
}

// remove is called with mu held. It is nearly always the first that goes.
func (q *queue) remove(id outbox.ID) bool {
	if len(q.waiting) > 0 && q.waiting[0] == id {
		q.waiting = q.waiting[1:]
		return true
	}
	i := slices.Index(q.waiting, id)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return true
}

// dropOldest makes room. It returns false if nothing waits.
func (q *queue) dropOldest(ctx context.Context, e *engine.Engine) bool {
	q.mu.Lock()
	if len(q.waiting) == 0 {
		q.mu.Unlock()
		return false
	}
	id := q.waiting[0]
	q.waiting = q.waiting[1:]
	q.mu.Unlock()
	if err := q.box.Delete(ctx, id); err != nil {
		return false
	}
	e.Dropped(outbox.Drop{Reason: outbox.Oldest, Entry: outbox.Entry{ID: id}})
	return true
}
