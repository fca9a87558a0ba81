package astartewire

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var exportedOnly = cmpopts.IgnoreUnexported(Interface{})

const full = `{"interface_name":"org.example.Full","version_major":1,"version_minor":2,"type":"datastream",
"ownership":"device","aggregation":"object","description":"d","doc":"e","unknown":[1],"mappings":[
{"endpoint":"/%{room}/a","type":"doublearray","reliability":"unique","retention":"stored","expiry":60,
"database_retention_policy":"use_ttl","database_retention_ttl":60,"explicit_timestamp":true,"required":true,
"description":"f","doc":"g","allow_unset":false,"encrypted":false,"unknown":{}},
{"endpoint":"/%{room}/b","type":"string","reliability":"unique","retention":"stored","expiry":60,
"database_retention_policy":"use_ttl","database_retention_ttl":60,"explicit_timestamp":true}]}`

func TestParseInterface(t *testing.T) {
	mapping := Mapping{
		Type: TypeString, Endpoint: "/%{room}/b", Reliability: ReliabilityUnique, Retention: RetentionStored, Expiry: 60,
		DatabaseRetentionPolicy: UseTTL, DatabaseRetentionTTL: 60, ExplicitTimestamp: true,
	}
	first := mapping
	first.Endpoint, first.Type, first.Required, first.Description, first.Doc = "/%{room}/a", TypeDoubleArray, true, "f", "g"
	for _, c := range []struct {
		name, in string
		want     Interface
	}{
		{"everything", full, Interface{
			Name: "org.example.Full", Major: 1, Minor: 2, Kind: KindDatastream, Ownership: OwnershipDevice,
			Aggregation: AggregationObject, Description: "d", Doc: "e", Mappings: []Mapping{first, mapping},
		}},
		{"defaults", datastream(TypeInteger, "/a"), Interface{
			Name: "org.example.T", Minor: 1, Kind: KindDatastream, Ownership: OwnershipDevice,
			Mappings: []Mapping{{Endpoint: "/a", Type: TypeInteger}},
		}},
		{"old spellings", `{"interface_name":"T","version_major":"0","version_minor":1,"type":"datastream",
			"quality":"consumer","aggregate":true,"mappings":[{"path":"/a/b","type":"integer"}]}`, Interface{
			Name: "T", Minor: 1, Kind: KindDatastream, Ownership: OwnershipServer, Aggregation: AggregationObject,
			Mappings: []Mapping{{Endpoint: "/a/b", Type: TypeInteger}},
		}},
		{"producer, defaults that do not apply, nulls", `{"interface_name":"T","version_major":1,"version_minor":0,
			"type":"properties","ownership":"producer","doc":null,"aggregation":null,"mappings":[{"endpoint":"/a","type":"boolean",
			"reliability":"unreliable","retention":null,"expiry":0,"allow_unset":"true","explicit_timestamp":false}]}`, Interface{
			Name: "T", Major: 1, Kind: KindProperties, Ownership: OwnershipDevice,
			Mappings: []Mapping{{Endpoint: "/a", Type: TypeBoolean, AllowUnset: true}},
		}},
	} {
		got, err := ParseInterface([]byte(c.in))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(&c.want, got, exportedOnly); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		again, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, mustInterface(t, string(again)), exportedOnly); diff != "" {
			t.Errorf("%s: written and read again (-want +got):\n%s", c.name, diff)
		}
	}
}

// TestMarshalInterface checks that defaults are left out, as the platform renders definitions.
func TestMarshalInterface(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{
			datastream(TypeInteger, "/a"),
			`{"interface_name":"org.example.T","version_major":0,"version_minor":1,"type":"datastream",` +
				`"ownership":"device","mappings":[{"endpoint":"/a","type":"integer"}]}`,
		},
		{
			full,
			`{"interface_name":"org.example.Full","version_major":1,"version_minor":2,"type":"datastream",` +
				`"ownership":"device","aggregation":"object","description":"d","doc":"e","mappings":[` +
				`{"endpoint":"/%{room}/a","type":"doublearray","reliability":"unique","retention":"stored","expiry":60,` +
				`"database_retention_policy":"use_ttl","database_retention_ttl":60,"explicit_timestamp":true,` +
				`"required":true,"description":"f","doc":"g"},` +
				`{"endpoint":"/%{room}/b","type":"string","reliability":"unique","retention":"stored","expiry":60,` +
				`"database_retention_policy":"use_ttl","database_retention_ttl":60,"explicit_timestamp":true}]}`,
		},
	} {
		got, err := json.Marshal(mustInterface(t, c.in))
		if err != nil || string(got) != c.want {
			t.Errorf("got  %s, %v\nwant %s", got, err, c.want)
		}
	}
}

// edit returns a valid definition with changes, each "key" deleted or "key=JSON" set; keys with a dot belong to the
// first of its two mappings.
func edit(tb testing.TB, base string, changes ...string) string {
	tb.Helper()
	var d map[string]any
	if err := json.Unmarshal([]byte(base), &d); err != nil {
		tb.Fatal(err)
	}
	for _, c := range changes {
		key, value, set := strings.Cut(c, "=")
		target := d
		if rest, ok := strings.CutPrefix(key, "."); ok {
			key, target = rest, d["mappings"].([]any)[0].(map[string]any)
		}
		delete(target, key)
		if set {
			target[key] = json.RawMessage(value)
		}
	}
	b, err := json.Marshal(d)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

func TestFieldErrors(t *testing.T) {
	stream := datastream(TypeInteger, "/a/%{p}", "/b")
	props := edit(t, stream, `type="properties"`)
	object := edit(t, datastream(TypeInteger, "/s/a", "/s/b"), `aggregation="object"`)
	long := func(n int) string { return `"` + strings.Repeat("x", n) + `"` }
	manyMappings := `[` + strings.Repeat(`{},`, MaxMappings) + `{}]`
	for _, c := range []struct {
		base   string
		change string
		want   string
	}{
		{stream, `interface_name`, `{"interface_name":["can't be blank"]}`},
		{stream, `interface_name=""`, `{"interface_name":["can't be blank"]}`},
		{stream, `interface_name="  "`, `{"interface_name":["can't be blank"]}`},
		{stream, `interface_name=7`, `{"interface_name":["is invalid"]}`},
		{stream, `interface_name="a..b"`, `{"interface_name":["has invalid format"]}`},
		{stream, `interface_name="a-b"`, `{"interface_name":["has invalid format"]}`},
		{stream, `interface_name=` + long(129), `{"interface_name":["should be at most 128 character(s)"]}`},
		{stream, `interface_name="-` + long(129)[1:], `{"interface_name":["has invalid format","should be at most 128 character(s)"]}`},
		{stream, `interface_name="control"`, `{"interface_name":["is reserved"]}`},
		{stream, `interface_name="device"`, `{"interface_name":["is reserved"]}`},
		{stream, `interface_name="astarte"`, `{"interface_name":["is reserved"]}`},
		{stream, `version_major`, `{"version_major":["can't be blank"]}`},
		{stream, `version_major=-1`, `{"version_major":["must be greater than or equal to 0"]}`},
		{stream, `version_minor="x"`, `{"version_minor":["is invalid"]}`},
		{stream, `version_minor=1.5`, `{"version_minor":["is invalid"]}`},
		{stream, `version_minor=2147483648`, `{"version_minor":["is invalid"]}`},
		{stream, `version_minor=0`, `{"version_minor":["must be \u003e 0 if major_version is 0"]}`},
		{stream, `type`, `{"type":["can't be blank"]}`},
		{stream, `type="Datastream"`, `{"type":["is invalid"]}`},
		{stream, `ownership`, `{"ownership":["can't be blank"]}`},
		{stream, `ownership="nobody"`, `{"ownership":["is invalid"]}`},
		{stream, `aggregation="none"`, `{"aggregation":["is invalid"]}`},
		{props, `aggregation="object"`, `{"aggregation":["must be individual for properties interfaces"],"mappings":["must have the same prefix in endpoints"]}`},
		{stream, `description=` + long(1001), `{"description":["should be at most 1000 character(s)"]}`},
		{stream, `doc=` + long(100_001), `{"doc":["should be at most 100000 character(s)"]}`},
		{stream, `mappings`, `{"mappings":["can't be blank"]}`},
		{stream, `mappings=[]`, `{"mappings":["can't be blank"]}`},
		{stream, `mappings={}`, `{"mappings":["is invalid"]}`},
		{stream, `mappings=[1]`, `{"mappings":["is invalid"]}`},
		{stream, `mappings=` + manyMappings, `{"mappings":["should have at most 1024 item(s)"]}`},
		{stream, `.endpoint`, `{"mappings":[{"endpoint":["can't be blank"]},{}]}`},
		{stream, `.endpoint="/"`, `{"mappings":[{"endpoint":["has invalid format","should be at least 2 character(s)"]},{}]}`},
		{stream, `.endpoint="a"`, `{"mappings":[{"endpoint":["has invalid format","should be at least 2 character(s)"]},{}]}`},
		{stream, `.endpoint="/a/"`, `{"mappings":[{"endpoint":["has invalid format"]},{}]}`},
		{stream, `.endpoint="/a//b"`, `{"mappings":[{"endpoint":["has invalid format"]},{}]}`},
		{stream, `.endpoint="/1a"`, `{"mappings":[{"endpoint":["has invalid format"]},{}]}`},
		{stream, `.endpoint="/a%{b}"`, `{"mappings":[{"endpoint":["has invalid format"]},{}]}`},
		{stream, `.endpoint="/%{}"`, `{"mappings":[{"endpoint":["has invalid format"]},{}]}`},
		{stream, `.endpoint="/%{a}b"`, `{"mappings":[{"endpoint":["has invalid format"]},{}]}`},
		{stream, `.endpoint="` + strings.Repeat("/a", 65) + `"`, `{"mappings":[{"endpoint":["has invalid format"]},{}]}`},
		{stream, `.endpoint="/a` + long(256)[1:], `{"mappings":[{"endpoint":["should be at most 256 character(s)"]},{}]}`},
		{stream, `.type`, `{"mappings":[{"type":["can't be blank"]},{}]}`},
		{stream, `.type="float"`, `{"mappings":[{"type":["is invalid"]},{}]}`},
		{stream, `.reliability="always"`, `{"mappings":[{"reliability":["is invalid"]},{}]}`},
		{stream, `.retention=1`, `{"mappings":[{"retention":["is invalid"]},{}]}`},
		{stream, `.expiry=-1`, `{"mappings":[{"expiry":["must be greater than or equal to 0"]},{}]}`},
		{stream, `.explicit_timestamp=1`, `{"mappings":[{"explicit_timestamp":["is invalid"]},{}]}`},
		{stream, `.allow_unset=true`, `{"mappings":[{"allow_unset":["must be blank"]},{}]}`},
		{stream, `.required=true`, `{"mappings":[{"required":["must be blank"]},{}]}`},
		{stream, `.encrypted=true`, `{"mappings":[{"encrypted":["is not supported"]},{}]}`},
		{stream, `.description=` + long(1001), `{"mappings":[{"description":["should be at most 1000 character(s)"]},{}]}`},
		{stream, `.database_retention_policy="use_ttl"`, `{"mappings":[{"database_retention_ttl":["must be set if database_retention_policy is use_ttl"]},{}]}`},
		{stream, `.database_retention_ttl=60`, `{"mappings":[{"database_retention_policy":["must be use_ttl if database_retention_ttl is set"]},{}]}`},
		{props, `.reliability="unique"`, `{"mappings":[{"reliability":["must be blank"]},{}]}`},
		{props, `.retention="stored"`, `{"mappings":[{"retention":["must be blank"]},{}]}`},
		{props, `.expiry=1`, `{"mappings":[{"expiry":["must be blank"]},{}]}`},
		{props, `.explicit_timestamp=true`, `{"mappings":[{"explicit_timestamp":["must be blank"]},{}]}`},
		{stream, `.endpoint="/B"`, `{"mappings":["contain conflicting endpoints"]}`},
		{datastream(TypeInteger, "/%{a}/v", "/b/v"), `.endpoint="/%{b}/v"`, ""}, // an overlap
		{datastream(TypeInteger, "/%{a}/v", "/%{b}/w"), `.endpoint="/%{b}/W"`, `{"mappings":["contain conflicting endpoints"]}`},
		{object, `.explicit_timestamp=true`, `{"mappings":["contain conflicting attributes"]}`},
		{object, `.reliability="unique"`, `{"mappings":["contain conflicting attributes"]}`},
		{object, `.endpoint="/t/a"`, `{"mappings":["must have the same prefix in endpoints"]}`},
		{edit(t, object, `.expiry=1`), `.endpoint="/t/a"`, `{"mappings":["must have the same prefix in endpoints","contain conflicting attributes"]}`},
		{
			edit(t, datastream(TypeInteger, "/%{x}/a", "/%{x}/b"), `aggregation="object"`), `.endpoint="/%{y}/a"`,
			`{"mappings":["must have the same prefix in endpoints"]}`,
		},
	} {
		_, err := ParseInterface([]byte(edit(t, c.base, c.change)))
		if c.want == "" {
			if !errors.Is(err, ErrOverlap) {
				t.Errorf("%.80s: got %v, want %v", c.change, err, ErrOverlap)
			}
			continue
		}
		var fe *FieldErrors
		if !errors.As(err, &fe) {
			t.Errorf("%.80s: got %v, want field errors", c.change, err)
			continue
		}
		got, jsonErr := json.Marshal(fe)
		if string(got) != c.want || jsonErr != nil || fe.Error() == "" {
			t.Errorf("%.80s:\ngot  %s\nwant %s", c.change, got, c.want)
		}
	}
	for _, ttl := range []struct {
		n, want string
	}{{"59", "must be greater than or equal to 60"}, {"60", ""}, {"630719999", ""}, {"630720000", "must be less than 630720000"}} {
		_, err := ParseInterface([]byte(edit(t, stream, `.database_retention_policy="use_ttl"`, `.database_retention_ttl=`+ttl.n)))
		if (err != nil) != (ttl.want != "") || err != nil && !strings.Contains(err.Error(), ttl.want) {
			t.Errorf("ttl %s: got %v, want %q", ttl.n, err, ttl.want)
		}
	}
}

func TestMalformedInterface(t *testing.T) {
	for _, in := range []string{"", "null", "[]", "7", `"x"`, "{", "{}x", "{\"a\":\"\xff\"}"} {
		if _, err := ParseInterface([]byte(in)); !errors.Is(err, ErrMalformedInterface) {
			t.Errorf("%q: got %v, want %v", in, err, ErrMalformedInterface)
		}
	}
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		endpoints string
		want      bool
	}{
		{"/%{x}/v /room/v", true},
		{"/a /a/b", true},
		{"/a/b /a", true},
		{"/%{a} /room/y", true},
		{"/a/%{x} /%{y}/b", true},
		{"/a/%{x} /%{y}/b/d", true},
		{"/%{a}/x /%{b}/y", false},
		{"/%{a}/x /room/y", false},
		{"/a/b /a/c", false},
		{"/a/%{x}/c /%{y}/b/d", false},
	} {
		_, err := ParseInterface([]byte(datastream(TypeInteger, strings.Fields(c.endpoints)...)))
		if errors.Is(err, ErrOverlap) != c.want {
			t.Errorf("%s: got %v, want overlap %v", c.endpoints, err, c.want)
		}
	}
}

func TestCheckUpdate(t *testing.T) {
	base := edit(t, datastream(TypeInteger, "/a", "/b"), `version_major=1`)
	object := datastream(TypeInteger, "/s/a", "/s/b")
	newer := `version_minor=2`
	for _, c := range []struct {
		name    string
		base    string
		changes []string
		want    error
	}{
		{"nothing but the version", base, []string{newer}, nil},
		{"what may change", base, []string{
			newer, `doc="x"`, `.doc="x"`, `.description="y"`, `.explicit_timestamp=true`, `.retention="stored"`, `.expiry=5`,
		}, nil},
		{"new endpoint", base, []string{
			newer, `mappings=[{"endpoint":"/a","type":"integer"},{"endpoint":"/b","type":"integer"},{"endpoint":"/c","type":"string"}]`,
		}, nil},
		{"name", base, []string{`interface_name="org.example.U"`, `version_major=2`}, ErrNameMismatch},
		{"major", base, []string{`version_major=2`, `ownership="server"`}, ErrMajorMismatch},
		{"ownership", base, []string{`ownership="server"`}, ErrInvalidUpdate},
		{"kind", base, []string{newer, `type="properties"`}, ErrInvalidUpdate},
		{"aggregation", object, []string{newer, `aggregation="object"`}, ErrInvalidUpdate},
		{"same minor", base, []string{`doc="x"`}, ErrMinorNotIncreased},
		{"lower minor", base, []string{`version_minor=0`}, ErrDowngrade},
		{"missing endpoint", base, []string{newer, `mappings=[{"endpoint":"/a","type":"string"}]`}, ErrMissingEndpoints},
		{"other endpoint", base, []string{newer, `.endpoint="/c"`}, ErrMissingEndpoints},
		{"type", base, []string{newer, `.type="string"`}, ErrIncompatibleUpdate},
		{"reliability", base, []string{newer, `.reliability="unique"`}, ErrIncompatibleUpdate},
		{"TTL", base, []string{newer, `.database_retention_policy="use_ttl"`, `.database_retention_ttl=60`}, ErrIncompatibleUpdate},
	} {
		installed, update := mustInterface(t, c.base), mustInterface(t, edit(t, c.base, c.changes...))
		if got := installed.CheckUpdate(update); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestNames(t *testing.T) {
	for i, typ := range Types {
		again, err := ParseType(typ.String())
		if int(typ) != i+1 || again != typ || err != nil {
			t.Errorf("%d: %v, %v, %v", i, typ, again, err)
		}
		if typ.IsArray() != strings.HasSuffix(typ.String(), "array") || typ.Elem().String() != strings.TrimSuffix(typ.String(), "array") {
			t.Errorf("%v: array %v, elements %v", typ, typ.IsArray(), typ.Elem())
		}
	}
	for _, s := range []string{"", "int", "arrayarray"} {
		if typ, err := ParseType(s); err == nil {
			t.Errorf("%q: got %v", s, typ)
		}
	}
	for _, v := range []fmt.Stringer{Type(0), Type(99), Kind(0), Reliability(9)} {
		if got := v.String(); !strings.HasPrefix(got, "invalid(") {
			t.Errorf("got %q", got)
		}
		if _, err := json.Marshal(v); err == nil {
			t.Errorf("%v marshalled", v)
		}
	}
	props := mustInterface(t, edit(t, datastream(TypeInteger, "/a"), `type="properties"`))
	stream := mustInterface(t, edit(t, datastream(TypeInteger, "/a"), `.reliability="guaranteed"`))
	if p, s := props.QoS(&props.Mappings[0]), stream.QoS(&stream.Mappings[0]); p != 2 || s != 1 {
		t.Errorf("quality of service: got %d and %d, want 2 and 1", p, s)
	}
}

// FuzzParseInterface checks that definitions that are accepted can be written and read again, and that those that are
// not say why in JSON.
func FuzzParseInterface(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(datastream(TypeString, "/a", "/%{b}/c")))
	f.Add([]byte(`{"interface_name":"a..b","mappings":[{"endpoint":"/%{"},7]}`))
	f.Add([]byte(`{"quality":"consumer","aggregate":"1","mappings":[{"path":"/a","expiry":"5"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := ParseInterface(b)
		if err != nil {
			var fe *FieldErrors
			if errors.As(err, &fe) {
				var m map[string]any
				if j, err := json.Marshal(fe); err != nil || json.Unmarshal(j, &m) != nil || len(m) == 0 {
					t.Errorf("%q: %s, %v", b, j, err)
				}
			}
			return
		}
		j, err := json.Marshal(i)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseInterface(j)
		if err != nil {
			t.Fatalf("%s: %v", j, err)
		}
		if diff := cmp.Diff(i, again, exportedOnly); diff != "" {
			t.Errorf("%s:\n%s", j, diff)
		}
		for _, m := range i.Mappings {
			path := strings.NewReplacer("%{", "", "}", "").Replace(m.Endpoint)
			if got, err := i.Resolve(path); err != nil || got.Endpoint != m.Endpoint {
				t.Errorf("%s: %s: got %v, %v", j, path, got, err)
			}
		}
	})
}
