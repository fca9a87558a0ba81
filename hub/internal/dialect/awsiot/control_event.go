package awsiot

import (
	"maps"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// Kinds of registry events, which are published when the account has asked for them (AWS IoT guide, "Registry events").
const (
	eventsThing           = "THING"
	eventsThingType       = "THING_TYPE"
	eventsAssociation     = "THING_TYPE_ASSOCIATION"
	eventsThingGroup      = "THING_GROUP"
	eventsGroupMembership = "THING_GROUP_MEMBERSHIP"
	eventsGroupHierarchy  = "THING_GROUP_HIERARCHY"
)

// eventKinds are all kinds that an account can ask for; of those that are not above nothing is published here.
var eventKinds = []string{
	eventsThing, eventsThingGroup, eventsThingType, eventsGroupMembership, eventsGroupHierarchy, eventsAssociation,
	"JOB", "JOB_EXECUTION", "POLICY", "CERTIFICATE", "CA_CERTIFICATE",
}

// operationOf is the last part of an event's topic as the event itself says it.
var operationOf = map[string]string{
	"created": "CREATED", "updated": "UPDATED", "deleted": "DELETED", "added": "ADDED", "removed": "REMOVED",
}

// registryEvent publishes an event, if the account has asked for its kind. The topic ends with what has happened.
func (d *Dialect) registryEvent(tx *commit.Tx, a *account, kind, topic, what string, members map[string]any) error {
	if !a.Events[kind] {
		return nil
	}
	all := map[string]any{
		"eventType": kind + "_EVENT", "eventId": newUUID(), "timestamp": millis(tx.Now()), "operation": operationOf[what], "accountId": a.ID,
	}
	maps.Copy(all, members)
	body, err := marshalJSON(all)
	if err != nil {
		return err
	}
	return d.publishAll(tx, a.Tenant, core.Message{Topic: "$aws/events/" + topic + "/" + what, Payload: body, QoS: 1})
}

// nullable is null for an empty text.
func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func (d *Dialect) thingEvent(tx *commit.Tx, a *account, what string, x thing) error {
	return d.registryEvent(tx, a, eventsThing, "thing/"+x.Name, what, map[string]any{
		"thingId": x.ID, "thingName": x.Name, "versionNumber": x.Version, "thingTypeName": nullable(x.Type), "attributes": x.Attributes,
	})
}

func (d *Dialect) associationEvent(tx *commit.Tx, a *account, x thing, typ, what string) error {
	return d.registryEvent(tx, a, eventsAssociation, "thingTypeAssociation/thing/"+x.Name+"/thingType/"+typ, what, map[string]any{
		"thingId": x.ID, "thingName": x.Name, "thingTypeName": typ,
	})
}

func (d *Dialect) thingTypeEvent(tx *commit.Tx, a *account, what string, x thingType) error {
	var deprecated any
	if !x.Deprecated.IsZero() {
		deprecated = millis(x.Deprecated)
	}
	return d.registryEvent(tx, a, eventsThingType, "thingType/"+x.Name, what, map[string]any{
		"thingTypeId": x.ID, "thingTypeName": x.Name, "isDeprecated": !x.Deprecated.IsZero(), "deprecationDate": deprecated,
		"searchableAttributes": x.Searchable, "description": x.Description,
	})
}

func (d *Dialect) groupEvent(tx *commit.Tx, a *account, what string, g thingGroup) error {
	if !a.Events[eventsThingGroup] {
		return nil
	}
	above, err := rootToParent(tx, a.Tenant, g)
	if err != nil {
		return err
	}
	type place struct {
		Arn string `json:"groupArn"`
		ID  string `json:"groupId"`
	}
	places, parent := []place{}, ""
	for _, x := range above {
		places, parent = append(places, place{a.arn(groupResource + x.Name), x.ID}), x.ID
	}
	return d.registryEvent(tx, a, eventsThingGroup, "thingGroup/"+g.Name, what, map[string]any{
		"thingGroupId": g.ID, "thingGroupName": g.Name, "versionNumber": g.Version, "parentGroupName": nullable(g.Parent), "parentGroupId": nullable(parent),
		"description": g.Description, "rootToParentThingGroups": places, "attributes": g.Attributes, "dynamicGroupMappingId": nil,
	})
}

func (d *Dialect) membershipEvent(tx *commit.Tx, a *account, what string, g thingGroup, x thing) error {
	return d.registryEvent(tx, a, eventsGroupMembership, "thingGroupMembership/thingGroup/"+g.Name+"/thing/"+x.Name, what, map[string]any{
		"groupArn": a.arn(groupResource + g.Name), "groupId": g.ID, "thingArn": a.arn(keyThing + x.Name), "thingId": x.ID, "membershipId": g.ID + "." + x.ID,
	})
}

func (d *Dialect) hierarchyEvent(tx *commit.Tx, a *account, what string, parent, child thingGroup) error {
	return d.registryEvent(tx, a, eventsGroupHierarchy, "thingGroupHierarchy/thingGroup/"+parent.Name+"/childThingGroup/"+child.Name, what, map[string]any{
		"thingGroupId": parent.ID, "thingGroupName": parent.Name, "childGroupId": child.ID, "childGroupName": child.Name,
	})
}

// lastChange returns when a device connected or disconnected last.
func lastChange(dev *core.Device) time.Time {
	if dev.Connected || dev.LastConnected.After(dev.LastDisconnected) {
		return dev.LastConnected
	}
	return dev.LastDisconnected
}
