package outbox

import (
	"context"
	"runtime"

	"github.com/fairlead-iot/fairlead"
)

// One write at a time, and one sync for all who wait: the first caller that finds nobody committing becomes the leader, takes
// what is pending (at first only its own request) and commits it, while others queue up behind it. When it is done the first of
// those becomes the leader of the next commit. There is no goroutine to stop, and a lone producer pays for no switch
// between goroutines.

// What one commit takes at most. More would not be faster, and would keep the first in the batch waiting.
const (
	maxBatch      = 1024    // requests, or keys of one
	maxBatchBytes = 4 << 20 // beyond the first message
)

// A request is a call that waits for a commit.
type request struct {
	message *Message // to be added, or
	remove  []uint64 // to be removed, or
	expired []Record // to be removed because a reader found them expired

	id   ID    // of the message; 0 if the policy has dropped it
	err  error // the outcome
	wake chan bool
	lead bool // told to lead; guarded by Outbox.mu
	took bool // part of a commit; guarded by Outbox.mu
}

// submit returns when the request has been committed, or refused.
func (o *Outbox) submit(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return fairlead.ErrClosed
	}
	o.pending = append(o.pending, r)
	if o.leading {
		r.wake = make(chan bool, 1)
		o.mu.Unlock()
		select {
		case lead := <-r.wake:
			if !lead {
				return r.err
			}
		case <-ctx.Done():
			if o.withdraw(r) {
				return context.Cause(ctx)
			}
			if lead := <-r.wake; !lead {
				return r.err
			}
		}
	} else {
		o.leading = true
		o.mu.Unlock()
	}
	o.commit()
	o.report()
	return r.err
}

// withdraw takes a request back, unless its commit has begun or others rely on it to lead.
func (o *Outbox) withdraw(r *request) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r.lead || r.took {
		return false
	}
	for i, p := range o.pending {
		if p == r {
			o.pending = append(o.pending[:i], o.pending[i+1:]...)
			return true
		}
	}
	return false
}

// commit is the leader's work: one batch, which its own request is the first of.
func (o *Outbox) commit() {
	o.gather()
	o.mu.Lock()
	batch := o.take()
	o.before = len(batch)
	o.mu.Unlock()

	o.write(batch)

	o.mu.Lock()
	for _, r := range batch[1:] {
		r.wake <- false
	}
	if len(o.pending) > 0 {
		next := o.pending[0]
		next.lead = true
		next.wake <- true
	} else {
		o.leading = false
		if o.idle != nil {
			close(o.idle)
			o.idle = nil
		}
	}
	o.mu.Unlock()
}

// gather lets those who were woken by the last commit, and are about to hand in their next message, take part in this one, so that
// they share a sync with those who have waited for it.
func (o *Outbox) gather() {
	for range 3 {
		o.mu.Lock()
		enough := len(o.pending) >= o.before
		o.mu.Unlock()
		if enough {
			return
		}
		runtime.Gosched()
	}
}

// take removes a batch from the pending requests.
func (o *Outbox) take() []*request {
	n, size, keys := 0, int64(0), 0
	for _, r := range o.pending {
		if r.message != nil {
			size += int64(len(r.message.Header) + len(r.message.Payload))
		}
		keys += len(r.remove) + len(r.expired)
		if n > 0 && (size > maxBatchBytes || n == maxBatch || keys > maxBatch) {
			break
		}
		r.took = true
		n++
	}
	batch := o.pending[:n:n]
	o.pending = append([]*request(nil), o.pending[n:]...)
	return batch
}

// report calls the hook for what was dropped. Whoever finds somebody reporting leaves its drops to that one, so that calls
// come one at a time and in order, and no lock is held meanwhile.
func (o *Outbox) report() {
	o.mu.Lock()
	if o.reporting {
		o.mu.Unlock()
		return
	}
	o.reporting = true
	for len(o.drops) > 0 {
		drops := o.drops
		o.drops = nil
		o.mu.Unlock()
		for _, d := range drops {
			o.cfg.OnDrop(d)
		}
		o.mu.Lock()
	}
	o.reporting = false
	o.mu.Unlock()
}
