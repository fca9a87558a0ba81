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

// A Target is where a publisher sends.
type Target struct {
	Addr  string
	TLS   *tls.Config // nil: plain TCP
	Topic string
	Hello []byte // sent after CONNACK, with its acknowledgement: Astarte's introspection; nil: nothing
}

// A Publisher is one connection that publishes at QoS 1.
type Publisher struct {
	conn   net.Conn
	frames *mqtt.FrameReader
	w      *bufio.Writer
	t      template
	window int
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
	host, _, err := net.SplitHostPort(t.Addr)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); host != "localhost" && !ip.IsLoopback() {
		return nil, fmt.Errorf("%s is not on this machine", t.Addr)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var c net.Conn
	if t.TLS != nil {
		c, err = (&tls.Dialer{Config: t.TLS}).DialContext(ctx, "tcp", t.Addr)
	} else {
		c, err = (&net.Dialer{}).DialContext(ctx, "tcp", t.Addr)
	}
	if err != nil {
		return nil, err
	}
	p := &Publisher{
		conn: c, w: bufio.NewWriterSize(c, 16<<10), t: newTemplate(t.Topic), window: window, seq: after, acked: after,
		frames: mqtt.NewFrameReader(bufio.NewReaderSize(c, 4<<10), 1<<16),
		acks:   make(chan int, window),
		sent:   make([]time.Duration, 2<<bits.Len(uint(window))),
	}
	if err := p.hello(t); err != nil {
		c.Close()
		return nil, err
	}
	go p.read()
	return p, nil
}

// hello opens the session.
func (p *Publisher) hello(t Target) error {
	_ = p.conn.SetDeadline(time.Now().Add(dialTimeout))
	b := (&mqtt.Connect{CleanStart: true, KeepAlive: 600}).Append(nil, mqtt.V311)
	if _, err := p.conn.Write(append(b, t.Hello...)); err != nil {
		return err
	}
	f, err := p.frames.Next()
	if err != nil {
		return fmt.Errorf("wait for CONNACK: %w", err)
	}
	var ack mqtt.ConnAck
	if err := ack.Decode(f, mqtt.V311); err != nil {
		return err
	}
	if ack.Code != mqtt.ConnAckAccepted {
		return fmt.Errorf("CONNACK with code %d", ack.Code)
	}
	if t.Hello != nil {
		if err := p.expect(mqtt.TypePubRec); err != nil {
			return err
		}
		if _, err := p.conn.Write((&mqtt.Ack{Type: mqtt.TypePubRel, ID: HelloID}).Append(nil, mqtt.V311)); err != nil {
			return err
		}
		if err := p.expect(mqtt.TypePubComp); err != nil {
			return err
		}
	}
	return p.conn.SetDeadline(time.Time{})
}

// HelloID is the packet identifier that Target.Hello must use.
const HelloID = 0xffff

func (p *Publisher) expect(t mqtt.Type) error {
	f, err := p.frames.Next()
	if err != nil {
		return fmt.Errorf("wait for %v: %w", t, err)
	}
	var ack mqtt.Ack
	if err := ack.Decode(f, mqtt.V311); err != nil {
		return err
	}
	if ack.Type != t || ack.ID != HelloID {
		return fmt.Errorf("got %v %d, want %v %d", ack.Type, ack.ID, t, HelloID)
	}
	return nil
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
		for sent < most && sent-acked < p.window {
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
	_, _ = p.conn.Write((&mqtt.Disconnect{}).Append(nil, mqtt.V311))
	_ = p.conn.Close()
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

// Run has all publishers publish at once, first for warm without and then for d with measuring; at most most messages
// in all. begin and end are called around what is measured.
func Run(ctx context.Context, pubs []*Publisher, warm, d time.Duration, most int, begin, end func()) (*Result, error) {
	r := &Result{Acked: make([]uint64, len(pubs))}
	share := most / len(pubs)
	if _, err := phase(ctx, pubs, r, warm, share/2); err != nil {
		return nil, fmt.Errorf("warm up: %w", err)
	}
	for _, p := range pubs {
		p.reset.Store(true)
	}
	begin()
	start := time.Now()
	n, err := phase(ctx, pubs, r, d, share/2)
	r.Elapsed, r.Messages = time.Since(start), n
	end()
	if err != nil {
		return nil, err
	}
	for _, p := range pubs {
		r.Latency.Merge(&p.lat) // the reader rests, all is acknowledged; take has synchronized with it
	}
	return r, nil
}

func phase(ctx context.Context, pubs []*Publisher, r *Result, d time.Duration, most int) (uint64, error) {
	var wg sync.WaitGroup
	errs, counts := make([]error, len(pubs)), make([]int, len(pubs))
	until := time.Now().Add(d)
	for i, p := range pubs {
		wg.Go(func() { counts[i], errs[i] = p.run(ctx, until, most) })
	}
	wg.Wait()
	var n uint64
	for i, c := range counts {
		n += uint64(c)
		r.Acked[i] += uint64(c)
	}
	return n, errors.Join(errs...)
}
