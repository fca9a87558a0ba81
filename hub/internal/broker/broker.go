// Package broker is the MQTT server that all dialects share: connections, sessions, queues and delivery. It knows no
// platform; what a connection may do is a Grant that a dialect decided, and what its messages mean is the dialect's
// Link.
//
// Two kinds of goroutines work here, and each piece of state belongs to one of them:
//
//   - each connection has one that reads: packets in, rules checked, work put into batches for the committer;
//   - the committer's goroutine owns everything shared: sessions, subscriptions, queues. It changes them inside the
//     transactions that make the change durable, so there is nothing to lock and nothing acknowledged that a crash
//     could undo.
//
// What both touch, a connection's outgoing side, has a lock of its own (see outgoing). A third goroutine writes for a
// connection, but only while there is something to write.
package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/topic"
)

// Config configures a [Broker]. Committer and Store are required.
type Config struct {
	Committer *commit.Committer
	Store     store.Store
	Dialects  []dialect.Dialect // asked in this order whose connection it is; see also [Broker.SetDialects]
	Logger    *slog.Logger      // nil: discard
	// Limits stand for the zero fields of each Grant's limits; zero fields here stand for DefaultLimits.
	Limits core.Limits
	// ConnectTimeout bounds the TLS handshake and, anew, the wait for CONNECT. 0: 10 s.
	ConnectTimeout time.Duration
	// WriteTimeout is how long a client may take to accept bytes before it counts as gone. 0: 15 s.
	WriteTimeout time.Duration
	// MaxPending bounds connections that have not signed in yet. 0: 4096.
	MaxPending int
	// Refused is told of each client that does not come in, and of each publish and subscription that is not allowed. It is
	// called on the connection's goroutine. nil: nobody is told.
	Refused func(core.Refusal)
}

// DefaultLimits apply where neither the Grant nor the Config says otherwise.
var DefaultLimits = core.Limits{
	MaxPacketBytes: 256 << 10,
	Inflight:       100,
	MaxQueued:      10_000,
	MaxQueuedBytes: 16 << 20,
	MaxFilters:     1_000,
	ReceiveMaximum: 1_024,
	TopicAliases:   32,
}

// maxQueued is the most that Limits.MaxQueued can be: packet identifiers of stored messages come from their sequence
// numbers and must not meet within a queue (see packetID).
const maxQueued = 30_000

// A Broker serves MQTT. See the package comment.
type Broker struct {
	cfg      Config
	log      *slog.Logger
	stats    Stats
	dialects atomic.Pointer[[]dialect.Dialect]
	pending  atomic.Int64

	// Owned by the committer's goroutine.
	sessions map[core.SessionKey]*session
	scopes   map[scope]*topic.Tree[*session, byte]
	epoch    uint64 // of the last match, see targets
	matched  []target

	mu      sync.Mutex
	current map[core.SessionKey]*conn // signed in and not yet unbound
}

// scope is what subscriptions can see of each other.
type scope struct {
	tenant  core.TenantID
	dialect string
}

// Stats counts; all counters only grow, except the gauges Connections and Sessions.
type Stats struct {
	Connections, Sessions         atomic.Int64 // open now
	Accepted, Refused             atomic.Int64 // connections
	MessagesIn, MessagesOut       atomic.Int64
	Dropped                       atomic.Int64 // messages that a full queue or a slow client lost
	SlowClients, ProtocolFailures atomic.Int64 // connections closed for it
}

// New returns a Broker that serves nothing yet.
func New(cfg Config) *Broker {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 10 * time.Second
	}
	if cfg.WriteTimeout == 0 {
		cfg.WriteTimeout = 15 * time.Second
	}
	if cfg.MaxPending == 0 {
		cfg.MaxPending = 4096
	}
	cfg.Limits = limits(cfg.Limits, DefaultLimits)
	b := &Broker{
		cfg: cfg, log: cfg.Logger,
		sessions: map[core.SessionKey]*session{},
		scopes:   map[scope]*topic.Tree[*session, byte]{},
		current:  map[core.SessionKey]*conn{},
	}
	b.SetDialects(cfg.Dialects)
	return b
}

// SetDialects replaces the dialects that new connections are offered to; it exists because dialects need the broker
// before it can have them.
func (b *Broker) SetDialects(d []dialect.Dialect) { b.dialects.Store(&d) }

// Stats returns the counters, which go on changing.
func (b *Broker) Stats() *Stats { return &b.stats }

// limits fills the zero fields of l from d.
func limits(l, d core.Limits) core.Limits {
	pick := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	pick(&l.MaxPacketBytes, d.MaxPacketBytes)
	pick(&l.Inflight, d.Inflight)
	pick(&l.MaxQueued, d.MaxQueued)
	pick(&l.MaxQueuedBytes, d.MaxQueuedBytes)
	pick(&l.MaxFilters, d.MaxFilters)
	pick(&l.ReceiveMaximum, d.ReceiveMaximum)
	pick(&l.TopicAliases, d.TopicAliases)
	l.MaxQueued = min(l.MaxQueued, maxQueued)
	l.ReceiveMaximum = min(l.ReceiveMaximum, 65_535)
	pickTime := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	pickTime(&l.KeepAlive, d.KeepAlive)
	pickTime(&l.MinKeepAlive, d.MinKeepAlive)
	pickTime(&l.SessionExpiry, d.SessionExpiry)
	return l
}

// Serve accepts connections until ctx ends or the listener fails, and returns when all of its connections have ended.
// With a tlsConfig they begin with a handshake. It closes the listener. The error is nil when ctx has ended.
func (b *Broker) Serve(ctx context.Context, l net.Listener, tlsConfig *tls.Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		l.Close()
		b.leaveAll()
	})
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept MQTT connections: %w", err)
		default:
			// Out of file descriptors, for instance: others may end soon.
			b.log.Warn("cannot accept a connection", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		b.stats.Accepted.Add(1)
		if b.pending.Add(1) > int64(b.cfg.MaxPending) {
			b.pending.Add(-1)
			b.stats.Refused.Add(1)
			if b.cfg.Refused != nil {
				b.cfg.Refused(core.Refusal{Stage: core.StageAccept, Claim: core.Claim{Remote: addrPort(nc.RemoteAddr())}, Err: core.ErrBusy})
			}
			nc.Close()
			continue
		}
		wg.Add(1)
		go b.admit(ctx, nc, tlsConfig, wg.Done)
	}
}

// ServeConn serves one connection that is past its handshake, and returns when it has ended.
func (b *Broker) ServeConn(ctx context.Context, nc net.Conn) {
	b.pending.Add(1)
	done := make(chan struct{})
	b.admit(ctx, nc, nil, func() { close(done) })
	<-done
}

// admit takes a connection through handshake, CONNECT and sign-in. What then serves it is a new goroutine, because
// all this has made the stack of this one large, and most connections are idle for most of their life. done is called
// when the connection has ended.
func (b *Broker) admit(ctx context.Context, nc net.Conn, tlsConfig *tls.Config, done func()) {
	c, err := b.open(ctx, nc, tlsConfig)
	b.pending.Add(-1)
	if err != nil {
		b.stats.Refused.Add(1)
		b.log.Info("connection refused", "remote", nc.RemoteAddr().String(), "err", err)
		done()
		return
	}
	if ctx.Err() != nil {
		c.leave(stopping)
	}
	go func() {
		defer done()
		c.serve(ctx)
	}()
}

// leaveAll has every connection end in good order.
func (b *Broker) leaveAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.current {
		c.leave(stopping)
	}
}
