package astarte

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/document"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
	"github.com/google/go-cmp/cmp"
)

func TestWhatTheServerSends(t *testing.T) {
	for _, test := range []struct {
		name, iface, path, value string
		want                     string // QoS, topic and payload
		stored                   any
	}{
		{"property, a whole number for a double", "org.example.Target", "/a/target", "1", "2 /org.example.Target/a/target 10000000017600000000000000f03f00", nil},
		{"longinteger that fits 32 bits", "org.example.Target", "/a/count", "7", "2 /org.example.Target/a/count 0c0000001076000700000000", nil},
		{"longinteger that does not, as text", "org.example.Target", "/a/count", `"5000000000"`, "2 /org.example.Target/a/count 10000000127600" + "00f2052a01000000" + "00", nil},
		{"empty string is a value", "org.example.Target", "/a/name", `""`, "2 /org.example.Target/a/name 0d000000027600010000000000", nil},
		{"unreliable", "org.example.Commands", "/blink", "false", "0 /org.example.Commands/blink 090000000876000000", false},
		{"guaranteed", "org.example.Commands", "/beep", "-1", "1 /org.example.Commands/beep 0c00000010760" + "0ffffffff00", int64(-1)},
		{
			"unique, datetime with a space", "org.example.Commands", "/boom", `"1970-01-01 01:00:01+01:00"`,
			"2 /org.example.Commands/boom 10000000097600e80300000000000000", time.Unix(1, 0).UTC(),
		},
		{
			"object", "org.example.Move", "/to", `{"y":2,"x":1}`,
			"1 /org.example.Move/to 1b000000037600130000001078000100000010790002000000" + "0000",
			map[string]any{"x": int64(1), "y": int64(2)},
		},
		{
			"part of an object", "org.example.Move", "/to", `{"y":2}`,
			"1 /org.example.Move/to 140000000376000c0000001079000200000000" + "00",
			map[string]any{"y": int64(2)},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newRig(t).all()
			if err := c.set(test.iface, 1, test.path, test.value); err != nil {
				t.Fatal(err)
			}
			wantList(t, "sent", describe(t, c.broker.take()), test.want)
			got := c.samples(test.iface + ":1" + test.path)
			if test.stored == nil {
				if es := c.entries(test.iface+":1", core.Desired); len(es) != 1 || len(got) != 0 {
					t.Errorf("stored: got %v, %v", es, got)
				}
				return
			}
			if d := cmp.Diff([]any{test.stored}, got); d != "" {
				t.Errorf("stored: -want +got\n%s", d)
			}
		})
	}
}

func TestServerDataIsRefused(t *testing.T) {
	typeOf := func(expected string) error { return &typeError{expected} }
	for _, test := range []struct {
		name, iface, path, value string
		want                     error
		kind                     error
	}{
		{"device-owned, before the path", "org.example.Config", "/nothing", "1", errDeviceOwned, core.ErrDenied},
		{"no endpoint", "org.example.Target", "/a/nothing", "1", errEndpointNotFound, core.ErrInvalid},
		{"invalid path", "org.example.Target", "/a//target", "1", errEndpointNotFound, core.ErrInvalid},
		{"partial path", "org.example.Target", "/a", "1", errPartialPath, core.ErrDenied},
		{"object, below its path", "org.example.Move", "/to/x", "1", errObjectPath, core.ErrNotFound},
		{"object, above its path", "org.example.Move", "/", `{"y":1}`, errObjectPath, core.ErrNotFound},
		{"wrong type", "org.example.Target", "/a/target", `"1"`, typeOf("double"), core.ErrInvalid},
		{"null", "org.example.Target", "/a/name", "null", typeOf("string"), core.ErrInvalid},
		{"no JSON", "org.example.Target", "/a/name", "{", typeOf("string"), core.ErrInvalid},
		{"integer out of range", "org.example.Commands", "/beep", "2147483648", typeOf("integer"), core.ErrInvalid},
		{"datetime without offset", "org.example.Commands", "/boom", `"1970-01-01T00:00:00"`, typeOf("datetime"), core.ErrInvalid},
		{"too long", "org.example.Target", "/a/name", `"` + strings.Repeat("x", 65_537) + `"`, errValueSize, core.ErrTooLarge},
		{"scalar to an object", "org.example.Move", "/to", "1", typeOf("object"), core.ErrInvalid},
		{"wrong type in an object", "org.example.Move", "/to", `{"x":true,"y":1}`, typeOf("integer"), core.ErrInvalid},
		{"unknown key", "org.example.Move", "/to", `{"y":1,"z":1}`, errObjectKey, core.ErrInvalid},
		{"missing required key", "org.example.Move", "/to", `{"x":1}`, errMissingKey, core.ErrInvalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newRig(t).all()
			err := c.set(test.iface, 1, test.path, test.value)
			var wrong *typeError
			if w, ok := test.want.(*typeError); ok {
				if !errors.As(err, &wrong) || wrong.expected != w.expected {
					t.Errorf("got %v, want %v", err, w)
				}
			} else {
				wantIs(t, err, test.want)
			}
			wantIs(t, err, test.kind)
			wantList(t, "sent", describe(t, c.broker.take()))
			wantList(t, "stored", c.entries("org.example.Target:1", core.Desired))
			c.storesNothing()
		})
	}
}

func TestServerDataThatNoSessionTakes(t *testing.T) {
	c := newRig(t).all()
	c.disconnect()
	for _, test := range []struct {
		iface, path, value string
		want               error
	}{
		{"org.example.Target", "/a/name", `"x"`, nil},
		{"org.example.Commands", "/blink", "true", nil},
		{"org.example.Commands", "/beep", "1", core.ErrUnreachable},
		{"org.example.Commands", "/boom", "1", core.ErrUnreachable},
		{"org.example.Move", "/to", `{"y":1}`, core.ErrUnreachable},
	} {
		wantIs(t, c.set(test.iface, 1, test.path, test.value), test.want)
	}
	wantList(t, "properties", c.entries("org.example.Target:1", core.Desired), "/a/name=x")
	for ch, n := range map[string]int{"Commands:1/blink": 1, "Commands:1/beep": 0, "Commands:1/boom": 0, "Move:1/to": 0} {
		if got := c.samples("org.example." + ch); len(got) != n {
			t.Errorf("%s: got %v, want %d", ch, got, n)
		}
	}
}

func TestUnsetServerProperty(t *testing.T) {
	c := newRig(t).all()
	if err := c.set("org.example.Target", 1, "/a/target", "1"); err != nil {
		t.Fatal(err)
	}
	c.broker.take()
	for range 2 { // the second time it is not set, and told all the same
		if err := c.unset("org.example.Target", 1, "/a/target"); err != nil {
			t.Fatal(err)
		}
		wantList(t, "sent", describe(t, c.broker.take()), "2 /org.example.Target/a/target ")
		wantList(t, "properties", c.entries("org.example.Target:1", core.Desired))
	}
	for _, test := range []struct {
		iface, path string
		want        error
	}{
		{"org.example.Target", "/a/name", errUnsetNotAllowed},
		{"org.example.Target", "/a", errPartialPath},
		{"org.example.Target", "/a/nothing", errEndpointNotFound},
		{"org.example.Commands", "/beep", errUnsetNotAllowed},
		{"org.example.Move", "/to", errUnsetNotAllowed},
		{"org.example.Move", "/to/x", errObjectPath},
		{"org.example.Config", "/a/mode", errDeviceOwned},
	} {
		wantIs(t, c.unset(test.iface, 1, test.path), test.want)
	}
	wantList(t, "sent", describe(t, c.broker.take()))
}

// TestChangesAroundAppEngine: whoever changes a desired document reaches the device, but only with what its interface
// allows, because some of what it does not allow kills the Python SDK's network thread (observed).
func TestChangesAroundAppEngine(t *testing.T) {
	str := func(s string) core.Value { return core.AppendString(nil, s) }
	for _, test := range []struct {
		name, doc, path string
		side            core.Side
		value           core.Value
		want            string
		fails           bool
	}{
		{"allowed", "org.example.Target:1", "/a/name", core.Desired, str("x"), "2 /org.example.Target/a/name 0e00000002760002000000780000", false},
		{"the device's side", "org.example.Target:1", "/a/name", core.Reported, str("x"), "", false},
		{"wrong type", "org.example.Target:1", "/a/name", core.Desired, core.AppendInt(nil, 1), "", true},
		{"malformed value", "org.example.Target:1", "/a/name", core.Desired, core.Value{99}, "", true},
		{"no endpoint", "org.example.Target:1", "/a", core.Desired, str("x"), "", true},
		{"into another topic", "org.example.Target:1", "/../control/x", core.Desired, str("x"), "", true},
		{"no such interface", "org.example.Target:2", "/a/name", core.Desired, str("x"), "", true},
		{"no name", "control", "/consumer/properties", core.Desired, str("x"), "", true},
		{"scalar on an object", "org.example.Move:1", "/to", core.Desired, core.AppendInt(nil, 1), "", true},
		{"datastream", "org.example.Commands:1", "/beep", core.Desired, core.AppendInt(nil, 1), "", true},
		{"device-owned", "org.example.Config:1", "/a/mode", core.Desired, str("x"), "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newRig(t).all()
			err := c.try(func(tx *commit.Tx) error {
				_, err := document.Set(tx, document.Ref{Device: c.dev, Name: test.doc, Side: test.side}, test.path, test.value)
				return err
			})
			if (err != nil) != test.fails {
				t.Errorf("error: got %v", err)
			}
			if test.want == "" {
				wantList(t, "sent", describe(t, c.broker.take()))
			} else {
				wantList(t, "sent", describe(t, c.broker.take()), test.want)
			}
			if test.fails {
				wantList(t, "stored", c.entries(test.doc, test.side))
			}
		})
	}
}

func TestUnsetAroundAppEngine(t *testing.T) {
	c := newRig(t).all()
	if err := c.set("org.example.Target", 1, "/a/name", `"x"`); err != nil {
		t.Fatal(err)
	}
	c.broker.take()
	wantIs(t, c.try(func(tx *commit.Tx) error {
		_, err := document.Delete(tx, document.Ref{Device: c.dev, Name: "org.example.Target:1", Side: core.Desired}, "/a/name")
		return err
	}), errUnsetNotAllowed)
	wantList(t, "properties", c.entries("org.example.Target:1", core.Desired), "/a/name=x")
}

// TestAnotherMajorIsNotSent: the device would take the value for one of its own definition.
func TestAnotherMajorIsNotSent(t *testing.T) {
	r := newRig(t)
	r.realm("test", target1, strings.Replace(target1, `"version_major":1`, `"version_major":2`, 1))
	c := r.online("/org.example.Target/#")
	c.declares("org.example.Target:2:0")
	for major, want := range map[int]int{1: 0, 2: 1} {
		if err := c.set("org.example.Target", major, "/a/name", `"x"`); err != nil {
			t.Fatal(err)
		}
		if got := c.broker.take(); len(got) != want {
			t.Errorf("major %d: got %d messages, want %d", major, len(got), want)
		}
	}
}

// TestNothingThatKillsPython sends every kind of value there is and reads it as a strict client does: only
// consumer/properties below control, a complete purge list, payloads that decode to what the mapping says.
func TestNothingThatKillsPython(t *testing.T) {
	r := newRig(t)
	var b strings.Builder
	for i, typ := range astartewire.Types {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"endpoint":"/` + typ.String() + `","type":"` + typ.String() + `","allow_unset":true}`)
	}
	r.realm("test", `{"interface_name":"org.example.Every","version_major":0,"version_minor":1,"type":"properties","ownership":"server","mappings":[`+b.String()+`]}`)
	c := r.online("/#")
	c.declares("org.example.Every:0:1")
	values := map[string][]string{
		"double": {"0", "-0.0", "1e308", "9007199254740993"}, "integer": {"0", "-2147483648", "2147483647"},
		"longinteger": {"0", "2147483648", `"-9223372036854775808"`}, "boolean": {"true", "false"},
		"string": {`""`, `"\u0000"`, `"\ud800"`, `"grüß 😀"`}, "binaryblob": {`""`, `"AAE="`}, "datetime": {"0", `"2022-11-22 10:11:21+00:00"`},
	}
	for typ, vs := range values {
		for _, v := range vs {
			if err := c.set("org.example.Every", 0, "/"+typ, v); err != nil {
				t.Errorf("%s %s: %v", typ, v, err)
			}
		}
		if err := c.set("org.example.Every", 0, "/"+typ+"array", "["+strings.Join(vs, ",")+"]"); err != nil {
			t.Errorf("%sarray: %v", typ, err)
		}
		if err := c.set("org.example.Every", 0, "/"+typ+"array", "[]"); err != nil {
			t.Errorf("%sarray: %v", typ, err)
		}
	}
	c.publish("/control/emptyCache", nil)
	if err := c.unset("org.example.Every", 0, "/string"); err != nil {
		t.Error(err)
	}
	c.publish("/control/emptyCache", nil)
	i := c.current("test").iface("org.example.Every", 0)
	sent := c.broker.take()
	if len(sent) < 60 {
		t.Errorf("only %d messages", len(sent))
	}
	for _, m := range sent {
		rest, ok := strings.CutPrefix(m.Topic, c.base+"/")
		if !ok {
			t.Errorf("topic %q", m.Topic)
		}
		if rest == "control/consumer/properties" {
			if _, err := astartewire.ParsePurgeList(m.Payload); err != nil || len(m.Payload) < 12 {
				t.Errorf("purge list %x: %v", m.Payload, err)
			}
			continue
		}
		path, ok := strings.CutPrefix(rest, "org.example.Every")
		mapping, err := i.Resolve(path)
		if !ok || err != nil {
			t.Errorf("topic %q: %v", m.Topic, err)
			continue
		}
		if len(m.Payload) == 0 && mapping.AllowUnset {
			continue
		}
		p, err := astartewire.ParsePayload(m.Payload)
		if err == nil && !p.Unset {
			err = mapping.Type.Check(p.Value)
		}
		if err != nil || p.HasTime {
			t.Errorf("%s %x: %v", path, m.Payload, err)
		}
	}
}

// A device whose queue has no room must not miss a property for good: without its session it asks for everything.
func TestPropertyThatFindsTheQueueFull(t *testing.T) {
	c := newRig(t).all()
	c.broker.queues = map[core.SessionKey]int{sessionKey(c.dev.DeviceKey): 0}
	if err := c.set("org.example.Target", 1, "/a/name", `"x"`); err != nil {
		t.Fatal(err)
	}
	wantList(t, "entries", c.entries("org.example.Target:1", core.Desired), `/a/name=x`)
	wantList(t, "disconnections", c.broker.kicks(), "queue full wipe=true")
	if !c.model().PendingEmptyCache {
		t.Error("no empty cache is pending")
	}
}

// Topics have 16 bits for their length; what could not be sent to the device is not accepted for it.
func TestServerPathTooLongForATopic(t *testing.T) {
	c := newRig(t).all()
	long := "/" + strings.Repeat("x", maxPathBytes)
	wantIs(t, c.set("org.example.Target", 1, long+"/name", `"x"`), errEndpointNotFound)
	wantIs(t, c.unset("org.example.Target", 1, long+"/target"), errEndpointNotFound)
	wantList(t, "entries", c.entries("org.example.Target:1", core.Desired))
	wantList(t, "sent", describe(t, c.broker.take()))
}

func TestNotifyIgnoresOtherEvents(t *testing.T) {
	c := newRig(t).all()
	c.do(func(tx *commit.Tx) error {
		for _, kind := range []core.EventKind{core.DeviceRegistered, core.CertificateIssued, "job.made"} {
			if err := c.d.Notify(tx, core.Event{Kind: kind, Device: c.dev.DeviceKey, Data: json.RawMessage("nothing")}); err != nil {
				return err
			}
		}
		return nil
	})
	wantList(t, "sent", describe(t, c.broker.take()))
}
