package astarte

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/document"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// setProperty stores a device-owned property.
func (l *link) setProperty(tx *commit.Tx, to *target, v core.Value) error {
	_, err := document.Set(tx, propertiesOf(l.dev, to.iface), to.path, v)
	return err
}

// unsetProperty deletes a device-owned property.
func (l *link) unsetProperty(tx *commit.Tx, to *target) error {
	_, err := document.Delete(tx, propertiesOf(l.dev, to.iface), to.path)
	return err
}

// purge deletes the device-owned properties of the declared interfaces that are not listed.
func (l *link) purge(tx *commit.Tx, declared introspection, listed purgeSet) error {
	r, err := l.d.realmIn(tx, l.dev.Tenant)
	if err != nil {
		return err
	}
	for _, i := range r.declaredProperties(declared, astartewire.OwnershipDevice) {
		doc := propertiesOf(l.dev, i)
		entries, err := document.List(tx, doc)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if listed.has(i.Name, e.Path) {
				continue
			}
			if err := document.Drop(tx, doc, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// What is deleted ahead of a purge list: so many properties at a time are looked for, and so many deleted in one
// transaction, which takes some 10 ms for which all others wait.
const (
	purgeAhead = 10_000
	purgeSlice = 500
)

// A doomed property is one that a purge list does not have.
type doomed struct {
	doc  document.Ref
	path string
}

// purgeInSlices deletes what is too much for one transaction, before the list is handled in its place among the messages:
// only what that would delete too. So the list is acknowledged when all is done, a crash in the middle leaves a device that
// repeats its list, and only this connection waits.
func (l *link) purgeInSlices(declared introspection, listed purgeSet) error {
	ctx := context.Background()
	for {
		list, err := l.doomed(ctx, declared, listed)
		if err != nil || len(list) <= purgeSlice {
			return err
		}
		for part := range slices.Chunk(list, purgeSlice) {
			err := l.d.cfg.Committer.Do(ctx, func(tx *commit.Tx) error {
				for _, x := range part {
					if _, err := document.Delete(tx, x.doc, x.path); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
}

// doomed finds properties that are not listed, at most purgeAhead.
func (l *link) doomed(ctx context.Context, declared introspection, listed purgeSet) (list []doomed, err error) {
	err = l.d.cfg.Store.View(ctx, func(rd store.Reader) error {
		for _, i := range l.realm.cur.Load().declaredProperties(declared, astartewire.OwnershipDevice) {
			doc := propertiesOf(l.dev, i)
			entries, err := document.List(rd, doc)
			if err != nil {
				return err
			}
			for _, e := range entries {
				if listed.has(i.Name, e.Path) {
					continue
				}
				if list = append(list, doomed{doc, e.Path}); len(list) == purgeAhead {
					return nil
				}
			}
		}
		return nil
	})
	return list, err
}

// declaredProperties returns the property interfaces of one owner that a device declares, in order of names. What is not
// installed in the realm is left out.
func (r *realm) declaredProperties(declared introspection, owner astartewire.Ownership) []*astartewire.Interface {
	var found []*astartewire.Interface
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		i := r.iface(name, declared[name].Major)
		if i != nil && i.Kind == astartewire.KindProperties && i.Ownership == owner {
			found = append(found, i)
		}
	}
	return found
}

// resend answers an emptyCache: the list of all server-owned properties that are set, then each of them. The fault
// is nil if the device's session took everything. The error is the disk's.
//
// Unlike the platform it sends the true list, where current releases send an empty one (so that devices forget
// everything before they hear it again), and it passes over interfaces that are not installed, where the platform
// disconnects the device again and again (astarte issue 770).
func (l *link) resend(tx *commit.Tx) (*fault, error) {
	if l.kicked {
		return nil, nil // the device asks again on its next connection
	}
	m, err := loadModel(tx, l.dev.DeviceKey)
	if err != nil {
		return faultOrDisk(err)
	}
	r, err := l.d.realmIn(tx, l.dev.Tenant)
	if err != nil {
		return faultOrDisk(err)
	}
	var items []string
	var messages []core.Message
	for _, i := range r.declaredProperties(m.Introspection, astartewire.OwnershipServer) {
		entries, err := document.List(tx, propertiesOf(l.dev, i))
		if err != nil {
			return faultOrDisk(err)
		}
		for _, e := range entries {
			payload, err := storedPayload(i, e)
			if err != nil {
				// Cannot be, since Notify has seen each value; but what does not fit must not reach the device.
				l.d.log.Error("stored property does not fit its interface", "device", l.dev.DeviceKey.String(),
					"interface", i.Name, "path", e.Path, "err", err)
				continue
			}
			items = append(items, i.Name+e.Path)
			messages = append(messages, core.Message{Topic: l.base + "/" + i.Name + e.Path, Payload: payload, QoS: 2})
		}
	}
	list := core.Message{Topic: l.base + "/control/consumer/properties", QoS: 2}
	if m.PlainPurgeLists {
		list.Payload = astartewire.AppendPlainPurgeList(nil, items)
	} else {
		list.Payload = astartewire.AppendPurgeList(nil, items)
	}
	for _, msg := range append([]core.Message{list}, messages...) {
		took, err := l.d.cfg.Broker.PublishTo(tx, l.session, msg)
		switch {
		case err != nil:
			return faultOrDisk(err)
		case !took:
			return failSessionNotFound, nil
		}
	}
	if !m.PendingEmptyCache {
		return nil, nil
	}
	m.PendingEmptyCache = false
	return nil, saveModel(tx, l.dev.DeviceKey, m)
}

// faultOrDisk turns anything but the disk's refusal into the platform's catch-all.
func faultOrDisk(err error) (*fault, error) {
	if errors.Is(err, core.ErrStorage) {
		return nil, err
	}
	return failEmptyCache, nil
}

// storedPayload returns the message for a stored server-owned property.
func storedPayload(i *astartewire.Interface, e core.Entry) ([]byte, error) {
	m, err := resolveForWriting(i, e.Path)
	if err != nil {
		return nil, err
	}
	return encodeProperty(m, e.Value)
}
