package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
)

// attempted is what became of an attempt.
type attempted struct {
	err       error
	connected bool
	lasted    time.Duration // from CONNACK
	next      *Connection   // prepared already
}

// attempt prepares, dials, and holds the connection until it ends.
func (e *Engine) attempt(ctx context.Context, end context.CancelCauseFunc, a Attempt, c *Connection) (t attempted) {
	if c == nil {
		e.mu.Lock()
		e.again = nil // this is what was asked for
		e.mu.Unlock()
		var err error
		if c, err = e.cfg.Prepare(ctx, a); err != nil {
			return attempted{err: fmt.Errorf("prepare connection: %w", err)}
		}
	}
	nc, err := c.Dialer.Dial(ctx)
	if err != nil {
		return attempted{err: err}
	}
	var loops sync.WaitGroup
	cctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex // of next
	connect := c.Connect
	connect.CleanStart = connect.CleanStart || e.clean
	e.session.Careful(e.hangUps.careful)
	t.err = e.session.Run(cctx, nc, connect, func(ack mqttclient.Connected) {
		t.connected, e.clean = true, false
		l := &live{ctx: cctx, cancel: cancel, since: time.Now()}
		e.up(l, ack)
		loops.Go(func() {
			if err := e.hold(l, ack, end, &loops); err != nil {
				cancel(err)
			}
		})
		loops.Go(func() {
			next, why := e.renew(l, c)
			mu.Lock()
			t.next = next
			mu.Unlock()
			if why != nil {
				cancel(why)
			}
		})
	})
	cancel(t.err)
	if errors.Is(t.err, mqttclient.ErrUnknownSession) { // of a predecessor that left more than we know
		e.clean = true
	}
	if t.connected {
		t.lasted = e.down()
	}
	loops.Wait()
	e.judge(t)
	e.withdrawRequests()
	mu.Lock()
	defer mu.Unlock()
	if !deliberate(t.err) {
		t.next = nil // what was prepared may be stale by the time it is wanted
	}
	return t
}

// up is called when CONNACK has come and nothing else.
func (e *Engine) up(l *live, ack mqttclient.Connected) {
	e.mu.Lock()
	e.live = l
	if !ack.SessionPresent {
		e.started = false
	}
	e.mu.Unlock()
	if !ack.SessionPresent {
		e.subs.forget()
	}
	e.cfg.Logger.Info("mqtt connected", "session_present", ack.SessionPresent)
	e.event(Event{Kind: Connected, SessionPresent: ack.SessionPresent, ConnAck: ack.ConnAck})
}

// down is called when the connection has ended. It returns how long it was.
func (e *Engine) down() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	lasted := time.Since(e.live.since)
	e.live, e.ready = nil, false
	e.change()
	return lasted
}

// hold does what has to be done on a new connection, and then opens it to everybody.
func (e *Engine) hold(l *live, ack mqttclient.Connected, end context.CancelCauseFunc, loops *sync.WaitGroup) error {
	settle, err := e.subscribeMissing(l.ctx)
	if err != nil {
		return err
	}
	if e.hangUps.careful > 0 {
		settle(l.ctx)
		settle = func(context.Context) {}
		if err := e.session.Release(l.ctx); err != nil {
			return err
		}
	}
	e.mu.Lock()
	fresh := !e.started
	e.mu.Unlock()
	s := &Start{e: e, Fresh: fresh, SessionPresent: ack.SessionPresent, ConnAck: ack.ConnAck}
	if e.cfg.Start != nil {
		if err := e.cfg.Start(l.ctx, s); err != nil {
			return fmt.Errorf("start session: %w", err)
		}
	}
	settle(l.ctx)
	if err := s.Flush(l.ctx); err != nil {
		return fmt.Errorf("start session: %w", err)
	}
	e.mu.Lock()
	if e.live != l { // it ended meanwhile
		e.mu.Unlock()
		return nil
	}
	e.started, e.ready = true, true
	e.change()
	e.mu.Unlock()
	if e.cfg.OnReady != nil {
		e.queue.put(l.ctx, item{call: e.cfg.OnReady, event: true}, false)
	}
	loops.Go(func() { e.keepSubscribed(l.ctx) })
	if e.cfg.Outbox != nil {
		if err := e.drain(l); err != nil && l.ctx.Err() == nil {
			end(err)
		}
	}
	return nil
}

// renew waits until the connection has to be replaced, prepares the next one, and returns at a quiet moment. It returns nothing when the
// connection has ended before.
func (e *Engine) renew(l *live, c *Connection) (next *Connection, why error) {
	wait := delay{of: e.cfg.Backoff}
	at := c.RenewAt
	for {
		asked, due := e.asked(l.ctx, at)
		if asked == nil && !due {
			return nil, nil
		}
		next, err := e.cfg.Prepare(l.ctx, Attempt{Number: 1, Renewal: true, Redirect: e.redirected(nil)})
		if err != nil {
			if l.ctx.Err() != nil {
				return nil, nil
			}
			pause := wait.after(0, err)
			e.cfg.Logger.Warn("connection not renewed, will try again", "err", err, "retry", pause)
			e.event(Event{Kind: NotRenewed, Err: err, Retry: pause})
			if sleep(l.ctx, pause) != nil {
				return nil, nil
			}
			if asked != nil {
				e.Reconnect()
			}
			continue
		}
		e.quieten(l.ctx)
		if asked != nil {
			return next, asked
		}
		return next, ErrRenewal
	}
}

// longestNap bounds how long a timer runs: clocks are set, and devices sleep.
const longestNap = time.Minute

// asked waits until it is time, or somebody has asked for a reconnection; and in either case until the session has started: what that has
// under way is worth more than a renewal, and programs are told in this order.
func (e *Engine) asked(ctx context.Context, at time.Time) (why error, due bool) {
	for {
		e.mu.Lock()
		changed, ready := e.changed, e.ready
		if ready {
			why, e.again = e.again, nil
		}
		e.mu.Unlock()
		nap := longestNap
		if ready && !at.IsZero() {
			nap = min(nap, time.Until(at))
		}
		if why != nil || nap <= 0 {
			return why, why == nil
		}
		t := time.NewTimer(nap)
		select {
		case <-changed:
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, false
		}
		t.Stop()
	}
}

// quieten closes the connection to everybody, and waits for those who use it, and for acknowledgements.
func (e *Engine) quieten(ctx context.Context) {
	e.mu.Lock()
	e.ready = false
	e.change()
	var idle chan struct{}
	if e.active > 0 {
		if e.idle == nil {
			e.idle = make(chan struct{})
		}
		idle = e.idle
	}
	e.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, e.cfg.QuietTimeout)
	defer cancel()
	if idle != nil {
		select {
		case <-idle:
		case <-ctx.Done():
			return
		}
	}
	_ = e.session.Idle(ctx) // if it is not, the session repeats the rest
}

// Start is a connection on which nothing was sent yet but subscriptions and what a resumed session repeats.
type Start struct {
	// Fresh: the server knows nothing of what Start has sent before, because it has a new session or because the connection was lost before
	// all of that was acknowledged.
	Fresh bool
	// SessionPresent is what the server said.
	SessionPresent bool
	// ConnAck is what else it said.
	ConnAck mqtt.ConnAck

	e       *Engine
	pending []chan error
}

// Send sends a message and does not wait for its acknowledgement; [Start.Flush] does, and the engine calls it after Start. One
// goroutine may call it.
func (s *Start) Send(ctx context.Context, p mqtt.Publish) error {
	done := make(chan error, 1)
	err := s.e.session.Send(ctx, &mqttclient.Outgoing{Publish: p, Tag: s.e.tag(), Done: func(_ uint64, err error) { done <- err }})
	if err != nil {
		return err
	}
	if len(s.pending) == cap(s.pending) { // keep few of those that have ended
		s.pending = reap(s.pending)
	}
	s.pending = append(s.pending, done)
	return nil
}

// reap drops what has ended without an error from the front.
func reap(pending []chan error) []chan error {
	n := 0
	for ; n < len(pending); n++ {
		select {
		case err := <-pending[n]:
			if err != nil {
				pending[n] <- err // has room, and nobody else sends
				return pending[n:]
			}
		default:
			return pending[n:]
		}
	}
	return pending[n:]
}

// Flush waits until everything that was sent is acknowledged. The error is the first one of a message.
func (s *Start) Flush(ctx context.Context) error {
	for _, done := range s.pending {
		select {
		case err := <-done:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	s.pending = nil
	return nil
}

// retriable tells whether a message that ended with the error may fare better on another connection.
func retriable(err error) bool {
	return !errors.Is(err, fairlead.ErrClosed) && (errors.Is(err, fairlead.ErrUnavailable) || errors.Is(err, fairlead.ErrThrottled))
}
