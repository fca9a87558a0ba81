package broker

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// A conn is one signed-in connection. Its fields belong to the reading goroutine unless said otherwise.
type conn struct {
	b       *Broker
	src     *source
	version mqtt.Version
	frames  *mqtt.FrameReader
	buf     *bufio.Reader // nil while parked
	log     *slog.Logger

	grant     core.Grant // limits filled in
	link      dialect.Link
	addr      string
	clean     bool
	will      *mqtt.Will // nil after DISCONNECT
	keepAlive time.Duration
	heard     time.Time // the last packet came then or a little before
	packets   int       // that came since heard was set
	messages  int64     // that came since they were counted in the broker's statistics
	ends      time.Time // of the grant; zero: never

	topics   map[string]*topicEntry
	filters  map[string]struct{} // own subscriptions
	inbound  map[uint16]struct{} // incoming QoS 2 messages that the client has not released
	batch    *commit.Batch       // nil: nothing in it
	direct   []byte              // answers that need no commit
	must     []uint16            // incoming QoS 2 messages to complete before leaving
	forward  []core.Message      // with the batch: for subscribers
	progress progress            // with the batch
	stored   bool                // the session outlives the connection

	out *outgoing // has its own lock

	mu        sync.Mutex
	unsettled int           // bytes of submitted batches that are not committed yet
	settled   sync.Cond     // unsettled has fallen
	failed    error         // why the connection must end without further acknowledgements
	leaving   string        // why the connection shall end when exchanges are complete; "": it shall not
	since     time.Time     // of leaving
	wake      atomic.Bool   // failed or leaving is set
	welcomed  chan struct{} // closed when CONNACK is on its way
	stuck     chan struct{} // closed when the disk refuses the end of the session
	done      chan struct{} // closed when the session is given up
}

// maxUnsettled bounds what one connection may have in the committer's queue, so that it cannot fill it alone.
const maxUnsettled = 2 << 20

// batchBytes is the size at which a batch is handed in although more packets are at hand.
const batchBytes = 64 << 10

// maxTopics bounds the topics that a connection's cache holds; then it is emptied.
const maxTopics = 4096

// maxTopicBytes is the longest topic that the cache holds, so that it stays small.
const maxTopicBytes = 512

type topicEntry struct {
	dialect.Topic
	allowed bool
	forward bool
}

// Errors that end a connection in the ordinary course of things.
var (
	errSilent     = errors.New("keep-alive timeout")
	errGoodbye    = errors.New("client disconnected")
	errGone       = errors.New("connection lost")
	errNotAllowed = errors.New("publish to a topic outside the grant")
)

// open does what comes before a session: handshake, CONNECT, sign-in, session. A refusal has been sent when it returns.
func (b *Broker) open(ctx context.Context, nc net.Conn, cfg *tls.Config) (*conn, error) {
	src := newSource(nc, cfg)
	// Nobody may make us wait for longer than this, and a stopping hub waits for nobody.
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	nc.SetDeadline(time.Now().Add(b.cfg.ConnectTimeout))
	c, err := b.signIn(ctx, src)
	if err != nil {
		src.finish()
		return nil, err
	}
	return c, nil
}

func (b *Broker) signIn(ctx context.Context, src *source) (*conn, error) {
	claim := core.Claim{Remote: addrPort(src.nc.RemoteAddr())}
	if t, ok := src.tls(); ok {
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS handshake: %w", err)
		}
		st := t.ConnectionState()
		claim.ServerName, claim.ALPN = st.ServerName, st.NegotiatedProtocol
		if len(st.PeerCertificates) > 0 {
			claim.Certificate = st.PeerCertificates[0]
		}
		src.nc.SetDeadline(time.Now().Add(b.cfg.ConnectTimeout))
	}
	c := &conn{b: b, src: src, welcomed: make(chan struct{}), stuck: make(chan struct{}), done: make(chan struct{})}
	c.settled.L = &c.mu
	c.attach()
	c.frames = mqtt.NewFrameReader(c.buf, b.cfg.Limits.MaxPacketBytes)
	connect, err := c.readConnect()
	if err != nil {
		return nil, err
	}
	claim.Version, claim.ClientID, claim.CleanStart = uint8(connect.Version), connect.ClientID, connect.CleanStart
	claim.Username, claim.HasUsername, claim.Password = connect.Username, connect.HasUsername, connect.Password
	if err := c.claim(ctx, claim); err != nil {
		c.refuse(err)
		return nil, err
	}
	if err := c.accept(ctx, connect, claim); err != nil {
		c.refuse(err)
		return nil, err
	}
	return c, nil
}

// served is the only version of MQTT that the broker takes yet; the codec reads more. Clients that ask for another are
// told that it is unacceptable.
const served = mqtt.V311

// readConnect reads the first packet. It answers what is wrong with it, where MQTT has an answer.
func (c *conn) readConnect() (*mqtt.Connect, error) {
	// A look at the first byte, so that a client of another protocol need not send a packet's worth before it is told.
	if first, err := c.buf.Peek(1); err == nil && first[0] != byte(mqtt.TypeConnect)<<4 {
		return nil, fmt.Errorf("first byte is %#x, want CONNECT", first[0])
	}
	f, err := c.frames.Next()
	if err != nil {
		return nil, fmt.Errorf("wait for CONNECT: %w", err)
	}
	p := &mqtt.Connect{}
	c.version = mqtt.V311
	if err := p.Decode(f, served); err != nil {
		if errors.Is(err, mqtt.ErrVersion) {
			c.reply(mqtt.ConnAckBadVersion)
		}
		return nil, fmt.Errorf("read CONNECT: %w", err)
	}
	c.version = p.Version
	if p.ClientID == "" && !p.CleanStart { // [MQTT-3.1.3-8]
		c.reply(mqtt.ConnAckBadClientID)
		return nil, errors.New("CONNECT has no client id and asks for a session that stays")
	}
	return p, nil
}

// claim asks the dialects whose connection this is.
func (c *conn) claim(ctx context.Context, claim core.Claim) error {
	for _, d := range *c.b.dialects.Load() {
		g, link, err := d.SignIn(ctx, claim)
		if errors.Is(err, dialect.ErrNotMine) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s sign-in: %w", d.Name(), err)
		}
		c.grant, c.link = g, link
		c.grant.Limits = limits(g.Limits, c.b.cfg.Limits)
		return nil
	}
	return fmt.Errorf("no dialect knows this client: %w", core.ErrDenied)
}

// accept binds the connection to its session; CONNACK leaves with the commit.
func (c *conn) accept(ctx context.Context, p *mqtt.Connect, claim core.Claim) error {
	if p.Will != nil && !c.allowed(p.Will.Topic) {
		return fmt.Errorf("will on a topic outside the grant: %w", core.ErrDenied)
	}
	c.clean, c.will, c.addr = p.CleanStart, p.Will, claim.Remote.Addr().Unmap().String()
	c.stored = !c.clean
	c.heard = time.Now()
	if c.grant.Lifetime > 0 {
		c.ends = c.heard.Add(c.grant.Lifetime)
	}
	c.keepAlive = time.Duration(p.KeepAlive) * time.Second
	if most := c.grant.Limits.KeepAlive; most > 0 && (c.keepAlive == 0 || c.keepAlive > most) {
		c.keepAlive = most
	}
	c.log = c.b.log.With("dialect", c.grant.Session.Dialect, "tenant", c.grant.Session.Tenant, "client", c.grant.Session.ClientID)
	c.frames.SetMax(c.grant.Limits.MaxPacketBytes)
	c.out = newOutgoing(c.version, c.grant.Limits.Inflight)
	if err := c.b.evict(ctx, c); err != nil {
		return err
	}
	if err := c.b.cfg.Committer.Do(ctx, func(tx *commit.Tx) error { return c.b.bind(tx, c) }); err != nil {
		close(c.done)
		c.b.remove(c)
		return err
	}
	<-c.welcomed // nothing may be answered before CONNECT is
	c.log.Info("connected", "remote", claim.Remote, "clean", c.clean)
	return nil
}

// refuse answers CONNECT with the return code for the kind of an error.
func (c *conn) refuse(err error) {
	for _, k := range connackCodes {
		if errors.Is(err, k.kind) {
			c.reply(k.code)
			return
		}
	}
	c.reply(mqtt.ConnAckNotAuthorized)
}

// connackCodes is the only place where a kind of failure becomes an MQTT 3.1.1 return code; the first match wins.
var connackCodes = []struct {
	kind error
	code byte
}{
	{core.ErrUnauthenticated, mqtt.ConnAckBadCredentials},
	{core.ErrDenied, mqtt.ConnAckNotAuthorized},
	{core.ErrNotFound, mqtt.ConnAckNotAuthorized},
	{core.ErrConflict, mqtt.ConnAckNotAuthorized},
	{core.ErrInvalid, mqtt.ConnAckBadClientID},
	{core.ErrStorage, mqtt.ConnAckUnavailable},
	{core.ErrStopping, mqtt.ConnAckUnavailable},
	{core.ErrTooLarge, mqtt.ConnAckUnavailable},
	{core.ErrUnreachable, mqtt.ConnAckUnavailable},
	{context.Canceled, mqtt.ConnAckUnavailable},
	{context.DeadlineExceeded, mqtt.ConnAckUnavailable},
}

// reply writes a CONNACK that refuses; nobody else writes yet.
func (c *conn) reply(code byte) {
	c.src.nc.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.src.app.Write((&mqtt.ConnAck{Code: code}).Append(nil, c.version))
}

// restore takes over what a stored session knows. Called by bind, while the reader waits for it.
func (c *conn) restore(received []uint16, filters map[string]byte) {
	for _, id := range received {
		c.receive(id)
	}
	for f := range filters {
		c.addFilter(f)
	}
}

// welcome answers CONNECT. Called on the committer's goroutine, before any message is delivered.
func (c *conn) welcome(present, stored bool) {
	c.send((&mqtt.ConnAck{SessionPresent: present && stored}).Append(nil, c.version))
	close(c.welcomed)
}

// resume continues with a message of the stored queue. With the lock of out.
func (c *conn) resume(q core.Queued, dup bool) {
	if len(q.Topic) > mqtt.MaxStringBytes {
		return // cannot be sent; see Broker.queue, which refuses it
	}
	p := packet{seq: q.Seq, id: q.ID, qos: q.QoS, dup: dup, topic: []byte(q.Topic), payload: q.Payload}
	if !q.Released {
		c.out.push(p, queueLimits{})
		return
	}
	o := c.out
	if o.inflight == nil {
		o.inflight = make(map[uint16]packet, 4)
	}
	o.inflight[q.ID] = p
	if o.oldest == 0 || p.seq < o.oldest {
		o.oldest = p.seq
	}
	o.append((&mqtt.Ack{Type: mqtt.TypePubRel, ID: q.ID}).Append(nil, c.version))
}

// serve reads until the connection ends, and cleans up behind it.
func (c *conn) serve(ctx context.Context) {
	err := c.read()
	c.submit()
	reason := err.Error()
	c.mu.Lock()
	if c.failed != nil {
		reason = c.failed.Error()
	} else if c.leaving != "" {
		reason = c.leaving
	}
	if c.failed == nil && !errors.Is(err, errGone) {
		for c.unsettled > 0 { // the last acknowledgements are still to come
			c.settled.Wait()
		}
	}
	c.mu.Unlock()
	c.lastWill()
	c.unbind(ctx, reason)
	close(c.done)
	c.b.remove(c)
	c.drain()
	c.release()
	c.src.finish()
	var e *mqtt.Error
	if errors.As(err, &e) {
		c.b.stats.ProtocolFailures.Add(1)
	}
	c.log.Info("disconnected", "reason", reason)
}

// lastWill publishes the will, if the client left without saying goodbye.
func (c *conn) lastWill() {
	if c.will == nil {
		return
	}
	t := c.topic([]byte(c.will.Topic))
	if t.allowed {
		_ = c.message(t, dialect.Publish{Payload: c.will.Payload, QoS: c.will.QoS, Retain: c.will.Retain, Will: true})
		c.submit()
	}
}

// unbind gives the session up. When the disk refuses, it is tried until it does not, or until the hub stops (the next
// start corrects the device then): the device must not stay marked as connected for ever.
func (c *conn) unbind(ctx context.Context, reason string) {
	wait := 100 * time.Millisecond
	stuck := sync.OnceFunc(func() {
		close(c.stuck)
		c.drain()
		c.src.nc.Close()
	})
	for {
		err := c.b.cfg.Committer.Do(context.WithoutCancel(ctx), func(tx *commit.Tx) error { return c.b.unbind(tx, c, reason) })
		if !errors.Is(err, core.ErrStorage) {
			if err != nil && !errors.Is(err, core.ErrStopping) {
				c.log.Error("cannot end a session", "err", err)
			}
			return
		}
		stuck()
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, 5*time.Second)
	}
}

// submit hands what was collected to the committer and waits while too much of this connection is queued there.
func (c *conn) submit() {
	if len(c.direct) > 0 {
		c.mu.Lock()
		failed := c.failed
		c.mu.Unlock()
		if failed == nil {
			c.send(c.direct)
		}
		c.direct = nil
	}
	b := c.batch
	if b == nil {
		return
	}
	c.batch = nil
	if len(c.forward) > 0 {
		messages := c.forward
		c.forward = nil
		b.Do(func(tx *commit.Tx) error { return c.b.forward(tx, c.grant.Session, messages) }, nil)
	}
	if !c.progress.empty() {
		p := c.progress
		c.progress = progress{}
		b.Do(func(tx *commit.Tx) error { return c.b.record(tx, c, p) }, nil)
	}
	c.b.stats.MessagesIn.Add(c.messages)
	c.messages = 0
	size := b.Size()
	c.mu.Lock()
	for c.unsettled > maxUnsettled && c.failed == nil {
		c.settled.Wait()
	}
	failed := c.failed
	c.unsettled += size
	c.mu.Unlock()
	if failed == nil {
		failed = c.b.cfg.Committer.Submit(b)
	}
	if failed != nil {
		c.settle(size)
		c.fail(failed)
	}
}

// Committed implements commit.Owner: the acknowledgements leave.
func (c *conn) Committed(b *commit.Batch, err error) {
	size := b.Size()
	if err == nil {
		c.send(b.Reply)
	} else {
		c.fail(err)
	}
	b.Owner = nil
	b.Reset()
	batches.Put(b)
	c.settle(size)
}

var batches = sync.Pool{New: func() any { return &commit.Batch{} }}

// collect returns the batch that the next packets go into.
func (c *conn) collect() *commit.Batch {
	if c.batch == nil {
		c.batch = batches.Get().(*commit.Batch)
		c.batch.Owner = c
	}
	return c.batch
}

func (c *conn) settle(size int) {
	c.mu.Lock()
	c.unsettled -= size
	c.mu.Unlock()
	c.settled.Signal()
}

// fail ends the connection at once, without acknowledgements of what is not on disk. Any goroutine.
func (c *conn) fail(err error) {
	c.mu.Lock()
	if c.failed == nil {
		c.failed = err
	}
	c.wake.Store(true)
	c.src.nc.SetReadDeadline(time.Unix(1, 0))
	c.mu.Unlock()
	c.settled.Broadcast()
}

// leave ends the connection when the exchanges that are under way are complete. Any goroutine.
func (c *conn) leave(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving == "" {
		c.leaving, c.since = reason, time.Now()
		c.wake.Store(true)
		c.src.nc.SetReadDeadline(time.Unix(1, 0)) // wakes the reader, which sees why
	}
}

// evict ends the connection that has the session of c, and waits until everything it had read is settled, so that the
// new connection begins after the last word of the old. Then it enters c as the session's connection.
func (b *Broker) evict(ctx context.Context, c *conn) error {
	timeout := time.NewTimer(b.cfg.ConnectTimeout)
	defer timeout.Stop()
	for {
		b.mu.Lock()
		old := b.current[c.grant.Session]
		if old == nil {
			b.current[c.grant.Session] = c
			b.mu.Unlock()
			b.stats.Connections.Add(1)
			return nil
		}
		b.mu.Unlock()
		old.leave(takenOver)
		select {
		case <-old.done:
			b.remove(old)
		case <-old.stuck:
			return fmt.Errorf("the session's older connection cannot end: %w", core.ErrStorage)
		case <-timeout.C:
			return fmt.Errorf("the session's older connection does not end: %w", core.ErrStorage)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// remove lets the session's next connection in.
func (b *Broker) remove(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current[c.grant.Session] == c {
		delete(b.current, c.grant.Session)
		b.stats.Connections.Add(-1)
	}
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort()
	}
	ap, _ := netip.ParseAddrPort(a.String())
	return ap
}

// attach takes a read buffer, release gives it back.
func (c *conn) attach() {
	if c.buf == nil {
		c.buf = plainBuffers.Get().(*bufio.Reader)
		c.buf.Reset(c.src)
		if c.frames != nil {
			c.frames.Reset(c.buf)
		}
	}
}

func (c *conn) release() {
	if c.buf != nil {
		c.frames.Reset(nil)
		c.buf.Reset(nil)
		plainBuffers.Put(c.buf)
		c.buf = nil
	}
}

// ended translates an error of the socket.
func ended(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return errGone
	}
	var e *mqtt.Error
	if errors.As(err, &e) {
		return err
	}
	return fmt.Errorf("%w: %v", errGone, err)
}
