package demo

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/cmd/fairlead/internal/realm"
	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/identity"
)

//go:embed interfaces/*.json
var interfaceFiles embed.FS

// namespace is the demo's own, for device ids made of names.
var namespace = [16]byte{0x3f, 0x0b, 0xd1, 0x77, 0x52, 0x9e, 0x4c, 0x18, 0xa4, 0x6d, 0x08, 0xe5, 0x91, 0xc2, 0x7b, 0x44}

// How much of the past a room sends when it is new.
const (
	past     = 24 * time.Hour
	pastStep = 10 * time.Minute
)

// thing is a device on the SDK for Astarte.
type thing struct {
	*astarte.Device
	site *site
	name string
	what string
	data chan astarte.Data // what the server sends
	room bool
	live func(ctx context.Context, t *thing, at time.Time) error // sends what it has to say at a time
}

// astarteFleet makes rooms, a pump and a heating.
func astarteFleet(ctx context.Context, s *site) ([]member, error) {
	env, err := s.env("astarte")
	if err != nil {
		return nil, err
	}
	r, err := realm.Open(env, s.http)
	if err != nil {
		return nil, err
	}
	interfaces, err := install(ctx, r)
	if err != nil {
		return nil, err
	}
	var members []member
	for _, t := range []*thing{
		{name: "kitchen", what: "a room: temperature and humidity", room: true, live: sendClimate},
		{name: livingRoom, what: "a room, which the heating keeps warm", room: true, live: sendClimate},
		{name: "cellar", what: "a room: temperature and humidity", room: true, live: sendClimate},
		{name: "pump", what: "speed, vibration and bearing of a motor", live: sendPump},
		{name: "heating", what: "does what the server wants: org.example.demo.HeatingWishes /target", live: sendHeating},
	} {
		t.site, t.data = s, make(chan astarte.Data)
		id := astarte.NamedDeviceID(namespace, t.name)
		fresh, err := t.make(ctx, r, id, interfaces)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
		members = append(members, member{
			Device: Device{Key: admin.DeviceKey{Dialect: "astarte", Tenant: r.Name, ID: id}, Name: t.name, What: t.what},
			run:    func(ctx context.Context) error { return t.run(ctx, fresh) },
		})
	}
	return members, nil
}

// install makes the demo's interfaces known to the realm.
func install(ctx context.Context, r *realm.Realm) (list []*astarte.Interface, err error) {
	names, err := fs.Glob(interfaceFiles, "interfaces/*.json")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := interfaceFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		i, err := r.Install(ctx, text)
		if err != nil {
			return nil, err
		}
		list = append(list, i)
	}
	return list, nil
}

// make makes the device, and registers it unless an earlier run has done so.
func (t *thing) make(ctx context.Context, r *realm.Realm, id string, interfaces []*astarte.Interface) (fresh bool, err error) {
	dir := filepath.Join(t.site.dir, t.name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	file := filepath.Join(dir, "secret")
	secret, err := identity.LoadSecret(file)
	if errors.Is(err, fairlead.ErrNotFound) {
		fresh = true
		if secret, err = r.Register(ctx, id); err == nil {
			err = identity.SaveSecret(file, secret)
		}
	}
	if err != nil {
		return fresh, err
	}
	cfg := astarte.Config{
		PairingURL: r.PairingURL, Realm: r.Name, DeviceID: id, CredentialsSecret: secret, Dir: dir, Interfaces: interfaces,
		HTTP: t.site.http, RootCAs: t.site.roots, Dial: t.site.dial,
	}
	cfg.OnData = func(d astarte.Data) { t.data <- d } // run takes them until the end
	t.Device, err = astarte.New(cfg)
	return fresh, err
}

// run runs the device, and lets it send.
func (t *thing) run(ctx context.Context, fresh bool) (err error) {
	defer func() { err = errors.Join(err, t.Close()) }()
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- t.Run(ctx) }()
	if err = t.begin(ctx, fresh); err == nil {
		err = t.work(ctx)
	}
	cancel()
	for {
		select {
		case <-t.data: // a callback must not be kept waiting
		case rerr := <-ended:
			return errors.Join(err, rerr)
		}
	}
}

// work sends at each interval, and after each thing that the server says, until ctx ends.
func (t *thing) work(ctx context.Context) error {
	tick := time.NewTicker(t.site.interval)
	defer tick.Stop()
	for at := time.Now(); ; {
		if err := t.live(ctx, t, at); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case at = <-tick.C:
		case d := <-t.data:
			at = time.Now()
			target := float64(defaultTarget)
			if !d.Unset() {
				target, _ = d.Value.(float64) // the SDK has checked the type
			}
			t.site.house.heat(target)
		}
	}
}

// begin sends what a device sends once.
func (t *thing) begin(ctx context.Context, fresh bool) error {
	if err := t.SetProperty(ctx, "org.example.demo.About", "/name", t.name); err != nil {
		return err
	}
	if wish, err := t.Property(ctx, "org.example.demo.HeatingWishes", "/target"); err == nil {
		target, _ := wish.(float64)
		t.site.house.heat(target) // an earlier run was told
	}
	if !fresh || !t.room {
		return nil
	}
	now := time.Now()
	for at := now.Add(-past); at.Before(now); at = at.Add(pastStep) {
		temperature, humidity := t.site.house.past(t.name, at)
		if err := t.sendRoom(ctx, at, temperature, humidity); err != nil {
			return err
		}
	}
	return nil
}

func (t *thing) sendRoom(ctx context.Context, at time.Time, temperature, humidity float64) error {
	return errors.Join(
		t.Send(ctx, "org.example.demo.Room", "/temperature", temperature, &astarte.SendOptions{Time: at}),
		t.Send(ctx, "org.example.demo.Room", "/humidity", humidity, &astarte.SendOptions{Time: at}),
	)
}

func sendClimate(ctx context.Context, t *thing, at time.Time) error {
	temperature, humidity := t.site.house.climate(t.name, at)
	return t.sendRoom(ctx, at, temperature, humidity)
}

func sendPump(ctx context.Context, t *thing, at time.Time) error {
	speed, vibration, bearing := t.site.house.pump(at)
	return t.SendObject(ctx, "org.example.demo.Pump", "/motor", astarte.Object{"speed": speed, "vibration": vibration, "bearing": bearing}, &astarte.SendOptions{Time: at})
}

// sendHeating tells what the heating does, if that has changed.
func sendHeating(ctx context.Context, t *thing, at time.Time) error {
	target, valve := t.site.house.heating(at)
	for path, v := range map[string]float64{"/target": target, "/valve": valve} {
		if was, err := t.Property(ctx, "org.example.demo.Heating", path); err == nil && was == v {
			continue
		}
		if err := t.SetProperty(ctx, "org.example.demo.Heating", path, v); err != nil {
			return err
		}
	}
	return nil
}
