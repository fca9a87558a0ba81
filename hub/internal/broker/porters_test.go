package broker

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
)

// However much work comes at once, nobody waits for another's; few porters remain, who do what comes next.
func TestPorters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		p := newPorters(ctx, &wg)
		const crowd = 10 * idlePorters
		for range 2 {
			var begun sync.WaitGroup
			begun.Add(crowd)
			open := make(chan struct{})
			for range crowd {
				p.send(func() { begun.Done(); <-open })
			}
			begun.Wait()
			close(open)
			synctest.Wait()
			if n := p.idle.Load(); n != idlePorters {
				t.Errorf("%d porters are idle, want %d", n, idlePorters)
			}
		}
		done := false
		p.send(func() { done = true })
		synctest.Wait()
		if n := p.idle.Load(); !done || n != idlePorters {
			t.Errorf("done: %t, %d porters are idle", done, n)
		}
		cancel()
		wg.Wait() // and nobody is left in the bubble
	})
}
