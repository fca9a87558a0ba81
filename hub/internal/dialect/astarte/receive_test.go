package astarte

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
	"github.com/google/go-cmp/cmp"
)

// all is a device that declares every interface of the tests.
func (r *rig) all() *client {
	r.Helper()
	r.realm("test", temps, config, target1, commands, position, flat, move)
	c := r.online("/org.example.Target/#", "/org.example.Commands/#", "/org.example.Move/#")
	c.declares("org.example.Temps:1:0", "org.example.Config:1:0", "org.example.Target:1:0", "org.example.Commands:1:0",
		"org.example.Position:1:0", "org.example.Flat:1:0", "org.example.Move:1:0", "org.example.Unknown:1:0")
	return c
}

var (
	five     = []byte("\x0c\x00\x00\x00\x10v\x00\x05\x00\x00\x00\x00") // {"v":5}
	null     = []byte("\x08\x00\x00\x00\x0av\x00\x00")                 // {"v":null}
	noBlob   = []byte("\x0d\x00\x00\x00\x05v\x00\x00\x00\x00\x00\x00\x00")
	nonsense = []byte("nonsense")
)

// TestServerChecks has one case for each check of a data message, and for each pair of checks of which one has to come
// first ("Data messages: server checks" of the reference; astarte_data_updater_plant core/data_handler.ex).
func TestServerChecks(t *testing.T) {
	long := v(t, astartewire.TypeString, strings.Repeat("x", 65_536))
	big := make([]any, 1025)
	for i := range big {
		big[i] = int64(i)
	}
	many, array := astartewire.BeginDocument(nil)
	many, inner := astartewire.BeginArray(many, "v")
	for i := range big {
		many = astartewire.AppendInt(many, astartewire.IndexKey(i), int64(i))
	}
	many = astartewire.EndDocument(astartewire.EndDocument(many, inner), array)
	tooLong, d := astartewire.BeginDocument(nil)
	tooLong = astartewire.EndDocument(astartewire.AppendString(tooLong, "v", strings.Repeat("x", 65_537)), d)
	for _, test := range []struct {
		name, topic string
		payload     []byte
		want        string // error name; "": accepted
	}{
		{"1 interface is not UTF-8, before 2", "/\xff//x", nil, "invalid_interface"},
		{"2 path is not UTF-8", "/org.example.Temps/\xff", five, "invalid_path"},
		{"2 path has an empty level, before 3", "/org.example.Nowhere/a//b", five, "invalid_path"},
		{"3 not in the introspection", "/org.example.Nowhere/a", five, "interface_loading_failed"},
		{"3 in the introspection, not installed", "/org.example.Unknown/a", five, "interface_loading_failed"},
		{"3 no interface at all", "/", five, "interface_loading_failed"},
		{"4 server-owned property", "/org.example.Target/a/target", five, "write_on_server_owned_interface"},
		{"4 server-owned datastream, before 5", "/org.example.Commands/nothing", nonsense, "write_on_server_owned_interface"},
		{"5 no such endpoint", "/org.example.Temps/kitchen/nothing", five, "mapping_not_found"},
		{"5 too deep", "/org.example.Temps/kitchen/temp/x", five, "mapping_not_found"},
		{"5 trailing slash", "/org.example.Temps/kitchen/temp/", five, "mapping_not_found"},
		{"5 other case", "/org.example.Temps/kitchen/Temp", five, "mapping_not_found"},
		{"5 placeholder as level", "/org.example.Temps/%{room}/temp", five, "mapping_not_found"},
		{"5 prefix of endpoints, before 6", "/org.example.Temps/kitchen", nonsense, "ambiguous_path"},
		{"5 no path", "/org.example.Temps", five, "ambiguous_path"},
		{"5 object below its base path", "/org.example.Position/me/x", five, "mapping_not_found"},
		{"5 object above its base path", "/org.example.Position", doc(map[string]any{"x": 1}), "mapping_not_found"},
		{"6 undecodable", "/org.example.Temps/kitchen/temp", nonsense, "undecodable_bson_payload"},
		{"6 undecodable object", "/org.example.Position/me", nonsense, "undecodable_bson_payload"},
		{"6 undecodable property", "/org.example.Config/a/mode", nonsense, "undecodable_bson_payload"},
		{"6 Python's type 0x11", "/org.example.Temps/kitchen/temp", []byte("\x10\x00\x00\x00\x11v\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00"), "undecodable_bson_payload"},
		{"7 wrong type", "/org.example.Temps/kitchen/text", five, "unexpected_value_type"},
		{"7 NaN", "/org.example.Temps/kitchen/temp", []byte("\x10\x00\x00\x00\x01v\x00\x00\x00\x00\x00\x00\x00\xf8\x7f\x00"), "unexpected_value_type"},
		{"7 document on an individual mapping", "/org.example.Temps/kitchen/temp", doc(map[string]any{"x": 1}), "unexpected_value_type"},
		{"7 property of the wrong type", "/org.example.Config/a/mode", five, "unexpected_value_type"},
		{"7 string of 65536 bytes", "/org.example.Temps/kitchen/text", long, ""},
		{"7 string too long", "/org.example.Temps/kitchen/text", tooLong, "value_size_exceeded"},
		{"7 array too long", "/org.example.Temps/kitchen/many", many, "value_size_exceeded"},
		{"7 unknown key", "/org.example.Position/me", doc(map[string]any{"x": 1, "z": 1}), "unexpected_object_key"},
		{"7 key of another interface", "/org.example.Flat", doc(map[string]any{"label": "a"}), "unexpected_object_key"},
		{"7 wrong type in an object", "/org.example.Position/me", doc(map[string]any{"x": "a"}), "unexpected_value_type"},
		{"7 scalar on an object", "/org.example.Position/me", five, "unexpected_value_type"},
		{"7 nothing on an object", "/org.example.Position/me", nil, "unexpected_value_type"},
		{"7 null on an object", "/org.example.Position/me", null, "unexpected_value_type"},
		{"9 nothing on a datastream", "/org.example.Temps/kitchen/temp", nil, "unset_on_datastream"},
		{"9 null on a datastream", "/org.example.Temps/kitchen/temp", null, "unset_on_datastream"},
		{"9 empty binary on a datastream", "/org.example.Temps/kitchen/raw", noBlob, "unset_on_datastream"},
		{"10 unset where not allowed", "/org.example.Config/a/level", nil, "unset_not_allowed"},
		{"unknown control message", "/control/nothing", nil, "unexpected_control_message"},
		{"no control message", "/control", nil, "unexpected_control_message"},
		{"control message of the server", "/control/consumer/properties", []byte{0, 0, 0, 0}, "unexpected_control_message"},
		{"key agreement, which we do not have", "/control/keyAgreement/0", []byte{0x80}, "unexpected_control_message"},
		{"introspection", "", []byte("org.example.Temps:1:0;"), "invalid_introspection"},
		{"introspection without minor", "", []byte("org.example.Temps:1"), "invalid_introspection"},
		{"introspection with a bad name", "", []byte("1a:1:0"), "invalid_introspection"},
		{"capabilities", "/capabilities", nonsense, "malformed_capabilities_message"},
		{"an interface may be called capabilities", "/capabilities/x", five, "interface_loading_failed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newRig(t).all()
			before := c.counts()[""]
			c.publish(test.topic, test.payload)
			if test.want == "" {
				wantList(t, "faults", c.faults())
				return
			}
			wantList(t, "faults", c.faults(), test.want)
			switch test.want {
			case "unset_on_datastream":
				wantList(t, "disconnections", c.broker.kicks())
			default:
				wantList(t, "disconnections", c.broker.kicks(), test.want+" wipe=true")
				if !c.model().PendingEmptyCache {
					t.Error("no empty cache is pending")
				}
			}
			switch test.want {
			case "unset_on_datastream", "unset_not_allowed", "invalid_interface", "malformed_capabilities_message":
				if got := c.counts()[""]; got != before {
					t.Errorf("counted: got %s, want %s", got, before)
				}
			default:
				if got := c.counts()[""]; got == before {
					t.Errorf("not counted: got %s", got)
				}
			}
			if got := c.counts(); len(got) != 1 {
				t.Errorf("counted for an interface: got %v", got)
			}
			c.storesNothing()
		})
	}
}

// storesNothing fails if the device has any value.
func (c *client) storesNothing() {
	c.Helper()
	c.view(func(rd store.Reader) error {
		if all, err := rd.Series(c.dev.Num, ""); err != nil || len(all) > 0 {
			c.Errorf("%d series are stored (%v)", len(all), err)
		}
		return nil
	})
	wantList(c, "properties", c.entries("org.example.Config:1", core.Reported))
}

func TestMissingRequiredKey(t *testing.T) {
	r := newRig(t)
	r.realm("test", strings.ReplaceAll(strings.Replace(flat, `"type":"integer"`, `"type":"integer","required":true`, 1), "Flat", "Need"))
	c := r.online()
	c.declares("org.example.Need:1:0")
	c.publish("/org.example.Need", doc(map[string]any{"x": 1}))
	c.publish("/org.example.Need", doc(map[string]any{"y": 1}))
	wantList(t, "faults", c.faults(), "missing_required_mapping")
}

func TestErrorEventHasTheMetadataThatApply(t *testing.T) {
	c := newRig(t).all()
	c.publish("/org.example.Temps/kitchen/text", five)
	c.publish("/control/x", []byte("\x01"))
	c.publish("", []byte("?"))
	b := base64.StdEncoding.EncodeToString(five)
	wantList(t, "events", c.events(core.DeviceError),
		`device.error {"error":"unexpected_value_type","metadata":{"base64_payload":"`+b+`","interface":"\"org.example.Temps\"","path":"\"/kitchen/text\""}}`,
		`device.error {"error":"unexpected_control_message","metadata":{"base64_payload":"AQ==","path":"\"/x\""}}`,
		`device.error {"error":"invalid_introspection","metadata":{"base64_payload":"Pw=="}}`)
}

func TestPurgePropertiesErrorIsSilentAndNotCounted(t *testing.T) {
	for name, payload := range map[string][]byte{
		"no zlib": []byte("\x00\x00\x00\x05hello"), "fewer than 4 bytes": {0, 0, 0}, "empty": nil,
		"truncated": astartewire.AppendPurgeList(nil, []string{"org.example.Config/a/mode"})[:20],
	} {
		t.Run(name, func(t *testing.T) {
			c := newRig(t).all()
			c.publish("/org.example.Config/a/level", five)
			before := c.counts()[""]
			c.publish("/control/producer/properties", payload)
			wantList(t, "faults", c.faults())
			wantList(t, "disconnections", c.broker.kicks(), "purge_properties_error wipe=true")
			if got := c.counts()[""]; got != before {
				t.Errorf("counted: got %s, want %s", got, before)
			}
			wantList(t, "properties", c.entries("org.example.Config:1", core.Reported), "/a/level=5")
		})
	}
}

func TestMessagesBehindAnErrorAreHandledAndDisconnectOnce(t *testing.T) {
	c := newRig(t).all()
	c.pipeline(
		packet{"/org.example.Temps/kitchen/temp", nonsense},
		packet{"/org.example.Temps/kitchen/temp", v(t, astartewire.TypeDouble, 1.5)},
		packet{"/org.example.Config/a/level", five},
		packet{"/org.example.Temps/kitchen", five},
		packet{"/control/emptyCache", []byte("1")},
	)
	wantList(t, "faults", c.faults(), "undecodable_bson_payload", "ambiguous_path")
	wantList(t, "disconnections", c.broker.kicks(), "undecodable_bson_payload wipe=true")
	wantList(t, "properties", c.entries("org.example.Config:1", core.Reported), "/a/level=5")
	if got := c.samples("org.example.Temps:1/kitchen/temp"); len(got) != 1 {
		t.Errorf("samples: got %v", got)
	}
	if !c.model().PendingEmptyCache {
		t.Error("an emptyCache on the way out cleared the mark")
	}
}

func TestAnErrorAfterTheEndDisturbsNoNewConnection(t *testing.T) {
	c := newRig(t).all()
	c.disconnect()
	c.publish("/org.example.Temps/kitchen/temp", nonsense) // such as a will
	wantList(t, "disconnections", c.broker.kicks())
	wantList(t, "faults", c.faults(), "undecodable_bson_payload")
}

func TestDatastreamValues(t *testing.T) {
	c := newRig(t).all()
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	b, d := astartewire.BeginDocument(nil)
	stamped := astartewire.EndDocument(astartewire.AppendDatetime(astartewire.AppendDouble(b, "v", 2), "t", at.UnixMilli()), d)
	c.pipeline(
		packet{"/org.example.Temps/kitchen/temp", v(t, astartewire.TypeDouble, 1.5)},
		packet{"/org.example.Temps/kitchen/temp", five}, // an integer for a double
		packet{"/org.example.Temps/kitchen/temp", stamped},
		packet{"/org.example.Temps/kitchen/at", stamped},
		packet{"/org.example.Temps/kitchen/at", five}, // without the timestamp that the mapping wants
		packet{"/org.example.Temps/kitchen/raw", v(t, astartewire.TypeBinaryBlob, []byte{1, 2})},
		packet{"/org.example.Temps/kitchen/many", v(t, astartewire.TypeIntegerArray, []any{int64(1), int64(-2)})},
		packet{"/org.example.Temps/kitchen/many", v(t, astartewire.TypeIntegerArray, []any{})},
		packet{"/org.example.Temps/my kitchen é/text", v(t, astartewire.TypeString, "grüß")},
	)
	wantList(t, "faults", c.faults())
	for ch, want := range map[string][]any{
		"/kitchen/temp": {1.5, 5.0, 2.0}, "/kitchen/at": {2.0, 5.0}, "/kitchen/raw": {[]byte{1, 2}},
		"/kitchen/many": {[]any{int64(1), int64(-2)}, []any{}}, "/my kitchen é/text": {"grüß"},
	} {
		if d := cmp.Diff(want, c.samples("org.example.Temps:1"+ch)); d != "" {
			t.Errorf("%s: -want +got\n%s", ch, d)
		}
	}
	c.view(func(rd store.Reader) error {
		for ch, want := range map[string][]time.Time{"temp": {c.now, c.now, c.now}, "at": {at, c.now}} {
			all, err := rd.Series(c.dev.Num, "org.example.Temps:1/kitchen/"+ch)
			if err != nil || len(all) != 1 {
				t.Fatal(all, err)
			}
			var got []time.Time
			for s, err := range rd.Samples(all[0], core.Range{}) {
				if err != nil || !s.Received.Equal(c.now) {
					t.Errorf("received: got %v, %v", s.Received, err)
				}
				got = append(got, s.At)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s: -want +got\n%s", ch, d)
			}
		}
		return nil
	})
}

func TestObjectValues(t *testing.T) {
	c := newRig(t).all()
	c.pipeline(
		packet{"/org.example.Position/me", doc(map[string]any{"x": 1, "y": 2, "label": "a"})},
		packet{"/org.example.Position/me", doc(map[string]any{"x": 3})},           // incomplete
		packet{"/org.example.Position/me", doc(map[string]any{"x": 4, "y": nil})}, // null is absent
		packet{"/org.example.Position/me", doc(nil)},
		packet{"/org.example.Flat", doc(map[string]any{"x": 1})}, // both forms of the path of a flat object
		packet{"/org.example.Flat/", doc(map[string]any{"y": 2})},
	)
	wantList(t, "faults", c.faults())
	for ch, want := range map[string][]any{
		"org.example.Position:1/me": {
			map[string]any{"x": int64(1), "y": int64(2), "label": "a"}, map[string]any{"x": int64(3)}, map[string]any{"x": int64(4)}, map[string]any{},
		},
		"org.example.Flat:1/": {map[string]any{"x": int64(1)}, map[string]any{"y": int64(2)}},
	} {
		if d := cmp.Diff(want, c.samples(ch)); d != "" {
			t.Errorf("%s: -want +got\n%s", ch, d)
		}
	}
}

func TestLegacyObjectWithoutV(t *testing.T) {
	c := newRig(t).all()
	b, d := astartewire.BeginDocument(nil)
	c.publish("/org.example.Flat", astartewire.EndDocument(astartewire.AppendInt(b, "x", 9), d))
	if d := cmp.Diff([]any{map[string]any{"x": int64(9)}}, c.samples("org.example.Flat:1/")); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// TestAcceptedMessagesAreCounted follows "After success" of the reference: total and per interface, payload plus
// interface plus path; introspection its payload; purge lists payload plus control path; emptyCache nothing.
func TestAcceptedMessagesAreCounted(t *testing.T) {
	r := newRig(t)
	r.realm("test", temps, config)
	c := r.online()
	intro := "org.example.Temps:1:0;org.example.Config:1:0"
	check := func(scope, want string) {
		t.Helper()
		if got := c.counts()[scope]; got != want {
			t.Errorf("scope %q: got %s, want %s", scope, got, want)
		}
	}
	c.publish("", []byte(intro)) // 44 bytes
	check("", "1/44")
	c.publish("/control/emptyCache", []byte("1"))
	check("", "1/44")
	c.publish("/org.example.Temps/kitchen/temp", five) // 12 + 17 + 13
	check("", "2/86")
	check("org.example.Temps:1", "1/42")
	c.publish("/org.example.Config/a/mode", nil) // 0 + 18 + 7
	check("", "3/111")
	check("org.example.Config:1", "1/25")
	c.publish("/control/producer/properties", []byte{0, 0, 0, 0}) // 4 + 20
	check("", "4/135")
	c.publish("/org.example.Temps/kitchen/temp", nonsense) // 8 + 17 + 13, in the total only
	check("", "5/173")
	check("org.example.Temps:1", "1/42")
}

func TestADeviceMayUseWhatANewerMinorHasAdded(t *testing.T) {
	r := newRig(t)
	r.realm("test", draft)
	c := r.online()
	c.declares("org.example.Draft:0:1")
	c.publish("/org.example.Draft/b", five)
	wantList(t, "faults", c.faults(), "mapping_not_found")
	newer := parseDef(t, strings.NewReplacer(`"version_minor":1`, `"version_minor":2`, `"/a","type":"integer"}`,
		`"/a","type":"integer"},{"endpoint":"/b","type":"integer"}`).Replace(draft))
	r.do(func(tx *commit.Tx) error { return r.d.updateInterface(tx, r.current("test"), newer) })
	c.publish("/org.example.Draft/b", five) // the known topic is looked up again
	wantList(t, "faults", c.faults(), "mapping_not_found")
	if got := c.samples("org.example.Draft:0/b"); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}

func TestMinusTwoToThe31IsAccepted(t *testing.T) {
	c := newRig(t).all()
	c.publish("/org.example.Config/a/level", v(t, astartewire.TypeInteger, int64(math.MinInt32)))
	wantList(t, "faults", c.faults())
	wantList(t, "properties", c.entries("org.example.Config:1", core.Reported), "/a/level=-2147483648")
}

func TestStorageRefusalIsReturnedAndNothingIsHalfApplied(t *testing.T) {
	c := newRig(t).all()
	c.broker.err = core.ErrStorage
	err := c.send(
		packet{"/org.example.Temps/kitchen/temp", five},
		packet{"/org.example.Config/a/level", five},
		packet{"/control/emptyCache", []byte("1")}, // the broker cannot store the answer
	)
	wantIs(t, err, core.ErrStorage)
	c.storesNothing()
	c.broker.err = nil
	c.pipeline(packet{"/org.example.Temps/kitchen/temp", five}, packet{"/control/emptyCache", []byte("1")})
	wantList(t, "faults", c.faults())
}

func TestABugOfOursClosesTheConnection(t *testing.T) {
	c := newRig(t).all()
	l := c.link.(*link)
	b := &commit.Batch{Owner: &batchOwner{done: make(chan error, 1)}}
	l.do(b, func(*commit.Tx) error { return core.ErrConflict })
	if err := c.c.Submit(b); err != nil {
		t.Fatal(err)
	}
	<-b.Owner.(*batchOwner).done
	if err := c.send(packet{"/org.example.Temps/kitchen/temp", five}); err == nil {
		t.Error("the connection goes on")
	}
}

// TestWaitingMessagesAreAccountedFor: what one connection may have waiting for the disk is bounded by the size of its
// batches, so they have to say what they hold.
func TestWaitingMessagesAreAccountedFor(t *testing.T) {
	c := newRig(t).all()
	text := v(t, astartewire.TypeString, strings.Repeat("x", 60_000))
	for _, topic := range []string{"/org.example.Config/a/mode", "/org.example.Config/a/level", "/org.example.Nothing/a", "/control/emptyCache", "/control/x"} {
		var b commit.Batch
		if err := c.link.Receive(&dialect.Topic{Name: c.base + topic}, dialect.Publish{Payload: text}, &b); err != nil {
			t.Fatal(err)
		}
		if b.Size() < 60_000 {
			t.Errorf("%s: a batch that holds 60000 bytes says %d", topic, b.Size())
		}
	}
}

func TestEventDataIsJSON(t *testing.T) {
	m := mishap{fault: failInvalidPath, iface: "a", path: "/\xff\x00\"\u2028", payload: []byte{0xff}}
	if _, err := json.Marshal(m.event()); err != nil {
		t.Error(err)
	}
}
