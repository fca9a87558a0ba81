package astartego

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/conformance/astarteapi"
)

// declared returns the interfaces that the hub knows the device by.
func (g *gadget) declared() []string {
	g.t.Helper()
	d, err := g.p.realm.Device(g.t.Context(), g.cfg.DeviceID)
	must(g.t, err)
	var names []string
	for name := range d.Introspection {
		names = append(names, name[len(prefix):])
	}
	slices.Sort(names)
	return names
}

func (g *gadget) add(short string) {
	g.t.Helper()
	must(g.t, g.AddInterface(g.t.Context(), iface(g.t, short)))
}

func (g *gadget) remove(short string) {
	g.t.Helper()
	must(g.t, g.RemoveInterface(g.t.Context(), prefix+short))
}

// Interfaces that come and go while the device is connected.
func TestInterfaces(t *testing.T) {
	p := shared(t)
	gone := func(t *testing.T, err error) {
		t.Helper()
		if astarteapi.Status(err) != 404 {
			t.Errorf("got %v, want status 404", err)
		}
	}
	t.Run("device's data", func(t *testing.T) {
		g := p.connected(t, "DeviceQos")
		g.add("HotDeviceData")
		g.send("HotDeviceData", "/value", 7)
		g.settle()
		equal(t, g.series("HotDeviceData", "/value"), []any{json.Number("7")})
		g.remove("HotDeviceData")
		g.settle()
		_, err := p.realm.Read(t.Context(), g.ID(), prefix+"HotDeviceData", "", nil)
		gone(t, err)
		g.add("HotDeviceData")
		g.settle()
		equal(t, g.series("HotDeviceData", "/value"), []any{json.Number("7")})
		if len(g.states) > 0 {
			t.Errorf("the connection was lost: %v", <-g.states)
		}
	})
	t.Run("server's data", func(t *testing.T) {
		g := p.connected(t, "DeviceQos")
		gone(t, p.realm.Write(t.Context(), "POST", g.ID(), prefix+"HotServerData", "/value", 7))
		g.add("HotServerData")
		g.settle()
		p.write(t, g.ID(), "HotServerData", "/value", 7)
		want(t, g.received(), "HotServerData", "/value", int32(7))
		g.remove("HotServerData")
		g.settle()
		gone(t, p.realm.Write(t.Context(), "POST", g.ID(), prefix+"HotServerData", "/value", 8))
		g.add("HotServerData")
		g.settle()
		p.write(t, g.ID(), "HotServerData", "/value", 9)
		want(t, g.received(), "HotServerData", "/value", int32(9))
	})
	t.Run("device's properties", func(t *testing.T) {
		g := p.connected(t, "DeviceQos")
		g.add("HotDeviceProperties")
		g.set("HotDeviceProperties", "/value", 7)
		g.settle()
		equal(t, g.read("HotDeviceProperties", ""), map[string]any{"value": json.Number("7")})
		g.remove("HotDeviceProperties")
		g.settle()
		if kept := g.kept(); len(kept) > 0 {
			t.Errorf("kept %v", kept)
		}
	})
	t.Run("server's properties", func(t *testing.T) {
		g := p.connected(t, "DeviceQos")
		g.add("HotServerProperties")
		g.settle()
		p.write(t, g.ID(), "HotServerProperties", "/value", 7)
		want(t, g.received(), "HotServerProperties", "/value", int32(7))
		equal(t, len(g.kept()), 1)
		g.remove("HotServerProperties")
		g.settle()
		equal(t, len(g.kept()), 0)
		g.add("HotServerProperties") // what the server has set meanwhile, or before, is asked for
		want(t, g.received(), "HotServerProperties", "/value", int32(7))
	})
	t.Run("newer minor", func(t *testing.T) {
		g := p.connected(t, "DeviceQos")
		newer := edited(t, "DeviceQos", func(root map[string]any, _ []map[string]any) { root["version_minor"] = 1 })
		must(t, g.AddInterface(t.Context(), newer))
		g.send("DeviceQos", "/unique", 7)
		g.settle()
		d, err := p.realm.Device(t.Context(), g.ID())
		must(t, err)
		if v := d.Introspection[prefix+"DeviceQos"]; v.Major != 1 || v.Minor != 1 {
			t.Errorf("got %+v", v)
		}
		equal(t, g.series("DeviceQos", "/unique"), numbers(7, 8))
	})
	t.Run("after a kick", func(t *testing.T) {
		g := p.connected(t, "DeviceQos")
		g.kick()
		g.await(astarte.Connected)
		g.add("HotDeviceData")
		g.send("HotDeviceData", "/value", 1)
		g.settle()
		if got := g.declared(); !slices.Equal(got, []string{"DeviceQos", "HotDeviceData"}) {
			t.Errorf("got %v", got)
		}
	})
	t.Run("while away", func(t *testing.T) {
		g := p.connected(t, "DeviceQos", "HotDeviceData")
		g.halt()
		g.make()
		g.remove("HotDeviceData")
		g.add("HotServerData")
		g.run()
		g.await(astarte.Connected)
		if got := g.declared(); !slices.Equal(got, []string{"DeviceQos", "HotServerData"}) {
			t.Errorf("got %v", got)
		}
	})
}
