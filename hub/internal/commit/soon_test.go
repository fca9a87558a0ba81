package commit_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
)

// What can wait does so for a moment, or until somebody makes a transaction or asks.
func TestDoSoon(t *testing.T) {
	nothing := func(*commit.Tx) error { return nil }
	for name, c := range map[string]struct {
		meanwhile func(*testing.T, *fixture)
		wait      time.Duration
	}{
		"alone": {func(*testing.T, *fixture) {}, 2 * time.Millisecond},
		"with others": {func(t *testing.T, f *fixture) {
			if err := f.Do(t.Context(), nothing); err != nil {
				t.Error(err)
			}
		}, 0},
		"somebody asks": {func(_ *testing.T, f *fixture) { f.Hurry() }, 0},
		"stopping":      {func(_ *testing.T, f *fixture) { f.stop() }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t, nil)
				before := f.store.count()
				begun, took := time.Now(), [2]time.Duration{}
				var wg sync.WaitGroup
				for i := range took { // they keep each other company
					wg.Go(func() {
						if err := f.DoSoon(context.Background(), []time.Duration{time.Second, 2 * time.Millisecond}[i], nothing); err != nil {
							t.Error(err)
						}
						took[i] = time.Since(begun)
					})
				}
				synctest.Wait()
				if n := f.store.count() - before; n != 0 {
					t.Errorf("%d transactions at once", n)
				}
				c.meanwhile(t, f)
				wg.Wait()
				if took[0] != c.wait || took[1] != c.wait {
					t.Errorf("took %v, want %v", took, c.wait)
				}
				if n := f.store.count() - before; n != 1 {
					t.Errorf("%d transactions, want 1", n)
				}
			})
		})
	}
}
