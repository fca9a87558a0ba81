package engine

import (
	"context"
	"fmt"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/outbox"
)

// A Receipt tells what became of a message that the outbox has accepted.
type Receipt struct {
	id   outbox.ID
	done chan struct{}
	err  error
}

// ID is the message's in the outbox; 0 if the outbox's policy has dropped it.
func (r *Receipt) ID() outbox.ID { return r.id }

// Done is closed when the platform has acknowledged the message, or when it never will.
func (r *Receipt) Done() <-chan struct{} { return r.done }

// Err is nil before Done is closed, and when the platform has acknowledged the message. Otherwise it is the platform's refusal, or wraps
// fairlead.ErrExpired or fairlead.ErrFull: the outbox has dropped the message.
func (r *Receipt) Err() error {
	select {
	case <-r.done:
		return r.err
	default:
		return nil
	}
}

// Wait waits for Done, and returns Err; or the context's cause, and the message stays on its way.
func (r *Receipt) Wait(ctx context.Context) error {
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Append puts a message into the outbox and returns when it is stored there; see [outbox.Outbox.Append] for errors. The receipt tells
// when the platform has it. Who does not care for receipts appends to the outbox directly: it is the same to the engine, and costs less
// memory.
func (e *Engine) Append(ctx context.Context, m outbox.Message) (*Receipt, error) {
	if e.cfg.Outbox == nil {
		return nil, fmt.Errorf("append: %w: the engine has no outbox", fairlead.ErrInvalid)
	}
	b := e.box
	b.mu.Lock()
	if b.appending++; b.early == nil {
		b.early = map[outbox.ID]error{}
	}
	b.mu.Unlock()
	id, err := e.cfg.Outbox.Append(ctx, m)
	b.mu.Lock()
	defer b.mu.Unlock()
	r := &Receipt{id: id, done: make(chan struct{})}
	if err == nil {
		outcome, known := b.early[id]
		switch {
		case id == 0:
			r.finish(fmt.Errorf("%w: the message was dropped", fairlead.ErrFull))
		case known:
			r.finish(outcome)
		default:
			b.receipts[id] = r
		}
	}
	if b.appending--; b.appending == 0 {
		b.early = nil
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Receipt) finish(err error) {
	r.err = err
	close(r.done)
}

// settle notes what became of a message. It is called with mu held.
func (b *box) settle(id outbox.ID, err error) {
	if r := b.receipts[id]; r != nil {
		delete(b.receipts, id)
		r.finish(err)
	} else if b.appending > 0 {
		b.early[id] = err
	}
}

// Dropped tells the engine what the outbox has dropped, so that receipts end. Call it in OnDrop of the outbox.
func (e *Engine) Dropped(d outbox.Drop) {
	if d.Entry.ID == 0 {
		return // it was not let in: Append has said so
	}
	kind := fairlead.ErrFull
	if d.Reason == outbox.Expired || d.Reason == outbox.TooOld {
		kind = fairlead.ErrExpired
	}
	e.box.mu.Lock()
	defer e.box.mu.Unlock()
	e.box.settle(d.Entry.ID, fmt.Errorf("%w: %v", kind, d.Reason))
}
