package astarte

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/internal/engine"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// Run connects the device, and keeps it connected, until ctx ends; then it disconnects in order and returns nil. It gets a certificate
// when there is none, renews it in time and when Astarte does not accept it any more (a certificate that cannot be renewed is used as
// long as it is valid), and does not give up: [Config.OnConnection] is told what is wrong. Other errors are those of files. When it has
// returned it can be called again.
func (d *Device) Run(ctx context.Context) error {
	e, err := d.begin(ctx)
	if err != nil {
		return fmt.Errorf("run device: %w", err)
	}
	// Before anything is sent, because who cannot read what was set must not tell Astarte that nothing is.
	if _, err = d.props.list(ctx, func(*StoredProperty) bool { return false }); err == nil {
		inner, cancel := context.WithCancelCause(ctx)
		var loops sync.WaitGroup
		loops.Go(func() { d.sendProperties(inner, e) })
		loops.Go(func() { d.sendVolatile(inner, e) })
		err = e.Run(inner)
		cancel(err)
		loops.Wait()
		if e := d.props.settle(context.WithoutCancel(ctx)); e != nil {
			d.log.Error("properties cannot be stored", "err", e)
		}
	}
	d.mu.Lock()
	d.engine, d.announced = nil, nil
	d.mu.Unlock()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("run device: %w", err)
}

// begin makes the engine.
func (d *Device) begin(ctx context.Context) (*engine.Engine, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return nil, fairlead.ErrClosed
	case d.engine != nil:
		return nil, fmt.Errorf("%w: it runs", fairlead.ErrInUse)
	}
	var e *engine.Engine
	e, err := engine.New(engine.Config{
		Prepare: d.prepare,
		Session: mqttclient.Config{Version: mqtt.V311, MaxInFlight: d.cfg.MaxInFlight},
		Start:   d.start,
		Outbox:  d.cfg.Outbox,
		Decode:  d.decodeEntry,
		OnEvent: func(ev engine.Event) { d.connection(ev, ctx.Err() != nil) },
		OnReady: d.ready,
		Backoff: engine.Backoff{Base: d.cfg.MinBackoff, Max: d.cfg.MaxBackoff},
		Logger:  d.log,
	})
	if err != nil {
		return nil, err
	}
	subs := []engine.Subscription{{Subscription: mqtt.Subscription{Filter: d.base + "/control/consumer/properties", QoS: 2}, Handler: d.receive}}
	for _, i := range d.interfaces.ServerOwned() {
		subs = append(subs, d.subscription(i))
	}
	if err := e.Register(subs...); err != nil {
		return nil, err
	}
	d.engine = e
	return e, nil
}

// Pair gets a certificate, if there is none that Astarte accepts, and asks for the broker's address. Run does that by itself, again and
// again; call Pair before it to learn of a wrong secret or address at once. Errors of Astarte are a [fairlead.PlatformError].
func (d *Device) Pair(ctx context.Context) error {
	d.pair.Lock()
	defer d.pair.Unlock()
	usable, err := d.creds.Usable(ctx)
	if err == nil && !usable {
		d.identity, err = d.creds.Obtain(ctx)
	}
	if err == nil {
		d.transport, err = d.pairing.Transport(ctx, d.cfg.DeviceID, d.cfg.CredentialsSecret)
	}
	if err != nil {
		return fmt.Errorf("pair device: %w", err)
	}
	return nil
}

// doubt is after how many attempts that failed for reasons unknown Astarte is asked whether it accepts the certificate, and where the
// broker is now.
const doubt = 3

// prepare says how to connect.
func (d *Device) prepare(ctx context.Context, a engine.Attempt) (*engine.Connection, error) {
	d.pair.Lock()
	defer d.pair.Unlock()
	if err := d.certificate(ctx, a); err != nil {
		return nil, err
	}
	if d.transport.Host == "" || a.Number%doubt == 0 {
		t, err := d.pairing.Transport(ctx, d.cfg.DeviceID, d.cfg.CredentialsSecret)
		if err != nil && d.transport.Host == "" {
			return nil, err
		}
		if err == nil {
			d.transport = t
		}
	}
	tlsConfig := d.cfg.tls()
	tlsConfig.ServerName = d.transport.Host
	tlsConfig.GetClientCertificate = d.identity.GetClientCertificate
	keepAlive := d.cfg.KeepAlive
	if keepAlive == 0 {
		keepAlive = time.Minute
	}
	from, to := d.identity.Life()
	return &engine.Connection{
		Dialer: mqttclient.Dialer{
			Address: net.JoinHostPort(d.transport.Host, strconv.Itoa(d.transport.Port)), TLS: tlsConfig, DialContext: d.cfg.Dial,
		},
		Connect: mqtt.Connect{ClientID: d.base, KeepAlive: uint16(keepAlive / time.Second)},
		RenewAt: identity.RenewAt(from, to),
	}, nil
}

// certificate sees to it that there is one, and gets another one when it has to. It is called with pair held.
func (d *Device) certificate(ctx context.Context, a engine.Attempt) error {
	if d.identity == nil {
		id, err := d.creds.Load()
		switch {
		case errors.Is(err, fairlead.ErrNotFound), errors.Is(err, fairlead.ErrConflict):
			id = nil
		case err != nil:
			return err
		}
		if id == nil || id.Check() != nil {
			if id, err = d.creds.Obtain(ctx); err != nil {
				return err
			}
		}
		d.identity = id
		return nil
	}
	if a.Renewal || d.identity.Check() != nil {
		return d.creds.Renew(ctx, d.identity)
	}
	// A broker does not say that it is the certificate; in TLS 1.2 it just hangs up.
	if !errors.Is(a.Last, fairlead.ErrUnauthenticated) && !errors.Is(a.Last, fairlead.ErrDenied) && a.Number%doubt != 0 {
		return nil
	}
	v, err := d.pairing.Verify(ctx, d.cfg.DeviceID, d.cfg.CredentialsSecret, chainOf(d.identity))
	switch {
	case errors.Is(err, fairlead.ErrUnavailable):
		d.log.Debug("certificate not verified", "err", err) // it may still be good
		return nil
	case err != nil:
		return err
	case v.Valid:
		return nil
	}
	d.log.Info("Astarte does not accept the certificate any more", "reason", v.Cause)
	return d.creds.Renew(ctx, d.identity)
}

// start tells Astarte about the device when it knows nothing, or not all: see "Astarte MQTT v1 protocol", "Connection". The engine has
// sent the subscriptions.
func (d *Device) start(ctx context.Context, s *engine.Start) error {
	if !s.Fresh && d.upToDate() {
		return nil // it knows everything, and what has changed comes in order
	}
	d.announce.Lock()
	text, versions := d.introspection()
	err := s.Send(ctx, d.control("", []byte(text)))
	d.mu.Lock()
	d.announced, d.cleared = versions, false
	d.mu.Unlock()
	d.announce.Unlock()
	if err != nil {
		return err
	}
	if err := s.Send(ctx, d.control("/control/emptyCache", []byte("1"))); err != nil {
		return err
	}
	d.sending.Lock() // whoever holds it sends on the old connection, and is about to fail
	all, err := d.props.beginAnew(ctx)
	d.sending.Unlock()
	if err != nil {
		return err
	}
	var items []string
	told := all[:0:0]
	for _, c := range all {
		i, ok := d.Interface(c.Interface)
		if !ok || i.Major() != c.Major || i.IsServerOwned() {
			continue
		}
		told = append(told, c)
		if _, ok := i.value(&c.StoredProperty); !ok {
			continue // unset, which the list says, or not what the definition allows any more
		}
		items = append(items, c.purgeItem())
		if err := s.Send(ctx, d.property(&c)); err != nil {
			return err
		}
	}
	if err := s.Send(ctx, d.control("/control/producer/properties", astartewire.AppendPurgeList(nil, items))); err != nil {
		return err
	}
	if err := s.Flush(ctx); err != nil {
		return err
	}
	d.props.known(told...)
	return nil
}

// property is the message that sets or unsets a property.
func (d *Device) property(c *change) mqtt.Publish {
	return mqtt.Publish{Topic: []byte(d.base + "/" + c.Interface + c.Path), Payload: c.Payload, QoS: 2}
}

// sendProperties sends changes of properties while there is a connection, and notes which ones Astarte knows.
func (d *Device) sendProperties(ctx context.Context, e *engine.Engine) {
	for {
		select {
		case <-d.props.wake:
		case <-ctx.Done():
			return
		}
		for d.sendProperty(ctx, e) {
		}
		if err := d.props.settle(ctx); err != nil && ctx.Err() == nil {
			d.log.Error("properties cannot be stored, will try again", "err", err)
		}
	}
}

// sendProperty sends the next change. It returns false if there is none or no connection.
func (d *Device) sendProperty(ctx context.Context, e *engine.Engine) bool {
	d.sending.Lock()
	defer d.sending.Unlock()
	if !e.Connected() {
		return false
	}
	c, ok := d.props.take()
	if !ok {
		return false
	}
	i, declared := d.Interface(c.Interface)
	if !declared || i.Major() != c.Major {
		return true
	}
	d.introduce(ctx, e, i)
	err := e.Send(ctx, d.property(&c), func(err error) {
		if err == nil {
			d.props.known(c)
		} // otherwise the session is lost, and everything is told anew
	})
	if err != nil {
		d.props.putBack(c)
	}
	return err == nil
}

// introduce tells Astarte of an interface, if it does not know it yet and there is a connection.
func (d *Device) introduce(ctx context.Context, e *engine.Engine, i *Interface) {
	if e.Connected() && !d.known(i.Name(), i.Major()) {
		d.tell(ctx, e, false)
	}
}

// connection is told of changes by the engine.
func (d *Device) connection(ev engine.Event, ended bool) {
	c := Connection{State: Connecting, Err: ev.Err, Retry: ev.Retry}
	switch ev.Kind {
	case engine.Connected:
		d.present = ev.SessionPresent
		return // not before Astarte was told about the device
	case engine.Disconnected, engine.Failed:
		if ended {
			c = Connection{State: Disconnected}
		}
	case engine.NotRenewed:
		c.State = Connected
	case engine.Unsubscribed:
		return // the engine has logged it
	}
	if d.cfg.OnConnection != nil {
		d.cfg.OnConnection(c)
	}
}

// ready is told that there is a connection on which start has done its work.
func (d *Device) ready() {
	d.props.wakeSender()
	if d.cfg.OnConnection != nil {
		d.cfg.OnConnection(Connection{State: Connected, SessionPresent: d.present})
	}
}

// receive handles a message of Astarte.
func (d *Device) receive(m *mqttclient.Message) {
	rest, ok := strings.CutPrefix(m.Topic, d.base+"/")
	if !ok {
		return // of another device, and not what we have subscribed to
	}
	ctx := context.Background() // what has come is handled also while Run ends
	if rest == "control/consumer/properties" {
		if err := d.purge(ctx, m.Payload); err != nil {
			d.log.Error("Astarte's list of properties not applied", "err", err)
		}
		return
	}
	name, path := rest, ""
	if k := strings.IndexByte(rest, '/'); k >= 0 {
		name, path = rest[:k], rest[k:]
	}
	data, err := d.accept(ctx, name, path, m.Payload)
	if err != nil {
		d.log.Warn("message of Astarte dropped", "interface", name, "path", path, "err", err)
		return
	}
	if d.cfg.OnData != nil {
		d.cfg.OnData(data)
	}
}

// accept checks a message and stores it if it is a property.
func (d *Device) accept(ctx context.Context, name, path string, payload []byte) (Data, error) {
	i, ok := d.Interface(name)
	switch {
	case !ok:
		return Data{}, ErrInterfaceNotFound
	case !i.IsServerOwned():
		return Data{}, errors.New("the device owns this interface")
	}
	value, at, err := i.decode(path, payload)
	unset := errors.Is(err, errUnset)
	if unset && !i.CanUnset(path) {
		return Data{}, errors.New("it carries no value, and the mapping has no allow_unset")
	}
	if err != nil && !unset {
		return Data{}, err
	}
	if i.IsProperties() {
		s := StoredProperty{Interface: name, Major: i.Major(), Path: path, Ownership: ServerOwned, Payload: payload, Deleted: unset}
		if err := d.props.fromServer(ctx, s); err != nil {
			// The program gets it all the same. Astarte sends it again after the next start, because each begins with an empty cache.
			d.log.Error("property of Astarte not stored", "interface", name, "path", path, "err", err)
		}
	}
	return Data{Interface: name, Path: path, Value: value, Time: at}, nil
}
