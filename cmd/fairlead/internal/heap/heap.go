// Package heap spares a hub with little in memory most of its garbage collections. By default Go collects whenever as
// much has been allocated as is in use: while a hub holds ten megabytes and a fleet comes back after a cut, each connection
// a handshake, that is ten to twenty times a second. Each collection costs what goes through the memory in use, and makes goroutines help that allocate.
//
//	defer heap.Floor(16 << 20)()    // not before so many bytes have been allocated
package heap

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// usual is Go's default: a collection when as much has been allocated as is in use.
const usual = 100

// Floor has the process collect its garbage when so many bytes have been allocated since the last time, or as many as are in
// use, whichever is more: the process has at most so much more memory for it. Whoever sets the variable GOGC has decided otherwise,
// and a limit (GOMEMLIMIT) goes before. stop ends it, with the first collection after.
func Floor(bytes uint64) (stop func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	f := &floor{bytes: bytes, percent: usual}
	f.adjust()
	f.watch()
	return func() { f.stopped.Store(true) }
}

type floor struct {
	bytes   uint64
	percent int
	stopped atomic.Bool
}

// watch calls adjust after each collection: the object that nobody holds is gone by then.
func (f *floor) watch() {
	type collected struct{ _ *floor } // with a pointer, or it would share its memory with others
	runtime.AddCleanup(&collected{}, func(f *floor) {
		if f.stopped.Load() {
			debug.SetGCPercent(usual)
			return
		}
		f.adjust()
		f.watch()
	}, f)
}

// adjust says anew what part of the memory in use the floor is. To say it stops the world, so small changes are not said.
func (f *floor) adjust() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	if p := percentFor(live[0].Value.Uint64(), f.bytes); p < f.percent*9/10 || p > f.percent*11/10 {
		f.percent = p
		debug.SetGCPercent(p)
	}
}

// most is more than any hub comes to; before the first collection nothing is known to be in use.
const most = 1000

func percentFor(live, floor uint64) int {
	if live == 0 {
		return most
	}
	return int(min(max(floor*100/live, usual), most))
}
