package listen

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// A Pace slows down connections from where others have come to nothing: those that broke off the handshake, said nothing, or
// had nothing to sign in with. It counts by blocks of addresses, see [core.Network], and in all. A block that has used up
// what it may do wrong gets connections at the pace at which that is forgiven: each waits for its turn, and is refused only
// if that would take too long. Blocks that have done nothing wrong lately never wait, and those that sign in are forgiven
// much: a fleet that comes back at once is not slowed down, and one that has a few broken devices hardly.
//
// Calls may be concurrent. A nil Pace slows nobody down.
type Pace struct {
	all, block float64 // failures a second that are forgiven
	now        func() time.Time

	mu     sync.Mutex
	total  level
	blocks map[netip.Prefix]*level

	full, crowded, delayed atomic.Int64
}

const (
	paceBurst    = 10              // seconds' worth of failures that are free
	paceWait     = 5 * time.Second // longest wait for one's turn
	paceMemory   = time.Minute     // since its last failure a block counts as one that has done wrong
	paceForgiven = 10              // failures that are forgiven for each client that signs in
	maxBlocks    = 1 << 16         // in memory
	paceLook     = 32              // blocks that are looked at for one to forget
)

// A level is how much was done wrong and is not forgiven.
type level struct {
	n    float64
	at   time.Time // of n
	last time.Time // when something went wrong
}

// NewPace returns a Pace that forgives so many failures a second, in all and for each block of addresses; 0 for either is
// no limit.
func NewPace(all, block int) *Pace {
	return &Pace{all: float64(all), block: float64(block), now: time.Now, blocks: map[netip.Prefix]*level{}}
}

// settle brings a level up to now.
func (l *level) settle(now time.Time, rate float64) {
	l.n = max(0, l.n-rate*now.Sub(l.at).Seconds())
	l.at = now
}

// wait returns how long it takes until there is room for one more.
func (l *level) wait(rate float64) time.Duration {
	over := l.n - rate*paceBurst
	if rate <= 0 || over < 0 {
		return 0
	}
	return time.Duration((over + 1) / rate * float64(time.Second))
}

// enter says how long a connection has to wait, and whether it may come at all. One that has to wait has reserved its turn:
// it counts as having failed until it signs in.
func (p *Pace) enter(block netip.Prefix) (wait time.Duration, reserved, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.blocks[block]
	if l == nil {
		return 0, false, true
	}
	now := p.now()
	l.settle(now, p.block)
	p.total.settle(now, p.all)
	if now.Sub(l.last) > paceMemory && l.n == 0 {
		delete(p.blocks, block)
		return 0, false, true
	}
	own, all := l.wait(p.block), p.total.wait(p.all)
	switch {
	case own > paceWait:
		p.crowded.Add(1)
		return 0, false, false
	case all > paceWait:
		p.full.Add(1)
		return 0, false, false
	case own == 0 && all == 0:
		return 0, false, true
	}
	p.delayed.Add(1)
	l.n++
	p.total.n++
	return max(own, all), true, true
}

// fail notes that a connection has come to nothing.
func (p *Pace) fail(block netip.Prefix, reserved bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	l := p.blocks[block]
	if l == nil {
		p.makeRoom(now)
		l = &level{at: now}
		p.blocks[block] = l
	}
	l.settle(now, p.block)
	p.total.settle(now, p.all)
	l.last = now
	if !reserved {
		// Many can be under way when the burst is over: nobody waits for longer than after that.
		l.n = min(l.n+1, p.block*(paceBurst+paceWait.Seconds())+1)
		p.total.n = min(p.total.n+1, p.all*(paceBurst+paceWait.Seconds())+1)
	}
}

// pass notes that a client has signed in.
func (p *Pace) pass(block netip.Prefix, reserved bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	forgiven := 0.0
	if l := p.blocks[block]; l != nil {
		forgiven = min(l.n, paceForgiven)
		l.n -= forgiven
	}
	if reserved && forgiven < 1 {
		forgiven = 1
	}
	p.total.n = max(0, p.total.n-forgiven)
}

// release gives a turn back that was reserved, of a connection that says nothing about its client.
func (p *Pace) release(block netip.Prefix, reserved bool) {
	if !reserved {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.blocks[block]; l != nil {
		l.n = max(0, l.n-1)
	}
	p.total.n = max(0, p.total.n-1)
}

// makeRoom forgets a block if there are too many: of some, the one that has failed longest ago.
func (p *Pace) makeRoom(now time.Time) {
	if len(p.blocks) < maxBlocks {
		return
	}
	var victim netip.Prefix
	oldest, looked := now.Add(time.Hour), 0
	for k, l := range p.blocks {
		if l.last.Before(oldest) {
			victim, oldest = k, l.last
		}
		if looked++; looked == paceLook {
			break
		}
	}
	delete(p.blocks, victim)
}

// Full counts the connections that were refused because too many had failed in all, and Crowded those because of others from
// their block of addresses. Delayed counts those that had to wait.
func (p *Pace) Full() int64    { return p.full.Load() }
func (p *Pace) Crowded() int64 { return p.crowded.Load() } // see Full
func (p *Pace) Delayed() int64 { return p.delayed.Load() } // see Full

// pacing is what a connection has to do with a Pace.
type pacing struct {
	p        *Pace
	block    netip.Prefix
	reserved bool
}

// Enter asks a Pace for a connection, before anything is done for it. It returns how long that has to wait; with false it is
// to be closed. A connection that has entered already goes on. [Conn.Passed], [Conn.Failed] or [Conn.Released] says what came of it.
func (c *Conn) Enter(p *Pace) (wait time.Duration, ok bool) {
	if p == nil || c.pace != nil {
		return 0, true
	}
	block := core.Network(c.Remote().Addr())
	wait, reserved, ok := p.enter(block)
	c.pace = &pacing{p, block, reserved}
	return wait, ok
}

// Rest waits until it is the connection's turn, and reports whether it has come.
func Rest(ctx context.Context, wait time.Duration) bool {
	if wait <= 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Passed says that the client has signed in.
func (c *Conn) Passed() { c.settlePace((*Pace).pass) }

// Failed says that the connection came to nothing, and that it was the client's fault, unless it had to make room for others.
func (c *Conn) Failed() {
	if c.spared.Load() {
		c.Released()
		return
	}
	c.settlePace((*Pace).fail)
}

// Released says that nothing is known of the client, or that it was not its fault.
func (c *Conn) Released() { c.settlePace((*Pace).release) }

func (c *Conn) settlePace(how func(*Pace, netip.Prefix, bool)) {
	if c.pace != nil {
		how(c.pace.p, c.pace.block, c.pace.reserved)
		c.pace.reserved = false
	}
}
