package astarte

import (
	"context"
	"fmt"
	"sync"
)

// Flush waits until Astarte has everything that was accepted before, or ctx ends: values that are stored or volatile, and properties. Of values that are neither, it waits
// until none is under way any more; those with reliability unreliable are then written, and no more is known of them. Programs that send something and end call it
// before they end the context of Run.
func (d *Device) Flush(ctx context.Context) error {
	err := d.props.flush(ctx, func(s *StoredProperty) bool {
		i, ok := d.Interface(s.Interface)
		return ok && i.Major() == s.Major && s.Ownership == DeviceOwned
	})
	if err == nil && d.cfg.Outbox != nil {
		err = d.cfg.Outbox.Drained(ctx)
	}
	if err == nil {
		err = d.volatile.Drained(ctx)
	}
	if err == nil {
		err = d.flights.landed(ctx)
	}
	if err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

// flights are messages that were sent and whose outcome is not known yet.
type flights struct {
	mu     sync.Mutex
	last   uint64              // number of the newest
	flying map[uint64]struct{} // those that have not landed
	down   chan struct{}       // closed when one has landed; nil if nobody waits
}

// depart notes that a message is being sent. The function that it returns notes that its outcome is known.
func (f *flights) depart() (land func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.flying == nil {
		f.flying = map[uint64]struct{}{}
	}
	f.last++
	n := f.last
	f.flying[n] = struct{}{}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.flying, n)
		if f.down != nil {
			close(f.down)
			f.down = nil
		}
	}
}

// landed waits for all that was sent before.
func (f *flights) landed(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for until := f.last; f.fly(until); {
		if f.down == nil {
			f.down = make(chan struct{})
		}
		down := f.down
		f.mu.Unlock()
		var err error
		select {
		case <-down:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		f.mu.Lock()
		if err != nil {
			return err
		}
	}
	return nil
}

// fly tells whether one up to a number has not landed. It is called with mu held.
func (f *flights) fly(until uint64) bool {
	for n := range f.flying {
		if n <= until {
			return true
		}
	}
	return false
}
