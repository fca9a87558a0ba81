package listen

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// A Gate bounds how many connections there are of a kind, in all and from one block of addresses, see
// [core.Network]. When no place is left for somebody, a connection that can be spared is closed for it: of the block that has
// most of them, the newest, if that block has the more even then. Calls may be concurrent.
type Gate struct {
	most  int // in all
	share int // of one block; 0: as many as are free

	mu     sync.Mutex
	open   int
	blocks map[netip.Prefix]*block
	crowd  *block // had most to spare when it was looked for
	had    int    // it had so many places then

	full, crowded atomic.Int64 // refused, and closed for others
}

// A block is what connections from one block of addresses have taken.
type block struct {
	places int
	spare  *Conn // that can be spared, the newest first
}

// NewGate returns a gate for so many connections. share bounds those of one block of addresses. If it is zero, a block
// may have as many as are still free: one alone can have half, a second one half of the rest, and so on. So a fleet
// behind one address has much room. What they have so is theirs only until blocks that have fewer need it.
func NewGate(most, share int) *Gate {
	return &Gate{most: most, share: share, blocks: map[netip.Prefix]*block{}}
}

// Enter takes a place for a connection, and reports whether there was one. Who got it must [Gate.Leave] once. Addresses
// that are none count in all only.
func (g *Gate) Enter(a netip.Addr) bool {
	g.mu.Lock()
	victim, ok := g.enter(core.Network(a))
	g.mu.Unlock()
	if victim != nil {
		victim.spared.Store(true)
		_ = victim.Close()
	}
	return ok
}

// enter is called with the lock. It has taken the place of the connection that it returns.
func (g *Gate) enter(key netip.Prefix) (victim *Conn, ok bool) {
	b, places := g.blocks[key], 0
	if b != nil {
		places = b.places
	}
	has := g.share > 0 && places >= g.share // what it may have at the most
	var reason *atomic.Int64
	switch {
	case g.open >= g.most:
		reason = &g.full
	case has || g.share == 0 && places > 0 && places >= g.most-g.open:
		reason = &g.crowded
	}
	if reason != nil {
		reason.Add(1)
		if has {
			return nil, false
		}
		if victim = g.evict(places + 1); victim == nil {
			return nil, false
		}
	}
	g.open++
	if key.IsValid() {
		if b == nil {
			b = &block{}
			g.blocks[key] = b
		}
		b.places++
	}
	return victim, true
}

// evict takes a place from the block that has most, if that is more than so many. Called with the lock.
func (g *Gate) evict(more int) *Conn {
	spares := func(b *block) bool { return b != nil && b.spare != nil && b.places > more }
	if !spares(g.crowd) || g.crowd.places < g.had-g.had/4 {
		g.crowd, g.had = nil, 0
		for _, b := range g.blocks {
			if spares(b) && b.places > g.had {
				g.crowd, g.had = b, b.places
			}
		}
	}
	if g.crowd == nil {
		return nil
	}
	for c := g.crowd.spare; c != nil; c = c.older {
		if c.place.CompareAndSwap(g, nil) { // else it is leaving
			g.leave(core.Network(c.Remote().Addr()), c)
			return c
		}
	}
	return nil
}

// Leave gives a place back.
func (g *Gate) Leave(a netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leave(core.Network(a), nil)
}

// leave is called with the lock. The connection may be nil.
func (g *Gate) leave(key netip.Prefix, c *Conn) {
	g.open--
	b := g.blocks[key]
	if b == nil {
		return
	}
	if c != nil {
		b.remove(c)
	}
	if b.places--; b.places == 0 {
		delete(g.blocks, key)
		if g.crowd == b {
			g.crowd = nil
		}
	}
}

// spare says whether a connection that is inside can be spared.
func (g *Gate) spare(c *Conn, can bool) {
	key := core.Network(c.Remote().Addr())
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.blocks[key]
	if b == nil || c.place.Load() != g {
		return
	}
	if b.remove(c); can {
		if c.older = b.spare; c.older != nil {
			c.older.newer = c
		}
		b.spare = c
	}
}

// remove takes a connection out of those that can be spared, if it is one.
func (b *block) remove(c *Conn) {
	switch {
	case c.newer != nil:
		c.newer.older = c.older
	case b.spare == c:
		b.spare = c.older
	}
	if c.older != nil {
		c.older.newer = c.newer
	}
	c.newer, c.older = nil, nil
}

// Open returns how many are inside.
func (g *Gate) Open() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

// Full counts those who were refused, or closed for others, because there was no place at all.
func (g *Gate) Full() int64 { return g.full.Load() }

// Crowded counts those who were refused because of others from their block of addresses, or closed for somebody who was one
// of many from his.
func (g *Gate) Crowded() int64 { return g.crowded.Load() }
