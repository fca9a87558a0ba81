package astartego

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/outbox"
)

// TestOfficialSDK has the scenarios that astarte-device-sdk 0.14.0 for Python is known to fail, observed with it; docs/coverage/astarte.md marks them with FIX. Tests in
// conformance/astarte whose names begin with "quirk" show what it does. Ours has to pass each.
func TestOfficialSDK(t *testing.T) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, p *platform)
	}{
		{"forgets properties that are zero, false or empty when it reconnects", falsyProperties},
		{"cannot clear its properties", clearProperties},
		{"raises TypeError for a property that is not there", absentProperty},
		{"sends an unset that ends its connection", unsetOfFixed},
		{"loses properties that are set without a connection", offlineProperties},
		{"cannot keep values without a connection", retention},
		{"knows no expiry", expiry},
		{"drops what it receives, properties too, without a callback", noCallback},
		{"keeps the properties of an interface that was removed without a connection", removedOffline},
		{"gives up when Pairing is not there after its connection was lost", pairingGone},
		{"has no TLS and no new certificate when its certificate is refused", certificateRefused},
		{"cannot register with an RSA private key", rsaKey},
		{"cannot register with an ECDSA private key", ecdsaKey},
		{"takes every refusal of a registration for a device that is registered", badID},
		{"leaves its private key readable to everybody", keyMode},
		{"cannot add interfaces while it connects", addWhileConnecting},
		{"misses what the server has set on an interface that is added while connected", hotServerProperty},
		{"is refused reliable values while it is away", func(t *testing.T, _ *platform) { TestServerValuesWhileAway(t) }},
		{"sends arrays that end its connection", longArray},
		{"sends an empty blob that unsets the property", emptyBlob},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, shared(t)) })
	}
}

func falsyProperties(t *testing.T, p *platform) {
	g := p.connected(t, "DeviceProperties")
	wanted := map[string]any{}
	for _, k := range kinds {
		v := values[k][1]
		switch k {
		case astarte.Integer:
			v = int32(0)
		case astarte.LongInteger:
			v = int64(0)
		case astarte.BinaryBlob:
			continue // see emptyBlob
		}
		g.set("DeviceProperties", "/"+endpoint(k), v)
		wanted[endpoint(k)] = shown(v, true)
	}
	g.settle()
	equal(t, g.read("DeviceProperties", ""), wanted)
	g.halt()
	g.forgetSession()
	g.connect()
	equal(t, g.read("DeviceProperties", ""), wanted)
	if got := len(g.kept()); got != len(wanted) {
		t.Errorf("the device has %d properties", got)
	}
}

func clearProperties(t *testing.T, p *platform) {
	g := p.connected(t, "DeviceProperties")
	g.set("DeviceProperties", "/integer_endpoint", 7)
	g.settle()
	must(t, g.ClearProperties(t.Context()))
	g.settle()
	equal(t, len(g.kept()), 0)
	equal(t, g.read("DeviceProperties", ""), map[string]any{})
}

func absentProperty(t *testing.T, p *platform) {
	g := p.gadget(t, "DeviceProperties").make()
	if _, err := g.Property(t.Context(), prefix+"DeviceProperties", "/integer_endpoint"); !errors.Is(err, fairlead.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func unsetOfFixed(t *testing.T, p *platform) {
	g := p.connected(t, "DevicePropertiesFixed")
	g.set("DevicePropertiesFixed", "/integer_endpoint", 7)
	var invalid *astarte.ValidationError
	if err := g.UnsetProperty(t.Context(), prefix+"DevicePropertiesFixed", "/integer_endpoint"); !errors.As(err, &invalid) {
		t.Errorf("got %v", err)
	}
	g.settle()
	equal(t, g.read("DevicePropertiesFixed", ""), map[string]any{"integer_endpoint": shown(int32(7), true)})
	if len(g.states) > 0 {
		t.Error("the connection was lost")
	}
}

func offlineProperties(t *testing.T, p *platform) {
	g := p.connected(t, "DeviceProperties")
	g.set("DeviceProperties", "/string_endpoint", "goes")
	g.settle()
	g.halt()
	g.make()
	g.set("DeviceProperties", "/integer_endpoint", 7)
	g.unset("DeviceProperties", "/string_endpoint")
	g.restart()
	g.settle()
	equal(t, g.read("DeviceProperties", ""), map[string]any{"integer_endpoint": shown(int32(7), true)})
}

// kept runs f with a device that has an outbox in a file, before it connects.
func kept(t *testing.T, p *platform, f func(g *gadget)) *gadget {
	t.Helper()
	g := p.gadget(t, "DeviceKept")
	open := func() *outbox.Outbox {
		box, err := openOutbox(t.Context(), filepath.Join(filepath.Dir(g.cfg.Dir), "outbox.db"), outboxConfig)
		must(t, err)
		return box
	}
	g.cfg.Outbox = open()
	f(g.make())
	g.halt()
	must(t, g.cfg.Outbox.Close()) // the process ends
	g.cfg.Outbox = open()
	t.Cleanup(func() { g.halt(); must(t, g.cfg.Outbox.Close()) })
	g.connect()
	g.settle()
	return g
}

func retention(t *testing.T, p *platform) {
	g := kept(t, p, func(g *gadget) {
		for i := range 10 {
			g.send("DeviceKept", "/guaranteed", i)
			g.send("DeviceKept", "/unique", i)
		}
		if err := g.Send(t.Context(), prefix+"DeviceKept", "/discard", 1, nil); !errors.Is(err, astarte.ErrDisconnected) {
			t.Errorf("got %v", err)
		}
	})
	equal(t, g.series("DeviceKept", "/guaranteed"), numbers(0, 10))
	equal(t, g.series("DeviceKept", "/unique"), numbers(0, 10))
}

func expiry(t *testing.T, p *platform) {
	g := kept(t, p, func(g *gadget) {
		g.send("DeviceKept", "/expiringstored", 1)
		g.send("DeviceKept", "/guaranteed", 1)
		time.Sleep(1100 * time.Millisecond) // the expiry is a second: the point is that it has passed
	})
	var got []any
	for n := 2; len(got) == 0; n++ { // a busy machine may take a second for one
		g.send("DeviceKept", "/expiringstored", n)
		g.settle()
		if got = g.series("DeviceKept", "/expiringstored"); len(got) > 0 {
			equal(t, got, numbers(n, n+1))
		}
	}
	equal(t, g.series("DeviceKept", "/guaranteed"), numbers(1, 2))
}

func noCallback(t *testing.T, p *platform) {
	g := p.gadget(t, "ServerProperties")
	g.cfg.OnData = nil
	g.connect()
	p.write(t, g.ID(), "ServerProperties", "/integer_endpoint", 0)
	eventually(t, "the property", func() bool { return g.kept()["ServerProperties/integer_endpoint"] == int32(0) })
}

func removedOffline(t *testing.T, p *platform) {
	g := p.connected(t, "HotDeviceProperties", "HotServerProperties")
	g.set("HotDeviceProperties", "/value", 7)
	p.write(t, g.ID(), "HotServerProperties", "/value", 7)
	g.received()
	g.settle()
	g.halt()
	g.make()
	g.remove("HotDeviceProperties")
	g.remove("HotServerProperties")
	g.cfg.Interfaces = nil
	g.restart()
	g.add("HotDeviceProperties")
	g.add("HotServerProperties")
	want(t, g.received(), "HotServerProperties", "/value", int32(7)) // asked for anew
	equal(t, len(g.kept()), 1)
}

func pairingGone(t *testing.T, _ *platform) {
	p := own(t)
	g := p.connected(t, "DeviceQos")
	must(t, p.hub.Kill())
	for range 5 {
		g.await(astarte.Connecting)
	}
	must(t, p.start(t.Context()))
	g.await(astarte.Connected)
	g.send("DeviceQos", "/unique", 1)
	g.settle()
	equal(t, g.series("DeviceQos", "/unique"), numbers(1, 2))
}

func certificateRefused(t *testing.T, p *platform) {
	g := p.connected(t, "DeviceQos")
	g.halt()
	dir := filepath.Join(g.cfg.Dir, "crypto")
	key, err := identity.LoadKey(filepath.Join(dir, "device.key"))
	must(t, err)
	before := stranger(t, key.(*ecdsa.PrivateKey), g.cfg.Realm+"/"+g.cfg.DeviceID, time.Now().Add(time.Hour))
	must(t, identity.SaveChain(filepath.Join(dir, "device.crt"), before))
	g.connect()
	after, err := identity.LoadChain(filepath.Join(dir, "device.crt"))
	if err != nil || after[0].Equal(before[0]) {
		t.Errorf("the certificate is the same, %v", err)
	}
}

func rsaKey(t *testing.T, p *platform) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	if _, err := p.newRealm(t, "officialrsa", key, nil).RegisterWithKey(t.Context(), astarte.RandomDeviceID(), key); err != nil {
		t.Error(err)
	}
}

func ecdsaKey(t *testing.T, p *platform) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	if _, err := p.newRealm(t, "officialecdsa", key, nil).RegisterWithKey(t.Context(), astarte.RandomDeviceID(), key); err != nil {
		t.Error(err)
	}
}

func badID(t *testing.T, p *platform) {
	for _, id := range []string{"short", "Vi3j3M8YVpOPyuzqk8sg5", "Vi3j3M8YVpOPyuzqk8sg+A", "ä"} {
		_, err := p.pairing().Register(t.Context(), id, p.token())
		if !errors.Is(err, fairlead.ErrInvalid) || errors.Is(err, astarte.ErrAlreadyRegistered) {
			t.Errorf("%q: got %v", id, err)
		}
	}
}

func keyMode(t *testing.T, p *platform) {
	g := p.connected(t)
	fi, err := os.Stat(filepath.Join(g.cfg.Dir, "crypto", "device.key"))
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v", fi.Mode(), err)
	}
}

func addWhileConnecting(t *testing.T, _ *platform) {
	p := own(t)
	g := p.gadget(t, "DeviceQos")
	must(t, p.hub.Kill())
	_ = g.failed() // it tries again and again
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(t, g.AddInterface(ctx, iface(t, "HotDeviceData")))
	must(t, g.RemoveInterface(ctx, prefix+"DeviceQos"))
	must(t, p.start(t.Context()))
	g.await(astarte.Connected)
	if got := g.declared(); len(got) != 1 || got[0] != "HotDeviceData" {
		t.Errorf("got %v", got)
	}
}

func hotServerProperty(t *testing.T, p *platform) {
	g := p.connected(t, "HotServerProperties")
	p.write(t, g.ID(), "HotServerProperties", "/value", 7)
	g.received()
	g.remove("HotServerProperties")
	g.settle()
	g.add("HotServerProperties")
	want(t, g.received(), "HotServerProperties", "/value", int32(7))
}

func longArray(t *testing.T, p *platform) {
	g := p.connected(t, "DeviceIndividual")
	if err := g.Send(t.Context(), prefix+"DeviceIndividual", "/integerarray_endpoint", make([]int32, 1025), nil); !errors.Is(err, fairlead.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

func emptyBlob(t *testing.T, p *platform) {
	g := p.connected(t, "DeviceProperties", "DeviceIndividual")
	var invalid *astarte.ValidationError
	if err := g.SetProperty(t.Context(), prefix+"DeviceProperties", "/binaryblob_endpoint", []byte{}); !errors.As(err, &invalid) {
		t.Errorf("got %v", err)
	}
	if err := g.Send(t.Context(), prefix+"DeviceIndividual", "/binaryblob_endpoint", []byte{}, nil); !errors.As(err, &invalid) {
		t.Errorf("got %v", err)
	}
}
