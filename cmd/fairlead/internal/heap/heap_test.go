package heap

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestPercentFor(t *testing.T) {
	for _, c := range []struct {
		live, floor uint64
		want        int
	}{
		{0, 32, most},
		{1, 32, most},
		{8, 32, 400},
		{32, 32, usual},
		{3200, 32, usual}, // a large hub collects as any other program
	} {
		if got := percentFor(c.live, c.floor); got != c.want {
			t.Errorf("%d in use, floor %d: got %d, want %d", c.live, c.floor, got, c.want)
		}
	}
}

// TestFloor: what is said to the collector follows what is in use, until it is stopped.
func TestFloor(t *testing.T) {
	t.Setenv("GOGC", "")
	before := debug.SetGCPercent(usual)
	defer debug.SetGCPercent(before)
	const floor = 64 << 20
	stop := Floor(floor)
	said := func() int {
		p := debug.SetGCPercent(usual)
		debug.SetGCPercent(p)
		return p
	}
	await := func(what string, ok func(int) bool) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); ; runtime.Gosched() {
			runtime.GC()
			if p := said(); ok(p) {
				return
			} else if time.Now().After(end) {
				t.Fatalf("%s: %d %%", what, p)
			}
		}
	}
	await("little in use", func(p int) bool { return p > 2*usual })
	much := make([]byte, 2*floor)
	await("much in use", func(p int) bool { return p == usual })
	runtime.KeepAlive(much)
	await("little in use again", func(p int) bool { return p > 2*usual })
	stop()
	await("stopped", func(p int) bool { return p == usual })
}

func TestWhoeverSetsGOGCHasDecided(t *testing.T) {
	t.Setenv("GOGC", "50")
	before := debug.SetGCPercent(50)
	defer debug.SetGCPercent(before)
	Floor(1 << 30)()
	if p := debug.SetGCPercent(50); p != 50 {
		t.Errorf("the collector was told %d %%, want what GOGC says", p)
	}
}
