package hubtest

import (
	"bytes"
	"net"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/internal/memnet"
)

// An end is a connection that a link carries bytes from and to.
type end interface {
	net.Conn
	CloseWrite() error
	// Reset ends it for both sides at once.
	Reset()
}

var _ end = (*memnet.Conn)(nil)

// socket is the end of a client of a real port.
type socket struct{ *net.TCPConn }

// Reset sends RST.
func (s socket) Reset() {
	_ = s.SetLinger(0)
	_ = s.Close()
}

// maxUnderWay is how many bytes are on their way in one direction of a link before its sender has to wait; there are the
// buffers of the connections on both sides as well.
const maxUnderWay = 64 << 10

// A link is one connection over a line: that of the device as far as here, that of the hub from here on, and a flow for each
// direction between them.
type link struct {
	line  *Line
	flows [2]*flow

	// Under the line's mutex:
	dead   bool // was cut
	closed bool // by the device
	ended  int  // flows
}

// conn is the device's end.
type conn struct {
	*memnet.Conn
	link *link
}

// Close closes the connection, which is none of the line's any more as far as the device is concerned.
func (c conn) Close() error {
	c.link.line.mu.Lock()
	c.link.closed = true
	c.link.line.mu.Unlock()
	return c.Conn.Close()
}

// A flow carries the bytes of one direction: a goroutine reads them and puts them into the queue, another one writes them when
// the line lets them pass.
type flow struct {
	link     *link
	dir      Direction
	index    int
	from, to end

	// Under the line's mutex:
	changed sync.Cond
	queue   []chunk
	bytes   int
	lost    bool // bytes have vanished, so that nothing that follows makes sense
	gone    bool // the receiver takes no more
}

// A chunk is what was read at once; without data it is the end of the stream.
type chunk struct {
	data []byte
	due  time.Time // zero: at once
}

func newLink(l *Line, near, far end) *link {
	k := &link{line: l}
	k.flows[0] = &flow{link: k, index: 0, dir: ToHub, from: near, to: far}
	k.flows[1] = &flow{link: k, index: 1, dir: ToDevice, from: far, to: near}
	for _, f := range k.flows {
		f.changed.L = &l.mu
	}
	return k
}

// wake tells both flows that something has changed. This and the next method are called under the line's mutex.
func (k *link) wake() {
	for _, f := range k.flows {
		f.changed.Broadcast()
	}
}

// cut ends the connection for both ends.
func (k *link) cut() {
	if k.dead {
		return
	}
	k.dead = true
	for _, f := range k.flows {
		f.from.Reset()
	}
	k.wake()
}

// read fills the queue until the sender ends.
func (f *flow) read() {
	l := f.link.line
	buf := make([]byte, 16<<10)
	for {
		n, err := f.from.Read(buf)
		l.mu.Lock()
		for f.bytes >= maxUnderWay && !f.link.dead && !f.gone {
			f.changed.Wait()
		}
		var due time.Time
		if d := l.delay[f.index]; d > 0 {
			due = time.Now().Add(d)
		}
		if n > 0 && !f.gone {
			f.queue = append(f.queue, chunk{data: bytes.Clone(buf[:n]), due: due})
			f.bytes += n
		}
		if err != nil {
			f.queue = append(f.queue, chunk{due: due})
		}
		f.changed.Broadcast()
		dead := f.link.dead
		l.mu.Unlock()
		if err != nil || dead {
			return
		}
	}
}

// write empties the queue until the stream ends.
func (f *flow) write() {
	defer f.finish()
	for {
		data, reached, ok := f.next()
		if !ok {
			return
		}
		if len(data) > 0 {
			if _, err := f.to.Write(data); err != nil {
				f.giveUp()
			}
		}
		if len(reached) > 0 {
			f.reach(reached)
		}
	}
}

// next waits for bytes that may pass. It returns false at the end of the stream, after having passed that on.
func (f *flow) next() (data []byte, reached []*cut, ok bool) {
	l := f.link.line
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if f.link.dead {
			return nil, nil, false
		}
		if l.frozen || len(f.queue) == 0 || l.stalled&f.dir != 0 || !f.isDue() {
			f.changed.Wait()
			continue
		}
		c := f.queue[0]
		f.queue = f.queue[1:]
		f.bytes -= len(c.data)
		f.changed.Broadcast()
		if l.dropping&f.dir != 0 {
			f.lost = true
		}
		if len(c.data) == 0 {
			if !f.lost {
				_ = f.to.CloseWrite()
			}
			return nil, nil, false
		}
		if f.lost || f.gone {
			continue
		}
		pass, reached := l.allow(f.dir, len(c.data))
		return c.data[:pass], reached, true
	}
}

// isDue reports whether the first chunk has been under way for long enough; if not, the flow is woken when it has.
func (f *flow) isDue() bool {
	due := f.queue[0].due
	if due.IsZero() {
		return true
	}
	wait := time.Until(due)
	if wait > 0 {
		time.AfterFunc(wait, func() {
			f.link.line.mu.Lock()
			defer f.link.line.mu.Unlock()
			f.changed.Broadcast()
		})
	}
	return wait <= 0
}

// giveUp discards what comes, because the receiver has closed.
func (f *flow) giveUp() {
	f.link.line.mu.Lock()
	defer f.link.line.mu.Unlock()
	f.gone = true
	f.changed.Broadcast()
	if f.link.ended > 0 && !f.link.flows[1-f.index].lost {
		f.from.Reset() // it has been told of the end, and goes on
	}
}

// reach ends the connection because of CutAfter.
func (f *flow) reach(reached []*cut) {
	f.link.line.mu.Lock()
	defer f.link.line.mu.Unlock()
	f.link.cut()
	for _, c := range reached {
		close(c.done)
	}
}

// finish closes the connection when both flows have ended. Where the receiver had closed before, its end is the sender's too.
func (f *flow) finish() {
	l := f.link.line
	l.mu.Lock()
	defer l.mu.Unlock()
	k := f.link
	if k.ended++; k.ended < len(k.flows) {
		if other := k.flows[1-f.index]; other.gone && !f.lost {
			other.from.Reset()
		}
		return
	}
	for _, f := range k.flows {
		_ = f.from.Close()
	}
	delete(l.links, k)
}
