package load

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// A Gate keeps publishers from running ahead of subscribers: what a server may drop when a subscriber falls behind must
// not make it look fast. The zero value is not usable; see [NewGate].
type Gate struct {
	subs, most int64

	outstanding atomic.Int64 // deliveries to come
	waiting     atomic.Int32

	mu     sync.Mutex
	opened chan struct{} // closed when outstanding has fallen
	failed error
}

// NewGate lets each of subs subscribers be at most lag messages behind, on average.
func NewGate(subs, lag int) *Gate {
	return &Gate{subs: int64(subs), most: int64(subs) * int64(lag), opened: make(chan struct{})}
}

// enter waits until n more messages may be sent.
func (g *Gate) enter(ctx context.Context, n int) error {
	more := int64(n) * g.subs
	return g.await(ctx, func() bool {
		if now := g.outstanding.Load(); now > 0 && now+more > g.most {
			return false
		}
		g.outstanding.Add(more)
		return true
	})
}

// drained waits until all that was sent has come.
func (g *Gate) drained(ctx context.Context) error {
	err := g.await(ctx, func() bool { return g.outstanding.Load() <= 0 })
	g.mu.Lock()
	defer g.mu.Unlock()
	return cmp.Or(err, g.failed)
}

func (g *Gate) await(ctx context.Context, ok func() bool) error {
	if ok() { // a failure shows to the next one who waits, at the latest to drained
		return nil
	}
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	g.waiting.Add(1)
	defer g.waiting.Add(-1)
	for {
		g.mu.Lock()
		opened, failed := g.opened, g.failed
		g.mu.Unlock()
		if failed != nil {
			return failed
		}
		if ok() {
			return nil
		}
		select {
		case <-opened:
			deadline.Reset(patience)
		case <-deadline.C:
			return fmt.Errorf("%d deliveries are missing, and nothing comes for %v", g.outstanding.Load(), patience)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// came notes deliveries, and fails everybody who waits if err is not nil.
func (g *Gate) came(n int, err error) {
	g.outstanding.Add(-int64(n))
	if err == nil && g.waiting.Load() == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed == nil {
		g.failed = err
	}
	close(g.opened)
	g.opened = make(chan struct{})
}

// A Subscriber is one connection that receives.
type Subscriber struct {
	conn   net.Conn
	frames *mqtt.FrameReader
	gate   *Gate
	last   map[string]*uint64 // number of the last message, by topic
	closed atomic.Bool
	done   chan struct{}
}

// Subscribe connects a subscriber that tells the gate what comes. It insists on every message, once and in order.
func Subscribe(ctx context.Context, t Target, filter string, qos byte, g *Gate) (*Subscriber, error) {
	c, frames, err := open(ctx, t, 32<<10, true)
	if err != nil {
		return nil, err
	}
	s := &Subscriber{conn: c, frames: frames, gate: g, last: map[string]*uint64{}, done: make(chan struct{})}
	if err := s.subscribe(filter, qos); err != nil {
		c.Close()
		return nil, fmt.Errorf("subscribe to %s: %w", filter, err)
	}
	go s.read()
	return s, nil
}

func (s *Subscriber) subscribe(filter string, qos byte) error {
	_ = s.conn.SetDeadline(time.Now().Add(dialTimeout))
	ask := mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: filter, QoS: qos}}}
	if _, err := s.conn.Write(ask.Append(nil, mqtt.V311)); err != nil {
		return err
	}
	f, err := s.frames.Next()
	if err != nil {
		return err
	}
	var ack mqtt.SubAck
	if err := ack.Decode(f, mqtt.V311); err != nil {
		return err
	}
	if len(ack.Codes) != 1 || ack.Codes[0] != qos {
		return fmt.Errorf("SUBACK with %v", ack.Codes)
	}
	return s.conn.SetDeadline(time.Time{})
}

func (s *Subscriber) read() {
	defer close(s.done)
	var acks []byte
	n := 0
	for {
		f, err := s.frames.Next()
		if err == nil {
			acks, err = s.take(f, acks)
		}
		if err != nil {
			if !s.closed.Load() {
				s.gate.came(n, fmt.Errorf("subscriber: %w", err))
			}
			return
		}
		n++
		if s.frames.Buffered() > 0 && n < 256 {
			continue
		}
		if len(acks) > 0 {
			if _, err := s.conn.Write(acks); err != nil && !s.closed.Load() {
				s.gate.came(n, fmt.Errorf("subscriber: %w", err))
				return
			}
			acks = acks[:0]
		}
		s.gate.came(n, nil)
		n = 0
	}
}

// take checks one message and appends its acknowledgement.
func (s *Subscriber) take(f mqtt.Frame, acks []byte) ([]byte, error) {
	var p mqtt.Publish
	if err := p.Decode(f, mqtt.V311); err != nil {
		return acks, err
	}
	seq, ok := PayloadSeq(p.Payload)
	if !ok {
		return acks, fmt.Errorf("a payload on %s that was never sent", p.Topic)
	}
	last := s.last[string(p.Topic)]
	if last == nil {
		last = new(uint64)
		*last = seq - 1
		s.last[string(p.Topic)] = last
	}
	if seq != *last+1 {
		return acks, fmt.Errorf("message %d on %s comes behind %d", seq, p.Topic, *last)
	}
	*last = seq
	if p.QoS == 1 {
		acks = (&mqtt.Ack{Type: mqtt.TypePubAck, ID: p.ID}).Append(acks, mqtt.V311)
	}
	return acks, nil
}

// Close ends the connection in order.
func (s *Subscriber) Close() {
	s.closed.Store(true)
	bye(s.conn)
	<-s.done
}
