package broker

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
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
	auth      *authentication // nil: the client named no method
	addr      string
	clean     bool
	expiry    time.Duration // how long the session outlives the connection
	maxPacket uint32        // that the client takes; 0: any
	quiet     bool          // the client wants no reason strings with acknowledgements
	aliases   *mqtt.AliasReader
	hello     *mqtt.ConnAck // to be sent with the session's binding
	will      *mqtt.Will    // nil after DISCONNECT
	kept      *will         // the same, as it is stored; set when the session is bound
	keepAlive time.Duration
	heard     time.Time // the last packet came then or a little before
	packets   int       // that came since heard was set
	messages  int64     // that came since they were counted in the broker's statistics
	ends      time.Time // of the grant; zero: never

	topics      map[string]*topicEntry
	ruled       uint64              // version of the grant's rules that topics was filled by
	filters     map[string]struct{} // own subscriptions
	filterBytes int
	inbound     map[uint16]bool // incoming QoS 2 messages that the client has not released; true: begun on this connection
	begun       int64           // incoming exchanges of this connection
	finished    atomic.Int64    // those that were answered for good; any goroutine
	batch       *commit.Batch   // nil: nothing in it
	direct      []byte          // answers that need no commit
	must        []uint16        // incoming QoS 2 messages to complete before leaving
	forward     []incoming      // with the batch: for subscribers
	progress    progress        // with the batch
	stored      bool            // the session outlives the connection
	lingers     bool            // taken over, and reading what was sent before
	meter       *meter          // of what the client sends; nil: it may send as much as it likes
	metered     int64           // bytes that the meter has counted
	throttled   bool            // messages were discarded
	audience    *audience       // set when the session is bound; only its effort is for the reading goroutine

	out  *outgoing // has its own lock
	seen watched   // anybody may read it

	mu        sync.Mutex
	unsettled int           // bytes of submitted batches that are not committed yet
	settled   sync.Cond     // unsettled has fallen
	failed    error         // why the connection must end without further acknowledgements
	leaving   *ending       // why the connection shall end when exchanges are complete; nil: it shall not
	since     time.Time     // of leaving
	calledOff bool          // the will, by an operator
	wake      atomic.Bool   // failed or leaving is set
	welcomed  chan struct{} // closed when CONNACK is on its way
	stuck     chan struct{} // closed when the disk refuses the end of the session
	done      chan struct{} // closed when the session is given up
	left      chan struct{} // closed when nothing waits for the client any more

	elder, sibling *conn // others of the same device; with the broker's lock
}

// maxTopics bounds the topics that a connection's cache holds; then it is emptied.
const maxTopics = 4096

// maxTopicBytes is the longest topic that the cache holds, so that it stays small.
const maxTopicBytes = 512

type topicEntry struct {
	dialect.Topic
	refusal error  // why the client may not publish to it; nil: it may
	retain  *error // the same with the retain flag, once it was asked for
	told    bool   // that it is not allowed
	forward bool
	effort  effort // of passing a message on
}

// restore takes over what a stored session knows. Called by bind, while the reader waits for it.
func (c *conn) restore(received []uint16, filters map[string]subscription) {
	for _, id := range received {
		c.receive(id, false)
	}
	for f := range filters {
		c.addFilter(f)
	}
}

// serve reads until the connection ends, and cleans up behind it.
func (c *conn) serve(ctx context.Context) {
	err := c.guarded(c.read)
	c.submit()
	why := err
	c.mu.Lock()
	if c.failed != nil {
		why = c.failed
	} else if c.leaving != nil && !errors.Is(err, errGoodbye) {
		why = c.leaving
	}
	if c.calledOff {
		c.will = nil
	}
	if c.failed == nil && !errors.Is(err, errGone) {
		for c.unsettled > 0 { // the last acknowledgements are still to come
			c.settled.Wait()
		}
	}
	c.mu.Unlock()
	c.farewell(why)
	c.lastWill()
	c.unbind(ctx, why)
	close(c.done)
	c.b.remove(c)
	c.drain()
	c.b.leaveBacklog(c)
	close(c.left)
	c.release()
	c.src.finish()
	var e *mqtt.Error
	if errors.As(err, &e) {
		c.b.stats.ProtocolFailures.Add(1)
	}
	c.log.Info("disconnected", "reason", why.Error())
}

// unbind gives the session up. When the disk refuses, it is tried until it does not, or until the hub stops (the next
// start corrects the device then): the device must not stay marked as connected for ever.
//
// That a client has left is news that can wait a little for company: when a fleet comes and goes, what it costs is mostly the
// transactions.
func (c *conn) unbind(ctx context.Context, why error) {
	do := c.b.cfg.Committer.DoRepeatable
	if errors.Is(why, errGoodbye) || errors.Is(why, errGone) {
		do = c.b.withoutHaste
	}
	wait := 100 * time.Millisecond
	stuck := sync.OnceFunc(func() {
		close(c.stuck)
		c.drain()
		c.src.nc.Close()
	})
	for {
		err := do(context.WithoutCancel(ctx), func(tx *commit.Tx) error { return c.b.unbind(tx, c, why.Error()) })
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

func (b *Broker) withoutHaste(ctx context.Context, do func(*commit.Tx) error) error {
	const patience = 5 * time.Millisecond
	return b.cfg.Committer.DoSoon(ctx, patience, do)
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
