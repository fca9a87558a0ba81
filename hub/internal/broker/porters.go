package broker

import (
	"context"
	"sync"
	"sync/atomic"
)

// porters are goroutines that admit connections, one after the other. What a handshake and a sign-in need of a stack takes
// four or five copies to larger and larger ones, and a goroutine that has done one has it.
type porters struct {
	ctx  context.Context
	wg   *sync.WaitGroup
	work chan func() // somebody receives only where a porter is idle
	idle atomic.Int32
}

// idlePorters bounds those that wait for work. As many as are needed come besides, and go.
const idlePorters = 32

// newPorters returns porters who go home when ctx ends; wg waits for them.
func newPorters(ctx context.Context, wg *sync.WaitGroup) *porters {
	return &porters{ctx: ctx, wg: wg, work: make(chan func())}
}

// send has somebody do the work, and does not wait.
func (p *porters) send(work func()) {
	select {
	case p.work <- work:
	default:
		p.wg.Go(func() { p.serve(work) })
	}
}

func (p *porters) serve(work func()) {
	for work != nil {
		work()
		work = p.await()
	}
}

// await returns more work, or nil where nobody is needed.
func (p *porters) await() func() {
	if p.idle.Add(1) > idlePorters {
		p.idle.Add(-1)
		return nil
	}
	select {
	case work := <-p.work:
		p.idle.Add(-1)
		return work
	case <-p.ctx.Done():
		return nil
	}
}
