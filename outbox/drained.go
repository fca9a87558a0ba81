package outbox

import (
	"context"
	"fmt"

	"github.com/fairlead-iot/fairlead"
)

// Drained waits until all messages that are in the outbox now have left it: deleted because they have arrived, or dropped. It does not wait
// for those that come later. The error wraps fairlead.ErrClosed when the outbox is closed meanwhile, or is one of the store.
func (o *Outbox) Drained(ctx context.Context) error {
	var until [ranks]uint64 // key of the last message to wait for; 0: none of this rank
	for first := true; ; first = false {
		waits, removed, err := o.undrained(&until, first)
		if err == nil && waits {
			waits, err = o.holds(ctx, &until)
		}
		if err != nil {
			return fmt.Errorf("drain outbox: %w", err)
		}
		if !waits {
			return nil
		}
		select {
		case <-removed:
		case <-ctx.Done():
			return fmt.Errorf("drain outbox: %w", context.Cause(ctx))
		}
	}
}

// undrained tells whether there are messages in the ranks that are waited for, and a channel that tells when some have gone. The first call
// notes what to wait for.
func (o *Outbox) undrained(until *[ranks]uint64, first bool) (waits bool, removed <-chan struct{}, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false, nil, fairlead.ErrClosed
	}
	for rank := range o.use {
		u := &o.use[rank]
		switch {
		case u.messages == 0:
			until[rank] = 0
		case first:
			until[rank] = u.last
		}
		waits = waits || until[rank] > 0
	}
	if o.removed == nil {
		o.removed = make(chan struct{})
	}
	return waits, o.removed, nil
}

// holds looks whether the store still has one of the messages that are waited for.
func (o *Outbox) holds(ctx context.Context, until *[ranks]uint64) (found bool, err error) {
	for rank, last := range until {
		if last == 0 {
			continue
		}
		err := o.cfg.Store.Scan(ctx, key(rank, 0), last+1, func(Record) bool {
			found = true
			return false
		})
		if found || err != nil {
			return found, err
		}
		until[rank] = 0
	}
	return false, nil
}

// wakeDrained is called with mu held.
func (o *Outbox) wakeDrained() {
	if o.removed != nil {
		close(o.removed)
		o.removed = nil
	}
}
