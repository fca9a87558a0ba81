// Package sweep deletes what is too much for one transaction, in slices, so that nobody waits for long behind it: what
// deleted devices have stored. What there is to sweep is in storage, so that a restart in the middle goes on.
package sweep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Config configures [New]. Store, Committer and Serving are required.
type Config struct {
	Store     store.Store
	Committer *commit.Committer
	// Serving reports whether a device has a connection that has not ended: until it has, it may store something.
	Serving func(core.DeviceNum) bool
	Logger  *slog.Logger     // nil: discard
	Now     func() time.Time // nil: time.Now
}

// A Sweeper sweeps.
type Sweeper struct {
	cfg  Config
	wake chan struct{} // holds one
}

const (
	sliceRows = 500                    // of one transaction: some milliseconds
	share     = 4                      // the pause behind a slice is so many times what the slice took
	minPause  = 2 * time.Millisecond   // at least
	busyPause = 100 * time.Millisecond // until a connection has ended, or the disk is well again
	idlePause = time.Minute            // until certificates are looked at that may have ended
	page      = 100
)

// New returns a Sweeper; [Sweeper.Run] sweeps.
func New(cfg Config) *Sweeper {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
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
		pause, err := s.round(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, core.ErrStopping) {
			s.cfg.Logger.Warn("cannot delete what deleted devices have stored; trying again", "err", err)
			pause = idlePause / 10
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-time.After(pause):
		}
	}
}

// round sweeps what there is, and returns how long to wait for the next one.
func (s *Sweeper) round(ctx context.Context) (time.Duration, error) {
	busy := false
	var list []core.DeviceNum
	err := s.cfg.Store.View(ctx, func(rd store.Reader) (err error) {
		list, err = rd.DeletedDevices(s.cfg.Now(), page)
		return err
	})
	if err != nil {
		return 0, err
	}
	for _, n := range list {
		if s.cfg.Serving(n) {
			busy = true
			continue
		}
		if err := s.device(ctx, n); err != nil {
			return 0, err
		}
	}
	switch {
	case busy:
		return busyPause, nil
	case len(list) == page:
		return 0, nil
	}
	return idlePause, nil
}

// device sweeps one device to its end. Between slices it leaves the committer to others for most of the time.
func (s *Sweeper) device(ctx context.Context, n core.DeviceNum) error {
	rows := 0
	for {
		changed, took := 0, time.Duration(0)
		err := s.cfg.Committer.Do(ctx, func(tx *commit.Tx) (err error) {
			begun := time.Now()
			changed, err = tx.SweepDevice(n, s.cfg.Now(), sliceRows)
			took = time.Since(begun)
			return err
		})
		if err != nil {
			return fmt.Errorf("sweep device number %d: %w", n, err)
		}
		rows += changed
		if changed == 0 {
			s.cfg.Logger.Debug("deleted device swept", "rows", rows)
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(max(minPause, share*took)):
		}
	}
}
