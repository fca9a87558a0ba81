package awsiot

import (
	"errors"
	"slices"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Targets of jobs are named as in ARNs: "thing/NAME", "thinggroup/NAME". A group stands for its things and those of the groups
// below it.

// resolveTargets returns the targets that ARNs name, and the things that they stand for now. What is not there is refused. Each
// target and each group is looked at once, however often it is named: all others wait meanwhile.
func resolveTargets(rd store.RecordReader, a *account, arns []string) (targets []string, things []core.DeviceID, err error) {
	if len(arns) == 0 {
		return nil, nil, refuse(invalidRequest, "targets must not be empty")
	}
	seen := map[string]bool{}
	groups := groupThingsReader{rd: rd, tenant: a.Tenant, seen: map[string]bool{}}
	for _, arn := range arns {
		if seen[arn] {
			continue
		}
		seen[arn] = true
		target, ok := a.resource(arn)
		thing, isThing := strings.CutPrefix(target, keyThing)
		group, isGroup := strings.CutPrefix(target, groupResource)
		switch {
		case ok && isThing:
			_, err = readThing(rd, a.Tenant, thing)
			things = append(things, core.DeviceID(thing))
		case ok && isGroup:
			if _, err = readThingGroup(rd, a.Tenant, group); err == nil {
				err = groups.add(group, 0)
			}
		case strings.HasPrefix(arn, "arn:"):
			err = core.ErrNotFound
		default:
			return nil, nil, refuse(invalidRequest, "Invalid target ARN %.256q", arn)
		}
		if errors.Is(err, core.ErrNotFound) {
			return nil, nil, refuse(notFound, "Target %.256q does not exist", arn)
		} else if err != nil {
			return nil, nil, err
		}
		targets = append(targets, target)
	}
	return targets, append(things, groups.things...), nil
}

// A groupThingsReader collects the things of groups and of those below them, each group's once.
type groupThingsReader struct {
	rd     store.RecordReader
	tenant core.TenantID
	seen   map[string]bool
	things []core.DeviceID
}

func (r *groupThingsReader) add(group string, depth int) error {
	if r.seen[group] {
		return nil
	}
	r.seen[group] = true
	things, _, err := groupThings(r.rd, r.tenant, group, "", 0)
	if err != nil {
		return err
	}
	for _, x := range things {
		r.things = append(r.things, core.DeviceID(x))
	}
	children, err := groupChildren(r.rd, r.tenant, group)
	if err != nil || depth >= maxGroupDepth {
		return err
	}
	for _, c := range children {
		if err := r.add(c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// groupAndAbove returns the names of a group and of those above it. One that is gone already is alone.
func groupAndAbove(rd store.RecordReader, t core.TenantID, group string) ([]string, error) {
	list := []string{group}
	g, err := readThingGroup(rd, t, group)
	if errors.Is(err, core.ErrNotFound) {
		return list, nil
	} else if err != nil {
		return nil, err
	}
	above, err := rootToParent(rd, t, g)
	for _, x := range above {
		list = append(list, x.Name)
	}
	return list, err
}

// isTarget reports whether one of the targets means a thing.
func isTarget(rd store.RecordReader, t core.TenantID, thing string, targets []string) (bool, error) {
	if slices.Contains(targets, keyThing+thing) {
		return true, nil
	}
	groups, err := groupsOfThing(rd, t, thing)
	if err != nil {
		return false, err
	}
	for _, g := range groups {
		above, err := groupAndAbove(rd, t, g)
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(above, func(g string) bool { return slices.Contains(targets, groupResource+g) }) {
			return true, nil
		}
	}
	return false, nil
}
