package awsiot

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

var thingGroupOperations = []operation{
	{name: "CreateThingGroup", method: post, path: "/thing-groups/{thingGroupName}", do: (*call).createThingGroup},
	{name: "DescribeThingGroup", method: get, path: "/thing-groups/{thingGroupName}", do: (*call).describeThingGroup},
	{name: "UpdateThingGroup", method: patch, path: "/thing-groups/{thingGroupName}", do: (*call).updateThingGroup},
	{name: "DeleteThingGroup", method: remove, path: "/thing-groups/{thingGroupName}", do: (*call).deleteThingGroup},
	{name: "ListThingGroups", method: get, path: "/thing-groups", do: (*call).listThingGroups},
	{name: "AddThingToThingGroup", method: put, path: "/thing-groups/addThingToThingGroup", do: (*call).addThingToGroup},
	{name: "RemoveThingFromThingGroup", method: put, path: "/thing-groups/removeThingFromThingGroup", do: (*call).removeThingFromGroup},
	{name: "UpdateThingGroupsForThing", method: put, path: "/thing-groups/updateThingGroupsForThing", do: (*call).updateThingGroupsForThing},
	{name: "ListThingsInThingGroup", method: get, path: "/thing-groups/{thingGroupName}/things", do: (*call).listThingsInGroup},
	{name: "ListThingGroupsForThing", method: get, path: "/things/{thingName}/thing-groups", do: (*call).listGroupsForThing},
}

// Bounds of groups (AWS IoT Core quotas, read 2026-11).
const (
	maxGroupsOfThing   = 10
	maxGroupChildren   = 100
	maxGroupAttributes = 50
)

// A groupProperties is how requests describe a group.
type groupProperties struct {
	Description *string           `json:"thingGroupDescription"`
	Attributes  *attributePayload `json:"attributePayload"`
}

func (p *groupProperties) check() error {
	if p == nil {
		return nil
	}
	if p.Description != nil {
		if err := descriptionConstraint.check("thingGroupProperties.thingGroupDescription", *p.Description); err != nil {
			return err
		}
	}
	return p.Attributes.check()
}

func (p *groupProperties) apply(g *thingGroup) error {
	if p == nil {
		return nil
	}
	if p.Description != nil {
		g.Description = *p.Description
	}
	g.Attributes = p.Attributes.apply(g.Attributes)
	if len(g.Attributes) > maxGroupAttributes {
		return refuse(invalidRequest, "A thing group has at most %d attributes.", maxGroupAttributes)
	}
	return nil
}

func noGroup(err error, name string) error {
	return missing(err, "Thing group %s does not exist.", name)
}

func (c *call) createThingGroup() (any, error) {
	var in struct {
		Parent     string           `json:"parentGroupName"`
		Properties *groupProperties `json:"thingGroupProperties"`
		Tags       []tag            `json:"tags"`
	}
	name, err := c.label("thingGroupName", nameConstraint)
	if err == nil {
		err = c.decode(&in)
	}
	if err == nil {
		err = errors.Join(optional("parentGroupName", in.Parent, nameConstraint), in.Properties.check(), checkTags(in.Tags))
	}
	if err != nil {
		return nil, err
	}
	g := thingGroup{Name: name, ID: newUUID(), Parent: in.Parent, Version: 1}
	if err := in.Properties.apply(&g); err != nil {
		return nil, err
	}
	err = c.do(func(tx *commit.Tx) error {
		old, err := readThingGroup(tx, c.tenant(), name)
		if found, err := present(err); err != nil {
			return err
		} else if found {
			same := old.Parent == g.Parent && old.Description == g.Description && maps.Equal(old.Attributes, g.Attributes)
			if g = old; same {
				return nil
			}
			return c.exists(name, groupResource+name, "Thing group %s already exists in account with different properties", name)
		}
		g.Created = tx.Now()
		return c.insertGroup(tx, g, in.Tags)
	})
	if err != nil {
		return nil, err
	}
	return map[string]any{"thingGroupName": name, "thingGroupArn": c.account.arn(groupResource + name), "thingGroupId": g.ID}, nil
}

func (c *call) insertGroup(tx *commit.Tx, g thingGroup, tags []tag) error {
	var parent thingGroup
	if g.Parent != "" {
		var err error
		if parent, err = readThingGroup(tx, c.tenant(), g.Parent); err != nil {
			return noGroup(err, g.Parent)
		}
		above, err := rootToParent(tx, c.tenant(), g)
		if err != nil {
			return err
		}
		if len(above) >= maxGroupDepth {
			return refuse(invalidRequest, "Thing group %s would be %d groups below its root, at most %d are allowed.", g.Name, len(above), maxGroupDepth-1)
		}
		siblings, err := groupChildren(tx, c.tenant(), g.Parent)
		if err != nil {
			return err
		}
		if len(siblings) >= maxGroupChildren {
			return refuse(invalidRequest, "Thing group %s has %d groups below it already.", g.Parent, len(siblings))
		}
	}
	if err := c.d.putThingGroup(tx, c.tenant(), g); err != nil {
		return err
	}
	if err := putTags(tx, c.tenant(), keyThingGroup+g.Name, tags); err != nil {
		return err
	}
	if err := c.d.groupEvent(tx, &c.account, "created", g); err != nil || g.Parent == "" {
		return err
	}
	return c.d.hierarchyEvent(tx, &c.account, "added", parent, g)
}

// A groupName is a group in a list.
type groupName struct {
	Name string `json:"groupName"`
	Arn  string `json:"groupArn"`
}

func (c *call) groupNames(names []string) []groupName {
	list := []groupName{}
	for _, n := range names {
		list = append(list, groupName{n, c.account.arn(groupResource + n)})
	}
	return list
}

func (c *call) describeThingGroup() (any, error) {
	name, err := c.label("thingGroupName", nameConstraint)
	if err != nil {
		return nil, err
	}
	var g thingGroup
	var above []thingGroup
	err = c.view(func(rd store.Reader) (err error) {
		if g, err = readThingGroup(rd, c.tenant(), name); err != nil {
			return noGroup(err, name)
		}
		above, err = rootToParent(rd, c.tenant(), g)
		return err
	})
	if err != nil {
		return nil, err
	}
	metadata := map[string]any{"creationDate": epoch(g.Created)}
	if g.Parent != "" {
		var names []string
		for _, x := range above {
			names = append(names, x.Name)
		}
		metadata["parentGroupName"], metadata["rootToParentThingGroups"] = g.Parent, c.groupNames(names)
	}
	properties := map[string]any{}
	if g.Description != "" {
		properties["thingGroupDescription"] = g.Description
	}
	if len(g.Attributes) > 0 {
		properties["attributePayload"] = map[string]any{"attributes": g.Attributes}
	}
	return map[string]any{
		"thingGroupName": name, "thingGroupId": g.ID, "thingGroupArn": c.account.arn(groupResource + name), "version": g.Version,
		"thingGroupProperties": properties, "thingGroupMetadata": metadata,
	}, nil
}

func (c *call) updateThingGroup() (any, error) {
	var in struct {
		Properties      *groupProperties `json:"thingGroupProperties"`
		ExpectedVersion int64            `json:"expectedVersion"`
	}
	name, err := c.label("thingGroupName", nameConstraint)
	if err == nil {
		err = c.decode(&in)
	}
	if err == nil && in.Properties == nil {
		err = invalidValue("null", "thingGroupProperties", "Member must not be null")
	}
	if err == nil {
		err = in.Properties.check()
	}
	if err != nil {
		return nil, err
	}
	var g thingGroup
	err = c.do(func(tx *commit.Tx) (err error) {
		if g, err = readThingGroup(tx, c.tenant(), name); err != nil {
			return noGroup(err, name)
		}
		if in.ExpectedVersion != 0 && in.ExpectedVersion != g.Version {
			return conflict("thing group", name)
		}
		if err := in.Properties.apply(&g); err != nil {
			return err
		}
		g.Version++
		if err := c.d.putThingGroup(tx, c.tenant(), g); err != nil {
			return err
		}
		return c.d.groupEvent(tx, &c.account, "updated", g)
	})
	return map[string]any{"version": g.Version}, err
}

func (c *call) deleteThingGroup() (any, error) {
	name, expected, err := c.version("thingGroupName")
	if err != nil {
		return nil, err
	}
	for more := true; more; {
		// A large group is emptied in slices, between which others have their turn. Who hears nothing asks again.
		err := c.do(func(tx *commit.Tx) (err error) {
			more, err = c.deleteGroupSlice(tx, name, expected)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return nil, nil //nolint:nilnil // there is nothing to tell
}

// groupSlice is how many things are taken out of a group in one transaction: some ten milliseconds, for which all others wait.
const groupSlice = 250

// deleteGroupSlice takes things out of a group that is to be deleted, and deletes it when there are only few; more says that there
// are others. expected is the version that it must have, 0: any.
func (c *call) deleteGroupSlice(tx *commit.Tx, name string, expected int64) (more bool, err error) {
	g, err := readThingGroup(tx, c.tenant(), name)
	if found, err := present(err); err != nil || !found {
		return false, err
	}
	if expected != 0 && expected != g.Version {
		return false, conflict("thing group", name)
	}
	children, err := groupChildren(tx, c.tenant(), name)
	if err != nil {
		return false, err
	}
	if len(children) > 0 {
		return false, refuse(invalidRequest, "Cannot delete thing group : %s when there are still child groups attached to it", name)
	}
	members, more, err := groupThings(tx, c.tenant(), name, "", groupSlice)
	if err != nil {
		return false, err
	}
	for _, x := range members {
		if err := c.d.leaveGroup(tx, c.tenant(), name, x); err != nil {
			return false, err
		}
	}
	if more {
		return true, nil
	}
	if err := c.d.groupEvent(tx, &c.account, "deleted", g); err != nil {
		return false, err
	}
	if g.Parent != "" {
		parent, err := readThingGroup(tx, c.tenant(), g.Parent)
		if err != nil {
			return false, err
		}
		if err := c.d.hierarchyEvent(tx, &c.account, "removed", parent, g); err != nil {
			return false, err
		}
	}
	if err := putTags(tx, c.tenant(), keyThingGroup+name, nil); err != nil {
		return false, err
	}
	return false, c.d.deleteThingGroup(tx, c.tenant(), name)
}

func (c *call) listThingGroups() (any, error) {
	p, err := c.page()
	recursive, rerr := c.flag("recursive", true)
	parent, prefix := c.query.Get("parentGroup"), c.query.Get("namePrefixFilter")
	if err := errors.Join(err, rerr, optional("parentGroup", parent, nameConstraint), optional("namePrefixFilter", prefix, nameConstraint)); err != nil {
		return nil, err
	}
	var all []string
	err = c.view(func(rd store.Reader) error {
		if parent == "" {
			groups, _, err := thingGroups(rd, c.tenant(), "", 0)
			for _, g := range groups {
				if recursive || g.Parent == "" {
					all = append(all, g.Name)
				}
			}
			return err
		}
		if _, err := readThingGroup(rd, c.tenant(), parent); err != nil {
			return noGroup(err, parent)
		}
		all, err = groupsBelow(rd, c.tenant(), parent, recursive)
		return err
	})
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(n string) bool { return !strings.HasPrefix(n, prefix) })
	slices.Sort(all)
	names, next := p.pageOfList(all)
	return struct {
		Groups    []groupName `json:"thingGroups"`
		NextToken string      `json:"nextToken,omitempty"`
	}{c.groupNames(names), next}, nil
}

// groupsBelow returns the groups below one: its children, or all.
func groupsBelow(rd store.RecordReader, t core.TenantID, parent string, all bool) ([]string, error) {
	list, err := groupChildren(rd, t, parent)
	for i := 0; err == nil && all && i < len(list); i++ {
		var more []string
		more, err = groupChildren(rd, t, list[i])
		list = append(list, more...)
	}
	return list, err
}
