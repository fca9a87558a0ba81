package astarte

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestIntrospectionDiff(t *testing.T) {
	r := newRig(t)
	r.realm("test")
	c := r.online()
	c.declares("org.A:1:0", "org.B:0:3", "org.C:2:1")
	c.declares("org.A:1:2", "org.C:3:0", "org.D:1:0")
	c.declares("org.B:0:4", "org.C:2:0")
	c.declares("org.B:0:4", "org.C:2:0") // nothing new is told of too
	c.declares()
	wantList(t, "events", c.events(core.DeviceModelChanged),
		`device.model {"introspection":"org.A:1:0;org.B:0:3;org.C:2:1","added":[`+
			`{"interface":"org.A","major":1,"minor":0},{"interface":"org.B","major":0,"minor":3},{"interface":"org.C","major":2,"minor":1}]}`,
		`device.model {"introspection":"org.A:1:2;org.C:3:0;org.D:1:0",`+
			`"added":[{"interface":"org.C","major":3,"minor":0},{"interface":"org.D","major":1,"minor":0}],`+
			`"removed":[{"interface":"org.B","major":0,"minor":3},{"interface":"org.C","major":2,"minor":1}],`+
			`"minor_updated":[{"interface":"org.A","major":1,"minor":2,"old_minor":0}]}`,
		`device.model {"introspection":"org.B:0:4;org.C:2:0",`+
			`"added":[{"interface":"org.B","major":0,"minor":4},{"interface":"org.C","major":2,"minor":0}],`+
			`"removed":[{"interface":"org.A","major":1,"minor":2},{"interface":"org.C","major":3,"minor":0},{"interface":"org.D","major":1,"minor":0}]}`,
		`device.model {"introspection":"org.B:0:4;org.C:2:0"}`,
		`device.model {"introspection":"","removed":[{"interface":"org.B","major":0,"minor":4},{"interface":"org.C","major":2,"minor":0}]}`)
	want := model{Previous: []previousInterface{
		{"org.A", 1, 2}, {"org.B", 0, 4}, {"org.C", 2, 0}, {"org.C", 3, 0}, {"org.D", 1, 0},
	}}
	if d := cmp.Diff(want, c.model(), cmpopts.EquateEmpty()); d != "" {
		t.Errorf("model: -want +got\n%s", d)
	}
}

func TestIntrospectionTakesTheLastOfEqualNamesAndSigns(t *testing.T) {
	r := newRig(t)
	r.realm("test")
	c := r.online()
	c.declares("org.A:1:0", "org.A:+2:03", "org.Z:0:0")
	want := introspection{"org.A": {Major: 2, Minor: 3}, "org.Z": {}}
	if d := cmp.Diff(want, c.model().Introspection); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestPreviousInterfacesOfTheRealmAreKeptBeyondTheBound(t *testing.T) {
	r := newRig(t)
	r.realm("test", temps)
	c := r.online()
	var strange []string
	for _, x := range []string{"A", "B", "C", "D", "E", "F", "G", "H"} {
		for i := range 200 {
			strange = append(strange, x+strings.Repeat("x", i)+":1:0")
		}
	}
	c.declares(strange...)
	c.declares("org.example.Temps:1:0")
	c.declares()
	m := c.model()
	if _, ok := m.previous("org.example.Temps", 1); !ok || len(m.Previous) != maxPrevious+1 {
		t.Errorf("got %v, %d entries", ok, len(m.Previous))
	}
}

// TestQuirkOlderIntrospectionAfterNewer: the Python SDK repeats what was not acknowledged, so an older introspection
// can arrive after the newer one, then the newer again (observed with astarte-device-sdk 0.14.0).
func TestQuirkOlderIntrospectionAfterNewer(t *testing.T) {
	r := newRig(t)
	r.realm("test", temps, config)
	c := r.online()
	older, newer := []byte("org.example.Temps:1:0"), []byte("org.example.Temps:1:0;org.example.Config:1:0")
	c.pipeline(packet{"", newer}, packet{"/org.example.Config/a/level", five}, packet{"", older}, packet{"", newer},
		packet{"/org.example.Config/b/level", five})
	wantList(t, "faults", c.faults())
	wantList(t, "properties", c.entries("org.example.Config:1", core.Reported), "/a/level=5", "/b/level=5")
	if m := c.model(); len(m.Introspection) != 2 || len(m.Previous) != 0 {
		t.Errorf("got %+v", m)
	}
}

// TestQuirkEverythingInOneGo: Python and Rust send introspection, emptyCache, properties and the list of them without
// waiting for an answer (observed).
func TestQuirkEverythingInOneGo(t *testing.T) {
	r := newRig(t)
	r.realm("test", temps, config, target1)
	c := r.online("/org.example.Target/#")
	if err := c.set("org.example.Target", 1, "/a/target", "21.5"); err != nil {
		t.Fatal(err)
	}
	c.broker.take()
	c.pipeline(
		packet{"", []byte("org.example.Temps:1:0;org.example.Config:1:0;org.example.Target:1:0")},
		packet{"/control/emptyCache", []byte("1")},
		packet{"/org.example.Config/a/level", five},
		packet{"/org.example.Config/a/mode", v(t, astartewire.TypeString, "auto")},
		packet{"/control/producer/properties", astartewire.AppendPurgeList(nil, []string{"org.example.Config/a/mode"})},
		packet{"/org.example.Temps/kitchen/temp", five},
	)
	wantList(t, "faults", c.faults())
	wantList(t, "sent", describe(t, c.broker.take()),
		"2 /control/consumer/properties org.example.Target/a/target", "2 /org.example.Target/a/target 10000000017600000000000080354000")
	wantList(t, "properties", c.entries("org.example.Config:1", core.Reported), "/a/mode=auto")
}

// describe renders messages as "QOS TOPIC CONTENT", purge lists unpacked.
func describe(t *testing.T, ms []core.Message) []string {
	t.Helper()
	var out []string
	for _, m := range ms {
		topic := strings.TrimPrefix(m.Topic, "test/"+testID)
		content := hex.EncodeToString(m.Payload)
		if topic == "/control/consumer/properties" {
			items, err := astartewire.ParsePurgeList(m.Payload)
			if err != nil {
				t.Error(err)
			}
			content = strings.Join(items, ";")
		}
		out = append(out, string('0'+m.QoS)+" "+topic+" "+content)
	}
	return out
}

func TestPropertiesOfTheDevice(t *testing.T) {
	c := newRig(t).all()
	set := func(path string, typ astartewire.Type, x any) {
		t.Helper()
		c.publish("/org.example.Config"+path, v(t, typ, x))
	}
	set("/a/mode", astartewire.TypeString, "auto")
	set("/a/mode", astartewire.TypeString, "auto") // again: stored, nothing told
	set("/a/mode", astartewire.TypeString, "off")
	set("/a/level", astartewire.TypeInteger, int64(0))
	c.publish("/org.example.Config/a/mode", nil)
	c.publish("/org.example.Config/a/mode", nil) // not set: nothing told
	c.publish("/org.example.Config/b/mode", null)
	wantList(t, "faults", c.faults())
	wantList(t, "properties", c.entries("org.example.Config:1", core.Reported), "/a/level=0")
	auto, off, zero := `BgRhdXRv`, `BgNvZmY=`, `AwA=`
	head := `document.changed {"document":"org.example.Config:1","side":"reported","path":"/a/`
	wantList(t, "events", c.events(core.DocumentChanged),
		head+`mode","new":"`+auto+`"}`, head+`mode","old":"`+auto+`","new":"`+off+`"}`, head+`level","new":"`+zero+`"}`,
		head+`mode","old":"`+off+`"}`)
	if got := c.counts()["org.example.Config:1"]; !strings.HasPrefix(got, "7/") {
		t.Errorf("counts: got %s, want 7 messages", got)
	}
	wantList(t, "sent", describe(t, c.broker.take()))
}

// TestQuirkEmptyBlobIsUnset: zero bytes of a binaryblob cannot be told from an unset.
func TestQuirkEmptyBlobIsUnset(t *testing.T) {
	c := newRig(t).all()
	c.publish("/org.example.Config/a/blob", v(t, astartewire.TypeBinaryBlob, []byte{1}))
	wantList(t, "properties", c.entries("org.example.Config:1", core.Reported), "/a/blob=[1]")
	c.publish("/org.example.Config/a/blob", noBlob)
	wantList(t, "properties", c.entries("org.example.Config:1", core.Reported))
}

func TestUnsetNotAllowedKeepsTheValue(t *testing.T) {
	c := newRig(t).all()
	c.publish("/org.example.Config/a/level", five)
	c.publish("/org.example.Config/a/level", nil)
	wantList(t, "faults", c.faults(), "unset_not_allowed")
	wantList(t, "properties", c.entries("org.example.Config:1", core.Reported), "/a/level=5")
}

func TestPurgeList(t *testing.T) {
	all := []string{"/a/level=5", "/b/level=5"}
	list := func(items ...string) []byte { return astartewire.AppendPurgeList(nil, items) }
	little := list("org.example.Config/a/level")
	slices.Reverse(little[:4])
	for _, test := range []struct {
		name    string
		payload []byte
		want    []string
	}{
		{"all", list("org.example.Config/a/level", "org.example.Config/b/level"), all},
		{"one", list("org.example.Config/b/level"), all[1:]},
		{"twice the same, in no order", list("x/y", "org.example.Config/b/level", "org.example.Config/b/level"), all[1:]},
		{"none, as four zero bytes", []byte{0, 0, 0, 0}, nil},
		{"none, as Python and Rust send it", list(), nil},
		{"none, as Go sends it", []byte{0, 0, 0, 0, 0x78, 0x9c, 1, 0, 0, 0xff, 0xff, 0, 0, 0, 1}, nil},
		{"QuirkLittleEndianSize, as Python sends it", little, all[:1]},
		{"item without slash", list("org.example.Config"), nil},
		{"other interface", list("org.example.Temps/a/level"), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newRig(t).all()
			c.publish("/org.example.Config/a/level", five)
			c.publish("/org.example.Config/b/level", five)
			before := len(c.events(core.DocumentChanged))
			c.publish("/control/producer/properties", test.payload)
			wantList(t, "properties", c.entries("org.example.Config:1", core.Reported), test.want...)
			if got := len(c.events(core.DocumentChanged)) - before; got != 2-len(test.want) {
				t.Errorf("got %d events", got)
			}
			wantList(t, "faults", c.faults())
			wantList(t, "disconnections", c.broker.kicks())
		})
	}
}

func TestPurgeListSparesServerOwnedAndUndeclared(t *testing.T) {
	c := newRig(t).all()
	if err := c.set("org.example.Target", 1, "/a/name", `"x"`); err != nil {
		t.Fatal(err)
	}
	c.publish("/org.example.Config/a/level", five)
	c.declares("org.example.Target:1:0")
	c.publish("/control/producer/properties", []byte{0, 0, 0, 0})
	wantList(t, "server-owned", c.entries("org.example.Target:1", core.Desired), "/a/name=x")
	wantList(t, "undeclared", c.entries("org.example.Config:1", core.Reported), "/a/level=5")
}

func TestCapabilityPlaintext(t *testing.T) {
	c := newRig(t).all()
	capability := func(value string) []byte {
		b, d := astartewire.BeginDocument(nil)
		b = astartewire.AppendInt(b, "something_else", 1)
		return astartewire.EndDocument(astartewire.AppendString(b, "purge_properties_compression_format", value), d)
	}
	before := c.counts()[""]
	c.publish("/capabilities", capability("plaintext"))
	if c.counts()[""] == before || !c.model().PlainPurgeLists {
		t.Errorf("got %+v, counted %s", c.model(), c.counts()[""])
	}
	c.publish("/org.example.Config/a/level", five)
	c.publish("/org.example.Config/b/level", five)
	c.publish("/control/producer/properties", []byte("org.example.Config/b/level"))
	wantList(t, "properties", c.entries("org.example.Config:1", core.Reported), "/b/level=5")
	if err := c.set("org.example.Target", 1, "/a/name", `"x"`); err != nil {
		t.Fatal(err)
	}
	c.broker.take()
	c.publish("/control/emptyCache", []byte("1"))
	if got := c.broker.take(); len(got) != 2 || string(got[0].Payload) != "org.example.Target/a/name" {
		t.Errorf("got %+v", got)
	}
	c.publish("/control/producer/properties", []byte{0, 0, 0, 0}) // still means none
	wantList(t, "properties", c.entries("org.example.Config:1", core.Reported))
	empty, d := astartewire.BeginDocument(nil)
	c.publish("/capabilities", astartewire.EndDocument(empty, d)) // changes nothing
	if !c.model().PlainPurgeLists {
		t.Error("the capability is gone")
	}
	c.publish("/capabilities", capability("zlib"))
	if c.model().PlainPurgeLists {
		t.Error("the capability did not change back")
	}
	wantList(t, "faults", c.faults())
	c.publish("/capabilities", capability("gzip"))
	wantList(t, "faults", c.faults(), "malformed_capabilities_message")
}

func TestEmptyCacheSendsTheTrueListAndEachProperty(t *testing.T) {
	c := newRig(t).all()
	for path, value := range map[string]string{"/b/name": `"x"`, "/a/target": `1`, "/a/count": `"5000000000"`} {
		if err := c.set("org.example.Target", 1, path, value); err != nil {
			t.Fatal(err)
		}
	}
	c.publish("/org.example.Temps/kitchen/temp", nonsense) // disconnects
	c.disconnect()
	c.broker.take()
	c.broker.kicks()
	c2 := c.again("/org.example.Target/#", "/org.example.Commands/#")
	if !c2.model().PendingEmptyCache {
		t.Error("no empty cache is pending")
	}
	before := c2.counts()[""]
	c2.publish("/control/emptyCache", []byte("whatever"))
	wantList(t, "sent", describe(t, c2.broker.take()),
		"2 /control/consumer/properties org.example.Target/a/count;org.example.Target/a/target;org.example.Target/b/name",
		"2 /org.example.Target/a/count 10000000127600"+"00f2052a01000000"+"00",
		"2 /org.example.Target/a/target 10000000017600"+"000000000000f03f"+"00",
		"2 /org.example.Target/b/name 0e0000000276000200000078"+"0000")
	if c2.model().PendingEmptyCache {
		t.Error("the mark is still there")
	}
	if got := c2.counts()[""]; got != before {
		t.Errorf("counted: got %s, want %s", got, before)
	}
	wantList(t, "disconnections", c2.broker.kicks())
}

// again connects the device of an earlier connection.
func (c *client) again(filters ...string) *client {
	c.Helper()
	crt, issued := c.sign(c.base)
	c.do(func(tx *commit.Tx) error {
		return tx.PutCertificate(core.Certificate{Serial: issued.Serial, Device: c.dev.Num, SHA256: issued.SHA256})
	})
	return c.connect(c.dev, crt, filters...)
}

func TestEmptyCacheWithNothingSet(t *testing.T) {
	c := newRig(t).all()
	c.publish("/control/emptyCache", []byte("1"))
	got := c.broker.take()
	if len(got) != 1 || hex.EncodeToString(got[0].Payload) != "00000000789c030000000001" {
		t.Errorf("got %+v, want the empty list that Python can read", got) // never four zero bytes alone
	}
}

func TestEmptyCacheWithoutSubscription(t *testing.T) {
	c := newRig(t).all()
	if err := c.set("org.example.Target", 1, "/a/name", `"x"`); err != nil {
		t.Fatal(err)
	}
	c.disconnect()
	c.broker.take()
	c2 := c.again() // the list has a subscription, the property has not
	before := c2.counts()[""]
	c2.publish("/control/emptyCache", []byte("1"))
	wantList(t, "faults", c2.faults(), "device_session_not_found")
	wantList(t, "disconnections", c2.broker.kicks(), "device_session_not_found wipe=true")
	if c2.counts()[""] == before || !c2.model().PendingEmptyCache {
		t.Errorf("got %+v, counted %s", c2.model(), c2.counts()[""])
	}
}

func TestEmptyCacheBeyondTheQueue(t *testing.T) {
	c := newRig(t).all()
	c.broker.queues[c.key] = 0
	c.publish("/control/emptyCache", []byte("1"))
	wantList(t, "faults", c.faults(), "empty_cache_error")
}

func TestEmptyCacheErrorForAnythingElse(t *testing.T) {
	c := newRig(t).all()
	c.broker.err = core.ErrTooLarge
	c.publish("/control/emptyCache", []byte("1"))
	wantList(t, "faults", c.faults(), "empty_cache_error")
	wantList(t, "disconnections", c.broker.kicks(), "empty_cache_error wipe=true")
}

func TestEmptyCacheNeverSendsWhatDoesNotFit(t *testing.T) {
	c := newRig(t).all()
	c.do(func(tx *commit.Tx) error { // behind everybody's back
		k := core.DocumentKey{Device: c.dev.Num, Name: "org.example.Target:1", Side: core.Desired}
		for path, v := range map[string]core.Value{
			"/a/name": core.AppendInt(nil, 1), "/a/nothing": core.AppendInt(nil, 1), "/b/name": {99}, "/c/name": core.AppendString(nil, "ok"),
		} {
			if err := tx.PutEntry(k, core.Entry{Path: path, Value: v, Changed: time.Now()}); err != nil {
				return err
			}
		}
		return nil
	})
	c.publish("/control/emptyCache", []byte("1"))
	wantList(t, "sent", describe(t, c.broker.take()), "2 /control/consumer/properties org.example.Target/c/name",
		"2 /org.example.Target/c/name 0f000000027600030000006f6b0000")
}
