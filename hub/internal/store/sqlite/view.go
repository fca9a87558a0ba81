package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// reader implements [store.Reader] on a connection.
type reader struct{ c *conn }

var _ store.Reader = (*reader)(nil)

// over stands for the connection of a view that has ended, so that an iterator that outlives it fails instead of
// reading in somebody else's snapshot.
var over = &conn{failed: errors.New("sqlite: the view or transaction has ended")}

// View implements [store.Store]. fn should not wait for anything outside: a snapshot that is held keeps the write-ahead
// log from being emptied, and when that grows too large views that have run for long are interrupted (see wal.go).
// A view within a view may wait for ever.
func (s *Store) View(ctx context.Context, fn func(store.Reader) error) error {
	v, err := s.pool.begin(ctx)
	if err != nil {
		return err
	}
	defer s.pool.end(v)
	if err := v.c.exec("BEGIN"); err != nil {
		return err
	}
	r := &reader{c: v.c}
	defer func() { r.c = over }()
	return fn(r)
}

// view is a running View.
type view struct {
	c     *conn
	stop  func() bool // has the end of the caller's context blow the fuse no more; nil: it never did
	began time.Time
	over  bool // nobody blows the fuse any more; guarded by pool.mu
}

// pool keeps the connections for views.
type pool struct {
	path  string
	slots chan struct{} // one element for each running view

	mu     sync.Mutex
	idle   []*conn
	views  map[*view]struct{}
	gate   chan struct{} // not nil: new views wait until it is closed
	empty  chan struct{} // not nil: closed by the last view that ends
	closed bool
}

func newPool(path string, size int) *pool {
	return &pool{path: path, slots: make(chan struct{}, size), views: map[*view]struct{}{}}
}

func (p *pool) begin(ctx context.Context) (*view, error) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("sqlite: waiting for a connection: %w", context.Cause(ctx))
	}
	v, err := p.open(ctx)
	if err != nil {
		<-p.slots
	}
	return v, err
}

func (p *pool) open(ctx context.Context) (_ *view, err error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("sqlite: %w", context.Cause(ctx))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.gate != nil {
		gate := p.gate
		p.mu.Unlock()
		select {
		case <-gate:
		case <-ctx.Done():
		}
		p.mu.Lock()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("sqlite: waiting for the log to be emptied: %w", context.Cause(ctx))
		}
	}
	if p.closed {
		return nil, fmt.Errorf("sqlite: database is closed: %w", core.ErrStopping)
	}
	v := &view{began: time.Now()}
	if n := len(p.idle); n > 0 {
		v.c, p.idle = p.idle[n-1], p.idle[:n-1]
	} else if v.c, err = openReader(p.path); err != nil {
		return nil, err
	} else {
		v.c.arm()
	}
	v.c.begin()
	if f := v.c.fuse; ctx.Done() != nil {
		v.stop = context.AfterFunc(ctx, func() { f.blow(context.Cause(ctx)) })
	}
	p.views[v] = struct{}{}
	return v, nil
}

func (p *pool) end(v *view) {
	c := v.c
	p.mu.Lock()
	v.over = true
	p.mu.Unlock()
	if v.stop != nil && !v.stop() || c.fuse.why() != nil { // blown, or about to be
		c.arm()
	}
	c.begin()
	if !c.sq.AutocommitEnabled() {
		_ = c.exec("ROLLBACK")
	}
	usable := c.sq.AutocommitEnabled()
	p.mu.Lock()
	if usable {
		p.idle = append(p.idle, c)
	}
	delete(p.views, v)
	if len(p.views) == 0 && p.empty != nil {
		close(p.empty)
		p.empty = nil
	}
	p.mu.Unlock()
	if !usable {
		_ = c.close()
	}
	<-p.slots
}

// quiet runs fn while there are no views. New ones wait for that; those that began longer than age ago are interrupted
// with cause. It gives up when the others have not ended by themselves before stop sends.
func (p *pool) quiet(age time.Duration, cause error, stop <-chan time.Time, fn func()) {
	p.mu.Lock()
	p.gate = make(chan struct{})
	empty := make(chan struct{})
	if len(p.views) == 0 {
		close(empty)
	} else {
		p.empty = empty
	}
	for v := range p.views {
		if !v.over && time.Since(v.began) >= age {
			v.c.fuse.blow(cause)
		}
	}
	p.mu.Unlock()
	select {
	case <-empty:
		fn()
	case <-stop:
	}
	p.mu.Lock()
	close(p.gate)
	p.gate, p.empty = nil, nil
	p.mu.Unlock()
}

// close interrupts all views and waits for their ends.
func (p *pool) close() {
	p.quiet(0, fmt.Errorf("sqlite: database is closed: %w", core.ErrStopping), nil, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.closed = true
		for _, c := range p.idle {
			_ = c.close()
		}
		p.idle = nil
	})
}
