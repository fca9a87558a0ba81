package astarte

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"sync"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/internal/engine"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/outbox"
)

// A Device is a device that talks to Astarte over MQTT. Its methods may be called from any goroutine, whether it is connected or not, and
// from its callbacks.
type Device struct {
	cfg      Config
	log      *slog.Logger
	base     string // the topic that all of the device's begin with
	pairing  *Pairing
	creds    *Credentials
	props    *properties
	volatile *outbox.Outbox

	pair      sync.Mutex // held while credentials are obtained
	identity  *identity.Identity
	transport Transport

	flights flights // of what is neither stored nor volatile

	present bool // the session was there on the last connection; belongs to the goroutine of the callbacks

	// announce is held while the introspection is sent, so that what is sent last is what counts.
	announce sync.Mutex
	// sending is held while a change of a property goes from the queue to the session, so that a new session does not overtake it.
	sending sync.Mutex

	mu         sync.Mutex
	interfaces Introspection
	announced  map[string]int // major versions of what Astarte was told in this session
	engine     *engine.Engine // nil unless Run runs
	cleared    bool           // Astarte may not know that all properties are gone
	closed     bool
}

// maxVolatileBytes bounds the memory of volatile values.
const maxVolatileBytes = 8 << 20

// New makes a device. It does no I/O and starts nothing; [Device.Run] does.
func New(cfg Config) (*Device, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	d := &Device{cfg: cfg, log: cfg.Logger, base: cfg.Realm + "/" + cfg.DeviceID, interfaces: NewIntrospection(cfg.Interfaces...)}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	d.log = d.log.With("device", "astarte/"+cfg.Realm+"/"+cfg.DeviceID)
	d.pairing = &Pairing{URL: cfg.PairingURL, Realm: cfg.Realm, HTTP: cfg.client()}
	d.creds = &Credentials{Pairing: d.pairing, DeviceID: cfg.DeviceID, Secret: cfg.CredentialsSecret, Dir: filepath.Join(cfg.Dir, "crypto"), Key: cfg.Key}
	d.props = newProperties(func() (PropertyStore, error) {
		if cfg.Properties != nil {
			return cfg.Properties, nil
		}
		return OpenPropertyFile(PropertyFile{Path: filepath.Join(cfg.Dir, "properties.log"), Logger: d.log})
	})
	limit := cfg.MaxVolatile
	if limit == 0 {
		limit = 10_000
	}
	var err error
	d.volatile, err = outbox.Open(context.Background(), outbox.Config{
		Store: outbox.NewMemory(), MaxMessages: limit, MaxBytes: maxVolatileBytes, Policy: outbox.DropOldest,
		OnDrop: func(drop outbox.Drop) { d.log.Warn("volatile value dropped", "reason", drop.Reason) },
	})
	if err != nil {
		return nil, fmt.Errorf("astarte device: %w", err)
	}
	return d, nil
}

// ID returns the device's ID.
func (d *Device) ID() string { return d.cfg.DeviceID }

// Realm returns the name of the device's realm.
func (d *Device) Realm() string { return d.cfg.Realm }

// State tells how far the device is.
func (d *Device) State() ConnectionState {
	e := d.running()
	switch {
	case e == nil:
		return Disconnected
	case e.Connected():
		return Connected
	}
	return Connecting
}

// Connected tells whether values go out at once.
func (d *Device) Connected() bool { return d.State() == Connected }

// running returns the engine, nil unless Run runs.
func (d *Device) running() *engine.Engine {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.engine
}

// Close frees the properties' file, for another Device of the same folder. Call it after Run has returned; what is volatile is lost.
func (d *Device) Close() error {
	d.mu.Lock()
	runs := d.engine != nil
	d.closed = d.closed || !runs
	d.mu.Unlock()
	if runs {
		return fmt.Errorf("close device: %w: Run has not returned", fairlead.ErrInUse)
	}
	if err := errors.Join(d.props.close(), d.volatile.Close()); err != nil {
		return fmt.Errorf("close device: %w", err)
	}
	return nil
}

// Interfaces returns the interfaces that the device declares, in order of their names.
func (d *Device) Interfaces() []*Interface {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.interfaces.All()
}

// Interface returns the interface of that name, if the device declares one.
func (d *Device) Interface(name string) (*Interface, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, ok := d.interfaces[name]
	return i, ok
}

// AddInterface declares an interface, in place of one of the same name. While connected Astarte is told at once, and asked for the
// properties that it holds for the interface; otherwise it is told when the device connects.
func (d *Device) AddInterface(ctx context.Context, i *Interface) error {
	if i == nil {
		return fmt.Errorf("add interface: %w: it is nil", fairlead.ErrInvalid)
	}
	d.mu.Lock()
	before := d.interfaces[i.Name()]
	d.interfaces.Add(i)
	e := d.engine
	d.mu.Unlock()
	if before != nil && before.IsServerOwned() && !i.IsServerOwned() && e != nil {
		e.Unsubscribe(d.filter(before))
	}
	if e == nil {
		return nil
	}
	if i.IsServerOwned() {
		// Astarte may send as soon as it knows the interface, and has to have somebody to send it to.
		var err error
		if e.Connected() {
			_, err = e.Subscribe(ctx, d.subscription(i))
		} else {
			err = e.Register(d.subscription(i))
		}
		if err != nil {
			return fmt.Errorf("add interface %s: %w", i.Name(), err)
		}
	}
	d.tell(ctx, e, i.IsServerOwned() && i.IsProperties())
	return nil
}

// RemoveInterface withdraws an interface, and forgets its properties. The error wraps [ErrInterfaceNotFound] if the device does not
// declare it. Values of it that wait to be sent are dropped.
func (d *Device) RemoveInterface(ctx context.Context, name string) error {
	d.mu.Lock()
	i, ok := d.interfaces[name]
	d.interfaces.Remove(name)
	e := d.engine
	d.mu.Unlock()
	if !ok {
		return fmt.Errorf("remove interface %q: %w", name, ErrInterfaceNotFound)
	}
	if i.IsProperties() {
		if err := d.props.forget(ctx, func(s *StoredProperty) bool { return s.Interface == name }); err != nil {
			return fmt.Errorf("remove interface %s: forget its properties: %w", name, err)
		}
	}
	if e != nil {
		d.tell(ctx, e, false)
		if i.IsServerOwned() {
			e.Unsubscribe(d.filter(i))
		}
	}
	return nil
}

// tell sends the introspection if there is a connection. Without one, or if that ends now, it is sent on the next one.
func (d *Device) tell(ctx context.Context, e *engine.Engine, emptyCache bool) {
	d.announce.Lock()
	defer d.announce.Unlock()
	text, versions := d.introspection()
	if err := d.sendNow(ctx, e, d.control("", []byte(text))); err != nil {
		return
	}
	d.mu.Lock()
	d.announced = versions
	d.mu.Unlock()
	if emptyCache {
		_ = d.sendNow(ctx, e, d.control("/control/emptyCache", []byte("1"))) // likewise
	}
}

// introspection returns what Astarte is to be told.
func (d *Device) introspection() (text string, versions map[string]int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	versions = make(map[string]int, len(d.interfaces))
	for name, i := range d.interfaces {
		versions[name] = i.Major()
	}
	return d.interfaces.String(), versions
}

// known tells whether Astarte was told of an interface in this session.
func (d *Device) known(name string, major int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	m, ok := d.announced[name]
	return ok && m == major
}

// upToDate tells whether Astarte was told of all interfaces.
func (d *Device) upToDate() bool {
	_, versions := d.introspection()
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Equal(d.announced, versions) && !d.cleared
}

// control is a message about the device itself.
func (d *Device) control(topic string, payload []byte) mqtt.Publish {
	return mqtt.Publish{Topic: []byte(d.base + topic), Payload: payload, QoS: 2}
}

func (d *Device) filter(i *Interface) string { return d.base + "/" + i.Name() + "/#" }

func (d *Device) subscription(i *Interface) engine.Subscription {
	return engine.Subscription{Subscription: mqtt.Subscription{Filter: d.filter(i), QoS: 2}, Handler: d.receive}
}
