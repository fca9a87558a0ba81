package awsiot

import (
	"bytes"
	"errors"
	"maps"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

var thingOperations = []operation{
	{name: "CreateThing", method: post, path: "/things/{thingName}", do: (*call).createThing},
	{name: "DescribeThing", method: get, path: "/things/{thingName}", do: (*call).describeThing},
	{name: "ListThings", method: get, path: "/things", do: (*call).listThings},
	{name: "UpdateThing", method: patch, path: "/things/{thingName}", do: (*call).updateThing},
	{name: "DeleteThing", method: remove, path: "/things/{thingName}", do: (*call).deleteThing},
	{name: "GetThingConnectivityData", method: post, path: "/things/{thingName}/connectivity-data", do: (*call).thingConnectivity},
}

// How many attributes a thing and a group have at most (AWS IoT Core quotas, read 2026-11).
const (
	maxAttributes      = 3
	maxTypedAttributes = 50
)

// An attributePayload is how requests give attributes.
type attributePayload struct {
	Attributes map[string]string `json:"attributes"`
	Merge      bool              `json:"merge"`
}

// apply returns the attributes that a thing has after a request. An empty value removes its attribute.
func (p *attributePayload) apply(old map[string]string) map[string]string {
	if p == nil {
		return old
	}
	out := map[string]string{}
	if p.Merge {
		maps.Copy(out, old)
	}
	for name, value := range p.Attributes {
		if out[name] = value; value == "" {
			delete(out, name)
		}
	}
	return out
}

func (p *attributePayload) check() error {
	if p == nil {
		return nil
	}
	return checkAttributes(p.Attributes)
}

func checkAttributes(attributes map[string]string) error {
	for name, value := range attributes {
		if err := attributeNameConstraint.check("attributePayload.attributes", name); err != nil {
			return err
		}
		if err := attributeValueConstraint.check("attributePayload.attributes."+name, value); err != nil {
			return err
		}
	}
	return nil
}

// checkCount checks how many attributes a thing has.
func (x *thing) checkCount() error {
	most := maxAttributes
	if x.Type != "" {
		most = maxTypedAttributes
	}
	if n := len(x.Attributes); n > most {
		return refuse(invalidRequest, "Thing %s has %d attributes, which exceeds the limit of %d.", x.Name, n, most)
	}
	return nil
}

// checkType checks the type that a thing is to have.
func checkType(tx *commit.Tx, t core.TenantID, name string) error {
	if name == "" {
		return nil
	}
	typ, err := readThingType(tx, t, name)
	if err != nil {
		return missing(err, "No thing type exists with the specified name: %s", name)
	}
	if !typ.Deprecated.IsZero() {
		// The misspelling is the platform's.
		return refuse(invalidRequest, "Can not create new thing with depreated thing type:%s", name)
	}
	return nil
}

// insertThing makes a thing that is not there, with everything that has to be checked in the transaction.
func (d *Dialect) insertThing(tx *commit.Tx, a *account, x thing) (thing, error) {
	if err := checkType(tx, a.Tenant, x.Type); err != nil {
		return x, err
	}
	if x.BillingGroup != "" {
		if _, err := readBillingGroup(tx, a.Tenant, x.BillingGroup); err != nil {
			return x, missing(err, "Billing group %s does not exist.", x.BillingGroup)
		}
	}
	if err := x.checkCount(); err != nil {
		return x, err
	}
	x.ID, x.Version, x.Created = newUUID(), 1, tx.Now()
	if err := d.putThing(tx, a.Tenant, x); err != nil {
		return x, err
	}
	if err := d.thingEvent(tx, a, "created", x); err != nil {
		return x, err
	}
	if x.Type == "" {
		return x, nil
	}
	return x, d.associationEvent(tx, a, x, x.Type, "added")
}

func (c *call) createThing() (any, error) {
	var in struct {
		ThingTypeName    string            `json:"thingTypeName"`
		AttributePayload *attributePayload `json:"attributePayload"`
		BillingGroupName string            `json:"billingGroupName"`
	}
	name, err := c.label("thingName", nameConstraint)
	if err == nil {
		err = c.decode(&in)
	}
	if err == nil {
		err = errors.Join(optional("thingTypeName", in.ThingTypeName, nameConstraint), in.AttributePayload.check(),
			optional("billingGroupName", in.BillingGroupName, nameConstraint))
	}
	if err != nil {
		return nil, err
	}
	x := thing{Name: name, Type: in.ThingTypeName, Attributes: in.AttributePayload.apply(nil), BillingGroup: in.BillingGroupName}
	err = c.do(func(tx *commit.Tx) error {
		old, err := readThing(tx, c.tenant(), name)
		if found, err := present(err); err != nil {
			return err
		} else if found {
			same := old.Type == x.Type && maps.Equal(old.Attributes, x.Attributes) && old.BillingGroup == x.BillingGroup
			if x = old; same {
				return nil
			}
			return c.exists(name, keyThing+name, "Thing %s already exists in account with different attributes", name)
		}
		x, err = c.d.insertThing(tx, &c.account, x)
		return err
	})
	if err != nil {
		return nil, err
	}
	return map[string]any{"thingName": name, "thingArn": c.account.arn(keyThing + name), "thingId": x.ID}, nil
}

func noThing(err error, name string) error { return missing(err, "Thing %s does not exist.", name) }

func (c *call) describeThing() (any, error) {
	name, err := c.label("thingName", nameConstraint)
	if err != nil {
		return nil, err
	}
	var x thing
	err = c.view(func(rd store.Reader) (err error) {
		x, err = readThing(rd, c.tenant(), name)
		return noThing(err, name)
	})
	return struct {
		DefaultClientID string `json:"defaultClientId"`
		thingSummary
		ThingID          string `json:"thingId"`
		BillingGroupName string `json:"billingGroupName,omitempty"`
	}{name, c.summary(&x), x.ID, x.BillingGroup}, err
}

// A thingSummary is a thing in a list.
type thingSummary struct {
	ThingName     string            `json:"thingName"`
	ThingTypeName string            `json:"thingTypeName,omitempty"`
	ThingArn      string            `json:"thingArn"`
	Attributes    map[string]string `json:"attributes"`
	Version       int64             `json:"version"`
}

func (c *call) summary(x *thing) thingSummary {
	attributes := x.Attributes
	if attributes == nil {
		attributes = map[string]string{}
	}
	return thingSummary{x.Name, x.Type, c.account.arn(keyThing + x.Name), attributes, x.Version}
}

// A thingFilter selects things of a list.
type thingFilter struct {
	typ, attribute, value string
	prefix                bool // value is the beginning of what is looked for
}

// may reports whether a thing whose record is raw may be one; it saves most of the decoding where few are.
func (f *thingFilter) may(raw []byte) bool {
	return f.attribute == "" || bytes.Contains(raw, []byte(`"`+f.attribute+`":"`+f.value))
}

func (f *thingFilter) is(x *thing) bool {
	if f.typ != "" && x.Type != f.typ {
		return false
	}
	if f.attribute == "" {
		return true
	}
	value, ok := x.Attributes[f.attribute]
	return ok && (value == f.value || f.prefix && strings.HasPrefix(value, f.value))
}

func (c *call) listThings() (any, error) {
	p, err := c.page()
	prefix, perr := c.flag("usePrefixAttributeValue", false)
	f := thingFilter{
		typ: c.query.Get("thingTypeName"), attribute: c.query.Get("attributeName"), value: c.query.Get("attributeValue"), prefix: prefix,
	}
	err = errors.Join(err, perr, optional("thingTypeName", f.typ, nameConstraint), optional("attributeName", f.attribute, attributeNameConstraint),
		optional("attributeValue", f.value, attributeValueConstraint))
	if err != nil {
		return nil, err
	}
	if f.attribute == "" && f.value != "" {
		return nil, refuse(invalidRequest, "attributeValue needs attributeName.")
	}
	list, more := []thingSummary{}, false
	err = c.view(func(rd store.Reader) error {
		for x, err := range c.selectThings(rd, f, p.after) {
			if err != nil {
				return err
			}
			if more = len(list) == p.limit; more {
				return nil
			}
			list = append(list, c.summary(x))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	last := ""
	if len(list) > 0 {
		last = list[len(list)-1].ThingName
	}
	return struct {
		Things    []thingSummary `json:"things"`
		NextToken string         `json:"nextToken,omitempty"`
	}{list, nextToken(last, more)}, nil
}

// selectThings yields things of a filter behind a name, by the shortest way to them.
func (c *call) selectThings(rd store.RecordReader, f thingFilter, after string) func(func(*thing, error) bool) {
	prefix, index := keyThing, f.typ != "" && f.attribute == ""
	if index {
		prefix = keyThingTypeThing + f.typ + "/"
	}
	from := prefix
	if after != "" {
		from += after + "\x00"
	}
	return func(yield func(*thing, error) bool) {
		for r, err := range rd.RecordsFrom(c.tenant(), Name, prefix, from) {
			if err == nil && index { // which has no values
				r.Value, err = rd.Record(c.tenant(), Name, keyThing+r.Key[len(prefix):])
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !f.may(r.Value) {
				continue
			}
			x := new(thing)
			if err := decodeRecord(c.tenant(), r.Key, r.Value, x); err != nil {
				yield(nil, err)
				return
			}
			if f.is(x) && !yield(x, nil) {
				return
			}
		}
	}
}

func (c *call) updateThing() (any, error) {
	var in struct {
		ThingTypeName    string            `json:"thingTypeName"`
		AttributePayload *attributePayload `json:"attributePayload"`
		ExpectedVersion  int64             `json:"expectedVersion"`
		RemoveThingType  bool              `json:"removeThingType"`
	}
	name, err := c.label("thingName", nameConstraint)
	if err == nil {
		err = c.decode(&in)
	}
	if err == nil {
		err = errors.Join(optional("thingTypeName", in.ThingTypeName, nameConstraint), in.AttributePayload.check())
	}
	if err == nil && in.RemoveThingType && in.ThingTypeName != "" {
		err = refuse(invalidRequest, "removeThingType and thingTypeName cannot be used together.")
	}
	if err != nil {
		return nil, err
	}
	return nil, c.do(func(tx *commit.Tx) error {
		x, err := readThing(tx, c.tenant(), name)
		if err != nil {
			return noThing(err, name)
		}
		if in.ExpectedVersion != 0 && in.ExpectedVersion != x.Version {
			return conflict("thing", name)
		}
		old := x.Type
		if in.ThingTypeName != "" && in.ThingTypeName != old {
			if err := checkType(tx, c.tenant(), in.ThingTypeName); err != nil {
				return err
			}
			x.Type = in.ThingTypeName
		}
		if in.RemoveThingType {
			x.Type = ""
		}
		x.Attributes = in.AttributePayload.apply(x.Attributes)
		return c.d.changeThing(tx, &c.account, x, old)
	})
}

// changeThing writes a thing that was there, with another version, and tells of it. oldType is the type that it had.
func (d *Dialect) changeThing(tx *commit.Tx, a *account, x thing, oldType string) error {
	if err := x.checkCount(); err != nil {
		return err
	}
	x.Version++
	if err := d.putThing(tx, a.Tenant, x); err != nil {
		return err
	}
	if err := d.thingEvent(tx, a, "updated", x); err != nil || oldType == x.Type {
		return err
	}
	if oldType != "" {
		if err := d.associationEvent(tx, a, x, oldType, "removed"); err != nil {
			return err
		}
	}
	if x.Type == "" {
		return nil
	}
	return d.associationEvent(tx, a, x, x.Type, "added")
}

func (c *call) deleteThing() (any, error) {
	name, expected, err := c.version("thingName")
	if err != nil {
		return nil, err
	}
	return nil, c.do(func(tx *commit.Tx) error {
		x, err := readThing(tx, c.tenant(), name)
		if found, err := present(err); err != nil || !found {
			return err // what is not there is deleted (API reference, DeleteThing)
		}
		if expected != 0 && expected != x.Version {
			return conflict("thing", name)
		}
		principals, err := thingPrincipals(tx, c.tenant(), name)
		if err != nil {
			return err
		}
		if len(principals) > 0 {
			return refuse(invalidRequest, "Cannot delete. Thing %s is still attached to one or more principals", name)
		}
		if err := c.d.thingEvent(tx, &c.account, "deleted", x); err != nil {
			return err
		}
		return c.d.deleteThing(tx, c.tenant(), name)
	})
}

func (c *call) thingConnectivity() (any, error) {
	name, err := c.label("thingName", nameConstraint)
	if err != nil {
		return nil, err
	}
	var dev core.Device
	err = c.view(func(rd store.Reader) (err error) {
		dev, err = rd.Device(deviceKey(c.tenant(), name))
		return noThing(err, name)
	})
	if err != nil {
		return nil, err
	}
	out := map[string]any{"thingName": name, "connected": dev.Connected}
	if at := lastChange(&dev); !at.IsZero() {
		out["timestamp"] = epoch(at)
	}
	return out, nil
}
