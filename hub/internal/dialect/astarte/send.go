package astarte

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/document"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// setServerValue sends a value of a server-owned interface to a device that declares it, and stores it. raw is the
// value as JSON, path that of the mapping or of the object.
//
// A property is stored whether the device can be told now or not, for an emptyCache will tell it later; and so is a
// value of an unreliable datastream. A value of a guaranteed or unique one that no session takes is core.ErrUnreachable
// and not stored. (A session that is offline but persistent takes it.) The other errors are errDeviceOwned,
// errEndpointNotFound, errPartialPath, errObjectPath, a *typeError, errValueSize, errObjectKey and errMissingKey.
func (d *Dialect) setServerValue(tx *commit.Tx, dev core.Device, i *astartewire.Interface, path string, raw json.RawMessage) error {
	if i.Ownership != astartewire.OwnershipServer {
		return fmt.Errorf("set %s%s: %w", i.Name, path, errDeviceOwned)
	}
	if i.Aggregation == astartewire.AggregationObject {
		return d.sendObject(tx, dev, i, path, raw)
	}
	m, err := resolveForWriting(i, path)
	if err != nil {
		return err
	}
	v, err := m.Type.ParseJSON(raw)
	if err != nil {
		return fmt.Errorf("set %s%s: %w", i.Name, path, valueError(m.Type, err))
	}
	value, err := core.Append(nil, v)
	if err != nil {
		return fmt.Errorf("set %s%s: %w", i.Name, path, err)
	}
	if i.Kind == astartewire.KindProperties {
		_, err := document.Set(tx, propertiesOf(dev, i), path, value) // its event becomes the message, see Notify
		return err
	}
	payload, err := m.Type.AppendPayload(nil, v)
	if err != nil {
		return fmt.Errorf("set %s%s: %w", i.Name, path, valueError(m.Type, err))
	}
	return d.sendSample(tx, dev, i, path, core.Message{Payload: payload, QoS: i.QoS(m)}, value)
}

func (d *Dialect) sendObject(tx *commit.Tx, dev core.Device, i *astartewire.Interface, path string, raw json.RawMessage) error {
	if path == "" {
		path = "/" // endpoints of one level; the form that devices' messages have too
	}
	o, err := i.ResolveObject(path)
	if err != nil || len(path) > maxPathBytes {
		return fmt.Errorf("set %s: path of %d bytes: %w", i.Name, len(path), errObjectPath)
	}
	values, err := o.ParseJSON(raw)
	if err != nil {
		return fmt.Errorf("set %s%s: %w", i.Name, path, valueError(0, err))
	}
	payload, err := o.AppendPayload(nil, values)
	if err != nil {
		return fmt.Errorf("set %s%s: %w", i.Name, path, valueError(0, err))
	}
	value, err := core.Append(nil, values)
	if err != nil {
		return fmt.Errorf("set %s%s: %w", i.Name, path, err)
	}
	return d.sendSample(tx, dev, i, path, core.Message{Payload: payload, QoS: i.QoS(o.Mappings[0])}, value)
}

// sendSample publishes m, whose topic it sets, and stores the value if that may be done.
func (d *Dialect) sendSample(tx *commit.Tx, dev core.Device, i *astartewire.Interface, path string, m core.Message, v core.Value) error {
	m.Topic = baseTopic(dev.DeviceKey) + "/" + i.Name + path
	took, err := d.cfg.Broker.PublishTo(tx, sessionKey(dev.DeviceKey), m)
	if err != nil && !errors.Is(err, core.ErrTooLarge) { // a full queue is no way to the device either
		return err
	}
	if !took && m.QoS > 0 {
		return fmt.Errorf("send %s%s to %s: %w", i.Name, path, dev.DeviceKey, core.ErrUnreachable)
	}
	now := tx.Now().UnixMicro()
	b := core.Block{Series: &core.Series{Device: dev.Num, Channel: channel(i, path)}}
	b.Add(now, now, v)
	return tx.AppendBlock(&b)
}

// unsetServerProperty deletes a server-owned property and tells the device, also if it was not set; errDeviceOwned,
// errEndpointNotFound, errPartialPath, errObjectPath, errUnsetNotAllowed.
func (d *Dialect) unsetServerProperty(tx *commit.Tx, dev core.Device, i *astartewire.Interface, path string) error {
	if i.Ownership != astartewire.OwnershipServer {
		return fmt.Errorf("unset %s%s: %w", i.Name, path, errDeviceOwned)
	}
	if i.Aggregation == astartewire.AggregationObject {
		if _, err := i.ResolveObject(path); err != nil {
			return fmt.Errorf("unset %s%s: %w", i.Name, path, errObjectPath)
		}
		return fmt.Errorf("unset %s%s: %w", i.Name, path, errUnsetNotAllowed)
	}
	m, err := resolveForWriting(i, path)
	if err != nil {
		return err
	}
	if i.Kind != astartewire.KindProperties || !m.AllowUnset {
		return fmt.Errorf("unset %s%s: %w", i.Name, path, errUnsetNotAllowed)
	}
	_, err = document.Delete(tx, propertiesOf(dev, i), path)
	return err
}

// maxPathBytes keeps the topics of server-owned data, REALM/DEVICE/INTERFACE/path, within the 65,535 bytes of MQTT.
const maxPathBytes = 65_000

func resolveForWriting(i *astartewire.Interface, path string) (*astartewire.Mapping, error) {
	m, err := i.Resolve(path)
	switch {
	case len(path) > maxPathBytes:
		return nil, fmt.Errorf("write %s: path of %d bytes: %w", i.Name, len(path), errEndpointNotFound)
	case errors.Is(err, astartewire.ErrAmbiguousPath):
		return nil, fmt.Errorf("write %s%s: %w", i.Name, path, errPartialPath)
	case err != nil:
		return nil, fmt.Errorf("write %s%s: %w", i.Name, path, errEndpointNotFound)
	}
	return m, nil
}

// propertiesOf names the document that holds a property interface's values.
func propertiesOf(dev core.Device, i *astartewire.Interface) document.Ref {
	ref := document.Ref{Device: dev, Name: docName(i), Side: core.Reported}
	if i.Ownership == astartewire.OwnershipServer {
		ref.Side = core.Desired
	}
	return ref
}

// reportedSide is in every change of a property that the device owns, and in no other: quotation marks in texts are escaped.
var reportedSide = []byte(`"side":"reported"`)

// Notify turns changes of server-owned properties into messages for the device, whoever made them. A change that breaks
// the rules of the interface is refused as core.ErrInvalid, and so undone: one that was made around AppEngine.
func (d *Dialect) Notify(tx *commit.Tx, e core.Event) error {
	d.recall.Changing(tx, e)
	switch e.Kind {
	case core.TenantDeleted:
		d.forgetRealm(tx, e.Device.Tenant)
		return nil
	case core.DeviceDeleted:
		return tx.DeleteRecord(e.Device.Tenant, dialectName, keyDevices+string(e.Device.ID))
	case core.DocumentChanged:
		if bytes.Contains(e.Data, reportedSide) {
			return nil // what the device says itself; told quickly, because there can be very many
		}
	default:
		return nil
	}
	var c core.EntryChange
	if err := json.Unmarshal(e.Data, &c); err != nil {
		return fmt.Errorf("event %d: %w: %v", e.Seq, core.ErrInvalid, err)
	}
	if c.Side != core.Desired.String() {
		return nil
	}
	r, err := d.realmIn(tx, e.Device.Tenant)
	if err != nil {
		return err
	}
	name, major, _ := parseVersioned(c.Document)
	i := r.iface(name, major)
	payload, err := propertyPayload(i, c)
	if err != nil {
		return fmt.Errorf("property %s%s: %w", c.Document, c.Path, err)
	}
	// A device that declares another major version, or none, must not get it: it would take the value for one of its
	// own definition, and a scalar on what it knows as an object kills the Python SDK (observed).
	m, err := loadModel(tx, e.Device)
	if err != nil {
		return err
	}
	if v, ok := m.Introspection[name]; !ok || v.Major != major {
		return nil
	}
	_, err = d.cfg.Broker.PublishTo(tx, sessionKey(e.Device), core.Message{
		Topic: baseTopic(e.Device) + "/" + name + c.Path, Payload: payload, QoS: 2,
	})
	if !errors.Is(err, core.ErrTooLarge) {
		return err
	}
	// The queue is full. The device must not miss the change for good: without its session it asks for everything.
	m.PendingEmptyCache = true
	if err := saveModel(tx, e.Device, m); err != nil {
		return err
	}
	return d.cfg.Broker.Disconnect(tx, sessionKey(e.Device), true, "queue full")
}

// propertyPayload returns the message for a change of a property of i, which is nil if there is no such interface. The
// payload of an unset property is empty.
func propertyPayload(i *astartewire.Interface, c core.EntryChange) ([]byte, error) {
	if i == nil {
		return nil, errInterfaceNotFound
	}
	if i.Ownership != astartewire.OwnershipServer || i.Kind != astartewire.KindProperties {
		return nil, fmt.Errorf("%w: not a server-owned property interface", core.ErrInvalid)
	}
	m, err := resolveForWriting(i, c.Path)
	if err != nil {
		return nil, err
	}
	if c.New == nil {
		if !m.AllowUnset {
			return nil, errUnsetNotAllowed
		}
		return nil, nil
	}
	return encodeProperty(m, c.New)
}

// encodeProperty returns the payload for a stored value.
func encodeProperty(m *astartewire.Mapping, v core.Value) ([]byte, error) {
	x, err := v.Decode()
	if err != nil {
		return nil, fmt.Errorf("%w: %v", core.ErrInvalid, err)
	}
	payload, err := m.Type.AppendPayload(nil, x)
	if err != nil {
		return nil, valueError(m.Type, err)
	}
	return payload, nil
}
