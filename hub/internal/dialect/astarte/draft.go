package astarte

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// How much of a draft's data is deleted in one transaction, so that nobody waits for long behind it.
const (
	draftRecords = 1000 // devices that are looked at
	draftDevices = 50   // of them, whose data is deleted
	draftRows    = 500
	draftShare   = 4 // the pause behind a slice is so many times what the slice took
	draftPause   = 2 * time.Millisecond
)

// deleteInterface removes a draft (major 0) that no device declares, and the data that devices have left under it,
// which a later draft of the same name could not read: errInterfaceNotFound, errNotDraft, errInterfaceInUse.
//
// The data goes in slices, behind the interface. That it is to go is stored, and a draft of that name is not installed before
// it has gone: whoever comes next goes on with it.
func (d *Dialect) deleteInterface(ctx context.Context, r *realm, name string, major int) error {
	err := d.cfg.Committer.Do(ctx, func(tx *commit.Tx) error { return d.forgetInterface(tx, r, name, major) })
	if err != nil {
		return err
	}
	return d.sweepDraft(ctx, r.Name, name)
}

func (d *Dialect) forgetInterface(tx *commit.Tx, r *realm, name string, major int) error {
	r, err := d.realmIn(tx, r.Name)
	if err != nil {
		return err
	}
	switch i := r.iface(name, major); {
	case major != 0: // looked at first, as on the platform
		return fmt.Errorf("delete interface %s:%d: %w", name, major, errNotDraft)
	case i == nil:
		return fmt.Errorf("delete interface %s:%d: %w", name, major, errInterfaceNotFound)
	}
	if err := checkDraft(tx, r.Name, name); err != nil {
		return fmt.Errorf("delete interface %s:%d: %w", name, major, err)
	}
	if err := tx.DeleteRecord(r.Name, dialectName, interfaceKey(name, major)); err != nil {
		return err
	}
	if err := tx.PutRecord(r.Name, dialectName, keyDropped+name, []byte("0")); err != nil {
		return err
	}
	d.setRealm(tx, r.without(name, major))
	return nil
}

// checkDraft returns errInterfaceInUse if a device declares a draft.
//
// It looks at every device of the realm. A record for each device and draft, which would spare that, costs more: it has
// to be kept with each introspection, and a device could have thousands of them written and deleted by one message.
func checkDraft(tx *commit.Tx, realmName core.TenantID, name string) error {
	for rec, err := range tx.Records(realmName, dialectName, keyDevices) {
		if err != nil {
			return err
		}
		if !bytes.Contains(rec.Value, []byte(name)) {
			continue
		}
		m, err := parseModel(deviceKey(realmName, strings.TrimPrefix(rec.Key, keyDevices)), rec.Value)
		if err != nil {
			return err
		}
		if v, ok := m.Introspection[name]; ok && v.Major == 0 {
			return errInterfaceInUse
		}
	}
	return nil
}

// sweepDraft deletes what devices have stored under a draft that is deleted, to its end. If there is none it does nothing.
func (d *Dialect) sweepDraft(ctx context.Context, realmName core.TenantID, name string) error {
	for from, done := keyDevices, false; ; {
		var took time.Duration
		err := d.cfg.Committer.Do(ctx, func(tx *commit.Tx) error {
			begun := time.Now()
			_, err := tx.Record(realmName, dialectName, keyDropped+name)
			if errors.Is(err, core.ErrNotFound) {
				done = true
				return nil
			}
			if err != nil {
				return err
			}
			from, err = dropSome(tx, realmName, name, from)
			took = time.Since(begun)
			return err
		})
		if err != nil {
			return fmt.Errorf("delete the data of draft %s: %w", name, err)
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(max(draftPause, draftShare*took)):
		}
	}
}

// dropSome deletes some of what devices have stored under a draft, beginning with the device that has the key from, and
// returns where to go on. Behind the last device it forgets that there is something to delete.
func dropSome(tx *commit.Tx, realmName core.TenantID, name, from string) (next string, err error) {
	type left struct {
		record string
		device core.DeviceKey
	}
	var list []left // not deleted yet: a driver need not bear writes during an iteration
	looked := 0
	for rec, err := range tx.RecordsFrom(realmName, dialectName, keyDevices, from) {
		if err != nil {
			return from, err
		}
		if looked == draftRecords || len(list) == draftDevices {
			next = rec.Key
			break
		}
		looked++
		if !bytes.Contains(rec.Value, []byte(name)) {
			continue
		}
		k := deviceKey(realmName, strings.TrimPrefix(rec.Key, keyDevices))
		m, err := parseModel(k, rec.Value)
		if err != nil {
			return from, err
		}
		// One that declares it has done so since it is deleted, and may have data from before.
		_, was := m.previous(name, 0)
		if v, is := m.Introspection[name]; was || is && v.Major == 0 {
			list = append(list, left{rec.Key, k})
		}
	}
	rows := 0
	for _, l := range list {
		n, err := dropData(tx, l.device, versioned(name, 0), draftRows-rows)
		if err != nil {
			return from, err
		}
		if rows += n; rows >= draftRows {
			return l.record, nil
		}
	}
	if next == "" {
		return from, tx.DeleteRecord(realmName, dialectName, keyDropped+name)
	}
	return next, nil
}

// dropData deletes at most about limit rows of what a device has stored under an interface, given as NAME:MAJOR. It returns how
// many: fewer is the end.
func dropData(tx *commit.Tx, k core.DeviceKey, version string, limit int) (rows int, err error) {
	dev, err := tx.Device(k)
	if errors.Is(err, core.ErrNotFound) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	var leaves []core.Leaf
	for l, err := range tx.Leaves(dev.Num, core.Leaf{Document: version}) {
		if err != nil {
			return 0, err
		}
		if l.Document != version || len(leaves) == limit {
			break
		}
		leaves = append(leaves, l)
	}
	for _, l := range leaves {
		if err := tx.DeleteEntry(core.DocumentKey{Device: dev.Num, Name: version, Side: l.Side}, l.Path); err != nil {
			return 0, err
		}
	}
	for rows = len(leaves); rows < limit; {
		n, err := tx.DeleteSeries(dev.Num, version+"/", limit-rows)
		if err != nil {
			return rows, err
		}
		if n == 0 {
			break
		}
		rows += n
	}
	return rows, nil
}
