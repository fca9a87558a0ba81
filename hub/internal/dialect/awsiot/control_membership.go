package awsiot

import (
	"errors"
	"slices"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// A membership is a request about a thing in a group, each given by its name or its ARN.
type membership struct {
	GroupName string `json:"thingGroupName"`
	GroupArn  string `json:"thingGroupArn"`
	ThingName string `json:"thingName"`
	ThingArn  string `json:"thingArn"`
}

// membershipRequest reads one.
func (c *call) membershipRequest() (group, thing string, err error) {
	var in membership
	if err := c.decode(&in); err != nil {
		return "", "", err
	}
	if group, err = c.either("thingGroup", in.GroupName, in.GroupArn, groupResource); err != nil {
		return "", "", err
	}
	thing, err = c.either("thing", in.ThingName, in.ThingArn, keyThing)
	return group, thing, err
}

// either returns the name of something that is given by its name, its ARN or both.
func (c *call) either(what, name, arn, resource string) (string, error) {
	if arn != "" {
		full, _ := c.account.resource(arn)
		fromArn, ok := strings.CutPrefix(full, resource)
		if !ok || name != "" && name != fromArn {
			return "", refuse(invalidRequest, "Invalid %sArn: %.200s", what, arn)
		}
		name = fromArn
	}
	return name, required(what+"Name", name, nameConstraint)
}

func (c *call) addThingToGroup() (any, error) {
	group, name, err := c.membershipRequest()
	if err != nil {
		return nil, err
	}
	return nil, c.do(func(tx *commit.Tx) error { return c.d.enterGroup(tx, &c.account, group, name) })
}

func (c *call) removeThingFromGroup() (any, error) {
	group, name, err := c.membershipRequest()
	if err != nil {
		return nil, err
	}
	return nil, c.do(func(tx *commit.Tx) error { return c.d.exitGroup(tx, &c.account, group, name) })
}

func (c *call) updateThingGroupsForThing() (any, error) {
	var in struct {
		ThingName string   `json:"thingName"`
		Add       []string `json:"thingGroupsToAdd"`
		Remove    []string `json:"thingGroupsToRemove"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := required("thingName", in.ThingName, nameConstraint); err != nil {
		return nil, err
	}
	if len(in.Add)+len(in.Remove) > maxPage {
		return nil, refuse(invalidRequest, "Too many thing groups.")
	}
	return nil, c.do(func(tx *commit.Tx) error {
		for _, g := range in.Remove {
			if err := c.d.exitGroup(tx, &c.account, g, in.ThingName); err != nil {
				return err
			}
		}
		for _, g := range in.Add {
			if err := c.d.enterGroup(tx, &c.account, g, in.ThingName); err != nil {
				return err
			}
		}
		return nil
	})
}

// both reads a group and a thing that a request names.
func both(tx *commit.Tx, t core.TenantID, group, name string) (g thingGroup, x thing, in bool, err error) {
	if g, err = readThingGroup(tx, t, group); err != nil {
		return g, x, false, noGroup(err, group)
	}
	if x, err = readThing(tx, t, name); err != nil {
		return g, x, false, noThing(err, name)
	}
	in, err = hasRecord(tx, t, keyThingGroupThing+group+"/"+name)
	return g, x, in, err
}

// enterGroup puts a thing into a group; that it is there already is no error. It can be in one group of a hierarchy only.
func (d *Dialect) enterGroup(tx *commit.Tx, a *account, group, name string) error {
	g, x, in, err := both(tx, a.Tenant, group, name)
	if err != nil || in {
		return err
	}
	others, err := groupsOfThing(tx, a.Tenant, name)
	if err != nil {
		return err
	}
	if len(others) >= maxGroupsOfThing {
		return refuse(invalidRequest, "Thing %s is in %d groups already.", name, len(others))
	}
	root, err := rootOf(tx, a.Tenant, g)
	if err != nil {
		return err
	}
	for _, other := range others {
		o, err := readThingGroup(tx, a.Tenant, other)
		if err != nil {
			return err
		}
		if r, err := rootOf(tx, a.Tenant, o); err != nil {
			return err
		} else if r == root {
			return refuse(invalidRequest, "Thing %s is already in the same hierarchy as the thing group %s: in %s.", name, group, other)
		}
	}
	if err := d.joinGroup(tx, a.Tenant, group, name); err != nil {
		return err
	}
	return d.membershipEvent(tx, a, "added", g, x)
}

// rootOf returns the name of the group that a hierarchy begins with.
func rootOf(rd store.RecordReader, t core.TenantID, g thingGroup) (string, error) {
	above, err := rootToParent(rd, t, g)
	if err != nil || len(above) == 0 {
		return g.Name, err
	}
	return above[0].Name, nil
}

// exitGroup takes a thing out of a group; that it is not there is no error.
func (d *Dialect) exitGroup(tx *commit.Tx, a *account, group, name string) error {
	g, x, in, err := both(tx, a.Tenant, group, name)
	if err != nil || !in {
		return err
	}
	if err := d.leaveGroup(tx, a.Tenant, group, name); err != nil {
		return err
	}
	return d.membershipEvent(tx, a, "removed", g, x)
}

func (c *call) listThingsInGroup() (any, error) {
	name, err := c.label("thingGroupName", nameConstraint)
	p, perr := c.page()
	recursive, rerr := c.flag("recursive", false)
	if err := errors.Join(err, perr, rerr); err != nil {
		return nil, err
	}
	list, next := []string{}, ""
	err = c.view(func(rd store.Reader) error {
		if _, err := readThingGroup(rd, c.tenant(), name); err != nil {
			return noGroup(err, name)
		}
		if !recursive {
			names, more, err := groupThings(rd, c.tenant(), name, p.after, p.limit)
			list, next = append(list, names...), nextToken(lastOf(names), more)
			return err
		}
		below, err := groupsBelow(rd, c.tenant(), name, true)
		if err != nil {
			return err
		}
		// A page of each, of which the first names are the page of all.
		var all []string
		for _, g := range append(below, name) {
			names, _, err := groupThings(rd, c.tenant(), g, p.after, p.limit+1)
			if err != nil {
				return err
			}
			all = append(all, names...)
		}
		slices.Sort(all)
		list, next = p.pageOfList(slices.Compact(all))
		return nil
	})
	return struct {
		Things    []string `json:"things"`
		NextToken string   `json:"nextToken,omitempty"`
	}{list, next}, err
}

func (c *call) listGroupsForThing() (any, error) {
	name, err := c.label("thingName", nameConstraint)
	p, perr := c.page()
	if err := errors.Join(err, perr); err != nil {
		return nil, err
	}
	var all []string
	err = c.view(func(rd store.Reader) (err error) {
		if _, err := readThing(rd, c.tenant(), name); err != nil {
			return noThing(err, name)
		}
		all, err = groupsOfThing(rd, c.tenant(), name)
		return err
	})
	names, next := p.pageOfList(all)
	return struct {
		Groups    []groupName `json:"thingGroups"`
		NextToken string      `json:"nextToken,omitempty"`
	}{c.groupNames(names), next}, err
}
