package astarte

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/google/go-cmp/cmp"
)

// full returns an object with all members of the capture's objects.
func full() Object {
	at := time.Date(2022, 11, 22, 10, 11, 21, 0, time.UTC)
	return Object{
		"double_endpoint": 1.5, "integer_endpoint": 7, "boolean_endpoint": true, "longinteger_endpoint": 7, "string_endpoint": "hi",
		"binaryblob_endpoint": []byte{1, 2}, "datetime_endpoint": at, "doublearray_endpoint": []float64{1.5, 2.5}, "integerarray_endpoint": []int{1, -2},
		"booleanarray_endpoint": []bool{true, false}, "longintegerarray_endpoint": []int64{1, 1 << 31}, "stringarray_endpoint": []string{"a", "ä"},
		"binaryblobarray_endpoint": [][]byte{{1}, {}}, "datetimearray_endpoint": []time.Time{at},
	}
}

func with(o Object, key string, v any) Object { o[key] = v; return o }

func without(o Object, key string) Object { delete(o, key); return o }

// TestValidationVectors sends what the official SDK was made to send. Where it refuses, so do we; the names in differs are
// where we accept what the platform accepts, or refuse what it would refuse.
func TestValidationVectors(t *testing.T) {
	in := capture(t)
	types, timed, obj := in["org.example.capture.Types"], in["org.example.capture.Timed"], in["org.example.capture.Obj"]
	objT, qos, qosV := in["org.example.capture.ObjT"], in["org.example.capture.Qos"], in["org.example.capture.QosV"]
	check := func(i *Interface, path string, v any, at time.Time) func() error {
		return func() error { return i.Check(path, v, at) }
	}
	var none time.Time
	cases := map[string]func() error{
		"int_as_double":                check(types, "/double_endpoint", 7, none),
		"float_as_int":                 check(types, "/integer_endpoint", 7.0, none),
		"bool_as_int":                  check(types, "/integer_endpoint", true, none),
		"int_too_big":                  check(types, "/integer_endpoint", int64(1<<31), none),
		"int_too_small":                check(types, "/integer_endpoint", int64(-1<<31-1), none),
		"nan":                          check(types, "/double_endpoint", math.NaN(), none),
		"inf":                          check(types, "/double_endpoint", math.Inf(1), none),
		"string_as_blob":               check(types, "/binaryblob_endpoint", "x", none),
		"mixed_array":                  check(types, "/integerarray_endpoint", []any{1, "a"}, none),
		"ts_missing":                   check(timed, "/integer_endpoint", 1, none),
		"ts_forbidden":                 check(types, "/integer_endpoint", 1, someTime),
		"unknown_path":                 check(types, "/nope", 1, none),
		"none_payload":                 check(types, "/integer_endpoint", nil, none),
		"dict_to_individual":           check(types, "/integer_endpoint", Object{}, none),
		"send_on_object":               check(obj, "/s", 1, none),
		"send_aggregate_on_individual": check(types, "/", Object{}, none),
		"object_missing_key":           check(obj, "/s", without(full(), "double_endpoint"), none),
		"object_extra_key":             check(obj, "/s", with(full(), "x", 1), none),
		"object_empty":                 check(obj, "/s", Object{}, none),
		"object_full_path":             check(obj, "/s/double_endpoint", full(), none),
		"object_ts_missing":            check(objT, "/s", full(), none),
		"param_digit":                  check(qosV, "/1/v", 5, none),
		"param_dash":                   check(qosV, "/a-b/v", 5, none),
		"param_unicode":                check(qosV, "/ä/v", 5, none),
		"trailing_slash":               check(qos, "/q0/", 5, none),
		"no_leading_slash":             check(qos, "q0", 5, none),
		"string_70000":                 check(types, "/string_endpoint", strings.Repeat("x", 70_000), none),
		"array_1025":                   check(types, "/integerarray_endpoint", make([]int, 1025), none),
	}
	differs := map[string]string{
		"param_digit": "accepted", "param_dash": "accepted", "param_unicode": "accepted", // the platform takes any text
		"string_70000": "refused", "array_1025": "refused", // the platform does not
	}
	elsewhere := map[string]string{
		"long_too_big": "no Go integer", "long_beyond_uint64": "no Go integer", "long_too_small": "no Go integer", "bytearray_as_blob": "no such type",
		"tuple_array": "no such type", "date_not_datetime": "no such type",
		"unknown_interface": "TestDeviceRefusals", "server_owned": "TestDeviceRefusals", "unset_unknown_path": "TestDeviceRefusals", "unset_datastream": "TestDeviceRefusals",
		"unset_server": "TestDeviceRefusals", "remove_unknown": "TestDeviceRefusals", "send_offline": "TestRetention",
	}
	for _, v := range loadVectors(t, "validation.json") {
		f := cases[v.Name]
		if f == nil {
			if elsewhere[v.Name] == "" {
				t.Errorf("%s (%s) has no case", v.Name, v.What)
			}
			continue
		}
		var d struct{ Raised string }
		v.decode(t, &d)
		refuse := d.Raised != ""
		if how := differs[v.Name]; how != "" {
			refuse = how == "refused"
		}
		err := f()
		var e *ValidationError
		if refuse != (err != nil) || err != nil && !errors.As(err, &e) {
			t.Errorf("%s: got %v, want refused: %v", v.Name, err, refuse)
		}
		if e != nil && (e.Interface == "" || e.Path == "" || !errors.Is(err, fairlead.ErrInvalid) && !errors.Is(err, fairlead.ErrTooLarge)) {
			t.Errorf("%s: got %#v", v.Name, e)
		}
	}
}

// TestEncodeVectors encodes values to the very bytes that the official SDK sends.
func TestEncodeVectors(t *testing.T) {
	in := capture(t)
	for _, v := range loadVectors(t, "bson.json") {
		if v.Name == "unset" {
			continue // no value
		}
		var d struct{ Topic string }
		v.decode(t, &d)
		name, path, _ := strings.Cut(strings.TrimPrefix(d.Topic, "test/"+device+"/"), "/")
		path = "/" + path
		if strings.HasSuffix(path, "/v") {
			name += "V"
		}
		i := in[name]
		if i == nil {
			t.Fatalf("%s: no interface %s", v.Name, name)
		}
		payload := v.bytes(t)
		value, at, err := i.decode(path, payload)
		if v.Name == "individual_binaryblob_1" {
			// An empty binary is sent by the official SDK, and lost by the platform.
			if err == nil || i.Check(path, []byte{}, time.Time{}) == nil {
				t.Errorf("%s: not refused", v.Name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		e, err := i.encode(path, value, at)
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		if i.IsObject() { // members have no order
			again, _, err := i.decode(path, e.payload)
			if diff := cmp.Diff(value, again); err != nil || diff != "" || len(e.payload) != len(payload) {
				t.Errorf("%s: %v\n%s", v.Name, err, diff)
			}
		} else if !bytes.Equal(e.payload, payload) {
			t.Errorf("%s:\ngot  %x\nwant %x", v.Name, e.payload, payload)
		}
		if q, _ := i.Reliability(path); v.Name[:3] == "qos" && int(q) != int(v.Name[4]-'0') {
			t.Errorf("%s: got QoS %d", v.Name, q)
		}
	}
}

// TestTypedValues sends a value of each Go type and reads it back.
func TestTypedValues(t *testing.T) {
	at := time.Date(2022, 11, 22, 10, 11, 21, 123_000_000, time.UTC)
	types := capture(t)["org.example.capture.Types"]
	for _, c := range []struct {
		typ        Type
		send, want any
	}{
		{Double, -0.5, -0.5},
		{Integer, 7, int32(7)},
		{Integer, int32(-1 << 31), int32(-1 << 31)},
		{LongInteger, 7, int64(7)},
		{LongInteger, int64(math.MinInt64), int64(math.MinInt64)},
		{Boolean, false, false},
		{String, "a\x00b", "a\x00b"},
		{BinaryBlob, []byte{0}, []byte{0}},
		{Datetime, at.Add(400 * time.Microsecond).In(time.FixedZone("", 7200)), at},
		{DoubleArray, []float64{}, []float64{}},
		{IntegerArray, []int32{1}, []int32{1}},
		{IntegerArray, []int{}, []int32{}},
		{LongIntegerArray, []int{math.MaxInt}, []int64{math.MaxInt}},
		{BooleanArray, []bool{true}, []bool{true}},
		{StringArray, []string{""}, []string{""}},
		{BinaryBlobArray, [][]byte{{}}, [][]byte{{}}},
		{DatetimeArray, []time.Time{at}, []time.Time{at}},
	} {
		path := "/" + string(c.typ) + "_endpoint"
		e, err := types.encode(path, c.send, time.Time{})
		if err != nil {
			t.Errorf("%s %#v: %v", c.typ, c.send, err)
			continue
		}
		got, _, err := types.decode(path, e.payload)
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s %#v: %v\n%s", c.typ, c.send, err, diff)
		}
	}
	for _, c := range []struct {
		typ  Type
		send any
		kind error
	}{
		{String, "\xff", fairlead.ErrInvalid},
		{String, strings.Repeat("x", MaxStringBytes+1), fairlead.ErrTooLarge},
		{BinaryBlob, make([]byte, MaxBinaryBlobBytes+1), fairlead.ErrTooLarge},
		{Datetime, time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC), fairlead.ErrInvalid},
		{StringArray, []bool{}, fairlead.ErrInvalid},
		{LongIntegerArray, []float64{}, fairlead.ErrInvalid},
		{DoubleArray, []float64{1, math.NaN()}, fairlead.ErrInvalid},
		{Type("nonsense"), 1, fairlead.ErrInvalid},
	} {
		if err := c.typ.Check(c.send); !errors.Is(err, c.kind) {
			t.Errorf("%s %.20v: got %v, want %v", c.typ, c.send, err, c.kind)
		}
	}
}

func TestInterface(t *testing.T) {
	i := MustParseInterface(`{"interface_name":"org.example.Climate","version_major":2,"version_minor":3,"type":"datastream","ownership":"device","description":"d","doc":"D",
		"mappings":[{"endpoint":"/%{room}/temperature","type":"double","reliability":"guaranteed","retention":"stored","expiry":60,"explicit_timestamp":true}]}`)
	want := Mapping{Endpoint: "/%{room}/temperature", Type: Double, Reliability: Guaranteed, Retention: Stored, Expiry: time.Minute, ExplicitTimestamp: true}
	if got := i.Mappings(); !cmp.Equal(got, []Mapping{want}) {
		t.Errorf("got %+v", got)
	}
	if m, ok := i.Mapping("/kitchen/temperature"); !ok || m != want {
		t.Errorf("got %+v, %v", m, ok)
	}
	if _, ok := i.Mapping("/kitchen"); ok {
		t.Error("found /kitchen")
	}
	if r, err := i.Reliability("/kitchen/temperature"); r != Guaranteed || err != nil {
		t.Errorf("got %v, %v", r, err)
	}
	if _, err := i.Reliability("/x"); !errors.Is(err, fairlead.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if i.Name() != "org.example.Climate" || i.Major() != 2 || i.Minor() != 3 || i.Type() != Datastream || i.Ownership() != DeviceOwned || i.Aggregation() != Individual ||
		i.IsObject() || i.IsProperties() || i.IsServerOwned() || i.Description() != "d" || i.Doc() != "D" {
		t.Errorf("got %+v", i)
	}
	if want.Check(1.5, someTime) != nil || want.Check(1, someTime) == nil || want.Check(1.5, time.Time{}) == nil {
		t.Error("Mapping.Check")
	}
	in := capture(t)
	if props := in["org.example.capture.Props"]; !props.CanUnset("/integer_endpoint") || props.CanUnset("/x") || in["org.example.capture.DevProps"].CanUnset("/a") || i.CanUnset("/a/temperature") {
		t.Error("CanUnset")
	}
	if r, err := in["org.example.capture.Obj"].Reliability("/s"); r != Unique || err != nil {
		t.Errorf("object: got %v, %v", r, err)
	}
	if err := in["org.example.capture.Obj"].CheckPath("/s"); err != nil {
		t.Error(err)
	}
}

func TestIntrospection(t *testing.T) {
	in := NewIntrospection(
		MustParseInterface(`{"interface_name":"b.B","version_major":0,"version_minor":3,"type":"properties","ownership":"server","mappings":[{"endpoint":"/a","type":"integer"}]}`),
		MustParseInterface(`{"interface_name":"a.A","version_major":1,"version_minor":0,"type":"properties","ownership":"device","mappings":[{"endpoint":"/a","type":"integer"}]}`))
	if got := in.String(); got != "a.A:1:0;b.B:0:3" {
		t.Errorf("got %q", got)
	}
	if s := in.ServerOwned(); len(s) != 1 || s[0].Name() != "b.B" {
		t.Errorf("got %v", s)
	}
	in.Remove("b.B")
	in.Remove("nope")
	if len(in.All()) != 1 {
		t.Errorf("got %v", in)
	}
}

func TestLoadInterfaces(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const good = `{"interface_name":"a.A","version_major":1,"version_minor":0,"type":"properties","ownership":"device","mappings":[{"endpoint":"/a","type":"integer"}]}`
	write("a.json", good)
	write("b.txt", "not looked at")
	if err := os.Mkdir(filepath.Join(dir, "c.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	if all, err := LoadInterfaces(dir); err != nil || len(all) != 1 || all[0].Name() != "a.A" {
		t.Errorf("got %v, %v", all, err)
	}
	for name, text := range map[string]string{"none.json": "", "list.json": "[]", "half.json": good[:40], "zero.json": strings.Replace(good, `"version_major":1`, `"version_major":0`, 1)} {
		write(name, text)
		_, err := LoadInterface(filepath.Join(dir, name))
		var e *InterfaceError
		if !errors.As(err, &e) || !errors.Is(err, fairlead.ErrInvalid) || !strings.Contains(e.File, name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := LoadInterfaces(dir); !errors.Is(err, fairlead.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	for _, name := range []string{"nope", "c.json"} {
		if _, err := LoadInterface(filepath.Join(dir, name)); !errors.Is(err, fairlead.ErrNotFound) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for _, name := range []string{"nope", "a.json"} {
		if _, err := LoadInterfaces(filepath.Join(dir, name)); !errors.Is(err, fairlead.ErrNotFound) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("MustParseInterface does not panic")
		}
	}()
	MustParseInterface("{}")
}

// FuzzDecode feeds anything to all kinds of interfaces; what is accepted must be what can be sent.
func FuzzDecode(f *testing.F) {
	for _, file := range []string{"bson.json", "downlink.json"} {
		for _, v := range loadVectors(f, file) {
			if v.Hex != "" {
				f.Add(v.bytes(f))
			}
		}
	}
	in := capture(f)
	f.Fuzz(func(t *testing.T, payload []byte) {
		for _, i := range []*Interface{in["org.example.capture.Types"], in["org.example.capture.Timed"]} {
			for _, m := range i.Mappings() {
				v, at, err := i.decode(m.Endpoint, payload)
				if err != nil || v == nil {
					continue
				}
				if m.ExplicitTimestamp == at.IsZero() {
					continue
				}
				if b, ok := v.([]byte); ok && len(b) == 0 {
					continue
				}
				if err := i.Check(m.Endpoint, v, at); err != nil {
					t.Errorf("%s: accepted %#v, which cannot be sent: %v", m.Endpoint, v, err)
				}
			}
		}
		if v, _, err := in["org.example.capture.ServerObj"].decode("/room", payload); err == nil {
			if _, ok := v.(Object); !ok {
				t.Errorf("got %#v, want an object", v)
			}
		}
	})
}
