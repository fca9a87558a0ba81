package broker

import (
	"sync/atomic"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// A backlog is what waits in memory for all connections of one device: messages that were not acknowledged or not sent, and
// bytes that were not written. Each connection has bounds of its own, but a device may have a thousand of them. Beyond the
// backlog's bound a connection that has more than a little waiting gets no more for now: what is stored waits in storage, and
// other messages are lost to it.
type backlog struct {
	bytes atomic.Int64
	most  int64
	users int // connections; with the broker's lock
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
		l = &backlog{}
		b.backlogs[n] = l
	}
	l.most = int64(most)
	l.users++
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
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(b.backlogs, c.grant.Device)
	}
}

// charge brings the backlog up to date. With the lock.
func (o *outgoing) charge() {
	if o.device == nil {
		return
	}
	if now := int64(o.held + o.flying + len(o.buf) + o.written); now != o.charged {
		o.device.bytes.Add(now - o.charged)
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
