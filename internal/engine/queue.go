package engine

import (
	"context"
	"sync"
)

// maxEvents bounds the events that wait for a hook that does not come back. Older ones go first.
const maxEvents = 1024

// queue hands out messages and events, one at a time.
type queue struct {
	max int

	mu       sync.Mutex
	items    []item
	messages int           // of items
	events   int           // of items
	more     chan struct{} // has room for one
	room     chan struct{} // closed when there is some; nil if nobody waits
}

// item is a call of a hook.
type item struct {
	call  func()
	event bool // an event: called even when the engine ends
}

func (q *queue) init(limit int) { q.max, q.more = limit, make(chan struct{}, 1) }

// put appends a call. With wait it waits for room until ctx ends; otherwise it returns false if there is none. Events always find room.
func (q *queue) put(ctx context.Context, it item, wait bool) bool {
	for {
		q.mu.Lock()
		if it.event || q.messages < q.max {
			break
		}
		if !wait {
			q.mu.Unlock()
			return false
		}
		if q.room == nil {
			q.room = make(chan struct{})
		}
		room := q.room
		q.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return false
		}
	}
	if it.event {
		if q.events++; q.events > maxEvents {
			q.dropEvent()
		}
	} else {
		q.messages++
	}
	q.items = append(q.items, it)
	q.mu.Unlock()
	select {
	case q.more <- struct{}{}:
	default:
	}
	return true
}

func (q *queue) dropEvent() {
	for i, it := range q.items {
		if it.event {
			q.items = append(q.items[:i], q.items[i+1:]...)
			q.events--
			return
		}
	}
}

func (q *queue) take() (it item, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return item{}, false
	}
	it = q.items[0]
	q.items[0] = item{}
	if q.items = q.items[1:]; len(q.items) == 0 {
		q.items = nil
	}
	if it.event {
		q.events--
		return it, true
	}
	if q.messages--; q.room != nil {
		close(q.room)
		q.room = nil
	}
	return it, true
}

// run calls what comes until stop is closed; then the events that are left. Messages are not handed out any more when ctx has ended: they
// were not acknowledged, and the server keeps them.
func (q *queue) run(ctx context.Context, stop <-chan struct{}) {
	for {
		for it, ok := q.take(); ok; it, ok = q.take() {
			if it.event || ctx.Err() == nil {
				it.call()
			}
		}
		select {
		case <-q.more:
		case <-stop:
			for it, ok := q.take(); ok; it, ok = q.take() {
				if it.event {
					it.call()
				}
			}
			return
		}
	}
}
