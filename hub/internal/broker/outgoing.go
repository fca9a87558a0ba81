package broker

import (
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// outbox bounds the bytes that wait for a client that does not read. Acknowledgements and QoS 0 messages end there;
// QoS 1 and 2 messages are bounded by the window before.
const (
	maxUnsent    = 4 << 20 // then the client counts as gone: only answers to its own packets can come to so much
	maxAhead     = 1 << 20 // then messages of QoS 1 and 2 wait until some of it is written
	maxUnsentQ0  = 1 << 20 // then messages of QoS 0 are dropped
	refillBatch  = 200     // messages fetched from storage at a time
	maxHeldAhead = 400     // stored messages kept in memory behind the window; more stay in storage only
)

// drainTime bounds how long the end of a connection waits for the client to read the last bytes.
const drainTime = 2 * time.Second

// outgoing is the side of a connection towards the client: bytes to write, and the window of messages that the client
// has not acknowledged. The reader (acknowledgements) and the committer's goroutine (messages) both use it.
type outgoing struct {
	mu       sync.Mutex
	buf      []byte // to be written
	writing  bool   // a goroutine is writing
	greeting bool   // it is the one that has signed the client in, and has not begun
	dead     bool   // no more writes
	closing  bool   // the last byte of buf is the last of the connection
	flushed  sync.Cond

	version   mqtt.Version
	limit     uint32            // of a whole packet; 0: none
	aliases   *mqtt.AliasWriter // nil: the client wants none
	inflight  map[uint16]packet
	max       int // of inflight
	nextID    uint16
	oldest    int64    // no lower stored seq is in flight, 0: none is; see packetID
	waiting   []packet // behind the window, in order
	held      int      // bytes of waiting
	flying    int      // bytes of inflight
	written   int      // bytes that are being written
	charged   int64    // of them, to device
	device    *backlog // nil: nobody's
	behind    bool     // storage has messages that are not in waiting
	more      bool     // retained messages are to follow when these are sent, see wantsFetch
	spent     []packet // stored ones that are not to be sent: to be taken out of storage
	stats     *Stats
	published int64 // messages that were written to buf

	meter   *meter // nil: nothing is limited
	timer   *time.Timer
	timing  bool   // timer runs
	proceed func() // what it calls
}

func newOutgoing(v mqtt.Version, window int, stats *Stats) *outgoing {
	o := &outgoing{version: v, max: window, stats: stats}
	o.flushed.L = &o.mu
	return o
}

var writeBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// send queues bytes and has them written.
func (c *conn) send(b []byte) {
	if len(b) == 0 {
		return
	}
	o := c.out
	o.mu.Lock()
	o.append(b)
	c.flushLocked()
	o.mu.Unlock()
}

// append must be called with the lock.
func (o *outgoing) append(b []byte) {
	if o.dead || o.closing {
		return
	}
	if o.buf == nil {
		o.buf = (*writeBuffers.Get().(*[]byte))[:0]
	}
	o.buf = append(o.buf, b...)
}

// flushLocked has a goroutine write what is queued, unless one does already. With the lock.
func (c *conn) flushLocked() {
	o := c.out
	o.charge()
	if !o.dead && len(o.buf) > maxUnsent { // also while a write waits for the client: it can ask for much in that time
		c.slow()
	}
	if o.writing || o.dead || len(o.buf) == 0 && !o.wantsFetch() || o.paused() {
		return
	}
	o.writing = true
	go c.flush()
}

// flush writes until nothing is left. It is the only writer; slow clients hold only their own.
func (c *conn) flush() {
	o := c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.dead {
		if len(o.buf) == 0 {
			if !o.wantsFetch() {
				break
			}
			c.fetch()
			continue
		}
		if len(o.buf) > maxUnsent {
			c.slow()
			break
		}
		if o.paused() {
			break
		}
		patience := c.b.cfg.WriteTimeout
		if o.closing {
			patience = drainTime
		}
		c.write(patience)
	}
	o.writing = false
	o.flushed.Broadcast()
}

// write writes what is queued, for who has set o.writing. With the lock, which it gives up meanwhile.
func (c *conn) write(patience time.Duration) {
	o := c.out
	b, rest := o.portion()
	o.buf = rest
	o.written = len(b)
	o.mu.Unlock()
	c.src.nc.SetWriteDeadline(time.Now().Add(patience))
	_, err := c.src.app.Write(b)
	c.seen.bytesOut.Add(int64(len(b)))
	if cap(b) <= 64<<10 && rest == nil {
		writeBuffers.Put(&b)
	}
	o.mu.Lock()
	o.written = 0
	o.wrote(len(b))
	if err != nil {
		o.dead = true
		c.src.nc.Close()
	}
	o.next()
	o.charge()
}

// What sendNow writes itself, and for how long it would wait if the system were so short of memory that it takes not even
// that.
const (
	maxNow  = 2 << 10
	nowTime = time.Second
)

// sendNow is send for when nobody else waits for the caller, which is the committer's goroutine: where the socket is empty,
// and so takes a few bytes at once, they are written right here. To start a goroutine for them would wake up a processor
// first; a client that waits for each acknowledgement would wait for that, too.
func (c *conn) sendNow(b []byte) {
	if len(b) == 0 {
		return
	}
	o := c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	o.append(b)
	if !o.writing && !o.dead && !o.closing && len(o.buf) > 0 && len(o.buf) <= maxNow && !o.paused() && c.src.Drained() {
		o.writing = true
		c.write(nowTime)
		o.writing = false
		o.flushed.Broadcast()
	}
	c.flushLocked() // what is left, or has come meanwhile
}

// slow gives a client up that does not read. With the lock.
func (c *conn) slow() {
	c.out.dead, c.out.buf = true, nil
	c.b.stats.SlowClients.Add(1)
	c.src.nc.Close()
}

// drain waits until all that was queued is written or can never be, and lets nothing more be queued.
func (c *conn) drain() {
	o := c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closing = true
	_ = c.src.nc.SetWriteDeadline(time.Now().Add(drainTime)) // who has not read until now is not waited for much longer
	c.flushLocked()                                          // what waits for its turn
	for o.writing {
		o.flushed.Wait()
	}
	o.dead = true
	o.buf = nil
	if o.timer != nil {
		o.timer.Stop()
	}
}

// push gives a message to the client: at once if the window has room, else when it has. It reports whether the message
// was taken. With the lock.
func (o *outgoing) push(p packet, l queueLimits) bool {
	if o.useless(p) {
		return true
	}
	if p.qos == 0 {
		if len(o.buf) > maxUnsentQ0 || o.crowded() {
			return false
		}
		if o.meter.surplus() {
			o.stats.ThrottledOut.Add(1)
			return false
		}
		o.publish(p)
		return true
	}
	if p.seq == 0 && o.crowded() {
		return false
	}
	if len(o.waiting) == 0 && o.canSend(p) {
		o.start(p)
		return true
	}
	if p.seq == 0 && (len(o.waiting) >= l.count || o.held+p.size() > l.bytes) {
		return false
	}
	o.waiting = append(o.waiting, p)
	o.held += p.size()
	return true
}

type queueLimits struct{ count, bytes int }

// start sends p within the window.
func (o *outgoing) start(p packet) {
	if p.seq == 0 {
		for {
			if o.nextID++; o.nextID == 0 {
				o.nextID = 1
			}
			if _, taken := o.inflight[o.nextID]; !taken {
				break
			}
		}
		p.id = o.nextID
	}
	if o.inflight == nil {
		o.inflight = make(map[uint16]packet, 4)
	}
	if p.seq != 0 && (o.oldest == 0 || p.seq < o.oldest) {
		o.oldest = p.seq
	}
	o.inflight[p.id] = p
	o.flying += p.size()
	o.sent()
	o.publish(p)
}

// canSend reports whether the window has room for p: in messages, and in bytes that the client has not read yet. It
// holds back stored messages far beyond one that is never acknowledged, see packetID.
func (o *outgoing) canSend(p packet) bool {
	return len(o.inflight) < o.max && (len(o.buf) == 0 || len(o.buf)+p.size() <= maxAhead) &&
		(p.seq == 0 || o.near(p) || o.findOldest() && o.near(p)) && o.inTime()
}

func (o *outgoing) near(p packet) bool { return o.oldest == 0 || p.seq < o.oldest+spread }

// findOldest looks for the lowest stored seq in flight. To know it after each acknowledgement would cost more than all
// the rest of it, so it is looked for when it makes a difference.
func (o *outgoing) findOldest() bool {
	o.oldest = 0
	for _, p := range o.inflight {
		if p.seq != 0 && (o.oldest == 0 || p.seq < o.oldest) {
			o.oldest = p.seq
		}
	}
	return true
}

// acknowledged ends a message that is in flight and lets the next ones go. ok is false if there was none with that
// identifier. With the lock.
func (o *outgoing) acknowledged(id uint16) (p packet, ok bool) {
	p, ok = o.inflight[id]
	if !ok {
		return p, false
	}
	delete(o.inflight, id)
	o.flying -= p.size()
	if len(o.inflight) == 0 {
		o.oldest = 0
	}
	o.next()
	o.charge()
	return p, true
}

// next sends what the window has room for. With the lock.
func (o *outgoing) next() {
	n := 0
	for n < len(o.waiting) && o.canSend(o.waiting[n]) {
		o.held -= o.waiting[n].size()
		if !o.useless(o.waiting[n]) {
			o.start(o.waiting[n])
		}
		o.waiting[n] = packet{}
		n++
	}
	if n == len(o.waiting) {
		o.waiting = nil
		return
	}
	o.waiting = o.waiting[n:]
}

// wantsMore reports that storage should be asked for further messages. With the lock.
func (o *outgoing) wantsMore() bool { return o.behind && len(o.waiting) == 0 }

// Packet identifiers of stored messages must not change while the message waits, also when the hub is killed, because
// a client that has received a QoS 2 message knows it by its identifier only. They follow from the sequence number, so
// that they need no storage of their own; spread keeps all that can be in flight at once less than 65,535 apart.
const spread = 32_768

func packetID(seq int64) uint16 { return uint16((seq-1)%65_535) + 1 }
