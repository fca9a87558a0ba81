package crash

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// guestExpiry is how long a guest's session outlives its connection; a kill, the restart and the comparison take about as
// long. guestGrace is how late the hub may be to end it.
const (
	guestExpiry = 2 * time.Second
	guestGrace  = 2 * time.Second
)

// A guest is a version 5 client whose session expires soon after its connection: sometimes before it is back, sometimes
// not, sometimes while no hub runs.
type guest struct {
	addr   string
	config *tls.Config
	name   string
	login  mqtt.Connect

	// The connection ended between these times. Zero: it never had one; nobody knows, because the hub died before it could
	// note it.
	left, noted time.Time

	present, gone int // how often it had to be, and was
}

// live visits the hub a few times.
func (g *guest) live(ctx context.Context, lf *life, rng *rand.Rand) {
	for range 1 + rng.IntN(3) {
		pause(ctx, time.Duration(rng.IntN(200))*time.Millisecond)
		if ctx.Err() != nil || lf.ended.Load() {
			return
		}
		g.visit(ctx, lf, rng)
	}
}

func (g *guest) visit(ctx context.Context, lf *life, rng *rand.Rand) {
	l, err := dialHub(ctx, lf, g.addr, g.config)
	if l == nil {
		if err != nil {
			lf.report(Refused, g.name, "%v", err)
		}
		return
	}
	defer l.close()
	asked := time.Now()
	present, err := l.connect(g.login)
	if err != nil {
		if !lf.ended.Load() && ctx.Err() == nil {
			lf.report(Refused, g.name, "connect: %v", err)
		}
		// The hub may have noted the connection, so that the time begins anew; or else that is over when it is.
		g.left, g.noted = time.Time{}, time.Time{}
		return
	}
	g.judge(lf, present, asked, time.Now())
	if rng.IntN(3) == 0 {
		linger(ctx, lf, l)
		g.left, g.noted = lf.at, time.Time{}
		return
	}
	pause(ctx, time.Duration(rng.IntN(200))*time.Millisecond)
	g.left, g.noted = time.Now(), time.Time{}
	err = l.send(&mqtt.Disconnect{})
	for err == nil {
		_, err = l.next()
	}
	if !lf.ended.Load() {
		g.noted = time.Now()
	}
}

// judge compares Session Present with the times: CONNECT was sent at asked, and answered at answered.
func (g *guest) judge(lf *life, present bool, asked, answered time.Time) {
	switch {
	case g.left.IsZero():
	case answered.Before(g.left.Add(guestExpiry)):
		if g.present++; !present {
			lf.report(Missing, g.name, "its session, %v after it left", answered.Sub(g.left))
		}
	case !g.noted.IsZero() && asked.After(g.noted.Add(guestExpiry+guestGrace)):
		if g.gone++; present {
			lf.report(Invented, g.name, "its session, %v after it left", asked.Sub(g.noted))
		}
	}
}

// restarted tells a guest that a hub is ready, which has noted by now that its connection has ended.
func (g *guest) restarted() {
	if !g.left.IsZero() && g.noted.IsZero() {
		g.noted = time.Now()
	}
}
