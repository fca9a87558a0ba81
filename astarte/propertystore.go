package astarte

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/fairlead-iot/fairlead"
)

// PropertyStore is what a driver that keeps a device's properties implements: its own ones, which Astarte asks for again after each lost
// session, and those that Astarte has set, which the program reads while there is no connection. There are [OpenPropertyFile] and
// [NewPropertyMemory]; programs that have a database of their own can write one. A [Device] calls it from one goroutine at a time.
//
// Errors wrap one of the kinds of package fairlead: ErrStorage, ErrDamaged or ErrClosed.
type PropertyStore interface {
	// Load returns everything that is stored, in any order.
	Load(ctx context.Context) ([]StoredProperty, error)
	// Write stores changes, all or nothing, and returns when they would survive a power cut. A property replaces the one of the same
	// interface and path, whatever its major version; one that is Deleted only removes that. Write must not keep slices of the changes.
	Write(ctx context.Context, changes []StoredProperty) error
	// Close frees everything. Calls after it fail with ErrClosed, except for Close, which returns nil.
	Close() error
}

// A StoredProperty is a property as drivers see it.
type StoredProperty struct {
	Interface string
	Major     int // of the interface
	Path      string
	Ownership Ownership
	// Payload is the value as it goes over the wire. It is empty for one that the program has unset while Astarte does not know it yet.
	Payload []byte
	// Unsent means that Astarte does not know the value yet.
	Unsent bool
	// Deleted is set only in changes: there is nothing to keep.
	Deleted bool
}

type propertyKey struct{ name, path string }

func (p *StoredProperty) key() propertyKey { return propertyKey{p.Interface, p.Path} }

// NewPropertyMemory returns a driver that keeps properties in memory: they end with the process. It is for tests, and for devices without
// storage, whose program sets all properties anew at each start.
func NewPropertyMemory() PropertyStore { return &propertyMemory{} }

type propertyMemory struct {
	mu     sync.Mutex
	all    map[propertyKey]StoredProperty
	closed bool
}

func (m *propertyMemory) Load(context.Context) ([]StoredProperty, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, fairlead.ErrClosed
	}
	return sorted(m.all), nil
}

func (m *propertyMemory) Write(_ context.Context, changes []StoredProperty) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return fairlead.ErrClosed
	}
	if m.all == nil {
		m.all = map[propertyKey]StoredProperty{}
	}
	apply(m.all, changes)
	return nil
}

func (m *propertyMemory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

// apply changes what is stored. It copies payloads.
func apply(all map[propertyKey]StoredProperty, changes []StoredProperty) {
	for _, p := range changes {
		if p.Deleted {
			delete(all, p.key())
			continue
		}
		p.Payload = slices.Clone(p.Payload)
		all[p.key()] = p
	}
}

func sorted(all map[propertyKey]StoredProperty) []StoredProperty {
	list := make([]StoredProperty, 0, len(all))
	for _, p := range all {
		p.Payload = slices.Clone(p.Payload)
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b StoredProperty) int {
		if c := strings.Compare(a.Interface, b.Interface); c != 0 {
			return c
		}
		return strings.Compare(a.Path, b.Path)
	})
	return list
}
