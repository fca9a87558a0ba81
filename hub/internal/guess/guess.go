// Package guess slows down those who guess secrets: it counts what went wrong, by whatever it is counted for, and says how long
// the next try has to wait. Memory is bounded, and who comes from very many addresses cannot have his own tries forgotten.
package guess

import (
	"net/netip"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// What may go wrong: so much at once, and then again one after each pause.
const (
	burst = 10
	pause = 5 * time.Second
)

// maxAddresses bounds the memory of a Limits.
const maxAddresses = 4096

// A Limiter counts failed sign-ins by address; of IPv6, where one machine has many, by network of 64 bits. The zero
// Limiter is ready. Its methods may be called concurrently.
type Limiter struct{ limits Limits[netip.Prefix] }

// Wait returns how long an address has to wait before it may try again; 0: not at all.
func (l *Limiter) Wait(addr netip.Addr, now time.Time) time.Duration {
	return l.limits.Wait(core.Network(addr), now)
}

// Fail notes a failed sign-in.
func (l *Limiter) Fail(addr netip.Addr, now time.Time) { l.limits.Fail(core.Network(addr), now) }

// Limits counts failures by what they are counted for. The zero Limits is ready. Its methods may be called concurrently.
type Limits[K comparable] struct {
	// Burst is how many failures are possible at once, and Pause the time after which another one is. 0: ten, 5 s.
	Burst int
	Pause time.Duration

	mu sync.Mutex
	m  map[K]time.Time // when all that was done wrong is forgotten: one pause for each failure
}

func (l *Limits[K]) rate() (int, time.Duration) {
	b, p := l.Burst, l.Pause
	if b == 0 {
		b = burst
	}
	if p == 0 {
		p = pause
	}
	return b, p
}

// Wait returns how long k has to wait before the next try; 0: not at all.
func (l *Limits[K]) Wait(k K, now time.Time) time.Duration {
	burst, pause := l.rate()
	l.mu.Lock()
	defer l.mu.Unlock()
	until, known := l.m[k]
	if !known || !until.After(now) {
		return 0
	}
	return max(0, until.Sub(now)-time.Duration(burst-1)*pause)
}

// Fail notes a failure.
func (l *Limits[K]) Fail(k K, now time.Time) {
	burst, pause := l.rate()
	l.mu.Lock()
	defer l.mu.Unlock()
	until, known := l.m[k]
	if !known && len(l.m) >= maxAddresses {
		l.forget(now)
	}
	if l.m == nil {
		l.m = map[K]time.Time{}
	}
	if until.Before(now) {
		until = now
	}
	// A limit for those that tried at the same moment: nobody waits for longer than after a burst.
	l.m[k] = until.Add(pause)
	if most := now.Add(time.Duration(burst) * pause); l.m[k].After(most) {
		l.m[k] = most
	}
}

// forget makes room: of those that are forgiven, or else of the one that has done the least. Who comes from very many
// addresses so cannot have his own guesses forgotten.
func (l *Limits[K]) forget(now time.Time) {
	var least K
	first := true
	for k, until := range l.m {
		if !until.After(now) {
			delete(l.m, k)
		} else if first || until.Before(l.m[least]) {
			least, first = k, false
		}
	}
	if len(l.m) >= maxAddresses {
		delete(l.m, least)
	}
}
