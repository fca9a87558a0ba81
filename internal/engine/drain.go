package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
	"github.com/fairlead-iot/fairlead/outbox"
)

const (
	// pageMessages is how many messages are read at once. A message of higher priority waits for no more than these and the window.
	pageMessages = 128
	// maxAcked bounds the messages that were acknowledged and are not deleted yet, when the disk is slower than the line.
	maxAcked = 8192
	// storageRetry is the wait after the disk has refused.
	storageRetry = time.Second
)

// box is what is known of messages of the outbox.
type box struct {
	mu        sync.Mutex
	tracked   map[outbox.ID]*outbox.Entry // sent and not deleted: not to be sent again; nil once acknowledged
	before    map[outbox.ID]struct{}      // was tracked when this drain began, and is not to be sent again; deleted or not
	acked     []outbox.ID                 // to be deleted
	kick      chan struct{}               // there are some; has room for one
	deleted   chan struct{}               // closed when some were deleted; nil if nobody waits
	postpone  context.CancelFunc          // ends the drain, to begin anew later; nil while there is none
	appending int                         // calls of Append under way
	early     map[outbox.ID]error         // outcomes that came before Append knew the ID
	receipts  map[outbox.ID]*Receipt
}

func (b *box) init() {
	b.tracked, b.receipts = map[outbox.ID]*outbox.Entry{}, map[outbox.ID]*Receipt{}
	b.kick = make(chan struct{}, 1)
}

// drain sends what is in the outbox, while the connection lasts. An error is one of an outbox that was closed.
func (e *Engine) drain(l *live) error {
	wait := delay{of: e.cfg.Backoff}
	for {
		ctx, cancel := context.WithCancel(l.ctx)
		e.box.mu.Lock()
		e.box.postpone = cancel
		e.box.mu.Unlock()
		begun := time.Now()
		err := e.drainFrom(ctx, l)
		cancel()
		if l.ctx.Err() != nil {
			return nil
		}
		pause := storageRetry
		switch {
		case errors.Is(err, fairlead.ErrClosed):
			return err
		case ctx.Err() != nil:
			pause = wait.after(time.Since(begun), nil)
		case errors.Is(err, mqttclient.ErrNotConnected):
			<-l.ctx.Done() // it ends with the connection
			return nil
		default:
			e.cfg.Logger.Error("outbox cannot be read, will try again", "err", err)
		}
		if sleep(l.ctx, pause) != nil {
			return nil
		}
	}
}

// drainFrom begins with the first message that is not on its way.
func (e *Engine) drainFrom(ctx context.Context, l *live) error {
	// A message can be read here, then acknowledged and deleted, and only then have its turn in its page: that it is not
	// tracked any more does not mean that it was not sent.
	e.box.mu.Lock()
	e.box.before = make(map[outbox.ID]struct{}, len(e.box.tracked))
	for id := range e.box.tracked {
		e.box.before[id] = struct{}{}
	}
	e.box.mu.Unlock()
	r := e.cfg.Outbox.Reader()
	var paced time.Time
	for {
		page, err := r.Next(ctx, pageMessages)
		if err != nil {
			return err
		}
		for i := range page {
			entry := &page[i]
			if e.wasSent(entry.ID) {
				continue
			}
			if e.cfg.DrainInterval > 0 && entry.Accepted.Before(l.since) {
				if err := sleep(ctx, time.Until(paced)); err != nil {
					return err
				}
				paced = time.Now().Add(e.cfg.DrainInterval)
			}
			if err := e.sendEntry(ctx, entry); err != nil {
				return err
			}
		}
	}
}

// sendEntry puts an entry into flight.
func (e *Engine) sendEntry(ctx context.Context, entry *outbox.Entry) error {
	p, err := e.cfg.Decode(entry)
	if err != nil {
		if err := e.track(ctx, entry); err != nil {
			return err
		}
		e.outcome(uint64(entry.ID), fmt.Errorf("decode message %d of the outbox: %w: %w", entry.ID, fairlead.ErrInvalid, err))
		return nil
	}
	if !entry.Expires.IsZero() && e.cfg.Session.Version == mqtt.V5 && !p.MessageExpiry.Present {
		left := math.Ceil(time.Until(entry.Expires).Seconds())
		p.MessageExpiry = mqtt.Some(uint32(min(max(left, 1), math.MaxUint32)))
	}
	if err := e.await(ctx); err != nil { // it is closed while the connection is being renewed
		return err
	}
	defer e.leave()
	if err := e.track(ctx, entry); err != nil {
		return err
	}
	err = e.session.Send(ctx, &mqttclient.Outgoing{Publish: p, Tag: uint64(entry.ID), Done: e.outcome})
	switch {
	case err == nil:
	case errors.Is(err, fairlead.ErrInvalid), errors.Is(err, fairlead.ErrTooLarge):
		e.outcome(uint64(entry.ID), err)
	default:
		e.untrack(entry.ID)
		return err
	}
	return nil
}

func (e *Engine) wasSent(id outbox.ID) bool {
	e.box.mu.Lock()
	defer e.box.mu.Unlock()
	_, tracked := e.box.tracked[id]
	_, before := e.box.before[id]
	return tracked || before
}

// track notes that a message is on its way. It waits when very many wait to be deleted.
func (e *Engine) track(ctx context.Context, m *outbox.Entry) error {
	b := e.box
	b.mu.Lock()
	for len(b.acked) > maxAcked {
		if b.deleted == nil {
			b.deleted = make(chan struct{})
		}
		deleted := b.deleted
		b.mu.Unlock()
		select {
		case <-deleted:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		b.mu.Lock()
	}
	b.tracked[m.ID] = m
	b.mu.Unlock()
	return nil
}

func (e *Engine) untrack(id outbox.ID) {
	e.box.mu.Lock()
	defer e.box.mu.Unlock()
	e.box.sendAgain(id)
}

// sendAgain lets a reader's next look find a message. It is called with mu held.
func (b *box) sendAgain(id outbox.ID) {
	delete(b.tracked, id)
	delete(b.before, id)
}

// outcome is told how the sending of a message ended.
func (e *Engine) outcome(tag uint64, err error) {
	id := outbox.ID(tag)
	b := e.box
	if err != nil && (retriable(err) || errors.Is(err, fairlead.ErrClosed)) {
		var refusal *fairlead.PlatformError
		b.mu.Lock()
		b.sendAgain(id)
		if errors.As(err, &refusal) && b.postpone != nil { // of this message: the platform wants it later
			b.postpone()
		}
		b.mu.Unlock()
		return // the next reader finds it
	}
	b.mu.Lock()
	if m := b.tracked[id]; err != nil && e.cfg.OnUndeliverable != nil {
		// Before the receipt ends: whoever waits for that and sends another one is told in that order.
		e.queue.put(context.Background(), item{call: func() { e.cfg.OnUndeliverable(m, err) }, event: true}, false)
	}
	b.tracked[id] = nil
	b.acked = append(b.acked, id)
	b.settle(id, err)
	b.mu.Unlock()
	select {
	case b.kick <- struct{}{}:
	default:
	}
	if err != nil {
		e.cfg.Logger.Warn("message deleted: it cannot be delivered", "id", id, "err", err)
	}
}

// deleteAcked deletes what was acknowledged, as much as has come together. When stop is closed it deletes what is left.
func (e *Engine) deleteAcked(stop <-chan struct{}) {
	for last := false; ; {
		e.box.mu.Lock()
		ids := e.box.acked
		e.box.acked = nil
		e.box.mu.Unlock()
		if len(ids) > 0 {
			// No context: that of Run may have ended, and what was acknowledged should not be sent again.
			err := e.cfg.Outbox.Delete(context.Background(), ids...)
			e.forget(ids, err)
			if err == nil {
				continue
			}
			e.cfg.Logger.Error("acknowledged messages cannot be deleted, will try again", "messages", len(ids), "err", err)
			if last {
				return
			}
			t := time.NewTimer(storageRetry)
			select {
			case <-t.C:
			case <-stop:
				last = true
			}
			t.Stop()
			continue
		}
		if last {
			return
		}
		select {
		case <-e.box.kick:
		case <-stop:
			last = true
		}
	}
}

// forget ends the tracking of deleted messages; those that could not be deleted are to be deleted again.
func (e *Engine) forget(ids []outbox.ID, err error) {
	b := e.box
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.acked = append(ids, b.acked...)
		return
	}
	for _, id := range ids {
		delete(b.tracked, id)
	}
	if b.deleted != nil {
		close(b.deleted)
		b.deleted = nil
	}
}
