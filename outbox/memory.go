package outbox

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/fairlead-iot/fairlead"
)

// NewMemory returns a driver that keeps messages in memory: they end with the process. It is for data that is worthless after a
// restart, for devices without storage that may be written to, and for tests.
func NewMemory() Store { return &memory{} }

type memory struct {
	mu     sync.RWMutex
	closed bool
	lines  [ranks]line
}

// line is the records of one rank. Records arrive in the order of keys and mostly leave from the front; a removed one
// keeps its place until half of the line is removed.
type line struct {
	slots []slot // by key
	gone  int    // how many are removed
}

type slot struct {
	Record
	gone bool
}

func (m *memory) Write(add []Record, remove []uint64) ([]Removed, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, fairlead.ErrClosed
	}
	removed := make([]Removed, 0, len(remove))
	for _, k := range remove {
		if size, ok := m.lines[rankOf(k)].remove(k); ok {
			removed = append(removed, Removed{k, size})
		}
	}
	for i := range add {
		r := add[i]
		r.Header, r.Payload = bytes.Clone(r.Header), bytes.Clone(r.Payload)
		l := &m.lines[rankOf(r.Key)]
		l.slots = append(l.slots, slot{Record: r})
	}
	return removed, nil
}

// find returns the index of the first slot with this key or a larger one.
func (l *line) find(k uint64) (i int, exact bool) {
	return slices.BinarySearchFunc(l.slots, k, func(s slot, k uint64) int { return cmp.Compare(s.Key, k) })
}

func (l *line) remove(k uint64) (size int64, ok bool) {
	i, ok := l.find(k)
	if !ok || l.slots[i].gone {
		return 0, false
	}
	size = l.slots[i].Size()
	l.slots[i] = slot{Record: Record{Key: k}, gone: true}
	l.gone++
	if l.gone > 32 && l.gone > len(l.slots)/2 || l.gone == len(l.slots) {
		l.slots = slices.Clip(slices.DeleteFunc(l.slots, func(s slot) bool { return s.gone }))
		l.gone = 0
	}
	return size, true
}

func (m *memory) Scan(ctx context.Context, from, to uint64, fn func(Record) bool) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return fairlead.ErrClosed
	}
	for rank := rankOf(from); rank < ranks && key(rank, 0) < to; rank++ {
		l := &m.lines[rank]
		for i, _ := l.find(from); i < len(l.slots) && l.slots[i].Key < to; i++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			if !l.slots[i].gone && !fn(l.slots[i].Record) {
				return nil
			}
		}
	}
	return nil
}

func (m *memory) Expiring(ctx context.Context, fn func(Record) bool) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return fairlead.ErrClosed
	}
	var found []Record
	for i := range m.lines {
		for _, s := range m.lines[i].slots {
			if !s.gone && !s.Expires.IsZero() {
				found = append(found, s.Record)
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	slices.SortStableFunc(found, func(a, b Record) int { return a.Expires.Compare(b.Expires) })
	for _, r := range found {
		if !fn(r) {
			break
		}
	}
	return nil
}

func (m *memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.lines = [ranks]line{}
	return nil
}
