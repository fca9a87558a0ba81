package broker

import (
	"container/heap"
	"context"
	"errors"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// An appointment is something that happens at a time unless it is called off: a session ends, a will is published.
type appointment struct {
	at    time.Time // zero: called off
	index int       // in the agenda, from 1
	s     *session  // one of them is set
	w     *will
}

// An agenda holds appointments; the earliest is the first. It implements heap.Interface.
type agenda []*appointment

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].index, a[j].index = i+1, j+1
}

func (a *agenda) Push(x any) {
	p := x.(*appointment)
	*a = append(*a, p)
	p.index = len(*a)
}

func (a *agenda) Pop() any {
	last := len(*a) - 1
	p := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	p.index = 0
	return p
}

// set makes, moves or, with the zero time, calls off an appointment.
func (a *agenda) set(p *appointment, at time.Time) {
	p.at = at
	switch {
	case at.IsZero() && p.index > 0:
		heap.Remove(a, p.index-1)
	case at.IsZero():
	case p.index > 0:
		heap.Fix(a, p.index-1)
	default:
		heap.Push(a, p)
	}
}

// appoint sets an appointment in a transaction, and wakes Run for it.
func (b *Broker) appoint(tx *commit.Tx, p *appointment, at time.Time) {
	before := p.at
	if before.Equal(at) {
		return
	}
	b.agenda.set(p, at)
	tx.Undo(func() { b.agenda.set(p, before) })
	tx.After(b.remind)
}

// remind tells Run when its next appointment is. Committer's goroutine.
func (b *Broker) remind() {
	next := int64(0)
	if len(b.agenda) > 0 {
		next = b.agenda[0].at.UnixNano()
	}
	if b.next.Swap(next) == next {
		return
	}
	select {
	case b.alarm <- struct{}{}:
	default: // it has not seen the last one yet
	}
}

const (
	// clockCheck bounds how long Run trusts a timer, which does not notice when the clock is set.
	clockCheck = time.Minute
	// sweepBatch bounds what one transaction does of what is due, so that others are not kept waiting.
	sweepBatch = 200
	// sweepRetry is the pause after the disk has refused.
	sweepRetry = time.Second
)

// Run ends sessions and publishes wills when it is their time, until ctx ends. It returns nil. It needs a running
// committer, and [Broker.Load] to have returned.
func (b *Broker) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.alarm:
		case <-timer.C:
		}
		next := b.next.Load()
		if next == 0 {
			timer.Stop()
			continue
		}
		wait := time.Until(time.Unix(0, next))
		if wait <= 0 {
			wait = b.attend(ctx)
		}
		timer.Reset(min(wait, clockCheck))
	}
}

// attend does some of what is due and returns when to come again.
func (b *Broker) attend(ctx context.Context) time.Duration {
	var wills []*will
	err := b.cfg.Committer.Do(ctx, func(tx *commit.Tx) error {
		wills = wills[:0]
		for range sweepBatch {
			if len(b.agenda) == 0 || b.agenda[0].at.After(tx.Now()) {
				break
			}
			p := b.agenda[0]
			b.appoint(tx, p, time.Time{})
			if p.w != nil {
				b.claimWill(tx, p.w)
				wills = append(wills, p.w)
			} else if err := b.forget(tx, p.s); err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case errors.Is(err, core.ErrStorage):
		return sweepRetry
	case err != nil: // the hub stops; or a programmer's mistake, which must not become a loop
		if ctx.Err() == nil && !errors.Is(err, core.ErrStopping) {
			b.log.Error("cannot end sessions that have expired", "err", err)
		}
		return clockCheck
	}
	for _, w := range wills {
		b.publishLate(ctx, w)
	}
	return 0
}
