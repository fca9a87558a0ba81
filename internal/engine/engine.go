package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
)

// ErrRenewal ends a connection whose credentials are replaced.
var ErrRenewal = errors.New("connection renewed with new credentials")

// ErrReconnect ends a connection because of [Engine.Reconnect].
var ErrReconnect = errors.New("asked to reconnect")

// An Engine keeps a device connected. Its methods may be called from any goroutine, and from all hooks that do not say otherwise.
type Engine struct {
	cfg     Config
	session *mqttclient.Session
	queue   queue
	box     *box
	subs    *subscriptions
	replies replies
	clean   bool // the next connection begins a new session; belongs to Run
	hangUps *hangUps
	tags    atomic.Uint64 // of messages that are not in the outbox

	mu       sync.Mutex
	running  bool
	stopped  bool          // Run has returned
	stop     chan struct{} // closed then
	live     *live         // the connection; nil: none
	ready    bool          // what is waited for with await
	changed  chan struct{} // closed when ready changes, or a reconnection is asked for
	active   int           // calls that use the connection and must end before it is renewed
	idle     chan struct{} // closed when active is 0; nil if nobody waits
	started  bool          // Start has done its work in this session
	again    error         // why to reconnect; nil: it is not asked for
	redirect string
	stats    Stats
}

// live is a connection.
type live struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	since  time.Time
}

// Stats counts what an engine has done.
type Stats struct {
	mqttclient.Stats
	Dropped uint64 // messages with QoS 0 that found the queue to the hooks full
	Stray   uint64 // replies that nobody waited for
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Engine, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	e := &Engine{cfg: cfg, box: new(box), subs: new(subscriptions), hangUps: new(hangUps), stop: make(chan struct{}), changed: make(chan struct{})}
	e.queue.init(cfg.MaxQueued)
	e.box.init()
	e.subs.init()
	e.tags.Store(firstTag)
	e.replies.pending = map[string]chan reply{}
	cfg.Session.Receive = e.receive
	s, err := mqttclient.NewSession(cfg.Session)
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	e.session = s
	return e, nil
}

// Again returns an engine for another Run, when that of e has returned. It has e's configuration, subscriptions and receipts; what waits
// in the outbox goes on where e has left off. e itself is of no use any more.
func (e *Engine) Again() (*Engine, error) {
	e.mu.Lock()
	stopped := e.stopped
	e.mu.Unlock()
	if !stopped {
		return nil, fmt.Errorf("engine: %w: Run has not returned", fairlead.ErrInUse)
	}
	n, err := New(e.cfg)
	if err != nil {
		return nil, err
	}
	n.box, n.subs, n.hangUps = e.box, e.subs, e.hangUps
	n.hangUps.acked = 0 // of another session
	n.subs.wake()
	return n, nil
}

// Run connects, and stays connected until ctx ends; then it disconnects in order and returns the context's cause. Before that it returns
// only errors that Config.Permanent finds permanent, and those of an outbox that was closed. It can be called once. All goroutines that
// it started have ended when it returns; it waits for hooks that are running.
func (e *Engine) Run(ctx context.Context) error {
	e.mu.Lock()
	if e.running || e.stopped {
		e.mu.Unlock()
		return fmt.Errorf("engine: %w: Run was called before", fairlead.ErrInUse)
	}
	e.running = true
	e.mu.Unlock()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var hooks, deleter sync.WaitGroup
	stopHooks := make(chan struct{})
	hooks.Go(func() { e.queue.run(ctx, stopHooks) })
	stopDeleter := make(chan struct{})
	if e.cfg.Outbox != nil {
		deleter.Go(func() { e.deleteAcked(stopDeleter) })
	}
	err := e.stayConnected(ctx, cancel)
	cancel(err)
	close(stopDeleter)
	deleter.Wait()
	e.session.Close()
	e.mu.Lock()
	e.running, e.stopped = false, true
	close(e.stop)
	e.mu.Unlock()
	close(stopHooks)
	hooks.Wait()
	return err
}

// stayConnected is the loop of attempts.
func (e *Engine) stayConnected(ctx context.Context, end context.CancelCauseFunc) error {
	wait := delay{of: e.cfg.Backoff}
	var prepared *Connection
	a := Attempt{Number: 1}
	for {
		t := e.attempt(ctx, end, a, prepared)
		if ctx.Err() != nil {
			if t.connected {
				e.lost(t, context.Cause(ctx), 0)
			}
			return context.Cause(ctx)
		}
		prepared = t.next
		a.Number++
		if t.connected {
			a.Number = 1
		}
		a.Last, a.Redirect = t.err, e.redirected(t.err)
		if e.cfg.Permanent != nil && !deliberate(t.err) && e.cfg.Permanent(t.err) {
			e.lost(t, t.err, 0)
			return t.err
		}
		var pause time.Duration
		if !(t.connected && deliberate(t.err)) && !errors.Is(t.err, mqttclient.ErrUnknownSession) {
			pause = wait.after(t.lasted, t.err)
		}
		e.lost(t, t.err, pause)
		if err := e.pause(ctx, pause); err != nil {
			return err
		}
	}
}

func deliberate(err error) bool { return errors.Is(err, ErrRenewal) || errors.Is(err, ErrReconnect) }

// lost reports the end of an attempt.
func (e *Engine) lost(t attempted, why error, retry time.Duration) {
	kind := Failed
	if t.connected {
		kind = Disconnected
	}
	e.cfg.Logger.Info("mqtt "+kind.String(), "err", why, "retry", retry)
	e.event(Event{Kind: kind, Err: why, Retry: retry})
}

// redirected returns where the server sends us, and remembers it if it is for good.
func (e *Engine) redirected(err error) string {
	var s *mqttclient.ServerError
	e.mu.Lock()
	defer e.mu.Unlock()
	if !errors.As(err, &s) || s.Reference == "" {
		return e.redirect
	}
	if s.Moved {
		e.redirect = s.Reference
	}
	return s.Reference
}

// pause waits between attempts. A call of Reconnect ends it.
func (e *Engine) pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		e.mu.Lock()
		asked, changed := e.again != nil, e.changed
		e.again = nil
		e.mu.Unlock()
		if asked {
			return context.Cause(ctx)
		}
		select {
		case <-t.C:
			return context.Cause(ctx)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}

// Reconnect makes the engine connect anew: at once if it waits between two attempts; at a quiet moment if it is connected, as in a
// renewal. Call it when an identity was renewed or the network came back. It does not wait.
func (e *Engine) Reconnect() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.again = ErrReconnect
	e.change()
}

// change wakes those who wait for a change. It is called with mu held.
func (e *Engine) change() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// Connected tells whether there is a connection on which Start has done its work.
func (e *Engine) Connected() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ready
}

// Stats returns what was done so far.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	s.Stats = e.session.Stats()
	return s
}

// await waits until there is a connection for everybody, and claims it: leave gives it back.
func (e *Engine) await(ctx context.Context) error {
	for {
		e.mu.Lock()
		ready, stopped, changed := e.ready, e.stopped, e.changed
		if ready {
			e.active++
		}
		e.mu.Unlock()
		if stopped {
			return fmt.Errorf("%w: Run has returned", fairlead.ErrClosed)
		}
		if ready {
			return nil
		}
		select {
		case <-changed:
		case <-e.stop:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", mqttclient.ErrNotConnected, context.Cause(ctx))
		}
	}
}

// Await waits until there is a connection on which Start has done its work. It may have ended again when Await returns.
func (e *Engine) Await(ctx context.Context) error {
	if err := e.await(ctx); err != nil {
		return err
	}
	e.leave()
	return nil
}

// claim is await without waiting.
func (e *Engine) claim() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.stopped:
		return fmt.Errorf("%w: Run has returned", fairlead.ErrClosed)
	case !e.ready:
		return mqttclient.ErrNotConnected
	}
	e.active++
	return nil
}

func (e *Engine) leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.active--; e.active == 0 && e.idle != nil {
		close(e.idle)
		e.idle = nil
	}
}
