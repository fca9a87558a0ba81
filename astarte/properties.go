package astarte

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// A Property is the value of a property.
type Property struct {
	Interface string
	Major     int // of the interface
	Path      string
	Ownership Ownership
	Value     any // of the Go type that belongs to the mapping
}

// properties are what a device remembers, and what it has to tell Astarte of its own ones.
type properties struct {
	open func() (PropertyStore, error)

	// io is held while the store is used, so that what is in memory and what is on disk change in the same order.
	io sync.Mutex

	mu      sync.Mutex
	store   PropertyStore // nil: not open
	closed  bool
	all     map[propertyKey]property
	version uint64
	// queue is what the program has changed and is to be sent, in that order.
	queue []change
	wake  chan struct{} // has room for one
	acked []change      // Astarte knows them, the store does not know that yet
	told  chan struct{} // closed when there is less that Astarte does not know; nil if nobody waits for that
}

type property struct {
	StoredProperty
	version uint64
}

// A change is a property as it was at some time.
type change struct {
	StoredProperty
	version uint64
}

// maxChanges is how many changes wait to be sent before older ones of the same property are left out.
const maxChanges = 4096

// maxProperties bounds what a device remembers: Astarte's list of all has to stay below 10 MiB.
const maxProperties = 65_536

func newProperties(open func() (PropertyStore, error)) *properties {
	return &properties{open: open, wake: make(chan struct{}, 1)}
}

// ready opens the store if it is not open. It is called with io held.
func (p *properties) ready(ctx context.Context) error {
	p.mu.Lock()
	store, closed := p.store, p.closed
	p.mu.Unlock()
	if closed {
		return fairlead.ErrClosed
	}
	if store != nil {
		return nil
	}
	store, err := p.open()
	if err != nil {
		return err
	}
	list, err := store.Load(ctx)
	if err != nil {
		_ = store.Close() // it has failed already
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.store, p.all = store, make(map[propertyKey]property, len(list))
	for _, s := range list {
		p.all[s.key()] = property{StoredProperty: s}
	}
	return nil
}

func (p *properties) close() error {
	p.io.Lock()
	defer p.io.Unlock()
	p.mu.Lock()
	store := p.store
	p.closed, p.store = true, nil
	p.mu.Unlock()
	if store == nil {
		return nil
	}
	return store.Close()
}

// write stores changes, and puts those of the program into the queue.
func (p *properties) write(ctx context.Context, send bool, changes ...StoredProperty) error {
	p.io.Lock()
	defer p.io.Unlock()
	if err := p.ready(ctx); err != nil {
		return err
	}
	return p.writeHeld(ctx, send, changes...)
}

func (p *properties) writeHeld(ctx context.Context, send bool, changes ...StoredProperty) error {
	p.mu.Lock()
	full := len(p.all)+len(changes) > maxProperties && slices.ContainsFunc(changes, func(c StoredProperty) bool { return !c.Deleted && p.all[c.key()].Interface == "" })
	store := p.store
	p.mu.Unlock()
	if full {
		return fmt.Errorf("%w: there are %d properties", fairlead.ErrTooLarge, maxProperties)
	}
	if err := store.Write(ctx, changes); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.tell() // something else may not be of interest any more
	for _, c := range changes {
		if c.Deleted {
			delete(p.all, c.key())
			continue
		}
		p.version++
		p.all[c.key()] = property{c, p.version}
		if send {
			p.enqueue(change{c, p.version})
		}
	}
	return nil
}

// enqueue is called with mu held.
func (p *properties) enqueue(c change) {
	if len(p.queue) >= maxChanges {
		p.queue = slices.DeleteFunc(p.queue, func(old change) bool { return old.key() == c.key() })
	}
	p.queue = append(p.queue, c)
	p.wakeSender()
}

func (p *properties) wakeSender() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// take returns the change to be sent next.
func (p *properties) take() (change, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return change{}, false
	}
	c := p.queue[0]
	p.queue[0] = change{}
	if p.queue = p.queue[1:]; len(p.queue) == 0 {
		p.queue = nil
	}
	return c, true
}

// putBack returns what could not be sent to the front.
func (p *properties) putBack(c change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = slices.Insert(p.queue, 0, c)
}

// get returns a property that belongs to the interface's major version.
func (p *properties) get(ctx context.Context, i *Interface, path string) (StoredProperty, error) {
	p.io.Lock()
	defer p.io.Unlock()
	if err := p.ready(ctx); err != nil {
		return StoredProperty{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.all[propertyKey{i.Name(), path}]
	if !ok || s.Major != i.Major() || len(s.Payload) == 0 {
		return StoredProperty{}, fairlead.ErrNotFound
	}
	return s.StoredProperty, nil
}

// list returns all that match, in order of interface and path.
func (p *properties) list(ctx context.Context, match func(*StoredProperty) bool) ([]StoredProperty, error) {
	p.io.Lock()
	defer p.io.Unlock()
	if err := p.ready(ctx); err != nil {
		return nil, err
	}
	found, _ := p.snapshot(match)
	return found, nil
}

// snapshot returns all that match, and their versions by key.
func (p *properties) snapshot(match func(*StoredProperty) bool) (found []StoredProperty, versions map[propertyKey]uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	some := map[propertyKey]StoredProperty{}
	versions = map[propertyKey]uint64{}
	for k, s := range p.all {
		if match(&s.StoredProperty) {
			some[k], versions[k] = s.StoredProperty, s.version
		}
	}
	return sorted(some), versions
}

// beginAnew returns all properties of the device, those that were unset included, and empties the queue: what was in it is part of what
// is returned. Changes that come later are queued.
func (p *properties) beginAnew(ctx context.Context) ([]change, error) {
	p.io.Lock()
	defer p.io.Unlock()
	if err := p.ready(ctx); err != nil {
		return nil, err
	}
	found, versions := p.snapshot(func(s *StoredProperty) bool { return s.Ownership == DeviceOwned })
	p.mu.Lock()
	p.queue = nil
	p.mu.Unlock()
	all := make([]change, len(found))
	for i, s := range found {
		all[i] = change{s, versions[s.key()]}
	}
	return all, nil
}

// known notes that Astarte knows changes. It does no I/O; settle does.
func (p *properties) known(changes ...change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acked = append(p.acked, changes...)
	p.wakeSender()
}

// settle stores what Astarte knows.
func (p *properties) settle(ctx context.Context) error {
	p.io.Lock()
	defer p.io.Unlock()
	p.mu.Lock()
	acked := p.acked
	p.acked = nil
	var changes []StoredProperty
	versions := map[propertyKey]uint64{}
	for _, c := range acked {
		now, ok := p.all[c.key()]
		if !ok || now.version != c.version || !now.Unsent {
			continue
		}
		s := now.StoredProperty
		s.Unsent, s.Deleted = false, len(s.Payload) == 0
		versions[s.key()] = now.version
		changes = append(changes, s)
	}
	store := p.store
	if len(changes) == 0 || store == nil {
		p.tell()
		p.mu.Unlock()
		return nil
	}
	p.mu.Unlock()
	if err := store.Write(ctx, changes); err != nil {
		p.known(acked...) // for another time
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.tell()
	for _, s := range changes {
		if s.Deleted {
			delete(p.all, s.key())
		} else {
			p.all[s.key()] = property{s, versions[s.key()]}
		}
	}
	return nil
}

// flush waits until Astarte knows everything that has changed before, of interfaces that are declared.
func (p *properties) flush(ctx context.Context, declared func(*StoredProperty) bool) error {
	p.mu.Lock()
	until := p.version
	for p.unsettled(until, declared) {
		if p.told == nil {
			p.told = make(chan struct{})
		}
		told := p.told
		p.mu.Unlock()
		select {
		case <-told:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		p.mu.Lock()
	}
	p.mu.Unlock()
	return nil
}

// unsettled tells whether there is something, up to a version, that Astarte does not know or the store does not know that it does. It is
// called with mu held.
func (p *properties) unsettled(until uint64, declared func(*StoredProperty) bool) bool {
	old := func(c change) bool { return c.version <= until && declared(&c.StoredProperty) }
	if slices.ContainsFunc(p.queue, old) || slices.ContainsFunc(p.acked, old) {
		return true
	}
	for _, s := range p.all {
		if s.Unsent && s.version <= until && declared(&s.StoredProperty) {
			return true
		}
	}
	return false
}

// tell wakes those who wait in flush. It is called with mu held.
func (p *properties) tell() {
	if p.told != nil {
		close(p.told)
		p.told = nil
	}
}

// fromServer stores what Astarte has set, or unset, unless it is known.
func (p *properties) fromServer(ctx context.Context, s StoredProperty) error {
	p.io.Lock()
	defer p.io.Unlock()
	if err := p.ready(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	now, ok := p.all[s.key()]
	p.mu.Unlock()
	if s.Deleted && !ok || ok && !s.Deleted && now.Major == s.Major && now.Ownership == s.Ownership && bytes.Equal(now.Payload, s.Payload) {
		return nil
	}
	return p.writeHeld(ctx, false, s)
}

// forget deletes all that match.
func (p *properties) forget(ctx context.Context, match func(*StoredProperty) bool) error {
	p.io.Lock()
	defer p.io.Unlock()
	if err := p.ready(ctx); err != nil {
		return err
	}
	found, _ := p.snapshot(match)
	if len(found) == 0 {
		return nil
	}
	for i := range found {
		found[i].Deleted = true
	}
	p.mu.Lock()
	p.queue = slices.DeleteFunc(p.queue, func(c change) bool { return match(&c.StoredProperty) })
	p.mu.Unlock()
	return p.writeHeld(ctx, false, found...)
}

// value decodes a stored property.
func (i *Interface) value(s *StoredProperty) (Property, bool) {
	if s.Major != i.Major() || len(s.Payload) == 0 {
		return Property{}, false
	}
	v, _, err := i.decode(s.Path, s.Payload)
	if err != nil { // the definition has changed
		return Property{}, false
	}
	return Property{Interface: s.Interface, Major: s.Major, Path: s.Path, Ownership: s.Ownership, Value: v}, true
}

// purgeItem is how lists name a property.
func (p *StoredProperty) purgeItem() string { return p.Interface + p.Path }

// purge is what Astarte's list of its properties says: all others of the server are gone.
func (d *Device) purge(ctx context.Context, payload []byte) error {
	items, err := astartewire.ParsePurgeList(payload)
	if err != nil {
		return err
	}
	keep := make(map[string]bool, len(items))
	for _, item := range items {
		keep[item] = true
	}
	return d.props.forget(ctx, func(s *StoredProperty) bool {
		if s.Ownership != ServerOwned {
			return false
		}
		_, declared := d.Interface(s.Interface)
		return !declared || !keep[s.purgeItem()]
	})
}
