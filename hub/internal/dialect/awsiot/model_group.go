package awsiot

import (
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

const (
	keyThingGroup      = "thinggroup/"
	keyThingGroupChild = "thinggroup-child/"
	keyThingGroupThing = "thinggroup-thing/"
	keyThingThingGroup = "thing-thinggroup/"
)

// maxGroupDepth bounds the way from a group to its root (AWS IoT Core quotas: the depth of a hierarchy is 7).
const maxGroupDepth = 7

// A thingGroup is a static group of things.
type thingGroup struct {
	Name        string            `json:"name"`
	ID          string            `json:"id"`
	Parent      string            `json:"parent,omitempty"` // fixed when it is made
	Description string            `json:"description,omitempty"`
	Attributes  map[string]string `json:"attributes,omitempty"`
	Version     int64             `json:"version"`
	Created     time.Time         `json:"created"`
}

func readThingGroup(rd store.RecordReader, t core.TenantID, name string) (x thingGroup, err error) {
	return x, readRecord(rd, t, keyThingGroup+name, &x)
}

func thingGroups(rd store.RecordReader, t core.TenantID, after string, limit int) ([]thingGroup, bool, error) {
	return records[thingGroup](rd, t, keyThingGroup, after, limit)
}

// groupChildren returns the names of the groups directly below one.
func groupChildren(rd store.RecordReader, t core.TenantID, parent string) ([]string, error) {
	list, _, err := names(rd, t, keyThingGroupChild+parent+"/", "", 0)
	return list, err
}

// groupThings returns a page of the names of a group's things.
func groupThings(rd store.RecordReader, t core.TenantID, group, after string, limit int) ([]string, bool, error) {
	return names(rd, t, keyThingGroupThing+group+"/", after, limit)
}

// groupsOfThing returns the names of the groups that a thing is in, without those above them.
func groupsOfThing(rd store.RecordReader, t core.TenantID, thing string) ([]string, error) {
	list, _, err := names(rd, t, keyThingThingGroup+thing+"/", "", 0)
	return list, err
}

// rootToParent returns the groups above one, the root first.
func rootToParent(rd store.RecordReader, t core.TenantID, g thingGroup) (list []thingGroup, err error) {
	for g.Parent != "" && len(list) < maxGroupDepth {
		if g, err = readThingGroup(rd, t, g.Parent); err != nil {
			return nil, err
		}
		list = append([]thingGroup{g}, list...)
	}
	return list, nil
}

// putThingGroup writes a group. Its parent exists.
func (d *Dialect) putThingGroup(tx *commit.Tx, t core.TenantID, g thingGroup) error {
	if g.Parent != "" {
		if err := tx.PutRecord(t, Name, keyThingGroupChild+g.Parent+"/"+g.Name, nil); err != nil {
			return err
		}
	}
	return writeRecord(tx, t, keyThingGroup+g.Name, g)
}

// deleteThingGroup deletes a group that has no groups below it, with its memberships and the attachments of policies to it.
func (d *Dialect) deleteThingGroup(tx *commit.Tx, t core.TenantID, name string) error {
	g, err := readThingGroup(tx, t, name)
	if err != nil {
		return err
	}
	members, _, err := groupThings(tx, t, name, "", 0)
	if err != nil {
		return err
	}
	for _, x := range members {
		if err := d.leaveGroup(tx, t, name, x); err != nil {
			return err
		}
	}
	attached, _, err := policiesOf(tx, t, groupResource+name, "", 0)
	if err != nil {
		return err
	}
	for _, p := range attached {
		if err := d.detachPolicy(tx, t, p, groupResource+name); err != nil {
			return err
		}
	}
	if g.Parent != "" {
		if err := tx.DeleteRecord(t, Name, keyThingGroupChild+g.Parent+"/"+name); err != nil {
			return err
		}
	}
	return tx.DeleteRecord(t, Name, keyThingGroup+name)
}

// joinGroup puts a thing into a group; both exist. leaveGroup takes it out.
func (d *Dialect) joinGroup(tx *commit.Tx, t core.TenantID, group, thing string) error {
	if err := link2(tx, t, keyThingGroupThing+group+"/"+thing, keyThingThingGroup+thing+"/"+group, nil); err != nil {
		return err
	}
	if err := d.changed(tx, t, keyThing+thing); err != nil {
		return err
	}
	return d.jobs.joined(tx, t, group, thing)
}

func (d *Dialect) leaveGroup(tx *commit.Tx, t core.TenantID, group, thing string) error {
	if err := unlink2(tx, t, keyThingGroupThing+group+"/"+thing, keyThingThingGroup+thing+"/"+group); err != nil {
		return err
	}
	if err := d.changed(tx, t, keyThing+thing); err != nil {
		return err
	}
	return d.jobs.left(tx, t, group, thing)
}
