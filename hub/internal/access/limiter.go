package access

import (
	"net/netip"
	"sync"
	"time"
)

// What an address may do wrong: so much at once, and then again one after each pause.
const (
	burst = 10
	pause = 5 * time.Second
)

// maxAddresses bounds the memory of a Limiter.
const maxAddresses = 4096

// A Limiter counts failed sign-ins by address; of IPv6, where one machine has many, by network of 64 bits. The zero
// Limiter is ready. Its methods may be called concurrently.
type Limiter struct {
	mu sync.Mutex
	m  map[netip.Prefix]time.Time // when all that was done wrong is forgotten: one pause for each failure
}

// Wait returns how long an address has to wait before it may try again; 0: not at all.
func (l *Limiter) Wait(addr netip.Addr, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	until, known := l.m[network(addr)]
	if !known || !until.After(now) {
		return 0
	}
	return max(0, until.Sub(now)-(burst-1)*pause)
}

// Fail notes a failed sign-in.
func (l *Limiter) Fail(addr netip.Addr, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := network(addr)
	until, known := l.m[n]
	if !known && len(l.m) >= maxAddresses {
		l.forget(now)
	}
	if l.m == nil {
		l.m = map[netip.Prefix]time.Time{}
	}
	if until.Before(now) {
		until = now
	}
	// A limit for those that tried at the same moment: nobody waits for longer than after a burst.
	l.m[n] = minTime(until.Add(pause), now.Add(burst*pause))
}

// forget makes room: of those that are forgiven, or else of the one that has done the least. Who comes from very many
// addresses so cannot have his own guesses forgotten.
func (l *Limiter) forget(now time.Time) {
	var least netip.Prefix
	first := true
	for n, until := range l.m {
		if !until.After(now) {
			delete(l.m, n)
		} else if first || until.Before(l.m[least]) {
			least, first = n, false
		}
	}
	if len(l.m) >= maxAddresses {
		delete(l.m, least)
	}
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// network returns what is counted together; the zero prefix for no address.
func network(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // of no address: an error, and the zero prefix
	return p
}
