package astarte

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// realmConfig is what an operator sets about a realm; its JSON is the record "realm".
type realmConfig struct {
	Name         core.TenantID `json:"-"`
	PublicKeyPEM string        `json:"jwt_public_key_pem"` // of the tokens that may use the realm's APIs
	// RegistrationLimit bounds the number of devices; nil: no limit.
	RegistrationLimit *int `json:"device_registration_limit,omitempty"`
	// MaxRetention bounds database_retention_ttl, in seconds; nil: no bound.
	MaxRetention *int `json:"datastream_maximum_storage_retention,omitempty"`
	// Replication holds what Housekeeping was told about replication, which means nothing here and is only shown again.
	Replication json.RawMessage `json:"replication,omitempty"`
}

// A realm is one version of a realm's configuration and interfaces. It does not change: an update makes another one, so
// that a request sees one state from beginning to end, and a cached decision is as old as the pointer it was made with.
type realm struct {
	realmConfig

	interfaces map[string][]*astartewire.Interface // by name, each in ascending order of the major versions
}

// iface returns an interface, or nil.
func (r *realm) iface(name string, major int) *astartewire.Interface {
	for _, i := range r.interfaces[name] {
		if i.Major == major {
			return i
		}
	}
	return nil
}

// majors returns the installed major versions of an interface, ascending.
func (r *realm) majors(name string) []int {
	var m []int
	for _, i := range r.interfaces[name] {
		m = append(m, i.Major)
	}
	return m
}

// names returns the names of the installed interfaces, sorted.
func (r *realm) names() []string { return slices.Sorted(maps.Keys(r.interfaces)) }

// with returns a realm that has i in the place of its name and major version.
func (r *realm) with(i *astartewire.Interface) *realm {
	n := r.without(i.Name, i.Major)
	n.interfaces[i.Name] = append(n.interfaces[i.Name], i)
	slices.SortFunc(n.interfaces[i.Name], byMajor)
	return n
}

func byMajor(a, b *astartewire.Interface) int { return a.Major - b.Major }

// without returns a realm that has not that interface.
func (r *realm) without(name string, major int) *realm {
	n := &realm{realmConfig: r.realmConfig, interfaces: maps.Clone(r.interfaces)}
	if n.interfaces == nil {
		n.interfaces = map[string][]*astartewire.Interface{}
	}
	left := slices.DeleteFunc(slices.Clone(r.interfaces[name]), func(i *astartewire.Interface) bool { return i.Major == major })
	if n.interfaces[name] = left; len(left) == 0 {
		delete(n.interfaces, name)
	}
	return n
}

// realms keeps the realms that were asked for in memory. Only transactions change a realm, and they change it here at
// once, undoing that if they fail: whoever got the answer to a change, and whoever comes after, sees the change.
// (Publishing only after the commit would be too late: the answer leaves first.)
type realms struct {
	mu      sync.RWMutex
	m       map[core.TenantID]*realmSlot
	changes uint64 // counts changes of any realm, so that a loader notices one that it may have missed
}

// realmSlot holds the current version of a realm. Links keep the slot and compare its pointer for each message.
type realmSlot struct{ cur atomic.Pointer[realm] }

// realm returns the current version of a realm, or core.ErrNotFound.
func (d *Dialect) realm(ctx context.Context, name core.TenantID) (*realm, error) {
	s, err := d.slot(ctx, name)
	if err != nil {
		return nil, err
	}
	return s.cur.Load(), nil
}

// slot returns the slot of a realm, or core.ErrNotFound. A realm that does not exist takes no memory.
func (d *Dialect) slot(ctx context.Context, name core.TenantID) (*realmSlot, error) {
	for {
		d.realms.mu.RLock()
		s, seen := d.realms.m[name], d.realms.changes
		d.realms.mu.RUnlock()
		if s != nil {
			return s, nil
		}
		var r *realm
		err := d.cfg.Store.View(ctx, func(rd store.Reader) (err error) {
			r, err = readRealm(rd, name)
			return err
		})
		if err != nil {
			return nil, err
		}
		if s := d.keep(r, seen); s != nil {
			return s, nil
		}
	}
}

// keep puts a realm that was read from storage into memory, unless a realm has changed since; then it returns nil.
func (d *Dialect) keep(r *realm, seen uint64) *realmSlot {
	d.realms.mu.Lock()
	defer d.realms.mu.Unlock()
	s := d.realms.m[r.Name]
	if s == nil && d.realms.changes == seen {
		s = &realmSlot{}
		s.cur.Store(r)
		d.realms.m[r.Name] = s
	}
	return s
}

// realmIn returns a realm as it is in the transaction, or core.ErrNotFound.
func (d *Dialect) realmIn(tx *commit.Tx, name core.TenantID) (*realm, error) {
	d.realms.mu.RLock()
	s := d.realms.m[name]
	d.realms.mu.RUnlock()
	if s != nil {
		return s.cur.Load(), nil
	}
	return readRealm(tx, name)
}

// setRealm makes r the current version, until the transaction is undone.
func (d *Dialect) setRealm(tx *commit.Tx, r *realm) {
	old := d.swapRealm(r.Name, r)
	tx.Undo(func() { d.swapRealm(r.Name, old) })
}

// forgetRealm takes a realm that is deleted out of memory, until the transaction is undone.
func (d *Dialect) forgetRealm(tx *commit.Tx, name core.TenantID) {
	if old := d.swapRealm(name, nil); old != nil {
		tx.Undo(func() { d.swapRealm(name, old) })
	}
}

// swapRealm sets the current version of a realm, nil for none, and returns the one before.
func (d *Dialect) swapRealm(name core.TenantID, r *realm) (old *realm) {
	d.realms.mu.Lock()
	defer d.realms.mu.Unlock()
	d.realms.changes++
	s := d.realms.m[name]
	if s != nil {
		old = s.cur.Load()
	}
	switch {
	case r == nil:
		delete(d.realms.m, name)
	case s == nil:
		s = &realmSlot{}
		d.realms.m[name] = s
		fallthrough
	default:
		s.cur.Store(r)
	}
	return old
}

// Keys of a realm's records.
const (
	keyRealm      = "realm"
	keyInterfaces = "interface/"
	keyDevices    = "device/"
	keyDropped    = "dropped/" // by name: drafts that are deleted, and have data left
)

func interfaceKey(name string, major int) string {
	return keyInterfaces + name + fmt.Sprintf("/%d", major)
}

func readRealm(rd store.RecordReader, name core.TenantID) (*realm, error) {
	raw, err := rd.Record(name, dialectName, keyRealm)
	if err != nil {
		return nil, fmt.Errorf("realm %q: %w", name, err)
	}
	r := &realm{interfaces: map[string][]*astartewire.Interface{}}
	if err := json.Unmarshal(raw, &r.realmConfig); err != nil {
		return nil, fmt.Errorf("realm %q: %w: %v", name, core.ErrStorage, err)
	}
	r.Name = name
	for rec, err := range rd.Records(name, dialectName, keyInterfaces) {
		if err != nil {
			return nil, fmt.Errorf("interfaces of realm %q: %w", name, err)
		}
		i, err := astartewire.ParseInterface(rec.Value)
		if err != nil {
			return nil, fmt.Errorf("realm %q: record %q: %w: %v", name, rec.Key, core.ErrStorage, err)
		}
		r.interfaces[i.Name] = append(r.interfaces[i.Name], i)
	}
	for _, majors := range r.interfaces {
		slices.SortFunc(majors, byMajor)
	}
	return r, nil
}

// realmNames returns the names of all realms.
func (d *Dialect) realmNames(ctx context.Context) ([]core.TenantID, error) {
	var names []core.TenantID
	err := d.cfg.Store.View(ctx, func(rd store.Reader) error {
		tenants, err := rd.Tenants()
		for _, t := range tenants {
			switch _, err := rd.Record(t.ID, dialectName, keyRealm); {
			case err == nil:
				names = append(names, t.ID)
			case !errors.Is(err, core.ErrNotFound):
				return err
			}
		}
		return err
	})
	return names, err
}

// createRealm makes a realm. The tenant may exist already, as that of another dialect, the realm may not. The public key
// is the caller's to check.
func (d *Dialect) createRealm(tx *commit.Tx, cfg realmConfig) error {
	if !astartewire.ValidRealm(string(cfg.Name)) {
		return fmt.Errorf("create realm %q: %w", cfg.Name, errRealmNameInvalid)
	}
	if _, err := tx.Record(cfg.Name, dialectName, keyRealm); err == nil {
		return fmt.Errorf("create realm %q: %w", cfg.Name, errRealmAlreadyExists)
	} else if !errors.Is(err, core.ErrNotFound) {
		return err
	}
	if t, err := tx.Tenant(cfg.Name); t.Deleting {
		return fmt.Errorf("create realm %q: it is being deleted: %w", cfg.Name, errRealmAlreadyExists)
	} else if errors.Is(err, core.ErrNotFound) {
		err = tx.InsertTenant(core.Tenant{ID: cfg.Name, Created: tx.Now()})
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	return d.putRealm(tx, &realm{realmConfig: cfg})
}

// updateRealm replaces the configuration of a realm that exists.
func (d *Dialect) updateRealm(tx *commit.Tx, cfg realmConfig) error {
	r, err := d.realmIn(tx, cfg.Name)
	if err != nil {
		return err
	}
	return d.putRealm(tx, &realm{realmConfig: cfg, interfaces: r.interfaces})
}

func (d *Dialect) putRealm(tx *commit.Tx, r *realm) error {
	raw, err := json.Marshal(r.realmConfig)
	if err != nil {
		return fmt.Errorf("realm %q: %w: %v", r.Name, core.ErrInvalid, err)
	}
	if err := tx.PutRecord(r.Name, dialectName, keyRealm, raw); err != nil {
		return err
	}
	d.setRealm(tx, r)
	return nil
}

// installInterface adds an interface to a realm, of which r may be an older version here and below: errInterfaceExists, errNameCollision, errRetentionTooLong.
func (d *Dialect) installInterface(tx *commit.Tx, r *realm, i *astartewire.Interface) error {
	r, err := d.realmIn(tx, r.Name)
	if err != nil {
		return err
	}
	if _, err := tx.Record(r.Name, dialectName, keyDropped+i.Name); i.Major == 0 && err == nil {
		return fmt.Errorf("install interface %s:%d: its data are being deleted: %w", i.Name, i.Major, errInterfaceExists)
	}
	if err := r.mayInstall(i); err != nil {
		return fmt.Errorf("install interface %s:%d: %w", i.Name, i.Major, err)
	}
	return d.putInterface(tx, r, i)
}

func (r *realm) mayInstall(i *astartewire.Interface) error {
	if r.iface(i.Name, i.Major) != nil {
		return errInterfaceExists
	}
	for other := range r.interfaces {
		if other != i.Name && astartewire.SameNameIgnoringCaseAndHyphens(other, i.Name) {
			return errNameCollision
		}
	}
	return r.checkRetention(i)
}

func (r *realm) checkRetention(i *astartewire.Interface) error {
	for k := range i.Mappings {
		if r.MaxRetention != nil && *r.MaxRetention > 0 && i.Mappings[k].DatabaseRetentionTTL > *r.MaxRetention {
			return errRetentionTooLong
		}
	}
	return nil
}

// updateInterface replaces an interface by a newer minor version of it: errMajorNotFound, errUpdateRefused together with
// one of the reasons of astartewire, errRetentionTooLong.
func (d *Dialect) updateInterface(tx *commit.Tx, r *realm, i *astartewire.Interface) error {
	r, err := d.realmIn(tx, r.Name)
	if err != nil {
		return err
	}
	old := r.iface(i.Name, i.Major)
	if old == nil {
		return fmt.Errorf("update interface %s:%d: %w", i.Name, i.Major, errMajorNotFound)
	}
	if err := old.CheckUpdate(i); err != nil {
		return fmt.Errorf("%w: %s:%d: %w", errUpdateRefused, i.Name, i.Major, err)
	}
	if err := r.checkRetention(i); err != nil {
		return fmt.Errorf("update interface %s:%d: %w", i.Name, i.Major, err)
	}
	return d.putInterface(tx, r, i)
}

func (d *Dialect) putInterface(tx *commit.Tx, r *realm, i *astartewire.Interface) error {
	raw, err := json.Marshal(i)
	if err != nil {
		return fmt.Errorf("interface %s:%d: %w: %v", i.Name, i.Major, core.ErrInvalid, err)
	}
	if err := tx.PutRecord(r.Name, dialectName, interfaceKey(i.Name, i.Major), raw); err != nil {
		return err
	}
	d.setRealm(tx, r.with(i))
	return nil
}
