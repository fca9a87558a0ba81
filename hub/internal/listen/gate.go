package listen

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// A Gate bounds how many connections there are of a kind, in all and from one block of addresses, see
// [core.Network]. Calls may be concurrent.
type Gate struct {
	most  int // in all
	share int // of one block; 0: as many as are free

	mu     sync.Mutex
	open   int
	blocks map[netip.Prefix]int

	full, crowded atomic.Int64 // refused
}

// NewGate returns a gate for so many connections. share bounds those of one block of addresses. If it is zero, a block
// may have as many as are still free: one alone can have half, a second one half of the rest, and so on. So a fleet
// behind one address has much room, and yet it takes a dozen greedy ones to leave nothing for others.
func NewGate(most, share int) *Gate {
	return &Gate{most: most, share: share, blocks: map[netip.Prefix]int{}}
}

// Enter takes a place for a connection, and reports whether there was one. Who got it must [Gate.Leave] once. Addresses
// that are none count in all only.
func (g *Gate) Enter(a netip.Addr) bool {
	block := core.Network(a)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open >= g.most {
		g.full.Add(1)
		return false
	}
	if block.IsValid() {
		n := g.blocks[block]
		if share := g.share; share > 0 && n >= share || share == 0 && n > 0 && n >= g.most-g.open {
			g.crowded.Add(1)
			return false
		}
		g.blocks[block] = n + 1
	}
	g.open++
	return true
}

// Leave gives a place back.
func (g *Gate) Leave(a netip.Addr) {
	block := core.Network(a)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open--
	if !block.IsValid() {
		return
	}
	if n := g.blocks[block]; n > 1 {
		g.blocks[block] = n - 1
	} else {
		delete(g.blocks, block)
	}
}

// Open returns how many are inside.
func (g *Gate) Open() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

// Full counts those who were refused because there was no place at all.
func (g *Gate) Full() int64 { return g.full.Load() }

// Crowded counts those who were refused because of others from their block of addresses.
func (g *Gate) Crowded() int64 { return g.crowded.Load() }
