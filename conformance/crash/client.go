package crash

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// A life is the time of one hub process.
type life struct {
	ended  atomic.Bool // from just before the process is killed: what fails then fails rightly
	at     time.Time   // set before ended is
	report func(kind, where, format string, args ...any)
}

// An exchange is a message under way, from its first sending until it is acknowledged for good.
type exchange struct {
	p     mqtt.Publish
	taken bool // QoS 2: PUBREC has come; from now on only PUBREL is sent
	// lasting says that the message belongs to the application, so that it is repeated in a new session too. What
	// belongs to the start of a session is made anew there instead.
	lasting bool
	sends   *int   // counts
	acked   func() // called when the hub has taken the message over, with the client's lock
}

// A client behaves as a good MQTT client does: it repeats what was not acknowledged, and completes each exchange. One
// goroutine writes, another one reads.
type client struct {
	application
	addr       string
	config     *tls.Config
	name       string // in reports
	persistent bool   // its session outlives its connections
	window     int
	burst      int           // most messages at once
	pace       time.Duration // longest pause between bursts
	// lazy has acknowledgements wait for the next burst, so that the hub is killed while many exchanges are half done.
	lazy bool

	mu       sync.Mutex
	l        *link
	lastID   uint16
	inflight []*exchange // in the order of their first sending
	due      []mqtt.Packet
	room     chan struct{}
	session  bool // the hub has a persistent session
	runs     int  // how often messages were repeated
	heard    time.Time
	open     map[uint16]string // QoS 2 messages received and not released: their topic and payload
}

// application is what a client is there for. All methods but hello are called with the client's lock.
type application interface {
	hello() mqtt.Connect
	introduction() []mqtt.Packet   // what starts a session
	random(*rand.Rand) mqtt.Packet // the next message; nil: nothing to send
	deliver(*mqtt.Publish) error   // takes a message that has come
	granted(*mqtt.SubAck) bool     // whether that is what it had asked for
}

func newClient(name, addr string, config *tls.Config, persistent bool) client {
	return client{
		addr: addr, config: config, name: name, persistent: persistent, window: 20, burst: 20, pace: 3 * time.Millisecond,
		room: make(chan struct{}, 1), open: map[uint16]string{},
	}
}

// live keeps the client connected until ctx ends or the hub has died, and has it send, at random.
func (c *client) live(ctx context.Context, lf *life, rng *rand.Rand) {
	for ctx.Err() == nil {
		err := c.connected(ctx, lf, func(ctx context.Context) error { return c.write(ctx, rng) })
		if ctx.Err() != nil || lf.ended.Load() {
			return
		}
		lf.report(Refused, c.name, "the connection ended while the hub ran: %v", err)
	}
}

// comeAndGo is the life of a client with a persistent session that is not always there.
func (c *client) comeAndGo(ctx context.Context, lf *life, rng *rand.Rand) {
	for ctx.Err() == nil && !lf.ended.Load() {
		within, cancel := context.WithTimeout(ctx, time.Duration(50+rng.IntN(200))*time.Millisecond)
		c.live(within, lf, rng)
		cancel()
		pause(ctx, time.Duration(rng.IntN(200))*time.Millisecond)
	}
}

// connected connects, starts or resumes the session, and calls work. The error says why the connection ended; nil means
// that ctx or work did, and that the client has left.
func (c *client) connected(ctx context.Context, lf *life, work func(context.Context) error) error {
	l, err := dialHub(ctx, lf, c.addr, c.config)
	if l == nil || err != nil {
		return err
	}
	defer l.close()
	present, err := l.connect(c.hello())
	if err != nil {
		return err
	}
	if c.persistent && c.session && !present {
		lf.report(Missing, c.name, "the persistent session")
	}
	if !c.persistent && present {
		lf.report(Invented, c.name, "a session, of one that was to end with its connection")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := c.resume(l, present); err != nil {
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() { cancel(c.read(l, lf)) })
	err = work(ctx)
	if cause := context.Cause(ctx); err == nil && ctx.Err() != nil && !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		err = cause // the reader's
	}
	if err == nil {
		_ = l.send(&mqtt.Disconnect{})
	}
	if err == nil || !lf.ended.Load() {
		l.close()
	}
	wg.Wait() // the reader takes what the dying hub had still sent: these acknowledgements count
	return err
}

// dialHub tries until it succeeds: the hub may be starting. It returns nothing when ctx or the hub ends.
func dialHub(ctx context.Context, lf *life, addr string, config *tls.Config) (*link, error) {
	for since := time.Now(); ; {
		l, err := dial(ctx, addr, config)
		if err == nil {
			return l, nil
		}
		if ctx.Err() != nil || lf.ended.Load() {
			return nil, nil
		}
		if time.Since(since) > patience {
			return nil, err
		}
		pause(ctx, 5*time.Millisecond)
	}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// resume sends what comes first on a connection: in a new session the whole introduction, and then everything that
// was not acknowledged.
func (c *client) resume(l *link, present bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.l, c.heard, c.session, c.due = l, time.Now(), c.persistent, nil
	var out []mqtt.Packet
	if !present {
		clear(c.open)
		var rest []*exchange
		for _, x := range c.inflight {
			if x.lasting {
				rest = append(rest, x)
			}
		}
		c.inflight = rest
		out = c.introduction()
	}
	old := map[*exchange]bool{}
	for _, p := range out {
		if x, ok := p.(*sending); ok {
			old[x.exchange] = true
		}
	}
	repeated := false
	for _, x := range c.inflight {
		switch {
		case old[x]: // just made
		case x.taken:
			out = append(out, &mqtt.Ack{Type: mqtt.TypePubRel, ID: x.p.ID})
		default:
			x.p.Dup, repeated = true, true
			out = append(out, x.send())
		}
	}
	if repeated {
		c.runs++
	}
	return l.send(out...)
}

// sending is the PUBLISH of an exchange.
type sending struct {
	*exchange
}

func (s *sending) Decode(mqtt.Frame, mqtt.Version) error { panic("never received") }
func (s *sending) Append(b []byte, v mqtt.Version) []byte {
	return s.p.Append(b, v)
}

func (x *exchange) send() *sending {
	if x.sends != nil {
		*x.sends++
	}
	return &sending{x}
}

// nextID returns a packet identifier that is not in use. With the lock.
func (c *client) nextID() uint16 {
	for {
		if c.lastID++; c.lastID == 0 {
			c.lastID = 1
		}
		if c.find(c.lastID) == nil {
			return c.lastID
		}
	}
}

func (c *client) find(id uint16) *exchange {
	for _, x := range c.inflight {
		if x.p.ID == id {
			return x
		}
	}
	return nil
}

// begin begins an exchange. With the lock.
func (c *client) begin(x *exchange) mqtt.Packet {
	if x.p.QoS > 0 {
		x.p.ID = c.nextID()
		c.inflight = append(c.inflight, x)
	}
	return x.send()
}

// write sends bursts of random messages, and the acknowledgements that have waited, until ctx ends.
func (c *client) write(ctx context.Context, rng *rand.Rand) error {
	for ctx.Err() == nil {
		c.mu.Lock()
		out := c.due
		c.due = nil
		if free := min(c.window-len(c.inflight), c.burst); free > 0 {
			for range 1 + rng.IntN(free) {
				if p := c.random(rng); p != nil {
					out = append(out, p)
				}
			}
		}
		c.mu.Unlock()
		if len(out) == 0 && !c.lazy {
			select {
			case <-c.room:
			case <-ctx.Done():
			}
			continue
		}
		if err := c.l.send(out...); err != nil {
			return err
		}
		pause(ctx, time.Duration(rng.Int64N(int64(c.pace))))
	}
	return nil
}

// flush sends the acknowledgements that have waited.
func (c *client) flush() error {
	c.mu.Lock()
	out := c.due
	c.due = nil
	c.mu.Unlock()
	return c.l.send(out...)
}

// read handles what comes until the connection ends; the error says why, nil that the client itself has ended it.
func (c *client) read(l *link, lf *life) error {
	for {
		p, err := l.next()
		if err != nil {
			return err
		}
		var answer mqtt.Packet
		c.mu.Lock()
		c.heard = time.Now()
		switch p := p.(type) {
		case *mqtt.Ack:
			answer = c.acknowledged(p, lf)
		case *mqtt.Publish:
			answer = c.receive(p, lf)
		case *mqtt.SubAck:
			if !c.granted(p) {
				lf.report(Refused, c.name, "a subscription with codes %#x", p.Codes)
			}
		case *mqtt.PingResp:
		default:
			lf.report(Refused, c.name, "got a %T", p)
		}
		if answer != nil && c.lazy {
			c.due = append(c.due, answer)
			answer = nil
		}
		c.mu.Unlock()
		if answer != nil {
			if err := l.send(answer); err != nil {
				return err
			}
		}
	}
}

// acknowledged moves an exchange on. With the lock.
func (c *client) acknowledged(a *mqtt.Ack, lf *life) mqtt.Packet {
	if a.Type == mqtt.TypePubRel {
		delete(c.open, a.ID)
		return &mqtt.Ack{Type: mqtt.TypePubComp, ID: a.ID}
	}
	x := c.find(a.ID)
	switch {
	case x == nil,
		a.Type == mqtt.TypePubAck && x.p.QoS != 1,
		a.Type == mqtt.TypePubRec && x.p.QoS != 2,
		a.Type == mqtt.TypePubComp && !x.taken:
		lf.report(Invented, c.name, "%v %d for nothing that was sent", a.Type, a.ID)
		return nil
	case a.Code.Failed() && a.Type != mqtt.TypePubComp: // it may have forgotten an exchange that was complete for it
		lf.report(Refused, c.name, "%v with %v for %s", a.Type, a.Code, x.p.Topic)
	case a.Type == mqtt.TypePubRec:
		x.taken = true
		x.acked() // from here on the message is the hub's
		return &mqtt.Ack{Type: mqtt.TypePubRel, ID: a.ID}
	case a.Type == mqtt.TypePubAck:
		x.acked()
	}
	for i, one := range c.inflight {
		if one == x {
			c.inflight = append(c.inflight[:i], c.inflight[i+1:]...)
			break
		}
	}
	select {
	case c.room <- struct{}{}:
	default:
	}
	return nil
}

// receive takes a message of the hub. A client knows a QoS 2 message that comes again by its identifier alone, so a
// message that comes again under another one, or another one under the same, is lost or doubled for it. With the lock.
func (c *client) receive(m *mqtt.Publish, lf *life) mqtt.Packet {
	var answer mqtt.Packet
	again := false
	switch m.QoS {
	case 1:
		answer = &mqtt.Ack{Type: mqtt.TypePubAck, ID: m.ID}
	case 2:
		answer = &mqtt.Ack{Type: mqtt.TypePubRec, ID: m.ID}
		var before string
		what := string(m.Topic) + " " + string(m.Payload)
		before, again = c.open[m.ID]
		switch {
		case again && before != what:
			lf.report(Missing, c.name, "identifier %d was that of %q, which is not released, and is now that of %q", m.ID, before, what)
		case again && !m.Dup: // [MQTT-3.3.1-1]
			lf.report(Refused, c.name, "%q again under identifier %d, without the DUP flag", what, m.ID)
		}
		c.open[m.ID] = what
	}
	if !again {
		if err := c.deliver(m); err != nil {
			lf.report(Refused, c.name, "received on %s: %v", m.Topic, err)
		}
	}
	return answer
}

// silent returns for how long nothing has come.
func (c *client) silent() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.heard)
}

// idle reports that no exchange is under way. With the lock.
func (c *client) idle() bool { return len(c.inflight) == 0 && len(c.open) == 0 && len(c.due) == 0 }
