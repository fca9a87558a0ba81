// Package load makes load that costs little next to the server that bears it: packets are templates patched in place,
// nothing is allocated per message, acknowledgements are read in batches. Everything is bounded in time and count, and
// it sends to the loopback address only.
package load

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-iot/fairlead/bench/internal/hist"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

const (
	dialTimeout = 10 * time.Second
	// patience is how long a server may take over an acknowledgement before it counts as stuck.
	patience = 20 * time.Second
	// MaxWindow is the largest window.
	MaxWindow = 1 << 14
)

// epoch is the beginning of this process's time; durations take less room and time than a time.Time.
var epoch = time.Now()

// A Publisher is one connection that publishes at QoS 1.
type Publisher struct {
	conn   net.Conn
	frames *mqtt.FrameReader
	w      *bufio.Writer
	t      template
	window int
	gate   *Gate  // nil: nobody listens
	seq    uint64 // of the last message; the first one is 1

	sent   []time.Duration // since epoch, by packet identifier - 1; a power of two long, and longer than the window
	acks   chan int        // numbers of acknowledgements, as they arrive
	acked  uint64          // of the last acknowledged message; of the reader
	lat    hist.H          // of the reader while it runs
	failed error           // of the reader, good when acks is closed
	reset  atomic.Bool     // the reader shall forget the latencies so far
}

// Dial connects a publisher. Its messages are numbered from after+1 on.
func Dial(ctx context.Context, t Target, window int, after uint64) (*Publisher, error) {
	if window < 1 || window > MaxWindow {
		return nil, fmt.Errorf("window %d, want 1 to %d", window, MaxWindow)
	}
	c, frames, err := open(ctx, t, 4<<10, true)
	if err != nil {
		return nil, err
	}
	p := &Publisher{
		conn: c, w: bufio.NewWriterSize(c, 16<<10), t: newTemplate(t.Topic), window: window, seq: after, acked: after,
		frames: frames,
		acks:   make(chan int, window),
		sent:   make([]time.Duration, 2<<bits.Len(uint(window))),
	}
	go p.read()
	return p, nil
}

// packetID returns the identifier of message seq, which is not 0, and not that of any other message in the window.
func (p *Publisher) packetID(seq uint64) uint16 { return uint16(seq&uint64(len(p.sent)-1)) + 1 }

// read takes acknowledgements until the connection ends. They must come in the order of the messages
// [MQTT-4.6.0-2], which makes a wrong or doubled one an error.
func (p *Publisher) read() {
	defer close(p.acks)
	n := 0
	for {
		f, err := p.frames.Next()
		if err != nil {
			p.failed = err
			return
		}
		var ack mqtt.Ack
		if err := ack.Decode(f, mqtt.V311); err != nil {
			p.failed = err
			return
		}
		p.acked++
		if ack.Type != mqtt.TypePubAck || ack.ID != p.packetID(p.acked) {
			p.failed = fmt.Errorf("got %v %d, want PUBACK %d", ack.Type, ack.ID, p.packetID(p.acked))
			return
		}
		if p.reset.Load() {
			p.lat = hist.H{}
			p.reset.Store(false)
		}
		p.lat.Add(time.Since(epoch) - p.sent[ack.ID-1])
		if n++; p.frames.Buffered() == 0 {
			p.acks <- n
			n = 0
		}
	}
}

// run publishes until the time is over or most messages are sent, then waits until all are acknowledged. It returns
// how many that are.
func (p *Publisher) run(ctx context.Context, until time.Time, most int) (acked int, err error) {
	sent := 0
	stuck := time.NewTimer(patience)
	defer stuck.Stop()
	for time.Now().Before(until) && sent < most && ctx.Err() == nil {
		room := min(p.window-(sent-acked), most-sent)
		if p.gate != nil && room > 0 {
			if err := p.gate.enter(ctx, room); err != nil {
				return acked, err
			}
		}
		for range room {
			p.seq++
			id := p.packetID(p.seq)
			p.sent[id-1] = time.Since(epoch)
			if _, err := p.w.Write(p.t.patch(id, p.seq)); err != nil {
				return acked, err
			}
			sent++
		}
		if err := p.w.Flush(); err != nil {
			return acked, err
		}
		if err := p.take(ctx, &acked, stuck); err != nil {
			return acked, err
		}
	}
	for acked < sent {
		if err := p.take(ctx, &acked, stuck); err != nil {
			return acked, err
		}
	}
	return acked, ctx.Err()
}

// take waits for acknowledgements and takes all that are there.
func (p *Publisher) take(ctx context.Context, acked *int, stuck *time.Timer) error {
	stuck.Reset(patience)
	select {
	case n, ok := <-p.acks:
		if !ok {
			return fmt.Errorf("connection lost: %w", p.failed)
		}
		*acked += n
	case <-stuck.C:
		return fmt.Errorf("no acknowledgement for %v", patience)
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		select {
		case n, ok := <-p.acks:
			if !ok {
				return fmt.Errorf("connection lost: %w", p.failed)
			}
			*acked += n
		default:
			return nil
		}
	}
}

// Seq returns the number of the last message.
func (p *Publisher) Seq() uint64 { return p.seq }

// Suite returns the name of the connection's cipher suite, "" without TLS.
func (p *Publisher) Suite() string {
	if c, ok := p.conn.(*tls.Conn); ok {
		return tls.VersionName(c.ConnectionState().Version) + " " + tls.CipherSuiteName(c.ConnectionState().CipherSuite)
	}
	return ""
}

// Close ends the connection in order.
func (p *Publisher) Close() {
	bye(p.conn)
	for range p.acks { // until the reader is gone
	}
}

// A Result is what one run has measured.
type Result struct {
	Acked    []uint64 // by publisher, warming up included
	Messages uint64   // measured
	Elapsed  time.Duration
	Latency  hist.H // from handing a message to the socket's buffer to reading its PUBACK
}

// A Plan says how to run.
type Plan struct {
	Pubs       []*Publisher
	Gate       *Gate         // of the subscribers, which hear all publishers; nil: there are none
	Warm       time.Duration // without measuring
	D          time.Duration // with measuring
	Most       int           // messages in all
	Begin, End func()        // called around what is measured
}

// Run has all publishers publish at once. A phase ends when all is acknowledged and has come to all subscribers.
func Run(ctx context.Context, p Plan) (*Result, error) {
	r := &Result{Acked: make([]uint64, len(p.Pubs))}
	share := p.Most / len(p.Pubs)
	for _, pub := range p.Pubs {
		pub.gate = p.Gate
	}
	if _, err := phase(ctx, p, r, p.Warm, share/2); err != nil {
		return nil, fmt.Errorf("warm up: %w", err)
	}
	for _, pub := range p.Pubs {
		pub.reset.Store(true)
	}
	p.Begin()
	start := time.Now()
	n, err := phase(ctx, p, r, p.D, share/2)
	r.Elapsed, r.Messages = time.Since(start), n
	p.End()
	if err != nil {
		return nil, err
	}
	for _, pub := range p.Pubs {
		r.Latency.Merge(&pub.lat) // the reader rests, all is acknowledged; take has synchronized with it
	}
	return r, nil
}

func phase(ctx context.Context, p Plan, r *Result, d time.Duration, most int) (uint64, error) {
	var wg sync.WaitGroup
	errs, counts := make([]error, len(p.Pubs)), make([]int, len(p.Pubs))
	until := time.Now().Add(d)
	for i, pub := range p.Pubs {
		wg.Go(func() { counts[i], errs[i] = pub.run(ctx, until, most) })
	}
	wg.Wait()
	var n uint64
	for i, c := range counts {
		n += uint64(c)
		r.Acked[i] += uint64(c)
	}
	err := errors.Join(errs...)
	if err == nil && p.Gate != nil {
		err = p.Gate.drained(ctx)
	}
	return n, err
}
