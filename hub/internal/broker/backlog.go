package broker

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// A backlog is what waits in memory for all connections of one device: messages that were not acknowledged or not sent, and
// bytes that were not written. Each connection has bounds of its own, but a device may have a thousand of them. Beyond the
// backlog's bound a connection that has more than a little waiting gets no more for now: what is stored waits in storage, and
// other messages are lost to it.
type backlog struct {
	bytes atomic.Int64
	most  int64
	all   *unread
	first *conn // of its connections; with the broker's lock
}

// unread is what waits in memory for all devices together, in steps, so that it costs nothing where little waits.
type unread struct {
	bytes atomic.Int64
	most  int64
	shed  func() // has some of it go; called by one at a time, on a goroutine of its own
	busy  atomic.Bool
}

// unreadStep is a power of two: what waits for a connection is rounded down to it.
const unreadStep = 16 << 10

func (u *unread) add(n int64) {
	if u.bytes.Add(n) > u.most && n > 0 && !u.busy.Swap(true) {
		go func() {
			defer u.busy.Store(false)
			u.shed()
		}()
	}
}

const (
	// smallBacklog is what a connection may have waiting in any case, so that one which reads is not held up by others of its
	// device which do not.
	smallBacklog = 64 << 10
	// refillBytes is what a connection is given of its stored queue at a time.
	refillBytes = 1 << 20
)

// joinBacklog has the messages for a connection count for its device.
func (b *Broker) joinBacklog(c *conn) {
	n, most := c.grant.Device, c.grant.Limits.DeviceUnread
	if n == 0 || most < 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.backlogs[n]
	if l == nil {
		l = &backlog{all: &b.unread}
		b.backlogs[n] = l
	}
	l.most = int64(most)
	if c.sibling = l.first; c.sibling != nil {
		c.sibling.elder = c
	}
	l.first = c
	c.out.device = l
}

// leaveBacklog ends that. Nothing may be queued for the connection any more.
func (b *Broker) leaveBacklog(c *conn) {
	o := c.out
	o.mu.Lock()
	l := o.device
	o.device = nil
	charged := o.charged
	o.mu.Unlock()
	if l == nil {
		return
	}
	l.bytes.Add(-charged)
	if steps := charged &^ (unreadStep - 1); steps > 0 {
		l.all.add(-steps)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.elder != nil {
		c.elder.sibling = c.sibling
	} else {
		l.first = c.sibling
	}
	if c.sibling != nil {
		c.sibling.elder = c.elder
	}
	c.elder, c.sibling = nil, nil
	if l.first == nil {
		delete(b.backlogs, c.grant.Device)
	}
}

// shedWait bounds how long a connection that was closed may take to end, until others are closed in its place.
const shedWait = 5 * time.Second

// shed closes connections of the devices for which most waits, until what waits for all is an eighth below its bound. What is
// stored of it waits in storage.
func (b *Broker) shed() {
	u := &b.unread
	left := u.bytes.Load()
	used := left
	var closed []*conn
	for _, l := range b.largestBacklogs() {
		for _, c := range b.connsOf(l) {
			if left <= u.most-u.most/8 {
				break
			}
			o := c.out
			o.mu.Lock()
			if steps := o.charged &^ (unreadStep - 1); steps > 0 && !o.dead {
				left -= steps
				c.slow()
				closed = append(closed, c)
			}
			o.mu.Unlock()
		}
	}
	timeout := time.NewTimer(shedWait)
	defer timeout.Stop()
	if len(closed) == 0 { // there is nothing but crumbs
		<-timeout.C
		return
	}
	b.stats.Shed.Add(int64(len(closed)))
	b.log.Warn("too much waited in memory for clients that do not read; those for whom most did are closed",
		"bytes", used, "connections", len(closed))
	for _, c := range closed {
		select {
		case <-c.left:
		case <-timeout.C:
			return
		}
	}
}

// largestBacklogs returns the backlogs, those first that are largest.
func (b *Broker) largestBacklogs() []*backlog {
	type sized struct {
		*backlog
		n int64
	}
	b.mu.Lock()
	list := make([]sized, 0, len(b.backlogs))
	for _, l := range b.backlogs {
		if n := l.bytes.Load(); n >= unreadStep {
			list = append(list, sized{l, n})
		}
	}
	b.mu.Unlock()
	slices.SortFunc(list, func(x, y sized) int { return cmp.Compare(y.n, x.n) })
	out := make([]*backlog, len(list))
	for i, l := range list {
		out[i] = l.backlog
	}
	return out
}

func (b *Broker) connsOf(l *backlog) (list []*conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := l.first; c != nil; c = c.sibling {
		list = append(list, c)
	}
	return list
}

// charge brings the backlog up to date. With the lock.
func (o *outgoing) charge() {
	if o.device == nil {
		return
	}
	if now := int64(o.held + o.flying + len(o.buf) + o.written); now != o.charged {
		o.device.bytes.Add(now - o.charged)
		if steps := now&^(unreadStep-1) - o.charged&^(unreadStep-1); steps != 0 {
			o.device.all.add(steps)
		}
		o.charged = now
	}
}

// over reports whether the device has more waiting than it may. With the lock.
func (o *outgoing) over() bool { return o.device != nil && o.device.bytes.Load() > o.device.most }

// crowded reports whether that is so, and this connection has a part in it. With the lock.
func (o *outgoing) crowded() bool { return o.over() && o.charged > smallBacklog }

// refillOf returns how many of the first messages of a queue the connection is given, at least one. With the lock.
func (o *outgoing) refillOf(rows []core.Queued) int {
	left := refillBytes
	if o.over() {
		left = smallBacklog
	}
	for i := range rows {
		if left -= rows[i].Size(); left < 0 && i > 0 {
			return i
		}
	}
	return len(rows)
}
