// Package sweep deletes what is too much for one transaction, in slices, so that nobody waits for long behind it: tenants,
// what deleted devices have stored, and the queues of deleted sessions. What there is to sweep is in storage, so that a
// restart in the middle goes on.
package sweep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Config configures [New]. Store, Committer and Broker are required.
type Config struct {
	Store     store.Store
	Committer *commit.Committer
	Broker    Broker
	// Gone is called when a tenant has been deleted for good. nil: nobody is told.
	Gone   func(core.TenantID)
	Logger *slog.Logger     // nil: discard
	Now    func() time.Time // nil: time.Now

	hurry bool // for tests: pauses are of minPause, however long a slice has taken
}

// Broker is what the sweeper asks of the MQTT broker.
type Broker interface {
	// Serving reports whether a device has a connection that has not ended: until it has, it may store something.
	Serving(n core.DeviceNum) bool
	// ServingTenant reports whether a tenant has such a connection.
	ServingTenant(t core.TenantID) bool
	// ForgetTenant forgets at most limit sessions and retained messages of a tenant that is closed, and returns how many; 0
	// is the end.
	ForgetTenant(tx *commit.Tx, t core.TenantID, limit int) (int, error)
	// TenantDeleted tells that a tenant has nothing any more.
	TenantDeleted(tx *commit.Tx, t core.TenantID)
}

// A Sweeper sweeps.
type Sweeper struct {
	cfg  Config
	wake chan struct{} // holds one
}

const (
	sliceRows  = 500                    // of one transaction: some milliseconds
	deviceRows = 5                      // what it costs to see that nothing is left of a device
	share      = 4                      // the pause behind a slice is so many times what the slice took
	minPause   = 2 * time.Millisecond   // at least
	busyPause  = 100 * time.Millisecond // until a connection has ended, or the disk is well again
	idlePause  = time.Minute            // until certificates are looked at that may have ended
	restPause  = 10 * time.Minute       // likewise, and longer, while nothing is stored
	page       = 500
)

// New returns a Sweeper; [Sweeper.Run] sweeps.
func New(cfg Config) *Sweeper {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Gone == nil {
		cfg.Gone = func(core.TenantID) {}
	}
	return &Sweeper{cfg: cfg, wake: make(chan struct{}, 1)}
}

// Wake has it look for something to sweep now. Any goroutine; it does not block.
func (s *Sweeper) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run sweeps until ctx ends. It must have ended before the committer does.
func (s *Sweeper) Run(ctx context.Context) {
	for ctx.Err() == nil {
		changed := s.cfg.Committer.Changed()
		pause, err := s.round(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, core.ErrStopping) {
			s.cfg.Logger.Warn("cannot sweep away what was deleted; trying again", "err", err)
			pause = idlePause / 10
		}
		if s.wait(ctx, nil, pause) && pause == idlePause { // while nothing is stored there is nothing to sweep
			s.wait(ctx, changed, restPause)
		}
	}
}

// wait waits for a while, and reports whether it is over; a wake, a channel (nil: none) or the end of ctx end it before.
func (s *Sweeper) wait(ctx context.Context, c <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-s.wake:
	case <-c:
	case <-timer.C:
		return true
	}
	return false
}

// round sweeps what there is, and returns how long to wait for the next one. Tenants come first: their devices are swept
// behind them.
func (s *Sweeper) round(ctx context.Context) (time.Duration, error) {
	busy := false
	var tenants []core.Tenant
	err := s.cfg.Store.View(ctx, func(rd store.Reader) (err error) {
		tenants, err = rd.Tenants()
		return err
	})
	if err != nil {
		return 0, err
	}
	for _, t := range tenants {
		if !t.Deleting {
			continue
		}
		if s.cfg.Broker.ServingTenant(t.ID) {
			busy = true
			continue
		}
		if err := s.Tenant(ctx, t.ID); err != nil {
			return 0, err
		}
	}
	if err := s.inSlices(ctx, func(tx *commit.Tx) (int, error) { return tx.SweepSessions(sliceRows) }); err != nil {
		return 0, fmt.Errorf("sweep sessions: %w", err)
	}
	more, err := s.devices(ctx)
	if busy && more > 0 {
		more = min(more, busyPause)
	}
	return more, err
}

// devices sweeps some of the deleted devices.
func (s *Sweeper) devices(ctx context.Context) (time.Duration, error) {
	var list []core.DeviceNum
	err := s.cfg.Store.View(ctx, func(rd store.Reader) (err error) {
		list, err = rd.DeletedDevices(s.cfg.Now(), page)
		return err
	})
	if err != nil {
		return 0, err
	}
	rest := slices.DeleteFunc(slices.Clone(list), s.cfg.Broker.Serving)
	busy := len(rest) < len(list)
	err = s.inSlices(ctx, func(tx *commit.Tx) (rows int, err error) {
		for rows < sliceRows && len(rest) > 0 {
			n, err := tx.SweepDevice(rest[0], s.cfg.Now(), sliceRows-rows)
			if err != nil {
				return rows, fmt.Errorf("device number %d: %w", rest[0], err)
			}
			if n == 0 {
				rest, n = rest[1:], deviceRows
			}
			rows += n
		}
		return rows, nil
	})
	if err != nil {
		return 0, fmt.Errorf("sweep: %w", err)
	}
	switch {
	case busy:
		return busyPause, nil
	case len(list) == page:
		return 0, nil
	}
	return idlePause, nil
}

// Tenant sweeps a tenant that is closed and has no connections to its end. What its devices have stored is left for Run.
func (s *Sweeper) Tenant(ctx context.Context, id core.TenantID) error {
	err := s.inSlices(ctx, func(tx *commit.Tx) (int, error) {
		n, err := s.cfg.Broker.ForgetTenant(tx, id, sliceRows)
		if err != nil || n > 0 {
			return n, err
		}
		if n, err = tx.SweepTenant(id, sliceRows); err != nil || n > 0 {
			return n, err
		}
		if err := tx.DeleteTenant(id); err != nil {
			return 0, err
		}
		s.cfg.Broker.TenantDeleted(tx, id)
		tx.After(func() { s.cfg.Gone(id) })
		return 0, tx.Emit(core.Event{Device: core.DeviceKey{Tenant: id}, Kind: core.TenantDeleted})
	})
	if err != nil {
		return fmt.Errorf("sweep tenant %s: %w", id, err)
	}
	s.cfg.Logger.Info("tenant is deleted", "tenant", string(id))
	return nil
}

// inSlices has slice change rows, each time in a transaction of its own, until it changes none. In between it leaves the
// committer to others for most of the time.
func (s *Sweeper) inSlices(ctx context.Context, slice func(*commit.Tx) (int, error)) error {
	for ctx.Err() == nil {
		changed, took := 0, time.Duration(0)
		err := s.cfg.Committer.Maintain(ctx, func(tx *commit.Tx) (err error) {
			begun := time.Now()
			changed, err = slice(tx)
			took = time.Since(begun)
			return err
		})
		if err != nil || changed == 0 {
			return err
		}
		if s.cfg.hurry {
			took = 0
		}
		select {
		case <-ctx.Done():
		case <-time.After(max(minPause, share*took)):
		}
	}
	return ctx.Err()
}
