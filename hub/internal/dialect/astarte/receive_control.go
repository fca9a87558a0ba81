package astarte

import (
	"hash/maphash"
	"maps"
	"slices"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// receiveIntrospection takes what the device declares. From the next message on it is in force.
func (l *link) receiveIntrospection(to *target, m dialect.Publish, b *commit.Batch) {
	declared, err := astartewire.ParseIntrospection(m.Payload)
	if err != nil {
		l.reject(b, mishap{failIntrospection, "", "", m.Payload})
		return
	}
	l.declared = declared
	l.generation++
	b.Count(l.dev.Num, "", 1, int64(len(m.Payload)))
	b.Hold(len(m.Payload) + len(declared)*48) // a map's entry: name and two numbers
	l.do(b, func(tx *commit.Tx) error { return l.declare(tx, declared) })
}

// modelChange is the data of core.DeviceModelChanged. The lists are in order of names.
type modelChange struct {
	Introspection string          `json:"introspection"` // as on the wire
	Added         []versionChange `json:"added,omitempty"`
	Removed       []versionChange `json:"removed,omitempty"`
	MinorUpdated  []versionChange `json:"minor_updated,omitempty"`
}

type versionChange struct {
	Interface string `json:"interface"`
	Major     int    `json:"major"`
	Minor     int    `json:"minor"` // of what was removed: the last one
	OldMinor  *int   `json:"old_minor,omitempty"`
}

// maxPrevious bounds how many interfaces that the realm does not know a device's list of previous ones may hold; a
// device could declare new ones for ever.
const maxPrevious = 1024

// declare stores an introspection. Interfaces are compared by name and major version; of those that disappear the list
// of previous interfaces keeps the last minor version, those that come back leave it. Stored values stay.
func (l *link) declare(tx *commit.Tx, declared introspection) error {
	m, err := loadModel(tx, l.dev.DeviceKey)
	if err != nil {
		return err
	}
	r, err := l.d.realmIn(tx, l.dev.Tenant)
	if err != nil {
		return err
	}
	change := modelChange{Introspection: string(astartewire.AppendIntrospection(nil, declared))}
	for _, name := range slices.Sorted(maps.Keys(m.Introspection)) {
		old := m.Introspection[name]
		if v, ok := declared[name]; ok && v.Major == old.Major {
			if v.Minor != old.Minor {
				change.MinorUpdated = append(change.MinorUpdated, versionChange{name, v.Major, v.Minor, &old.Minor})
			}
			continue
		}
		change.Removed = append(change.Removed, versionChange{Interface: name, Major: old.Major, Minor: old.Minor})
		if len(m.Previous) < maxPrevious || r.iface(name, old.Major) != nil {
			m.addPrevious(name, old)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		v := declared[name]
		if old, ok := m.Introspection[name]; ok && old.Major == v.Major {
			continue
		}
		change.Added = append(change.Added, versionChange{Interface: name, Major: v.Major, Minor: v.Minor})
		m.removePrevious(name, v.Major)
	}
	m.Introspection = declared
	if len(change.Added)+len(change.Removed)+len(change.MinorUpdated) > 0 {
		if err := saveModel(tx, l.dev.DeviceKey, m); err != nil {
			return err
		}
	}
	return l.emit(tx, core.DeviceModelChanged, change)
}

func (m *model) addPrevious(name string, v astartewire.InterfaceVersion) {
	p := previousInterface{name, v.Major, v.Minor}
	if at, found := m.previous(name, v.Major); found {
		m.Previous[at] = p
	} else {
		m.Previous = slices.Insert(m.Previous, at, p)
	}
}

func (m *model) removePrevious(name string, major int) {
	if at, found := m.previous(name, major); found {
		m.Previous = slices.Delete(m.Previous, at, at+1)
	}
}

// keyCompression is the one capability that exists, with its two values.
const (
	keyCompression = "purge_properties_compression_format"
	compressZlib   = "zlib"
	compressNone   = "plaintext"
)

// receiveCapabilities takes the device's capabilities (platform 1.4).
func (l *link) receiveCapabilities(to *target, m dialect.Publish, b *commit.Batch) {
	plain, ok := parseCapabilities(m.Payload, l.plainPurge)
	if !ok {
		l.reject(b, mishap{failCapabilities, "", "", m.Payload})
		return
	}
	l.plainPurge = plain
	b.Count(l.dev.Num, "", 1, int64(len(m.Payload)+len(pathCapabilities)))
	l.do(b, func(tx *commit.Tx) error {
		m, err := loadModel(tx, l.dev.DeviceKey)
		if err != nil || m.PlainPurgeLists == plain {
			return err
		}
		m.PlainPurgeLists = plain
		return saveModel(tx, l.dev.DeviceKey, m)
	})
}

// parseCapabilities reads a capabilities message: a BSON document, whose unknown keys mean nothing. Without the known
// one the capability stays as it was.
func parseCapabilities(payload []byte, was bool) (plain, ok bool) {
	p, err := astartewire.ParsePayload(payload) // without "v" the document itself is the value
	if err != nil || p.Unset || p.Value.Type != astartewire.BSONDocument {
		return false, false
	}
	plain, ok = was, true
	p.Value.Each(func(key []byte, v astartewire.Value) bool {
		if string(key) == keyCompression {
			plain = v.Str() == compressNone
			ok = plain || v.Str() == compressZlib
		}
		return ok
	})
	return plain, ok
}

// hashSeed is of this process: nobody can look for paths whose hashes meet.
var hashSeed = maphash.MakeSeed()

// A purgeSet holds the items of a purge list as sorted hashes: a message of 64 KiB can inflate to millions of items,
// and these wait in the committer's queue. Two items with one hash would let a property survive that should go; at a
// million items and as many properties that happens once in some ten million lists.
type purgeSet []uint64

func (s purgeSet) has(name, path string) bool {
	_, ok := slices.BinarySearch(s, maphash.String(hashSeed, name+path))
	return ok
}

// receivePurgeList takes the list of all properties that the device has; the others are to go.
func (l *link) receivePurgeList(to *target, m dialect.Publish, b *commit.Batch) {
	listed, err := l.parsePurgeList(m.Payload)
	if err != nil {
		l.reject(b, mishap{failPurge, "", "", m.Payload})
		return
	}
	declared := l.declared
	b.Count(l.dev.Num, "", 1, int64(len(m.Payload)+len(pathProducer)))
	b.Hold(8 * cap(listed))
	if err := l.purgeInSlices(declared, listed); err != nil {
		l.d.log.Debug("cannot purge ahead", "device", l.dev.DeviceKey.String(), "err", err) // the list itself will tell
	}
	l.do(b, func(tx *commit.Tx) error { return l.purge(tx, declared, listed) })
}

func (l *link) parsePurgeList(payload []byte) (purgeSet, error) {
	// What one list inflates to can take 100 MB for a moment; so only a few at a time.
	l.d.inflating <- struct{}{}
	defer func() { <-l.d.inflating }()
	parse := astartewire.ParsePurgeList
	if l.plainPurge {
		parse = astartewire.ParsePlainPurgeList
	}
	items, err := parse(payload)
	if err != nil {
		return nil, err
	}
	set := make(purgeSet, 0, len(items))
	for _, item := range items {
		name, _ := astartewire.SplitPurgeItem(item)
		if _, ok := l.declared[name]; ok {
			set = append(set, maphash.String(hashSeed, item))
		}
	}
	slices.Sort(set)
	return slices.Clip(slices.Compact(set)), nil
}

// receiveEmptyCache takes the device's wish to hear all server-owned properties again. The payload does not matter.
func (l *link) receiveEmptyCache(to *target, m dialect.Publish, b *commit.Batch) {
	payload := append([]byte{}, m.Payload...)
	b.Hold(len(payload))
	l.do(b, func(tx *commit.Tx) error {
		fail, err := l.resend(tx)
		if fail == nil || err != nil {
			return err
		}
		err = tx.AddCount(l.dev.Num, core.Count{Messages: 1, Bytes: int64(len(payload) + len(pathEmptyCache))})
		if err != nil {
			return err
		}
		return l.react(tx, mishap{fail, "", pathEmptyCache, payload})
	})
}
