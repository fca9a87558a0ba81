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
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/listen"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Config configures a [Broker]. Committer and Store are required.
type Config struct {
	Committer *commit.Committer
	Store     store.Store
	Dialects  []dialect.Dialect // asked in this order whose connection it is; see also [Broker.SetDialects]
	Logger    *slog.Logger      // nil: discard
	// Limits stand for the zero fields of each Grant's limits; zero fields here stand for DefaultLimits.
	Limits core.Limits
	// MaxRetained and MaxRetainedBytes bound the retained messages of each tenant; bytes are those of topics, payloads and
	// properties. 0: DefaultMaxRetained and DefaultMaxRetainedBytes.
	MaxRetained      int
	MaxRetainedBytes int64
	// MaxSessions bounds the sessions of each tenant, connected or kept. 0: DefaultMaxSessions.
	MaxSessions int
	// ConnectTimeout bounds the TLS handshake and, anew, the wait for CONNECT. 0: DefaultConnectTimeout.
	ConnectTimeout time.Duration
	// WriteTimeout is how long a client may take to accept bytes before it counts as gone. 0: 15 s.
	WriteTimeout time.Duration
	// Pending bounds connections that have not signed in yet. nil: DefaultPending in all.
	Pending *listen.Gate
	// MaxUnreadBytes bounds what waits in memory for all devices together: beyond it connections of those are closed for which
	// most waits. 0: DefaultMaxUnreadBytes.
	MaxUnreadBytes int
	// Pace slows down connections from where others have come to nothing. nil: none is.
	Pace *listen.Pace
	// Quota says which devices sign in too often: such a one counts as failed. nil: none does.
	Quota *listen.Quota[core.DeviceNum]
	// MaxConnections bounds connections that have signed in. 0: no bound.
	MaxConnections int
	// Refused is told of each client that does not come in, and of each publish and subscription that is not allowed. It is
	// called on the connection's goroutine. nil: nobody is told.
	Refused func(core.Refusal)
}

// Defaults of [Config]. Package hub tells its users the same numbers, and tests that they are.
const (
	DefaultConnectTimeout   = 10 * time.Second
	DefaultPending          = 4096
	DefaultMaxSessions      = 500_000
	DefaultMaxUnreadBytes   = 1 << 30
	DefaultMaxRetained      = 500_000
	DefaultMaxRetainedBytes = 256 << 20
)

// DefaultLimits apply where neither the Grant nor the Config says otherwise.
var DefaultLimits = core.Limits{
	MaxPacketBytes: 256 << 10,
	Inflight:       100,
	MaxQueued:      10_000,
	MaxQueuedBytes: 16 << 20,
	MaxFilters:     1_000,
	ReceiveMaximum: 1_024,
	TopicAliases:   32,
	Sessions:       1_000,
	DeviceFilters:  10_000,
	DeviceUnread:   64 << 20,
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

	// Owned by the committer's goroutine.
	sessions map[core.SessionKey]*session
	scopes   map[scope]*audience
	kept     map[core.TenantID]*usage // what tenants have retained
	holdings map[core.DeviceNum]*holding
	tenants  map[core.TenantID]int     // sessions
	closed   map[core.TenantID]bool    // those that are being deleted
	sweep    time.Time                 // when to look for retained messages that have expired
	epoch    uint64                    // of the last match, see targets
	wills    map[core.SessionKey]*will // of connections that are there, or whose delay is not over
	agenda   agenda
	matched  []target
	steps    int // of that match, besides what it found

	next  atomic.Int64  // when the first appointment is, in ns since 1970; 0: there is none
	alarm chan struct{} // next has changed

	mu       sync.Mutex
	current  map[core.SessionKey]*conn // signed in and not yet unbound
	backlogs map[core.DeviceNum]*backlog
	unread   unread

	arrivals arrivals // has a lock of its own
}

// scope is what subscriptions can see of each other.
type scope struct {
	tenant  core.TenantID
	dialect string
}

// Stats counts; all counters only grow, except the gauges Connections, Sessions, Retained and RetainedBytes.
type Stats struct {
	Connections, Sessions         atomic.Int64 // open now
	Retained, RetainedBytes       atomic.Int64 // retained messages now
	RetainedRefused               atomic.Int64 // messages that were not retained because a tenant has too many
	Expired                       atomic.Int64 // copies of messages that nobody wanted any more
	Accepted, Refused             atomic.Int64 // connections
	Full                          atomic.Int64 // of those refused: Config.MaxConnections had signed in
	TenantFull, DeviceFull        atomic.Int64 // of those refused: the tenant, or the device, had too many sessions
	TooSoon                       atomic.Int64 // of those refused: the session had a connection a moment ago
	FiltersRefused                atomic.Int64 // subscriptions that were one too many
	MessagesIn, MessagesOut       atomic.Int64
	Dropped                       atomic.Int64 // messages that a full queue, a slow client or a rate lost
	ThrottledIn, ThrottledOut     atomic.Int64 // messages discarded because a client had too many in a second
	ReadsDelayed                  atomic.Int64 // times that a client was not read from because it had sent too many bytes in a second
	SlowClients, ProtocolFailures atomic.Int64 // connections closed for it
	Shed                          atomic.Int64 // of the slow ones: because too much waited for all together
}

// New returns a Broker that serves nothing yet.
func New(cfg Config) *Broker {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = DefaultConnectTimeout
	}
	if cfg.WriteTimeout == 0 {
		cfg.WriteTimeout = 15 * time.Second
	}
	if cfg.Pending == nil {
		cfg.Pending = listen.NewGate(DefaultPending, 0)
	}
	if cfg.MaxRetained == 0 {
		cfg.MaxRetained = DefaultMaxRetained
	}
	if cfg.MaxSessions == 0 {
		cfg.MaxSessions = DefaultMaxSessions
	}
	if cfg.MaxRetainedBytes == 0 {
		cfg.MaxRetainedBytes = DefaultMaxRetainedBytes
	}
	if cfg.MaxUnreadBytes <= 0 {
		cfg.MaxUnreadBytes = DefaultMaxUnreadBytes
	}
	cfg.Limits = limits(cfg.Limits, DefaultLimits)
	b := &Broker{
		cfg: cfg, log: cfg.Logger,
		sessions: map[core.SessionKey]*session{},
		scopes:   map[scope]*audience{},
		kept:     map[core.TenantID]*usage{},
		holdings: map[core.DeviceNum]*holding{},
		tenants:  map[core.TenantID]int{},
		closed:   map[core.TenantID]bool{},
		wills:    map[core.SessionKey]*will{},
		alarm:    make(chan struct{}, 1),
		current:  map[core.SessionKey]*conn{},
		backlogs: map[core.DeviceNum]*backlog{},
	}
	b.unread.most, b.unread.shed = int64(cfg.MaxUnreadBytes), b.shed
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
	pick(&l.Sessions, d.Sessions)
	pick(&l.DeviceFilters, d.DeviceFilters)
	pick(&l.DeviceUnread, d.DeviceUnread)
	pick(&l.MessageRate, d.MessageRate)
	pick(&l.ByteRate, d.ByteRate)
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
	pickTime(&l.ConnectInterval, d.ConnectInterval)
	return l
}

// Serve accepts connections until ctx ends or the listener fails, and returns when all of its connections have ended.
// With a tlsConfig they begin with a handshake, unless the listener gives connections that are past it (see
// [listen.Front]). It closes the listener. The error is nil when ctx has ended.
func (b *Broker) Serve(ctx context.Context, l net.Listener, tlsConfig *tls.Config) error {
	return b.serve(ctx, l, tlsConfig, false)
}

// ServePlain is like [Broker.Serve] for a port without TLS. Only dialects that say so get to see its connections, see
// [dialect.Plain].
func (b *Broker) ServePlain(ctx context.Context, l net.Listener) error {
	return b.serve(ctx, l, nil, true)
}

func (b *Broker) serve(ctx context.Context, l net.Listener, tlsConfig *tls.Config, plain bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, b.leaveAll)
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	p := newPorters(ctx, &wg)
	return listen.Accept(ctx, l, "MQTT", b.log, func(nc net.Conn) {
		b.stats.Accepted.Add(1)
		src := newSource(nc, tlsConfig)
		wait, ok := src.Enter(b.cfg.Pace)
		if !ok || !src.Take(b.cfg.Pending) {
			src.Released()
			b.stats.Refused.Add(1)
			if b.cfg.Refused != nil {
				b.cfg.Refused(core.Refusal{Stage: core.StageAccept, Claim: core.Claim{Remote: src.Remote(), Plain: plain}, Err: core.ErrBusy})
			}
			_ = src.Close()
			return
		}
		wg.Add(1)
		p.send(func() { b.admit(ctx, src, plain, wait, wg.Done) })
	})
}

// admit takes a connection through handshake, CONNECT and sign-in. What then serves it is a new goroutine, because
// all this has made the stack of this one large, and most connections are idle for most of their life; see porters. done is
// called when the connection has ended.
func (b *Broker) admit(ctx context.Context, src *source, plain bool, wait time.Duration, done func()) {
	listen.Rest(ctx, wait) // when ctx has ended, open says so
	c, err := b.open(ctx, src, plain)
	src.Leave()
	if err == nil && (c.grant.Device == 0 || b.cfg.Quota.Keeps(src.Conn, c.grant.Device)) {
		src.Passed()
	} else if err == nil {
		src.Failed() // to sign in costs as much as to fail
	} else if ctx.Err() == nil && clientsFault(err) {
		src.Failed()
	} else {
		src.Released()
	}
	if err != nil {
		b.stats.Refused.Add(1)
		b.log.Info("connection refused", "remote", src.RemoteAddr().String(), "err", core.Plain(err))
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

// clientsFault reports whether a client that was not let in has only itself to blame: nobody is to be slowed down because
// the hub is in a bad way.
func clientsFault(err error) bool {
	for _, ours := range []error{core.ErrStorage, core.ErrStopping, core.ErrBusy, core.ErrFull, core.ErrSessions, core.ErrReconnect} {
		if errors.Is(err, ours) {
			return false
		}
	}
	return true
}

// leaveAll has every connection end in good order.
func (b *Broker) leaveAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.current {
		c.leave(stopping)
	}
}
