package astarte_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/hub/hubtest"
	"github.com/google/go-cmp/cmp"
)

// TestInterfacesWhileConnected adds and removes interfaces of both owners.
func TestInterfacesWhileConnected(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	r.cfg.Interfaces = []*astarte.Interface{astarte.MustParseInterface(sensors)}
	d, _ := r.start(t)
	declared := func(want ...string) {
		t.Helper()
		r.realm.Await(t, "devices/"+d.ID(), func(a hubtest.Answer) bool {
			var data struct{ Introspection map[string]any }
			if json.Unmarshal(a.Data, &data) != nil || len(data.Introspection) != len(want) {
				return false
			}
			for _, name := range want {
				if data.Introspection[name] == nil {
					return false
				}
			}
			return true
		})
	}
	declared("org.example.Sensors")
	must(t, d.AddInterface(ctx, astarte.MustParseInterface(stored)))
	must(t, d.Send(ctx, "org.example.Stored", "/discard", 1, nil)) // at once
	must(t, d.Send(ctx, "org.example.Stored", "/stored", 2, nil))
	r.values(t, "org.example.Stored/discard", 1)
	r.values(t, "org.example.Stored/stored", 1)
	declared("org.example.Sensors", "org.example.Stored")

	must(t, d.AddInterface(ctx, astarte.MustParseInterface(commands)))
	declared("org.example.Sensors", "org.example.Stored", "org.example.Commands")
	r.realm.Send(t, d.ID(), "org.example.Commands", "/x/numbers", []string{"1"})
	if got := r.received(t); got.Path != "/x/numbers" {
		t.Errorf("got %v", got)
	}
	must(t, d.AddInterface(ctx, astarte.MustParseInterface(settings)))
	must(t, d.SetProperty(ctx, "org.example.Settings", "/number", 3))
	r.properties(t, "org.example.Settings", map[string]any{"number": 3.0})
	must(t, d.RemoveInterface(ctx, "org.example.Settings"))
	must(t, d.RemoveInterface(ctx, "org.example.Commands"))
	must(t, d.RemoveInterface(ctx, "org.example.Stored"))
	declared("org.example.Sensors")
	if err := d.Send(ctx, "org.example.Stored", "/stored", 2, nil); !errors.Is(err, astarte.ErrInterfaceNotFound) {
		t.Errorf("got %v", err)
	}
	must(t, d.AddInterface(ctx, astarte.MustParseInterface(settings)))
	if all, err := d.Properties(ctx); err != nil || len(all) != 0 {
		t.Errorf("properties of a removed interface: %v, %v", all, err)
	}
	// A server-owned interface of properties brings what Astarte has set before.
	must(t, d.AddInterface(ctx, astarte.MustParseInterface(wishes)))
	declared("org.example.Sensors", "org.example.Settings", "org.example.Wishes")
	r.realm.Send(t, d.ID(), "org.example.Wishes", "/number", 4)
	if got := r.received(t); got.Value != int32(4) {
		t.Errorf("got %v", got)
	}
	must(t, d.RemoveInterface(ctx, "org.example.Wishes"))
	declared("org.example.Sensors", "org.example.Settings")
	must(t, d.AddInterface(ctx, astarte.MustParseInterface(wishes)))
	if got := r.received(t); got.Value != int32(4) {
		t.Errorf("got %v", got)
	}
	if len(r.states) > 0 {
		t.Errorf("the connection was lost: %+v", <-r.states)
	}
	if all := d.Interfaces(); len(all) != 3 {
		t.Errorf("got %v", all)
	}
	// And while there is no connection.
	r.hub.SetOffline(true)
	r.await(t, astarte.Connecting)
	must(t, d.AddInterface(ctx, astarte.MustParseInterface(recipe)))
	must(t, d.RemoveInterface(ctx, "org.example.Settings"))
	r.hub.SetOffline(false)
	declared("org.example.Sensors", "org.example.Wishes", "org.example.Recipe")
}

// TestPair tells what is wrong with the credentials.
func TestPair(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	d := r.device(t)
	must(t, d.Pair(ctx))
	must(t, d.Pair(ctx)) // with the certificate that is there
	if fi, err := os.Stat(filepath.Join(r.cfg.Dir, "crypto", "device.key")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("device.key: %v, %v", fi, err)
	}
	must(t, d.Close())
	r.cfg.Dir, r.cfg.DeviceID = filepath.Join(t.TempDir(), "other"), astarte.RandomDeviceID()
	d = r.device(t)
	var p *fairlead.PlatformError
	if err := d.Pair(ctx); !errors.As(err, &p) || p.Code != "404" && p.Code != "403" {
		t.Errorf("got %v", err)
	}
	defer d.Close()
	defer r.run(t, d)()
	if c := r.await(t, astarte.Connecting); !errors.As(c.Err, &p) || c.Retry <= 0 {
		t.Errorf("got %+v", c)
	}
	if d.State() != astarte.Connecting {
		t.Errorf("got %v", d.State())
	}
}

// TestRunTwice connects, disconnects and connects the same device, and runs it twice at once.
func TestRunTwice(t *testing.T) {
	r := newRig(t)
	d := r.device(t)
	for range 2 {
		stop := r.run(t, d)
		r.await(t, astarte.Connected)
		if err := d.Run(t.Context()); !errors.Is(err, fairlead.ErrInUse) {
			t.Errorf("got %v", err)
		}
		if err := d.Close(); !errors.Is(err, fairlead.ErrInUse) {
			t.Errorf("got %v", err)
		}
		stop()
		if c := r.await(t, astarte.Disconnected); c.Err != nil {
			t.Errorf("got %+v", c)
		}
	}
	must(t, d.Close())
	if err := d.Run(t.Context()); !errors.Is(err, fairlead.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if err := d.SetProperty(t.Context(), "org.example.Settings", "/number", 1); !errors.Is(err, fairlead.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// TestCallbacksMaySend answers each command from its callback.
func TestCallbacksMaySend(t *testing.T) {
	r := newRig(t)
	var d *astarte.Device
	n := 0
	r.cfg.OnData = func(data astarte.Data) {
		n++
		for range 150 { // more than the window
			if err := d.Send(context.Background(), "org.example.Stored", "/discard", n, nil); err != nil {
				t.Error(err)
			}
		}
		r.data <- data
	}
	d, _ = r.start(t)
	for i := range 3 {
		r.realm.Send(t, d.ID(), "org.example.Commands", "/x/numbers", []string{fmt.Sprint(i)})
	}
	for i := range 3 {
		if got := r.received(t); !cmp.Equal(got.Value, []int64{int64(i)}) {
			t.Errorf("got %v", got)
		}
	}
	r.values(t, "org.example.Stored/discard", 450)
}

// TestRegisterWithKey registers devices at a hub with the realm's key, which is an ECDSA key.
func TestRegisterWithKey(t *testing.T) {
	r := newRig(t)
	p := &astarte.Pairing{URL: r.realm.PairingURL, Realm: r.realm.Name, HTTP: r.hub.HTTP()}
	ctx := t.Context()
	r.cfg.DeviceID = astarte.RandomDeviceID()
	for range 2 { // until it has a certificate
		secret, err := p.RegisterWithKeyFile(ctx, r.cfg.DeviceID, r.realm.KeyFile)
		must(t, err)
		r.cfg.CredentialsSecret = secret
	}
	r.start(t)
	if _, err := p.RegisterWithKeyFile(ctx, r.cfg.DeviceID, r.realm.KeyFile); !errors.Is(err, astarte.ErrAlreadyRegistered) {
		t.Errorf("got %v", err)
	}
	must(t, p.Unregister(ctx, r.cfg.DeviceID, r.realm.Token(t)))
	_, err := p.RegisterWithKeyFile(ctx, r.cfg.DeviceID, r.realm.KeyFile)
	must(t, err)
}
