package mqtt

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/credential"
	"github.com/fairlead-iot/fairlead/hub/internal/guess"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// failureStep is what refusals of a password are delayed to a multiple of, so that the time they take tells neither whether
// there is such a device nor how its password is kept.
const failureStep = 100 * time.Millisecond

// hashTimeout bounds the wait for a slow hash, of which few are computed at a time: then the client is told that the server
// is busy.
const hashTimeout = 5 * time.Second

// errGuessing is the kind of refusals of those who have tried too often.
var errGuessing = fmt.Errorf("%w: too many wrong passwords", core.ErrTooLarge)

// guesses counts wrong passwords: by device and where they come from, so that nobody can lock a device out from elsewhere,
// and by where they come from alone, for those who try one password on many devices.
type guesses struct {
	pairs   guess.Limits[attempt]
	sources guess.Limits[netip.Prefix]
}

type attempt struct {
	device core.DeviceKey
	from   netip.Prefix
}

func newGuesses() guesses {
	return guesses{sources: guess.Limits[netip.Prefix]{Burst: 100, Pause: time.Second}}
}

// wait returns how long the next try has to wait, 0 if it need not.
func (g *guesses) wait(k attempt, now time.Time) time.Duration {
	return max(g.pairs.Wait(k, now), g.sources.Wait(k.from, now))
}

func (g *guesses) wrong(k attempt, now time.Time) {
	g.pairs.Fail(k, now)
	g.sources.Fail(k.from, now)
}

// password finds the device that user name and password open.
func (d *Dialect) password(ctx context.Context, c core.Claim) (proof, error) {
	start := time.Now()
	p, err := d.checkPassword(ctx, c)
	if errors.Is(err, core.ErrUnauthenticated) || errors.Is(err, errGuessing) {
		delay(ctx, start)
	}
	return p, err
}

// delay waits until a multiple of failureStep has passed since start.
func delay(ctx context.Context, start time.Time) {
	t := time.NewTimer(failureStep - time.Since(start)%failureStep)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (d *Dialect) checkPassword(ctx context.Context, c core.Claim) (proof, error) {
	now := d.cfg.Now()
	k, ok := d.user(c.Username)
	if !ok {
		k = core.DeviceKey{}
	}
	g := attempt{k, core.Network(c.Remote.Addr())}
	p, err := d.open(ctx, k, g, c.Password, now)
	if errors.Is(err, core.ErrUnauthenticated) {
		// The same for devices that are not there: the answer must not tell which are.
		if wait := d.guesses.wait(g, now); wait > 0 {
			return p, guessing(wait)
		}
		d.guesses.wrong(g, now)
	}
	return p, err
}

// open looks whether a password or token opens a device. What has 256 random bits cannot be guessed, so it opens however
// many wrong ones have come from a neighbour behind the same address.
func (d *Dialect) open(ctx context.Context, k core.DeviceKey, g attempt, password []byte, now time.Time) (p proof, err error) {
	if k.ID == "" || k.Tenant == "" {
		return p, noUser()
	}
	err = d.cfg.Store.View(ctx, func(rd store.Reader) (err error) {
		p.Holder, err = credential.Find(rd, k)
		return err
	})
	if errors.Is(err, core.ErrNotFound) {
		return p, noDevice(k, password)
	} else if err != nil {
		return p, fmt.Errorf("sign in %s: %w", k, err)
	}
	if t, ok := p.Token(password, now); ok {
		p.ends = t.Expires
		return p, nil
	}
	hash := p.Enrolment.SecretHash
	if wait := d.guesses.wait(g, now); credential.Guessable(hash) && wait > 0 {
		return p, guessing(wait)
	}
	ctx, cancel := context.WithTimeout(ctx, hashTimeout)
	defer cancel()
	ok, err := d.cfg.Hasher.Check(ctx, hash, password)
	if err != nil {
		return p, fmt.Errorf("sign in %s: %w", k, err)
	}
	if !ok {
		return p, wrongPassword(p.Holder, password, now)
	}
	return p, nil
}
