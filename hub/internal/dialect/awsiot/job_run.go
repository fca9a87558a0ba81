package awsiot

import (
	"context"
	"errors"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/job"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

const (
	// workPause is between two slices of long work, so that others are not held up all the time.
	workPause = 5 * time.Millisecond
	// idlePause is the longest without looking. It is also how often deleted shadows are looked for.
	idlePause = time.Hour
	// retryPause is after an error, such as a disk that is full.
	retryPause = 5 * time.Second
)

// Run does what is due: executions that time out, jobs that go on, deleted shadows that are forgotten. It returns when ctx ends,
// which has to be before the committer does.
func (d *Dialect) Run(ctx context.Context) {
	for ctx.Err() == nil {
		pause, err := d.round(ctx)
		if errors.Is(err, core.ErrStopping) || ctx.Err() != nil {
			return
		}
		if err != nil {
			d.log.Warn("cannot do what is due; trying again", "err", err)
			pause = retryPause
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-d.jobs.wake:
		}
		timer.Stop()
	}
}

// round does one slice of what is due in each account, and returns how long there is nothing to do.
func (d *Dialect) round(ctx context.Context) (pause time.Duration, err error) {
	var all []account
	if err := d.view(ctx, func(rd store.Reader) error {
		all, err = accounts(rd)
		return err
	}); err != nil {
		return 0, err
	}
	pause = idlePause
	for _, a := range all {
		p, err := d.roundOf(ctx, a.Tenant)
		if err != nil {
			return 0, err
		}
		pause = min(pause, p)
	}
	return pause, nil
}

func (d *Dialect) roundOf(ctx context.Context, t core.TenantID) (pause time.Duration, err error) {
	var at time.Time
	shadows := false
	now := d.cfg.Now()
	if err := d.view(ctx, func(rd store.Reader) error {
		if at, err = job.Read(rd, t, Name).NextWork(); err != nil {
			return err
		}
		shadows, err = shadowsToSweep(rd, t, now)
		return err
	}); err != nil {
		return 0, err
	}
	work := !at.IsZero() && !at.After(now)
	if work || shadows {
		err := d.cfg.Committer.Do(ctx, func(tx *commit.Tx) error {
			if shadows {
				if _, err := d.sweepShadows(tx, t, tx.Now()); err != nil {
					return err
				}
			}
			if !work {
				return nil
			}
			return d.jobs.change(tx, t, (*job.Session).Work)
		})
		if errors.Is(err, core.ErrNotFound) { // the tenant was deleted meanwhile
			return idlePause, nil
		}
		return workPause, err
	}
	if at.IsZero() {
		return idlePause, nil
	}
	return min(idlePause, at.Sub(now)), nil
}

// shadowsToSweep reports whether there are deleted shadows to be forgotten.
func shadowsToSweep(rd store.RecordReader, t core.TenantID, now time.Time) (bool, error) {
	before := shadowGoneKey(now.Add(-shadowKept), "", "")
	for r, err := range rd.Records(t, Name, keyShadowGone) {
		return err == nil && r.Key < before, err
	}
	return false, nil
}
