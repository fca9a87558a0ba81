package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/fairlead-iot/fairlead"
)

// Backoff is how long to wait between attempts: Base at first, then twice as long each time, up to Max. A connection that lasted Stable
// makes it begin anew; a shorter one does not, or a server that accepts and hangs up would be asked without end.
// What the platform advises comes first.
type Backoff struct {
	Base   time.Duration // 0: 1 s
	Max    time.Duration // 0: 2 min
	Stable time.Duration // 0: 20 s
	// NoJitter waits exactly so long. Otherwise it is a random time from half of it on, so that a fleet that was cut off together does
	// not come back together.
	NoJitter bool
}

func (b *Backoff) complete() error {
	if b.Base < 0 || b.Max < 0 || b.Stable < 0 {
		return fmt.Errorf("engine: %w: a time of the back-off is negative: base %v, max %v, stable %v", fairlead.ErrInvalid, b.Base, b.Max, b.Stable)
	}
	if b.Base == 0 {
		b.Base = time.Second
	}
	if b.Max == 0 {
		b.Max = 2 * time.Minute
	}
	if b.Stable == 0 {
		b.Stable = 20 * time.Second
	}
	b.Max = max(b.Max, b.Base)
	return nil
}

// delay is where a back-off has come to.
type delay struct {
	of   Backoff
	next time.Duration // 0: Base
}

// after returns the wait after an attempt that ended with err, on a connection that lasted for some time.
func (d *delay) after(lasted time.Duration, err error) time.Duration {
	if lasted >= d.of.Stable || d.next == 0 {
		d.next = d.of.Base
	}
	wait := d.next
	d.next = min(d.of.Max, 2*d.next)
	var refusal *fairlead.PlatformError
	if errors.As(err, &refusal) && refusal.RetryAfter > 0 {
		return refusal.RetryAfter + jitter(refusal.RetryAfter/10, d.of.NoJitter)
	}
	return wait - jitter(wait/2, d.of.NoJitter)
}

func jitter(upTo time.Duration, none bool) time.Duration {
	if none {
		return 0
	}
	return rand.N(upTo + 1)
}

// sleep returns the context's cause if that ends first.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
