package astarte

import (
	"context"
	"fmt"
	"sync"

	"github.com/fairlead-iot/fairlead/internal/engine"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// Flush waits until Astarte has everything that was accepted before, or ctx ends: values that are stored or volatile, properties, and
// what adding and removing interfaces makes the device tell. Of values that are neither stored nor volatile it waits until none is under
// way any more; one with reliability unreliable is then written, and no more is known of it. Programs that send something and end call
// Flush before they end the context of Run.
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

// sendNow sends a message if there is a connection, and has Flush wait for it.
func (d *Device) sendNow(ctx context.Context, e *engine.Engine, p mqtt.Publish) error {
	land := d.flights.depart()
	err := e.Send(ctx, p, func(error) { land() })
	if err != nil {
		land()
	}
	return err
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
