package registry

import (
	"crypto/sha256"
	"sync"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// A Recall remembers which devices certificates open, for those that come back: after a cut a whole fleet does, and what
// is on record of a device needs several reads, once to let it in and once more in the transaction that does so. T is what a
// dialect has read. Whatever changes who a device is or what opens it comes with an event of the device, which has it forgotten
// (see [Recall.Changing]), so that what is remembered is what is on disk. The zero value is ready, and safe for concurrent use.
type Recall[T any] struct {
	mu         sync.Mutex
	young, old map[core.DeviceNum]*Opening[T] // old ones are forgotten when there are too many young ones
	numbers    map[[sha256.Size]byte]core.DeviceNum
	open       int // transactions that change something, and are not over
	changes    int // counts their beginnings and ends
}

// An Opening is what a certificate opens. It is shared: nobody changes it.
type Opening[T any] struct {
	Value  T
	device core.DeviceNum
	leaf   [sha256.Size]byte
}

// recalled bounds the young ones: a few megabytes in all.
const recalled = 4096

// Find returns what a certificate, in DER form, opens. If that is not remembered, read finds it out from a snapshot of its own.
func (r *Recall[T]) Find(der []byte, read func() (T, core.DeviceNum, error)) (*Opening[T], error) {
	leaf := sha256.Sum256(der)
	r.mu.Lock()
	o := r.find(leaf)
	before := r.changes
	r.mu.Unlock()
	if o != nil {
		return o, nil
	}
	value, n, err := read()
	o = &Opening[T]{value, n, leaf}
	if err != nil {
		return o, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changes == before && r.open == 0 { // else what was read may be of before
		r.add(o)
	}
	return o, nil
}

// Holds reports whether nothing of what a certificate opens has changed since Find returned it, nor does in the transaction that
// runs. False may also mean that it is not known. To be called in a transaction.
func (r *Recall[T]) Holds(o *Opening[T]) bool {
	if o == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.young[o.device] == o || r.old[o.device] == o
}

func (r *Recall[T]) find(leaf [sha256.Size]byte) *Opening[T] {
	n, ok := r.numbers[leaf]
	if !ok {
		return nil
	}
	if o := r.young[n]; o != nil && o.leaf == leaf {
		return o
	}
	o := r.old[n]
	if o == nil || o.leaf != leaf {
		return nil
	}
	r.add(o) // whoever comes back again and again stays
	return o
}

func (r *Recall[T]) add(o *Opening[T]) {
	r.forget(o.device) // a device that has changed its certificate will not come with the old one
	if r.young == nil || len(r.young) >= recalled {
		for n, gone := range r.old {
			if r.young[n] == nil {
				delete(r.numbers, gone.leaf)
			}
		}
		r.young, r.old = map[core.DeviceNum]*Opening[T]{}, r.young
	}
	if r.numbers == nil {
		r.numbers = map[[sha256.Size]byte]core.DeviceNum{}
	}
	r.young[o.device], r.numbers[o.leaf] = o, o.device
}

func (r *Recall[T]) forget(n core.DeviceNum) {
	for _, m := range []map[core.DeviceNum]*Opening[T]{r.young, r.old} {
		if o := m[n]; o != nil {
			delete(r.numbers, o.leaf)
			delete(m, n)
		}
	}
}

// ChangeTx is what [Recall.Changing] needs of a transaction; *commit.Tx satisfies it.
type ChangeTx interface {
	After(f func())
	Undo(f func())
}

// Changing has what an event tells of forgotten. It is to be called in the transaction of each event of the dialect's
// devices; until that is over nothing is remembered anew, because others read what was before.
func (r *Recall[T]) Changing(tx ChangeTx, e core.Event) {
	switch e.Kind {
	case core.DeviceConnected, core.DeviceDisconnected, core.DeviceError, core.DeviceModelChanged, core.DocumentChanged:
		return // changes neither what opens the device nor what it may do
	}
	r.mu.Lock()
	if e.Num == 0 { // a tenant's, for instance
		r.young, r.old, r.numbers = nil, nil, nil
	} else {
		r.forget(e.Num)
	}
	r.mu.Unlock()
	r.change(1)
	tx.After(func() { r.change(-1) })
	tx.Undo(func() { r.change(-1) })
}

func (r *Recall[T]) change(open int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open += open
	r.changes++
}
