package awsiot

import (
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

const (
	keyThing          = "thing/"
	keyThingType      = "thingtype/"
	keyThingTypeThing = "thingtype-thing/"
	keyThingPrincipal = "thing-principal/"
	keyPrincipalThing = "principal-thing/"
)

// A thing is what the registry says of a device. It exists when this record does; its device is made and deleted with it.
type thing struct {
	Name         string            `json:"name"`
	ID           string            `json:"id"` // a UUID
	Type         string            `json:"type,omitempty"`
	Attributes   map[string]string `json:"attributes,omitempty"`
	BillingGroup string            `json:"billingGroup,omitempty"`
	Version      int64             `json:"version"`
	Created      time.Time         `json:"created"`
}

// readThing returns a thing.
func readThing(rd store.RecordReader, t core.TenantID, name string) (x thing, err error) {
	return x, readRecord(rd, t, keyThing+name, &x)
}

// thingsOfType returns a page of the names of things of a type.
func thingsOfType(rd store.RecordReader, t core.TenantID, typ, after string, limit int) ([]string, bool, error) {
	return names(rd, t, keyThingTypeThing+typ+"/", after, limit)
}

// putThing writes a thing, and makes its device if there is none yet. A new one is announced (core.DeviceRegistered).
func (d *Dialect) putThing(tx *commit.Tx, t core.TenantID, x thing) error {
	old, err := readThing(tx, t, x.Name)
	if err != nil && !errors.Is(err, core.ErrNotFound) {
		return err
	}
	if err != nil {
		if err := d.makeDevice(tx, deviceKey(t, x.Name)); err != nil {
			return err
		}
	}
	if old.Type != "" && old.Type != x.Type {
		if err := tx.DeleteRecord(t, Name, keyThingTypeThing+old.Type+"/"+x.Name); err != nil {
			return err
		}
	}
	if x.Type != "" {
		if err := tx.PutRecord(t, Name, keyThingTypeThing+x.Type+"/"+x.Name, nil); err != nil {
			return err
		}
	}
	if err := indexBillingGroup(tx, t, x.Name, old.BillingGroup, x.BillingGroup); err != nil {
		return err
	}
	if err := writeRecord(tx, t, keyThing+x.Name, x); err != nil {
		return err
	}
	return d.changed(tx, t, keyThing+x.Name)
}

// makeDevice makes the device of a thing, unless there is one: shadows and jobs need no thing in the registry.
func (d *Dialect) makeDevice(tx *commit.Tx, k core.DeviceKey) error {
	if _, err := tx.Device(k); !errors.Is(err, core.ErrNotFound) {
		return err
	}
	dev := core.Device{DeviceKey: k, Created: tx.Now()}
	if err := tx.InsertDevice(&dev); err != nil {
		return fmt.Errorf("make %s: %w", k, err)
	}
	return tx.Emit(core.Event{Device: k, Num: dev.Num, Kind: core.DeviceRegistered})
}

// forgetThing deletes everything that the registry has of a thing; its device is deleted by the caller. To delete a thing is
// registry.Delete of its device, which comes here by its event.
func (d *Dialect) forgetThing(tx *commit.Tx, t core.TenantID, name string) error {
	x, err := readThing(tx, t, name)
	if errors.Is(err, core.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	principals, err := thingPrincipals(tx, t, name)
	if err != nil {
		return err
	}
	for _, p := range principals {
		if err := d.detachPrincipal(tx, t, name, p.Principal); err != nil {
			return err
		}
	}
	groups, _, err := names(tx, t, keyThingThingGroup+name+"/", "", 0)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if err := d.leaveGroup(tx, t, g, name); err != nil {
			return err
		}
	}
	if x.Type != "" {
		if err := tx.DeleteRecord(t, Name, keyThingTypeThing+x.Type+"/"+name); err != nil {
			return err
		}
	}
	if err := indexBillingGroup(tx, t, name, x.BillingGroup, ""); err != nil {
		return err
	}
	if err := tx.DeleteRecord(t, Name, keyThing+name); err != nil {
		return err
	}
	return d.changed(tx, t, keyThing+name)
}

// indexBillingGroup moves a thing from one billing group to another in the index; "" is none.
func indexBillingGroup(tx *commit.Tx, t core.TenantID, thing, from, to string) error {
	if from == to {
		return nil
	}
	if from != "" {
		if err := tx.DeleteRecord(t, Name, keyBillingGroupThing+from+"/"+thing); err != nil {
			return err
		}
	}
	if to == "" {
		return nil
	}
	return tx.PutRecord(t, Name, keyBillingGroupThing+to+"/"+thing, nil)
}

// A thingType describes things of a kind. Its JSON is the record.
type thingType struct {
	Name        string    `json:"name"`
	ID          string    `json:"id"`
	Description string    `json:"description,omitempty"`
	Searchable  []string  `json:"searchable,omitempty"`
	Deprecated  time.Time `json:"deprecated,omitzero"` // zero: it is not
	Created     time.Time `json:"created"`
}

func readThingType(rd store.RecordReader, t core.TenantID, name string) (x thingType, err error) {
	return x, readRecord(rd, t, keyThingType+name, &x)
}

func thingTypes(rd store.RecordReader, t core.TenantID, after string, limit int) ([]thingType, bool, error) {
	return records[thingType](rd, t, keyThingType, after, limit)
}

func (d *Dialect) putThingType(tx *commit.Tx, t core.TenantID, x thingType) error {
	return writeRecord(tx, t, keyThingType+x.Name, x)
}

// deleteThingType deletes a type that no thing has.
func (d *Dialect) deleteThingType(tx *commit.Tx, t core.TenantID, name string) error {
	return tx.DeleteRecord(t, Name, keyThingType+name)
}

// An attachment of a principal and a thing.
type attachment struct {
	Principal string // "cert/ID", or the id of a Cognito identity
	Thing     string
	Exclusive bool // no other client may be the thing
}

// exclusive is the value of the records of exclusive attachments; others have none.
var exclusive = []byte("exclusive")

// thingPrincipals returns what is attached to a thing.
func thingPrincipals(rd store.RecordReader, t core.TenantID, thing string) (list []attachment, err error) {
	prefix := keyThingPrincipal + thing + "/"
	for r, err := range rd.Records(t, Name, prefix) {
		if err != nil {
			return nil, err
		}
		list = append(list, attachment{Principal: r.Key[len(prefix):], Thing: thing, Exclusive: len(r.Value) > 0})
	}
	return list, nil
}

// principalThings returns the things that a principal is attached to.
func principalThings(rd store.RecordReader, t core.TenantID, principal string) ([]attachment, error) {
	return someThings(rd, t, principal, 0)
}

// someThings returns at most limit (0: all) of the things that a principal is attached to, by name. One to which it is attached
// exclusively is the only one.
func someThings(rd store.RecordReader, t core.TenantID, principal string, limit int) (list []attachment, err error) {
	prefix := keyPrincipalThing + principal + "/"
	for r, err := range rd.Records(t, Name, prefix) {
		if err != nil {
			return nil, err
		}
		if limit > 0 && len(list) == limit {
			break
		}
		list = append(list, attachment{Principal: principal, Thing: r.Key[len(prefix):], Exclusive: len(r.Value) > 0})
	}
	return list, nil
}

// attachPrincipal attaches a principal to a thing; both exist. Doing it again changes nothing but whether it is exclusive.
func (d *Dialect) attachPrincipal(tx *commit.Tx, t core.TenantID, a attachment) error {
	var value []byte
	if a.Exclusive {
		value = exclusive
	}
	if err := link2(tx, t, keyThingPrincipal+a.Thing+"/"+a.Principal, keyPrincipalThing+a.Principal+"/"+a.Thing, value); err != nil {
		return err
	}
	return d.changed(tx, t, a.Principal)
}

// detachPrincipal is its inverse. What is not attached is no error here.
func (d *Dialect) detachPrincipal(tx *commit.Tx, t core.TenantID, thing, principal string) error {
	if err := unlink2(tx, t, keyThingPrincipal+thing+"/"+principal, keyPrincipalThing+principal+"/"+thing); err != nil {
		return err
	}
	return d.changed(tx, t, principal)
}
