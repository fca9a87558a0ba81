package astarte

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/engine"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
	"github.com/fairlead-iot/fairlead/outbox"
)

// SendOptions are the extras of [Device.Send] and [Device.SendObject].
type SendOptions struct {
	// Time is the value's own timestamp. Mappings with explicit_timestamp require one, others refuse it.
	Time time.Time
}

// maxPacketBytes is what Astarte's broker takes: a longer packet would end the connection, and come back on the next one for ever.
const maxPacketBytes = 65_535

// Send sends a value to a path of an interface that is a datastream of individual values. What happens to it is the mapping's matter:
//
//   - retention stored: Send returns when the value is in [Config.Outbox]. It is sent now or later, and deleted when Astarte has
//     acknowledged it, or when its expiry is over. The errors are those of [outbox.Outbox.Append].
//   - retention volatile: the same, in memory.
//   - retention discard, which is the default: the value is sent now, or Send fails with [ErrDisconnected]. Send waits when very many are
//     in flight, until ctx ends.
//
// What the interface does not allow is a [*ValidationError]; the error wraps [ErrInterfaceNotFound] if the device does not declare the
// interface.
func (d *Device) Send(ctx context.Context, name, path string, value any, opts *SendOptions) error {
	return d.send(ctx, name, path, value, opts, false)
}

// SendObject sends an object to a path of an interface with object aggregation: the part that all its endpoints have in common. All
// members have to be there. For the rest it is like [Device.Send].
func (d *Device) SendObject(ctx context.Context, name, path string, object Object, opts *SendOptions) error {
	if object == nil {
		object = Object{}
	}
	return d.send(ctx, name, path, object, opts, true)
}

func (d *Device) send(ctx context.Context, name, path string, value any, opts *SendOptions, object bool) error {
	i, err := d.owned(name, path)
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	var at time.Time
	if opts != nil {
		at = opts.Time
	}
	if i.IsProperties() {
		return fmt.Errorf("send: %w", i.at(path, invalid("this is an interface of properties: see SetProperty")))
	}
	e, err := i.encode(path, value, at)
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if err := d.fits(i, path, e.payload); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if !object {
		d.warnOfExtremes(name, path, value)
	}
	if err := d.dispatch(ctx, i, e.mapping, path, e.payload); err != nil {
		return fmt.Errorf("send to %s %s: %w", name, path, err)
	}
	return nil
}

// owned returns an interface of the device's own.
func (d *Device) owned(name, path string) (*Interface, error) {
	i, ok := d.Interface(name)
	if !ok {
		return nil, fmt.Errorf("%q: %w", name, ErrInterfaceNotFound)
	}
	if i.IsServerOwned() {
		return nil, i.at(path, invalid("Astarte owns this interface"))
	}
	return i, nil
}

func (d *Device) fits(i *Interface, path string, payload []byte) error {
	if n := len(d.base) + 1 + len(i.Name()) + len(path) + len(payload) + 4; n > maxPacketBytes {
		return i.at(path, tooLarge(fmt.Sprintf("a packet of %d bytes, Astarte takes %d", n, maxPacketBytes)))
	}
	return nil
}

// warnOfExtremes: the platform refuses the smallest number of each size, though its own SDKs send it (astarte_core mapping/value_type.ex,
// 1.4.0-rc.4). A Fairlead hub takes it.
func (d *Device) warnOfExtremes(name, path string, value any) {
	n := int64(0)
	switch v := value.(type) {
	case int:
		n = int64(v)
	case int32:
		n = int64(v)
	case int64:
		n = v
	}
	if n == math.MinInt32 || n == math.MinInt64 {
		d.log.Warn("Astarte may refuse this number, and end the connection", "interface", name, "path", path)
	}
}

// dispatch does what the mapping's retention says.
func (d *Device) dispatch(ctx context.Context, i *Interface, m *astartewire.Mapping, path string, payload []byte) error {
	qos := i.w.QoS(m)
	if m.Retention == astartewire.RetentionDiscard {
		e := d.running()
		if e == nil {
			return ErrDisconnected
		}
		d.introduce(ctx, e, i)
		err := d.sendNow(ctx, e, mqtt.Publish{Topic: []byte(d.base + "/" + i.Name() + path), Payload: payload, QoS: qos})
		if errors.Is(err, fairlead.ErrUnavailable) || errors.Is(err, fairlead.ErrClosed) {
			return ErrDisconnected
		}
		return err
	}
	box := d.cfg.Outbox
	if box == nil || m.Retention == astartewire.RetentionVolatile {
		box = d.volatile
	}
	_, err := box.Append(ctx, outbox.Message{
		Header: appendHeader(nil, header{qos, i.Major(), i.Name() + path}), Payload: payload, Lifetime: time.Duration(m.Expiry) * time.Second,
	})
	return err
}

// A header says where a message of the outbox goes.
type header struct {
	qos   byte
	major int    // of the interface
	topic string // behind the device's own: the interface's name, and the path
}

// headerVersion is the first byte of headers. Messages outlive the program that has written them.
const headerVersion = 1

func appendHeader(b []byte, h header) []byte {
	b = append(b, headerVersion, h.qos)
	b = binary.AppendUvarint(b, uint64(h.major))
	return append(b, h.topic...)
}

func parseHeader(b []byte) (header, error) {
	if len(b) < 3 || b[0] != headerVersion || b[1] > 2 {
		return header{}, fmt.Errorf("%w: the message was not written by this package", fairlead.ErrInvalid)
	}
	major, n := binary.Uvarint(b[2:])
	if n <= 0 || major > math.MaxInt32 || 2+n == len(b) {
		return header{}, fmt.Errorf("%w: the message was not written by this package", fairlead.ErrInvalid)
	}
	return header{b[1], int(major), string(b[2+n:])}, nil
}

// decodeEntry makes a packet of a message of an outbox. One of an interface that is not declared any more is of no use: Astarte would
// refuse it, and end the connection.
func (d *Device) decodeEntry(entry *outbox.Entry) (mqtt.Publish, error) {
	h, err := parseHeader(entry.Header)
	if err != nil {
		return mqtt.Publish{}, err
	}
	name, _, _ := strings.Cut(h.topic, "/")
	i, ok := d.Interface(name)
	if !ok || i.Major() != h.major {
		return mqtt.Publish{}, fmt.Errorf("%w: the device does not declare %s %d any more", fairlead.ErrInvalid, name, h.major)
	}
	if e := d.running(); e != nil {
		d.introduce(context.Background(), e, i) // it ends with the connection
	}
	return mqtt.Publish{Topic: []byte(d.base + "/" + h.topic), Payload: entry.Payload, QoS: h.qos}, nil
}

// SetProperty sets a property on an interface of the device's own. It returns when the value is stored; Astarte is told now, or when the
// device connects. Each value is sent while there is a connection; of those that were set without one, the last one counts.
func (d *Device) SetProperty(ctx context.Context, name, path string, value any) error {
	i, err := d.owned(name, path)
	if err == nil && !i.IsProperties() {
		err = i.at(path, invalid("this is a datastream: see Send"))
	}
	if err != nil {
		return fmt.Errorf("set property: %w", err)
	}
	e, err := i.encode(path, value, time.Time{})
	if err == nil {
		err = d.fits(i, path, e.payload)
	}
	if err != nil {
		return fmt.Errorf("set property: %w", err)
	}
	d.warnOfExtremes(name, path, value)
	if err := d.props.write(ctx, true, d.own(i, path, e.payload)); err != nil {
		return fmt.Errorf("set property %s %s: %w", name, path, err)
	}
	return nil
}

// UnsetProperty unsets a property on an interface of the device's own, whose mapping has to have allow_unset. It is no error if it was
// not set.
func (d *Device) UnsetProperty(ctx context.Context, name, path string) error {
	i, err := d.owned(name, path)
	switch {
	case err != nil:
	case !i.IsProperties():
		err = i.at(path, invalid("this is a datastream: only properties can be unset"))
	default:
		if err = i.CheckPath(path); err == nil && !i.CanUnset(path) {
			err = i.at(path, invalid("the mapping has no allow_unset"))
		}
	}
	if err != nil {
		return fmt.Errorf("unset property: %w", err)
	}
	if err := d.props.write(ctx, true, d.own(i, path, nil)); err != nil {
		return fmt.Errorf("unset property %s %s: %w", name, path, err)
	}
	return nil
}

func (d *Device) own(i *Interface, path string, payload []byte) StoredProperty {
	return StoredProperty{Interface: i.Name(), Major: i.Major(), Path: path, Ownership: DeviceOwned, Payload: payload, Unsent: true}
}

// Property returns the value of a property, of the device's own or of Astarte's, as it is stored here: without a connection, too. The
// error wraps fairlead.ErrNotFound if it is not set, and [ErrInterfaceNotFound] if the device does not declare the interface.
func (d *Device) Property(ctx context.Context, name, path string) (any, error) {
	i, ok := d.Interface(name)
	if !ok {
		return nil, fmt.Errorf("property of %q: %w", name, ErrInterfaceNotFound)
	}
	s, err := d.props.get(ctx, i, path)
	if err == nil {
		if p, ok := i.value(&s); ok {
			return p.Value, nil
		}
		err = fairlead.ErrNotFound
	}
	return nil, fmt.Errorf("property %s %.200q: %w", name, path, err)
}

// InterfaceProperties returns the properties of an interface that are set, in order of their paths. The error wraps
// [ErrInterfaceNotFound] if the device does not declare it.
func (d *Device) InterfaceProperties(ctx context.Context, name string) ([]Property, error) {
	if _, ok := d.Interface(name); !ok {
		return nil, fmt.Errorf("properties of %q: %w", name, ErrInterfaceNotFound)
	}
	return d.list(ctx, func(s *StoredProperty) bool { return s.Interface == name })
}

// Properties returns all properties that are set, the device's own and Astarte's, in order of interface and path.
func (d *Device) Properties(ctx context.Context) ([]Property, error) {
	return d.list(ctx, func(*StoredProperty) bool { return true })
}

// DeviceProperties returns the device's own properties.
func (d *Device) DeviceProperties(ctx context.Context) ([]Property, error) {
	return d.list(ctx, func(s *StoredProperty) bool { return s.Ownership == DeviceOwned })
}

// ServerProperties returns the properties that Astarte has set.
func (d *Device) ServerProperties(ctx context.Context) ([]Property, error) {
	return d.list(ctx, func(s *StoredProperty) bool { return s.Ownership == ServerOwned })
}

func (d *Device) list(ctx context.Context, match func(*StoredProperty) bool) ([]Property, error) {
	stored, err := d.props.list(ctx, match)
	if err != nil {
		return nil, fmt.Errorf("properties: %w", err)
	}
	var all []Property
	for k := range stored {
		if i, ok := d.Interface(stored[k].Interface); ok {
			if p, ok := i.value(&stored[k]); ok {
				all = append(all, p)
			}
		}
	}
	return all, nil
}

// ClearProperties forgets all properties, as a factory reset does. Astarte is told that the device's own are gone, now or when the device
// connects; its own ones it sends again when the device begins a new session.
func (d *Device) ClearProperties(ctx context.Context) error {
	if err := d.props.forget(ctx, func(*StoredProperty) bool { return true }); err != nil {
		return fmt.Errorf("clear properties: %w", err)
	}
	d.mu.Lock()
	e := d.engine
	d.cleared = true // should the list not arrive
	d.mu.Unlock()
	if e != nil {
		_ = d.sendNow(ctx, e, d.control("/control/producer/properties", astartewire.AppendPurgeList(nil, nil)))
	}
	return nil
}

// sendVolatile sends what is in memory while there is a connection, and begins anew when a session was lost.
func (d *Device) sendVolatile(ctx context.Context, e *engine.Engine) {
	v := volatileSender{d: d, e: e, tracked: map[outbox.ID]struct{}{}}
	for ctx.Err() == nil {
		inner, cancel := context.WithCancel(ctx)
		v.mu.Lock()
		v.again = cancel
		v.mu.Unlock()
		v.run(inner)
		cancel()
	}
}

type volatileSender struct {
	d *Device
	e *engine.Engine

	mu      sync.Mutex
	again   context.CancelFunc
	tracked map[outbox.ID]struct{} // in flight
}

func (v *volatileSender) run(ctx context.Context) {
	for r := v.d.volatile.Reader(); ; {
		page, err := r.Next(ctx, 128)
		if err != nil {
			return // it is to end, or to begin anew
		}
		for k := range page {
			if err := v.e.Await(ctx); err != nil {
				return
			}
			if !v.send(ctx, &page[k]) {
				return
			}
		}
	}
}

// send returns false if the connection ended before the message was in flight.
func (v *volatileSender) send(ctx context.Context, entry *outbox.Entry) bool {
	v.mu.Lock()
	_, tracked := v.tracked[entry.ID]
	v.tracked[entry.ID] = struct{}{}
	v.mu.Unlock()
	if tracked {
		return true
	}
	p, err := v.d.decodeEntry(entry)
	if err == nil && !entry.Expires.IsZero() && !time.Now().Before(entry.Expires) { // while it waited here for a connection
		err = fairlead.ErrExpired
	}
	if err == nil {
		err = v.e.Send(ctx, p, func(err error) { v.done(entry.ID, err) })
	}
	if err != nil {
		v.done(entry.ID, err)
	}
	return err == nil || !again(err)
}

// again tells whether a message may fare better on another connection.
func again(err error) bool {
	return errors.Is(err, fairlead.ErrUnavailable) || errors.Is(err, fairlead.ErrClosed) || errors.Is(err, context.Canceled)
}

func (v *volatileSender) done(id outbox.ID, err error) {
	if err == nil || !again(err) {
		if err != nil {
			v.d.log.Warn("volatile value dropped", "err", err)
		}
		_ = v.d.volatile.Delete(context.Background(), id) // in memory, so it neither waits nor fails
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.tracked, id)
	if err != nil && again(err) {
		v.again() // the reader has passed it
	}
}
