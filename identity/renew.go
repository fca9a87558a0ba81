package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/fairlead-iot/fairlead"
)

// A Token is a secret that is valid for a while, such as a JWT or a SAS token.
type Token struct {
	Value  Secret
	Issued time.Time
	Ends   time.Time // the zero time: never
}

// Check returns an error that wraps fairlead.ErrExpired if the token has ended at a time.
func (t Token) Check(now time.Time) error {
	if t.Ends.IsZero() || now.Before(t.Ends) {
		return nil
	}
	return fmt.Errorf("%w: the token ended at %s, now is %s", fairlead.ErrExpired, t.Ends.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
}

// RenewAt returns when something that is valid between two times should be renewed: after two thirds of its life, and a
// random while of up to a twelfth of it, so that a fleet that was switched on together does not come together.
func RenewAt(from, to time.Time) time.Time {
	life := max(0, to.Sub(from))
	return from.Add(life/3*2 + rand.N(life/12+1))
}

// A Renewer renews a credential in time, again and again. Life and Renew are required; every other field works at zero.
type Renewer struct {
	// Life returns the time in which the credential that is in use now is valid, such as [Identity.Life]. A zero "to" means that it does not end.
	Life func() (from, to time.Time)
	// Renew gets a new credential and puts it into use, so that Life tells of it.
	Renew func(context.Context) error
	// MinRetry and MaxRetry bound the wait after a failure, which doubles each time, and never is longer than a quarter of what is left of the life.
	// If the error is a [fairlead.PlatformError] with advice, that is followed. 0: a minute, and an hour.
	MinRetry, MaxRetry time.Duration
	// Logger is told of renewals and failures. nil: discard.
	Logger *slog.Logger
}

// longestNap bounds how long a timer runs: clocks are set, and devices sleep.
const longestNap = time.Hour

// Run renews until ctx ends, and returns the context's cause. It goes on after failures, also when the credential has ended: a
// device that was away from the network for long needs a new one all the more.
func (r *Renewer) Run(ctx context.Context) error {
	if r.Life == nil || r.Renew == nil {
		return fmt.Errorf("renewer: %w: Life and Renew are required", fairlead.ErrInvalid)
	}
	log := r.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	from, to := r.Life()
	at := RenewAt(from, to)
	failures := 0
	for {
		if f, t := r.Life(); !f.Equal(from) || !t.Equal(to) { // somebody else has renewed it
			from, to, failures = f, t, 0
			at = RenewAt(from, to)
		}
		if wait := time.Until(at); to.IsZero() || wait > 0 {
			if to.IsZero() {
				wait = longestNap
			}
			if err := sleep(ctx, min(wait, longestNap)); err != nil {
				return err
			}
			continue
		}
		err := r.renew(ctx, to)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			_, ends := r.Life()
			log.Info("credential renewed", "until", ends)
			continue
		}
		from, to = r.Life() // a useless new one must not count as a success above
		wait := r.retry(err, failures, to)
		failures++
		at = time.Now().Add(wait)
		log.Warn("credential not renewed, will try again", "until", to, "retry", wait, "err", err)
	}
}

// renew calls Renew, and sees to it that it did something: or it would be called without end.
func (r *Renewer) renew(ctx context.Context, was time.Time) error {
	if err := r.Renew(ctx); err != nil {
		return err
	}
	if from, to := r.Life(); !to.IsZero() && (to.Equal(was) || !to.After(time.Now()) || !to.After(from)) {
		return fmt.Errorf("renew credential: %w: the new one ends at %s, like the old one or in the past", fairlead.ErrInvalid, to.UTC().Format(time.RFC3339))
	}
	return nil
}

// retry returns how long to wait after a failure.
func (r *Renewer) retry(err error, failures int, to time.Time) time.Duration {
	lo, hi := r.MinRetry, r.MaxRetry
	if lo <= 0 {
		lo = time.Minute
	}
	if hi <= 0 {
		hi = time.Hour
	}
	hi = max(lo, hi)
	var refusal *fairlead.PlatformError
	if errors.As(err, &refusal) && refusal.RetryAfter > 0 {
		return refusal.RetryAfter + rand.N(refusal.RetryAfter/10+1)
	}
	wait := lo
	for range failures {
		if wait >= hi/2 {
			wait = hi
			break
		}
		wait *= 2
	}
	wait = wait - wait/4 + rand.N(wait/4+1)
	if left := time.Until(to); left > 0 {
		wait = max(lo, min(wait, left/4))
	}
	return wait
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
