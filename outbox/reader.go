package outbox

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead"
)

// A Reader goes through an outbox in the order in which messages are to be sent, and waits for more at its end. It
// does not remove anything: delete what has arrived. What a reader has returned it does not return again, so a new connection, which
// has to send again what was not acknowledged, begins with a new Reader or with Rewind.
//
// A Reader is for one goroutine at a time. It holds no resources, and need not be closed.
type Reader struct {
	o    *Outbox
	next [ranks]uint64 // the first key not returned yet
}

// maxPageBytes bounds the memory of one page.
const maxPageBytes = 1 << 20

// Reader returns a reader that begins with what is to be sent first.
func (o *Outbox) Reader() *Reader {
	r := &Reader{o: o}
	r.Rewind()
	return r
}

// Rewind makes the reader begin anew.
func (r *Reader) Rewind() {
	for rank := range r.next {
		r.next[rank] = key(rank, 0)
	}
}

// Next waits until there are messages that this reader has not returned yet, and returns the next ones: at least one, at most
// limit, and no more than fit into 1 MiB. Messages of high priority that have come since the last call are returned before
// older ones of lower priority. Messages that have expired are removed instead. The kinds of errors are ErrStorage, ErrDamaged,
// and ErrClosed also when the outbox is closed meanwhile.
func (r *Reader) Next(ctx context.Context, limit int) ([]Entry, error) {
	for {
		page, added, err := r.poll(ctx, limit)
		if err != nil || len(page) > 0 {
			return page, err
		}
		select {
		case <-added:
		case <-ctx.Done():
			return nil, fmt.Errorf("read outbox: %w", context.Cause(ctx))
		}
	}
}

// Poll is like [Reader.Next] but does not wait: it returns no messages and no error if there are none.
func (r *Reader) Poll(ctx context.Context, limit int) ([]Entry, error) {
	page, _, err := r.poll(ctx, limit)
	return page, err
}

// poll returns a page, or a channel that tells when there may be one.
func (r *Reader) poll(ctx context.Context, limit int) (page []Entry, added <-chan struct{}, err error) {
	if limit < 1 {
		return nil, nil, fmt.Errorf("read outbox: %w: limit %d, want at least 1", fairlead.ErrInvalid, limit)
	}
	for {
		lines, added, err := r.look()
		if err == nil && added == nil {
			page, err = r.page(ctx, lines, limit)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read outbox: %w", err)
		}
		if added != nil || len(page) > 0 {
			return page, added, nil
		}
	}
}

// news is a rank that has something new.
type news struct {
	rank int
	last uint64 // key of its last message
}

// look returns the ranks that have something new, or a channel that tells when there may be something.
func (r *Reader) look() (lines []news, added <-chan struct{}, err error) {
	o := r.o
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, nil, fairlead.ErrClosed
	}
	for rank := range o.use {
		if u := &o.use[rank]; u.messages > 0 && u.last >= r.next[rank] {
			lines = append(lines, news{rank, u.last})
		}
	}
	if len(lines) > 0 {
		return lines, nil, nil
	}
	if o.added == nil {
		o.added = make(chan struct{})
	}
	return nil, o.added, nil
}

// A page is collected from the store.
type page struct {
	limit   int
	now     time.Time
	entries []Entry
	expired []Record
	size    int64
	late    int64 // size of those that have expired
	full    bool
}

// page returns the next messages, perhaps none, and removes those that have expired.
func (r *Reader) page(ctx context.Context, lines []news, limit int) ([]Entry, error) {
	p := page{limit: limit, now: time.Now()}
	next := r.next
	for _, n := range lines {
		err := r.o.cfg.Store.Scan(ctx, next[n.rank], key(n.rank+1, 0), func(rec Record) bool {
			if !p.take(&rec) {
				return false
			}
			next[n.rank] = rec.Key + 1
			return true
		})
		if err != nil {
			return nil, err
		}
		if p.full {
			break
		}
		// What was there when we looked has been seen, or is gone.
		next[n.rank] = max(next[n.rank], n.last+1)
	}
	r.next = next
	if len(p.expired) > 0 {
		// Should it fail, they are removed when somebody needs the room.
		_ = r.o.submit(context.WithoutCancel(ctx), &request{expired: p.expired})
	}
	return p.entries, nil
}

// take reports false, and sets full, if the record does not fit.
func (p *page) take(rec *Record) bool {
	size := rec.Size()
	if !rec.Expires.IsZero() && !rec.Expires.After(p.now) {
		if len(p.expired) == maxBatch || p.late > maxPageBytes {
			p.full = true
			return false
		}
		p.late += size
		p.expired = append(p.expired, Record{rec.Key, rec.Accepted, rec.Expires, bytes.Clone(rec.Header), bytes.Clone(rec.Payload)})
		return true
	}
	if len(p.entries) == p.limit || len(p.entries) > 0 && p.size+size > maxPageBytes {
		p.full = true
		return false
	}
	p.size += size
	p.entries = append(p.entries, entry(rec))
	return true
}
