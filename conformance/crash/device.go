package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-iot/fairlead/conformance/astarteapi"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// A life is the time of one hub process.
type life struct {
	ended  atomic.Bool // from just before the process is killed: what fails then fails rightly
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
	acked   func() // called when the hub has taken the message over, with the device's lock
}

// A device behaves as an official SDK does: it repeats what was not acknowledged, keeps its own properties, and
// completes each exchange. One goroutine writes, another one reads.
type device struct {
	cred       *astarteapi.Credentials
	addr       string
	name       string // in reports
	persistent bool   // clean session 0
	window     int

	streams map[string][]*Stream // by interface: paths /p0/value, /p1/value …
	props   []*Property          // of ifProps, in the same way

	mu         sync.Mutex
	l          *link
	lastID     uint16
	inflight   []*exchange // in the order of their first sending
	room       chan struct{}
	number     int  // of the last value
	session    bool // the hub has acknowledged something in a persistent session
	introduced bool // the hub has acknowledged the introspection
	emptied    bool // the hub has acknowledged emptyCache
	runs       int  // how often messages were repeated
	heard      time.Time
	received   map[string][]*string
	state      map[string]string   // server-owned properties as the device sees them
	open       map[uint16]struct{} // QoS 2 messages received and not released
}

const pathsPerStream = 2

func newDevice(name string, cred *astarteapi.Credentials, addr string, persistent bool) *device {
	d := &device{
		cred: cred, addr: addr, name: name, persistent: persistent, window: 20, streams: map[string][]*Stream{},
		room: make(chan struct{}, 1), received: map[string][]*string{}, state: map[string]string{}, open: map[uint16]struct{}{},
	}
	for _, iface := range []string{ifGuaranteed, ifUnique} {
		for i := range pathsPerStream {
			d.streams[iface] = append(d.streams[iface], &Stream{
				Where: fmt.Sprintf("%s %s%s", name, iface, pathOf(i)),
				Once:  persistent && qos[iface] == 2,
			})
		}
	}
	for i := range pathsPerStream {
		d.props = append(d.props, &Property{Where: fmt.Sprintf("%s %s%s", name, ifProps, pathOf(i))})
	}
	return d
}

func pathOf(i int) string { return fmt.Sprintf("/p%d/value", i) }

func (d *device) topic(iface, path string) []byte { return []byte(d.base() + "/" + iface + path) }
func (d *device) base() string                    { return d.cred.TLS.Certificates[0].Leaf.Subject.CommonName }

// live keeps the device connected until ctx ends or the hub has died, and has it send, at random.
func (d *device) live(ctx context.Context, lf *life, rng *rand.Rand) {
	for ctx.Err() == nil {
		err := d.connected(ctx, lf, func(ctx context.Context) error { return d.write(ctx, rng) })
		if ctx.Err() != nil || lf.ended.Load() {
			return
		}
		lf.report(Refused, d.name, "the connection ended while the hub ran: %v", err)
	}
}

// connected connects, starts or resumes the session, and calls work. The error says why the connection ended; nil means
// that ctx or work did, and that the device has left.
func (d *device) connected(ctx context.Context, lf *life, work func(context.Context) error) error {
	l, err := d.dial(ctx, lf)
	if l == nil || err != nil {
		return err
	}
	defer l.close()
	hello := mqtt.Connect{CleanStart: true, KeepAlive: 60}
	if d.persistent {
		hello.CleanStart, hello.ClientID = false, d.base()
	}
	present, err := l.connect(hello)
	if err != nil {
		return err
	}
	if d.persistent && d.session && !present {
		lf.report(Missing, d.name, "the persistent session")
	}
	if !d.persistent && present {
		lf.report(Invented, d.name, "a session, after clean session 1")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := d.resume(l, present); err != nil {
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() { cancel(d.read(l, lf)) })
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

// dial tries until it succeeds: the hub may be starting. It returns nothing when ctx ends.
func (d *device) dial(ctx context.Context, lf *life) (*link, error) {
	for since := time.Now(); ; {
		l, err := dial(ctx, d.addr, d.cred.TLS)
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
func (d *device) resume(l *link, present bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.l, d.heard = l, time.Now()
	var out []mqtt.Packet
	if !present {
		clear(d.open)
		var rest []*exchange
		for _, x := range d.inflight {
			if x.lasting {
				rest = append(rest, x)
			}
		}
		d.inflight = rest
		out = d.introduction()
	}
	old := map[*exchange]bool{}
	for _, p := range out {
		if x, ok := p.(*sending); ok {
			old[x.exchange] = true
		}
	}
	repeated := false
	for _, x := range d.inflight {
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
		d.runs++
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

// introduction is what starts a session ("Astarte MQTT v1 protocol"). With the lock.
func (d *device) introduction() []mqtt.Packet {
	out := []mqtt.Packet{d.subscribe(d.base() + "/control/consumer/properties")}
	for _, name := range serverOwned {
		out = append(out, d.subscribe(d.base()+"/"+name+"/#"))
	}
	out = append(out,
		d.begin(&exchange{p: mqtt.Publish{QoS: 2, Topic: []byte(d.base()), Payload: introspection()}, acked: func() { d.introduced = true }}),
		d.begin(&exchange{
			p:     mqtt.Publish{QoS: 2, Topic: []byte(d.base() + "/control/emptyCache"), Payload: []byte("1")},
			acked: func() { d.emptied = true },
		}))
	var held []string
	var gone []*Op
	for i, p := range d.props {
		if len(p.ops) == 0 {
			continue
		}
		op := p.ops[len(p.ops)-1]
		if op.Value == nil {
			gone = append(gone, op)
			continue
		}
		held = append(held, ifProps+pathOf(i))
		out = append(out, d.begin(&exchange{
			p:     mqtt.Publish{QoS: 2, Topic: d.topic(ifProps, pathOf(i)), Payload: payload(op.Value)},
			acked: func() { op.Acked = true },
		}))
	}
	return append(out, d.begin(&exchange{
		p: mqtt.Publish{
			QoS: 2, Topic: []byte(d.base() + "/control/producer/properties"), Payload: astartewire.AppendPurgeList(nil, held),
		},
		acked: func() {
			for _, op := range gone {
				op.Acked = true // the list says that it is not set
			}
		},
	}))
}

func (d *device) subscribe(filter string) mqtt.Packet {
	return &mqtt.Subscribe{ID: d.nextID(), Subscriptions: []mqtt.Subscription{{Filter: filter, QoS: 2}}}
}

// nextID returns a packet identifier that is not in use. With the lock.
func (d *device) nextID() uint16 {
	for {
		if d.lastID++; d.lastID == 0 {
			d.lastID = 1
		}
		if d.find(d.lastID) == nil {
			return d.lastID
		}
	}
}

func (d *device) find(id uint16) *exchange {
	for _, x := range d.inflight {
		if x.p.ID == id {
			return x
		}
	}
	return nil
}

// begin begins an exchange. With the lock.
func (d *device) begin(x *exchange) mqtt.Packet {
	if x.p.QoS > 0 {
		x.p.ID = d.nextID()
		d.inflight = append(d.inflight, x)
	}
	return x.send()
}

// write sends bursts of random messages until ctx ends.
func (d *device) write(ctx context.Context, rng *rand.Rand) error {
	for ctx.Err() == nil {
		d.mu.Lock()
		free := d.window - len(d.inflight)
		var out []mqtt.Packet
		if free > 0 {
			for range 1 + rng.IntN(free) {
				out = append(out, d.random(rng))
			}
		}
		d.mu.Unlock()
		if len(out) == 0 {
			select {
			case <-d.room:
			case <-ctx.Done():
			}
			continue
		}
		if err := d.l.send(out...); err != nil {
			return err
		}
		pause(ctx, time.Duration(rng.IntN(3000))*time.Microsecond)
	}
	return nil
}

// random makes a message. With the lock.
func (d *device) random(rng *rand.Rand) mqtt.Packet {
	d.number++
	value := fmt.Sprintf("%s-%d", d.name, d.number)
	i := rng.IntN(pathsPerStream)
	switch n := rng.IntN(100); {
	case n < 45:
		return d.sample(ifGuaranteed, i, value)
	case n < 75:
		return d.sample(ifUnique, i, value)
	case n < 85:
		return d.begin(&exchange{p: mqtt.Publish{Topic: d.topic(ifUnreliable, pathOf(i)), Payload: payload(&value)}})
	}
	next := &value
	if d.props[i].Current() != nil && rng.IntN(4) == 0 {
		next = nil
	}
	op := d.props[i].Add(next)
	return d.begin(&exchange{
		p:       mqtt.Publish{QoS: 2, Topic: d.topic(ifProps, pathOf(i)), Payload: payload(next)},
		lasting: d.persistent, // else the next introduction says it
		acked:   func() { op.Acked = true },
	})
}

func (d *device) sample(iface string, i int, value string) mqtt.Packet {
	m := d.streams[iface][i].Add(value)
	return d.begin(&exchange{
		p:       mqtt.Publish{QoS: qos[iface], Topic: d.topic(iface, pathOf(i)), Payload: payload(&value)},
		lasting: true, sends: &m.Times, acked: func() { m.Acked = true },
	})
}

// read handles what comes until the connection ends; the error says why, nil that the device itself has ended it.
func (d *device) read(l *link, lf *life) error {
	for {
		p, err := l.next()
		if err != nil {
			return err
		}
		var answer mqtt.Packet
		d.mu.Lock()
		d.heard = time.Now()
		switch p := p.(type) {
		case *mqtt.Ack:
			answer = d.acknowledged(p, lf)
		case *mqtt.Publish:
			answer = d.receive(p, lf)
		case *mqtt.SubAck:
			if d.session = d.persistent; p.Codes[0] != 2 {
				lf.report(Refused, d.name, "a subscription with code %#x", p.Codes[0])
			}
		case *mqtt.PingResp:
		default:
			lf.report(Refused, d.name, "got a %T", p)
		}
		d.mu.Unlock()
		if answer != nil {
			if err := l.send(answer); err != nil {
				return err
			}
		}
	}
}

// acknowledged moves an exchange on. With the lock.
func (d *device) acknowledged(a *mqtt.Ack, lf *life) mqtt.Packet {
	if a.Type == mqtt.TypePubRel {
		delete(d.open, a.ID)
		return &mqtt.Ack{Type: mqtt.TypePubComp, ID: a.ID}
	}
	x := d.find(a.ID)
	switch {
	case x == nil,
		a.Type == mqtt.TypePubAck && x.p.QoS != 1,
		a.Type == mqtt.TypePubRec && x.p.QoS != 2,
		a.Type == mqtt.TypePubComp && !x.taken:
		lf.report(Invented, d.name, "%v %d for nothing that was sent", a.Type, a.ID)
		return nil
	case a.Type == mqtt.TypePubRec:
		x.taken = true
		x.acked() // from here on the message is the hub's
		return &mqtt.Ack{Type: mqtt.TypePubRel, ID: a.ID}
	case a.Type == mqtt.TypePubAck:
		x.acked()
	}
	for i, one := range d.inflight {
		if one == x {
			d.inflight = append(d.inflight[:i], d.inflight[i+1:]...)
			break
		}
	}
	select {
	case d.room <- struct{}{}:
	default:
	}
	return nil
}

// receive takes a message of the server. With the lock.
func (d *device) receive(m *mqtt.Publish, lf *life) mqtt.Packet {
	var answer mqtt.Packet
	again := false
	switch m.QoS {
	case 1:
		answer = &mqtt.Ack{Type: mqtt.TypePubAck, ID: m.ID}
	case 2:
		answer = &mqtt.Ack{Type: mqtt.TypePubRec, ID: m.ID}
		_, again = d.open[m.ID]
		d.open[m.ID] = struct{}{}
	}
	if !again {
		if err := d.deliver(m); err != nil {
			lf.report(Refused, d.name, "received on %s: %v", m.Topic, err)
		}
	}
	return answer
}

// deliver is what the application sees of a message. With the lock.
func (d *device) deliver(m *mqtt.Publish) error {
	rest, ok := strings.CutPrefix(string(m.Topic), d.base()+"/")
	if !ok {
		return fmt.Errorf("a topic of another device")
	}
	if rest == "control/consumer/properties" {
		items, err := astartewire.ParsePurgeList(m.Payload)
		if err != nil {
			return err
		}
		listed := map[string]bool{}
		for _, item := range items {
			listed[item] = true
		}
		for path := range d.state {
			if !listed[path] {
				delete(d.state, path)
			}
		}
		return nil
	}
	iface, _, _ := strings.Cut(rest, "/")
	if want, ok := qos[iface]; !ok || want != m.QoS {
		return fmt.Errorf("with QoS %d, want %d", m.QoS, want)
	}
	p, err := astartewire.ParsePayload(m.Payload)
	if err != nil {
		return err
	}
	if p.Unset {
		d.received[rest] = append(d.received[rest], nil)
		delete(d.state, rest)
		return nil
	}
	value := p.Value.Str()
	d.received[rest] = append(d.received[rest], &value)
	if iface == ifServerProps {
		d.state[rest] = value
	}
	return nil
}

// silent returns for how long nothing has come.
func (d *device) silent() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Since(d.heard)
}
