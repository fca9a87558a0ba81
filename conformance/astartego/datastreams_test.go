package astartego

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/astarte"
)

var when = time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC)

// What is acknowledged is stored, exactly, and read back once.
func TestValues(t *testing.T) {
	g := shared(t).connected(t, "DeviceIndividual", "DeviceTimed")
	minute := 0
	each(t, func(t *testing.T, _ string, k astarte.Type, value any) {
		path := "/" + endpoint(k)
		if !empty(value) {
			g.send("DeviceIndividual", path, value)
			g.settle()
			equal(t, last(g.series("DeviceIndividual", path)), shown(value, false))
		}
		minute++
		at := when.Add(time.Duration(minute) * time.Minute)
		g.sendAt("DeviceTimed", path, value, at) // an empty blob with a timestamp is a value
		g.settle()
		equal(t, g.read("DeviceTimed", path, "since", shown(at, false).(string)), []any{map[string]any{"timestamp": shown(at, false), "value": shown(value, false)}})
		leaf := without(g.read("DeviceTimed", "").(map[string]any)[endpoint(k)], "reception_timestamp")
		equal(t, leaf, map[string]any{"timestamp": shown(at, false), "value": shown(value, true)})
	})
}

func TestTimestamps(t *testing.T) {
	for _, c := range []struct {
		name  string
		at    time.Time
		shown string
	}{
		{"with offset", time.Date(2026, 1, 2, 5, 4, 5, 0, time.FixedZone("", 2*3600)), "2026-01-02T03:04:05.000Z"},
		{"epoch", time.Unix(0, 0), "1970-01-01T00:00:00.000Z"},
		{"rounded to milliseconds", when, "2026-01-02T03:04:05.679Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := shared(t).connected(t, "DeviceTimed")
			g.sendAt("DeviceTimed", "/integer_endpoint", 1, c.at)
			g.settle()
			equal(t, g.read("DeviceTimed", "/integer_endpoint"), []any{map[string]any{"timestamp": c.shown, "value": json.Number("1")}})
		})
	}
	t.Run("order", func(t *testing.T) {
		g := shared(t).connected(t, "DeviceTimed")
		for _, minute := range []int{3, 1, 2} {
			g.sendAt("DeviceTimed", "/integer_endpoint", minute, when.Add(time.Duration(minute)*time.Minute))
		}
		g.settle()
		equal(t, g.series("DeviceTimed", "/integer_endpoint"), []any{json.Number("1"), json.Number("2"), json.Number("3")})
	})
}

// Once and in order, with each reliability; and with each retention.
func TestManyInOrder(t *testing.T) {
	g := shared(t).gadget(t, "DeviceQos", "DeviceKept")
	var err error
	g.cfg.Outbox, err = openOutbox(t.Context(), t.TempDir()+"/outbox.db", outboxConfig)
	must(t, err)
	t.Cleanup(func() { must(t, g.cfg.Outbox.Close()) })
	g.connect()
	t.Cleanup(g.halt) // before the outbox is closed
	const count = 300
	paths := map[string]string{
		"/unreliable": "DeviceQos", "/guaranteed": "DeviceQos", "/unique": "DeviceQos", "/volatile": "DeviceKept", "/discard": "DeviceKept",
		"/stored/guaranteed": "DeviceKept", "/stored/unique": "DeviceKept",
	}
	for i := range count {
		for path, short := range paths {
			g.send(short, strings.TrimPrefix(path, "/stored"), i)
		}
	}
	g.settle()
	for path, short := range paths {
		p := strings.TrimPrefix(path, "/stored")
		if p == "/unreliable" {
			eventually(t, "values with QoS 0", func() bool { return len(g.series(short, p)) >= count })
		}
		equal(t, g.series(short, p), numbers(0, count))
	}
}

func TestParametricPaths(t *testing.T) {
	g := shared(t).connected(t, "DeviceParametric")
	g.send("DeviceParametric", "/kitchen/temperature", 20.5)
	g.send("DeviceParametric", "/cellar/temperature", 12.25)
	g.send("DeviceParametric", "/kitchen/name", "Küche")
	g.send("DeviceParametric", "/kitchen/box/upper_1/weight", 3)
	g.settle()
	equal(t, g.series("DeviceParametric", "/kitchen/temperature"), []any{20.5})
	equal(t, g.series("DeviceParametric", "/cellar/temperature"), []any{12.25})
	shown := g.read("DeviceParametric", "").(map[string]any)
	kitchen := shown["kitchen"].(map[string]any)
	equal(t, kitchen["name"].(map[string]any)["value"], "Küche")
	equal(t, kitchen["box"].(map[string]any)["upper_1"].(map[string]any)["weight"].(map[string]any)["value"], json.Number("3"))
}

func TestLargeValues(t *testing.T) {
	g := shared(t).connected(t, "DeviceIndividual")
	integers, doubles := make([]int32, 1024), make([]float64, 1024)
	for i := range integers {
		integers[i], doubles[i] = int32(i), .1*float64(i)
	}
	texts := make([]string, 1000)
	for i := range texts {
		texts[i] = strings.Repeat("x", 50)
	}
	large := map[astarte.Type]any{
		astarte.String: strings.Repeat("ä", 30_000), astarte.BinaryBlob: bytes.Repeat([]byte("0123456789abcdef"), 3200), astarte.IntegerArray: integers,
		astarte.StringArray: texts, astarte.DoubleArray: doubles,
	}
	for k, v := range large {
		g.send("DeviceIndividual", "/"+endpoint(k), v)
	}
	g.settle()
	for k, v := range large {
		equal(t, g.series("DeviceIndividual", "/"+endpoint(k)), []any{shown(v, false)})
	}
}

// What the SDK refuses itself never reaches the hub.
func TestLocalRefusals(t *testing.T) {
	p := shared(t)
	g := p.connected(t, "DeviceIndividual", "DeviceTimed", "DeviceObject", "DeviceProperties", "DevicePropertiesFixed", "ServerIndividualUnique")
	before, err := p.realm.Device(t.Context(), g.ID())
	must(t, err)
	ctx := t.Context()
	send := func(short, path string, value any, at time.Time) func() error {
		return func() error { return g.Send(ctx, prefix+short, path, value, &astarte.SendOptions{Time: at}) }
	}
	missing := object(0)
	delete(missing, "integer_endpoint")
	for name, c := range map[string]struct {
		do   func() error
		kind error
	}{
		"integer for double":     {send("DeviceIndividual", "/double_endpoint", 7, time.Time{}), fairlead.ErrInvalid},
		"too large":              {send("DeviceIndividual", "/integer_endpoint", 1<<31, time.Time{}), fairlead.ErrInvalid},
		"no such path":           {send("DeviceIndividual", "/nope", 1, time.Time{}), fairlead.ErrInvalid},
		"timestamp too many":     {send("DeviceIndividual", "/integer_endpoint", 1, when), fairlead.ErrInvalid},
		"timestamp missing":      {send("DeviceTimed", "/integer_endpoint", 1, time.Time{}), fairlead.ErrInvalid},
		"unknown interface":      {send("Unknown", "/x", 1, time.Time{}), astarte.ErrInterfaceNotFound},
		"server owns it":         {send("ServerIndividualUnique", "/integer_endpoint", 1, time.Time{}), fairlead.ErrInvalid},
		"1,025 elements":         {send("DeviceIndividual", "/booleanarray_endpoint", make([]bool, 1025), time.Time{}), fairlead.ErrTooLarge},
		"long string":            {send("DeviceIndividual", "/string_endpoint", strings.Repeat("x", 65_537), time.Time{}), fairlead.ErrTooLarge},
		"nothing":                {send("DeviceIndividual", "/string_endpoint", nil, time.Time{}), fairlead.ErrInvalid},
		"property as value":      {send("DeviceProperties", "/integer_endpoint", 1, time.Time{}), fairlead.ErrInvalid},
		"value as property":      {func() error { return g.SetProperty(ctx, prefix+"DeviceIndividual", "/integer_endpoint", 1) }, fairlead.ErrInvalid},
		"object as value":        {send("DeviceIndividual", "/integer_endpoint", astarte.Object{"a": 1}, time.Time{}), fairlead.ErrInvalid},
		"value as object":        {send("DeviceObject", "/s", 1, time.Time{}), fairlead.ErrInvalid},
		"key missing":            {func() error { return g.SendObject(ctx, prefix+"DeviceObject", "/s", missing, nil) }, fairlead.ErrInvalid},
		"fixed property":         {func() error { return g.UnsetProperty(ctx, prefix+"DevicePropertiesFixed", "/integer_endpoint") }, fairlead.ErrInvalid},
		"unset of a datastream":  {func() error { return g.UnsetProperty(ctx, prefix+"DeviceIndividual", "/integer_endpoint") }, fairlead.ErrInvalid},
		"remove what is unknown": {func() error { return g.RemoveInterface(ctx, prefix+"Unknown") }, astarte.ErrInterfaceNotFound},
	} {
		err := c.do()
		if !errors.Is(err, c.kind) {
			t.Errorf("%s: got %v, want %v", name, err, c.kind)
		}
		var v *astarte.ValidationError
		if !errors.Is(err, astarte.ErrInterfaceNotFound) && !errors.As(err, &v) {
			t.Errorf("%s: got a %T", name, err)
		}
	}
	g.settle()
	after, err := p.realm.Device(ctx, g.ID())
	must(t, err)
	if after.TotalMsgs != before.TotalMsgs || !after.Connected {
		t.Errorf("got %d messages, want %d; connected %v", after.TotalMsgs, before.TotalMsgs, after.Connected)
	}
}

// Objects, whole.
func TestObjects(t *testing.T) {
	p := shared(t)
	for n, name := range []string{"ordinary", "false and extreme"} {
		t.Run(name, func(t *testing.T) {
			g := p.connected(t, "DeviceObject", "DeviceObjectTimed")
			must(t, g.SendObject(t.Context(), prefix+"DeviceObject", "/sensor_1", object(n), nil))
			must(t, g.SendObject(t.Context(), prefix+"DeviceObjectTimed", "/station/north", object(n), &astarte.SendOptions{Time: when}))
			must(t, g.SendObject(t.Context(), prefix+"DeviceObjectTimed", "/station/south", object(n), &astarte.SendOptions{Time: when}))
			g.settle()
			equal(t, without(last(g.read("DeviceObject", "/sensor_1")), "timestamp"), shown(object(n), false))
			want := shown(object(n), false).(map[string]any)
			want["timestamp"] = shown(when, false)
			equal(t, g.read("DeviceObjectTimed", "/station/north"), []any{want})
			equal(t, g.read("DeviceObjectTimed", "/station/south"), []any{want})
		})
	}
	t.Run("order", func(t *testing.T) {
		g := p.connected(t, "DeviceObject")
		for i := range 20 {
			o := object(0)
			o["integer_endpoint"] = i
			must(t, g.SendObject(t.Context(), prefix+"DeviceObject", "/s", o, nil))
		}
		g.settle()
		rows := g.read("DeviceObject", "/s").([]any)
		for i, row := range rows {
			equal(t, row.(map[string]any)["integer_endpoint"], json.Number(strconv.Itoa(i)))
		}
		if len(rows) != 20 {
			t.Errorf("got %d", len(rows))
		}
	})
	t.Run("unreliable", func(t *testing.T) {
		g := p.connected(t, "DeviceObjectUnreliable")
		must(t, g.SendObject(t.Context(), prefix+"DeviceObjectUnreliable", "/sensors", astarte.Object{"a": 1, "b": 2.5}, nil))
		eventually(t, "the object", func() bool { return fmt.Sprint(g.read("DeviceObjectUnreliable", "")) != "map[]" })
		equal(t, without(last(g.read("DeviceObjectUnreliable", "/sensors")), "timestamp"), map[string]any{"a": json.Number("1"), "b": 2.5})
	})
	t.Run("empty base path", func(t *testing.T) {
		g := p.connected(t, "DeviceObjectFlat")
		must(t, g.SendObject(t.Context(), prefix+"DeviceObjectFlat", "", astarte.Object{"a": 1, "b": "x"}, nil))
		g.settle()
		equal(t, without(without(last(g.read("DeviceObjectFlat", "")), "timestamp"), "reception_timestamp"), map[string]any{"a": json.Number("1"), "b": "x"})
	})
	t.Run("older minor", func(t *testing.T) { // the device's copy has fewer keys
		g := p.gadget(t)
		g.cfg.Interfaces = append(g.cfg.Interfaces, edited(t, "DeviceObject", func(root map[string]any, mappings []map[string]any) { root["mappings"] = mappings[:3] }))
		g.connect()
		o := astarte.Object{"double_endpoint": 1.5, "integer_endpoint": 7, "boolean_endpoint": false}
		must(t, g.SendObject(t.Context(), prefix+"DeviceObject", "/s", o, nil))
		g.settle()
		row := last(g.read("DeviceObject", "/s")).(map[string]any)
		for k, v := range row {
			if v == nil {
				delete(row, k)
			}
		}
		equal(t, without(row, "timestamp"), map[string]any{"double_endpoint": 1.5, "integer_endpoint": json.Number("7"), "boolean_endpoint": false})
	})
}
