package awsiot

import (
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// shadowsPerSecond is how many requests to the shadows of one thing are taken in a second (AWS IoT Core quotas, "Requests per
// second per thing"). The same number may come at once after a silence.
const shadowsPerSecond = 20

// A limiter bounds how often something is asked of each device. Its methods may be called concurrently.
type limiter struct {
	rate float64 // of each device per second; negative: any
	now  func() time.Time

	mu   sync.Mutex
	left map[core.DeviceKey]allowance
}

// An allowance is how much a device had left at a time.
type allowance struct {
	n  float64
	at time.Time
}

// maxAllowances is when those that are full again are forgotten.
const maxAllowances = 10_000

func newLimiter(rate int, now func() time.Time) *limiter {
	return &limiter{rate: float64(rate), now: now, left: map[core.DeviceKey]allowance{}}
}

// allow counts one request, and reports whether it may be.
func (l *limiter) allow(k core.DeviceKey) bool {
	if l.rate < 0 {
		return true
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.left[k]
	if !ok {
		if len(l.left) >= maxAllowances {
			l.forget(now)
		}
		a = allowance{n: l.rate, at: now}
	}
	a = l.refill(a, now)
	allowed := a.n >= 1
	if allowed {
		a.n--
	}
	l.left[k] = a
	return allowed
}

func (l *limiter) refill(a allowance, now time.Time) allowance {
	if d := now.Sub(a.at); d > 0 {
		a.n = min(l.rate, a.n+l.rate*d.Seconds())
	}
	a.at = now
	return a
}

// forget drops allowances that are full; if there are none it drops all, so that memory is bounded whatever clients do.
func (l *limiter) forget(now time.Time) {
	for k, a := range l.left {
		if l.refill(a, now).n >= l.rate {
			delete(l.left, k)
		}
	}
	if len(l.left) >= maxAllowances {
		clear(l.left)
	}
}
