package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead"
)

// A plan is what one Write of the store will do, and what there will be then. It is the leader's, and so is all in this file.
type plan struct {
	requests []*request // those that it answers
	add      []Record
	remove   []uint64
	drop     []Drop // to be removed, too

	messages int
	bytes    int64
	victims  victims
}

// newPlan begins with what there is.
func (o *Outbox) newPlan() *plan {
	return &plan{messages: o.stats.Messages, bytes: o.stats.Bytes, victims: victims{o: o, rank: ranks - 1}}
}

// write commits a batch: in one Write if there is room for everything, else in a few.
func (o *Outbox) write(batch []*request) {
	now := time.Now()
	p := o.newPlan()
	var adds []*request
	var size int64
	for _, r := range batch {
		if r.message != nil {
			adds = append(adds, r)
			size += int64(len(r.message.Header) + len(r.message.Payload))
			continue
		}
		p.requests = append(p.requests, r)
		p.remove = append(p.remove, r.remove...)
		for i := range r.expired {
			p.drop = append(p.drop, o.tooLate(&r.expired[i], now))
		}
	}
	removals := *p
	if p.messages+len(adds) <= o.cfg.MaxMessages && p.bytes+size <= o.cfg.MaxBytes {
		for _, r := range adds {
			o.add(p, r, now)
		}
		if o.run(p) != nil && len(adds) > 0 {
			// On a full disk there may be room for what makes room.
			_ = o.run(&removals) // the requests have its error
		}
		return
	}
	_ = o.run(p) // likewise
	o.squeeze(adds, size, now)
}

// squeeze finds room for messages, as far as the policy lets it.
func (o *Outbox) squeeze(adds []*request, size int64, now time.Time) {
	p := o.newPlan()
	if p.messages+len(adds) > o.cfg.MaxMessages || p.bytes+size > o.cfg.MaxBytes {
		if err := o.purge(now); err != nil {
			answer(adds, err)
			return
		}
		p = o.newPlan()
	}
	for i, r := range adds {
		var err error
		if p, err = o.admit(p, r, now); err != nil {
			answer(adds[i:], err)
			return
		}
	}
	_ = o.run(p) // the requests have its error
}

// admit puts a message into the plan, perhaps with others that have to go, or turns it away. It may carry the plan out and
// return another one.
func (o *Outbox) admit(p *plan, r *request, now time.Time) (*plan, error) {
	own := rank(r.message.Priority)
	for !o.fits(p, r.message) && o.cfg.Policy == DropOldest {
		if !o.canFit(p, r.message) || !p.victims.left(own) {
			if len(p.add)+len(p.drop) == 0 {
				break
			}
			// What is planned changes the answer: more important ones may go, and what this batch has brought may have to.
			if err := o.run(p); err != nil {
				return p, err
			}
			p = o.newPlan()
			continue
		}
		size, drop, err := p.victims.next(own)
		if err != nil {
			_ = o.run(p) // the requests have its error
			return p, err
		}
		if drop.Reason != 0 {
			p.drop = append(p.drop, drop)
			p.messages--
			p.bytes -= size
		}
	}
	if o.fits(p, r.message) {
		o.add(p, r, now)
	} else {
		o.turnAway(p, r, now)
	}
	return p, nil
}

// canFit tells whether there is room for a message if everything that it may displace is gone. If there is not, nothing must be
// discarded for it.
func (o *Outbox) canFit(p *plan, m *Message) bool {
	messages, bytes := 1, int64(len(m.Header)+len(m.Payload))
	for i := range rank(m.Priority) {
		messages += o.use[i].messages
		bytes += o.use[i].bytes
	}
	for i := range p.add {
		if rankOf(p.add[i].Key) < rank(m.Priority) {
			messages++
			bytes += p.add[i].Size()
		}
	}
	return messages <= o.cfg.MaxMessages && bytes <= o.cfg.MaxBytes
}

func answer(requests []*request, err error) {
	for _, r := range requests {
		r.id, r.err = 0, err
	}
}

func (o *Outbox) fits(p *plan, m *Message) bool {
	return p.messages < o.cfg.MaxMessages && p.bytes+int64(len(m.Header)+len(m.Payload)) <= o.cfg.MaxBytes
}

// add puts a message into the plan.
func (o *Outbox) add(p *plan, r *request, now time.Time) {
	o.number++
	rec := record(r.message, key(rank(r.message.Priority), o.number), now, o.cfg.MaxAge)
	o.expires(rec.Expires)
	r.id = ID(rec.Key)
	p.requests = append(p.requests, r)
	p.add = append(p.add, rec)
	p.messages++
	p.bytes += rec.Size()
}

// turnAway answers a message that finds no room.
func (o *Outbox) turnAway(p *plan, r *request, now time.Time) {
	reason := Newest
	if o.cfg.Policy != DropNewest {
		reason = Full
		r.err = fmt.Errorf("%w: %d of %d messages and %d of %d bytes are taken, the message has %d bytes (policy: %v)", fairlead.ErrFull,
			p.messages, o.cfg.MaxMessages, p.bytes, o.cfg.MaxBytes, len(r.message.Header)+len(r.message.Payload), o.cfg.Policy)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stats.count(reason)
	if o.cfg.OnDrop != nil {
		rec := record(r.message, 0, now, o.cfg.MaxAge)
		e := entry(&rec)
		e.Priority = r.message.Priority
		o.drops = append(o.drops, Drop{reason, e})
	}
}

// run carries the plan out, and answers its requests.
func (o *Outbox) run(p *plan) error {
	if len(p.requests)+len(p.drop) == 0 {
		return nil
	}
	remove := p.remove
	for i := range p.drop {
		remove = append(remove, uint64(p.drop[i].Entry.ID))
	}
	var removed []Removed
	var err error
	if len(p.add)+len(remove) > 0 {
		removed, err = o.cfg.Store.Write(p.add, remove)
	}
	for _, r := range p.requests {
		if r.err = err; err != nil {
			r.id = 0
		}
	}
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range p.add {
		u := &o.use[rankOf(p.add[i].Key)]
		u.messages++
		u.bytes += p.add[i].Size()
		u.last = p.add[i].Key
		o.stats.Messages++
		o.stats.Bytes += p.add[i].Size()
	}
	was := make(map[uint64]bool, len(p.drop))
	for _, r := range removed {
		u := &o.use[rankOf(r.Key)]
		u.messages--
		u.bytes -= r.Size
		o.stats.Messages--
		o.stats.Bytes -= r.Size
		if len(p.drop) > 0 {
			was[r.Key] = true
		}
	}
	o.stats.Accepted += uint64(len(p.add))
	o.stats.Deleted += uint64(len(removed))
	for _, d := range p.drop {
		if was[uint64(d.Entry.ID)] { // else somebody was faster
			o.stats.Deleted--
			o.stats.count(d.Reason)
			if o.cfg.OnDrop != nil {
				o.drops = append(o.drops, d)
			}
		}
	}
	if len(p.add) > 0 {
		o.wakeReaders()
	}
	if len(removed) > 0 {
		o.wakeDrained()
	}
	return nil
}

// expires notes that something expires at a time.
func (o *Outbox) expires(t time.Time) {
	if !t.IsZero() && (o.soonest.IsZero() || t.Before(o.soonest)) {
		o.soonest = t
	}
}

// purge removes messages that have expired.
func (o *Outbox) purge(now time.Time) error {
	if o.soonest.IsZero() || now.Before(o.soonest) {
		return nil
	}
	p := o.newPlan()
	var size int64
	next := time.Time{}
	err := o.cfg.Store.Expiring(context.Background(), func(r Record) bool {
		if next = r.Expires; r.Expires.After(now) || len(p.drop) == maxBatch || size > maxBatchBytes {
			return false
		}
		next = time.Time{}
		size += r.Size()
		p.drop = append(p.drop, o.tooLate(&r, now))
		return true
	})
	if err != nil {
		return err
	}
	if err := o.run(p); err != nil {
		return err
	}
	o.soonest = next
	return nil
}

// tooLate is the drop of a message that has expired.
func (o *Outbox) tooLate(r *Record, now time.Time) Drop {
	d := Drop{Expired, o.remember(r)}
	if o.cfg.MaxAge > 0 && !now.Before(r.Accepted.Add(o.cfg.MaxAge)) {
		d.Reason = TooOld
	}
	return d
}

// remember copies what the hook will need of a message.
func (o *Outbox) remember(r *Record) Entry {
	if o.cfg.OnDrop == nil {
		return Entry{ID: ID(r.Key)}
	}
	return entry(r)
}

// victims yields what DropOldest discards, in that order.
type victims struct {
	o    *Outbox
	rank int    // being looked at; lower priorities are used up
	from uint64 // first key to look at
	page []victim
}

type victim struct {
	size int64
	drop Drop
}

// left tells whether there may be more for a message of this rank.
func (v *victims) left(rank int) bool { return v.rank >= rank }

// next returns the next one that may be discarded for a message of this rank. The Drop is zero if there is none.
func (v *victims) next(rank int) (size int64, d Drop, err error) {
	for len(v.page) == 0 {
		if v.rank < rank {
			return 0, Drop{}, nil
		}
		if err := v.fill(); err != nil {
			return 0, Drop{}, err
		}
		if len(v.page) == 0 {
			v.rank--
			v.from = 0
		}
	}
	if v.rank < rank {
		return 0, Drop{}, nil
	}
	first := v.page[0]
	v.page = v.page[1:]
	return first.size, first.drop, nil
}

func (v *victims) fill() error {
	if v.o.use[v.rank].messages == 0 {
		return nil
	}
	var size int64
	return v.o.cfg.Store.Scan(context.Background(), max(v.from, key(v.rank, 0)), key(v.rank+1, 0), func(r Record) bool {
		size += r.Size()
		v.page = append(v.page, victim{r.Size(), Drop{Oldest, v.o.remember(&r)}})
		v.from = r.Key + 1
		return len(v.page) < 64 && size < 1<<20
	})
}
