package astartego

import (
	"testing"

	"github.com/fairlead-iot/fairlead/astarte"
)

// What the hub has to refuse. A device whose copy of an interface differs from the realm's sends it: an ordinary mistake in the field. Each time the connection ends, nothing is stored, the device comes
// back by itself, tells everything anew and works, and does not send the refused message again: it was acknowledged.
func TestRefusedByTheHub(t *testing.T) {
	p := shared(t)
	retyped := func(short string, from, to astarte.Type) *astarte.Interface {
		return edited(t, short, func(_ map[string]any, mappings []map[string]any) {
			for _, m := range mappings {
				if m["type"] == string(from) {
					m["type"] = string(to)
				}
			}
		})
	}
	root := func(short, key string, value any) *astarte.Interface {
		return edited(t, short, func(root map[string]any, _ []map[string]any) { root[key] = value })
	}
	extra := func(short, path string, kind astarte.Type) *astarte.Interface {
		return edited(t, short, func(root map[string]any, mappings []map[string]any) {
			one := map[string]any{}
			for k, v := range mappings[0] {
				one[k] = v
			}
			one["endpoint"], one["type"] = path, string(kind)
			root["mappings"] = append(mappings, one)
		})
	}
	const integer = "/integer_endpoint"
	for _, c := range []struct {
		name  string
		iface *astarte.Interface
		path  string
		value any // astarte.Object: as an object
	}{
		{"double for integer", retyped("DeviceIndividual", astarte.Integer, astarte.Double), integer, 1.5},
		{"long for integer", retyped("DeviceIndividual", astarte.Integer, astarte.LongInteger), integer, 1 << 31},
		{"string for integer", retyped("DeviceIndividual", astarte.Integer, astarte.String), integer, "7"},
		{"blob for string", retyped("DeviceIndividual", astarte.String, astarte.BinaryBlob), "/string_endpoint", []byte("text")},
		{"string for datetime", retyped("DeviceIndividual", astarte.Datetime, astarte.String), "/datetime_endpoint", "2022-11-22T10:11:21Z"},
		{"strings for integers", retyped("DeviceIndividual", astarte.IntegerArray, astarte.StringArray), "/integerarray_endpoint", []string{"a"}},
		{"unknown path", extra("DeviceIndividual", "/no/such/path", astarte.Integer), "/no/such/path", 1},
		{"not installed", root("DeviceIndividual", "interface_name", prefix+"NotInstalled"), integer, 1},
		{"major not installed", root("DeviceIndividual", "version_major", 9), integer, 1},
		{"server's", root("ServerIndividualUnique", "ownership", "device"), integer, 1},
		{"unknown key", extra("DeviceObjectUnreliable", "/sensors/z", astarte.Integer), "/sensors", astarte.Object{"a": 1, "b": 2.0, "z": 3}},
		{"wrong member", retyped("DeviceObjectUnreliable", astarte.Integer, astarte.String), "/sensors", astarte.Object{"a": "x", "b": 2.0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := p.connected(t, "DeviceQos", "DeviceProperties")
			g.set("DeviceProperties", integer, 7)
			must(t, g.AddInterface(t.Context(), c.iface))
			g.settle()
			for i := range 10 {
				g.send("DeviceQos", "/guaranteed", i) // just before it: stored
			}
			if o, ok := c.value.(astarte.Object); ok {
				must(t, g.SendObject(t.Context(), c.iface.Name(), c.path, o, nil))
			} else {
				must(t, g.Send(t.Context(), c.iface.Name(), c.path, c.value, nil))
			}
			g.await(astarte.Connecting)
			if now := g.await(astarte.Connected); now.SessionPresent {
				t.Error("the session is still there")
			}
			g.send("DeviceQos", "/unique", 1)
			g.settle()
			equal(t, g.series("DeviceQos", "/unique"), numbers(1, 2))
			equal(t, g.series("DeviceQos", "/guaranteed"), numbers(0, 10))
			equal(t, g.read("DeviceProperties", ""), map[string]any{"integer_endpoint": shown(int32(7), true)})
			if len(g.states) > 0 {
				t.Errorf("the refused message came again: %v", <-g.states)
			}
			if short := c.iface.Name()[len(prefix):]; short != "NotInstalled" && c.iface.Major() == 1 {
				equal(t, g.read(short, ""), map[string]any{})
			}
		})
	}
}

// A property that the hub refuses is the device's state, so it is told again on each connection, after longer and longer waits, until the program takes it back. The value that the hub has stays.
func TestRefusedProperty(t *testing.T) {
	p := shared(t)
	g := p.connected(t, "DeviceProperties")
	g.set("DeviceProperties", "/integer_endpoint", 7)
	g.settle()
	must(t, g.AddInterface(t.Context(), edited(t, "DeviceProperties", func(_ map[string]any, mappings []map[string]any) {
		for _, m := range mappings {
			if m["endpoint"] == "/integer_endpoint" {
				m["type"] = "string"
			}
		}
	})))
	g.settle()
	g.set("DeviceProperties", "/integer_endpoint", "seven")
	for range 3 {
		g.await(astarte.Connecting)
		equal(t, g.read("DeviceProperties", ""), map[string]any{"integer_endpoint": shown(int32(7), true)})
	}
	g.unset("DeviceProperties", "/integer_endpoint")
	g.settle()
	equal(t, g.read("DeviceProperties", ""), map[string]any{})
}
