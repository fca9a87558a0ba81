package identity_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/identity"
)

const day = 24 * time.Hour

func TestRenewAt(t *testing.T) {
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	earliest, latest := 12*day, time.Duration(0)
	for range 1000 {
		d := identity.RenewAt(from, from.Add(12*day)).Sub(from)
		earliest, latest = min(earliest, d), max(latest, d)
	}
	if earliest < 8*day || latest > 9*day {
		t.Errorf("got %v to %v, want 8 to 9 days of 12", earliest, latest)
	}
	if latest-earliest < 12*time.Hour {
		t.Errorf("all between %v and %v: that is no jitter", earliest, latest)
	}
	if got := identity.RenewAt(from, from.Add(-day)); !got.Equal(from) {
		t.Errorf("negative life: got %v", got)
	}
}

// rig is a credential of 12 days, and what happened to it.
type rig struct {
	mu       sync.Mutex
	from, to time.Time

	calls  []time.Duration // since the start
	answer func(n int) error
}

// run runs a Renewer for so long.
func (r *rig) run(t *testing.T, d time.Duration) {
	t.Helper()
	start := time.Now()
	if r.to.IsZero() {
		r.from, r.to = start, start.Add(12*day)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), d, errOver)
	defer cancel()
	err := (&identity.Renewer{
		Life: func() (time.Time, time.Time) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.from, r.to
		},
		Renew: func(context.Context) error {
			r.calls = append(r.calls, time.Since(start))
			return r.answer(len(r.calls))
		},
	}).Run(ctx)
	if !errors.Is(err, errOver) {
		t.Errorf("Run: got %v, want the context's cause", err)
	}
}

var errOver = errors.New("over")

func (r *rig) renewed() { r.set(time.Now(), time.Now().Add(12*day)) }

func (r *rig) set(from, to time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.from, r.to = from, to
}

func TestRenewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{}
		r.answer = func(int) error { r.renewed(); return nil }
		r.run(t, 100*day)
		if n := len(r.calls); n < 11 || n > 12 {
			t.Errorf("renewed %d times in 100 days: %v", n, r.calls)
		}
	})
}

func TestRenewerRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{answer: func(int) error { return fairlead.ErrUnavailable }}
		r.run(t, 14*day)
		if len(r.calls) < 4*24 || len(r.calls) > 10*24 {
			t.Errorf("tried %d times in 5 days, want some more than hourly", len(r.calls))
		}
		for i := range r.calls[1:] {
			if wait := r.calls[i+1] - r.calls[i]; wait < 45*time.Second || wait > time.Hour {
				t.Errorf("waited %v after try %d", wait, i)
			}
		}
		if last := r.calls[len(r.calls)-1]; last < 13*day {
			t.Errorf("gave up after %v", last)
		}
	})
}

func TestRenewerTakesAdvice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{}
		r.answer = func(n int) error {
			if n == 1 {
				return &fairlead.PlatformError{RetryAfter: 10 * time.Hour, Kind: fairlead.ErrThrottled}
			}
			r.renewed()
			return nil
		}
		r.run(t, 10*day)
		if len(r.calls) != 2 || r.calls[1]-r.calls[0] < 10*time.Hour || r.calls[1]-r.calls[0] > 11*time.Hour {
			t.Errorf("called at %v, want 10 hours between", r.calls)
		}
	})
}

// TestRenewerUseless has a platform whose credentials are of no use, as they are with a clock that is wrong.
func TestRenewerUseless(t *testing.T) {
	for name, renew := range map[string]func(*rig){
		"the same": func(*rig) {},
		"ended":    func(r *rig) { r.set(time.Now().Add(-2*day), time.Now().Add(-day)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &rig{}
				r.answer = func(int) error { renew(r); return nil }
				r.run(t, 10*day)
				if n := len(r.calls); n < 2 || n > 100 {
					t.Errorf("called %d times in two days", n)
				}
			})
		})
	}
}

// TestRenewerSeesOthers leaves a credential alone that somebody else has renewed.
func TestRenewerSeesOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{answer: func(int) error { return nil }}
		stop := time.AfterFunc(6*day, func() { r.set(time.Now(), time.Now().Add(100*day)) })
		defer stop.Stop()
		r.run(t, 50*day)
		if len(r.calls) != 0 {
			t.Errorf("called at %v", r.calls)
		}
	})
}

func TestRenewerInvalid(t *testing.T) {
	if err := (&identity.Renewer{}).Run(t.Context()); !errors.Is(err, fairlead.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

func TestToken(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := (identity.Token{}).Check(now); err != nil {
		t.Errorf("without end: %v", err)
	}
	token := identity.Token{Value: identity.NewSecret(word), Ends: now}
	if err := token.Check(now.Add(-1)); err != nil {
		t.Error(err)
	}
	if err := token.Check(now); !errors.Is(err, fairlead.ErrExpired) {
		t.Errorf("got %v", err)
	}
}
