package astarte

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// found returns the device testID.
func (s *site) found() (dev core.Device) {
	s.Helper()
	s.view(func(rd store.Reader) (err error) {
		dev, err = rd.Device(deviceKey("test", testID))
		return err
	})
	return dev
}

// declared registers the device testID with interfaces "NAME:MAJOR:MINOR".
func (s *site) declared(interfaces ...string) core.Device {
	s.Helper()
	var in []string
	for _, i := range interfaces {
		p := strings.Split(i, ":")
		in = append(in, fmt.Sprintf("%q:{\"major\":%s,\"minor\":%s}", p[0], p[1], p[2]))
	}
	s.must("POST "+agentDevices, `{"data":{"hw_id":"`+testID+`","initial_introspection":{`+strings.Join(in, ",")+`}}}`)
	return s.found()
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// sample stores a value as if the device had sent it at noon plus after, received a second later.
func (s *site) sample(channel string, after time.Duration, value any) {
	s.Helper()
	enc, err := core.Append(nil, value)
	if err != nil {
		s.Fatal(err)
	}
	dev := s.found()
	s.do(func(tx *commit.Tx) error {
		b := core.Block{Series: &core.Series{Device: dev.Num, Channel: channel}}
		b.Add(noon.Add(after).UnixMicro(), noon.Add(after+time.Second).UnixMicro(), enc)
		return tx.AppendBlock(&b)
	})
}

// types has a mapping of each type: of datastreams under /TYPE, or of one object.
func types(name, root, prefix string) string {
	var m []string
	for _, t := range astartewire.Types {
		m = append(m, fmt.Sprintf(`{"endpoint":"%s/%s_value","type":"%s"}`, prefix, t, t))
	}
	return `{"interface_name":"` + name + `","version_major":1,"version_minor":0,` + root + `,"mappings":[` + strings.Join(m, ",") + `]}`
}

var typeValues = map[astartewire.Type]any{
	astartewire.TypeDouble: 20.0, astartewire.TypeDoubleArray: []any{1.5, -2.0}, astartewire.TypeInteger: int64(42),
	astartewire.TypeIntegerArray: []any{int64(1), int64(2)}, astartewire.TypeLongInteger: int64(1) << 60,
	astartewire.TypeLongIntegerArray: []any{int64(-5), int64(1) << 60}, astartewire.TypeString: "a<b>&ü", astartewire.TypeStringArray: []any{"a", ""},
	astartewire.TypeBoolean: true, astartewire.TypeBooleanArray: []any{false, true}, astartewire.TypeBinaryBlob: []byte{0, 255},
	astartewire.TypeBinaryBlobArray: []any{[]byte{1}, []byte{}}, astartewire.TypeDatetime: time.Date(2026, 1, 2, 10, 11, 12, 13e6, time.UTC),
	astartewire.TypeDatetimeArray: []any{},
}

// typeJSON are the same values as AppEngine shows them where longintegers are strings.
var typeJSON = map[astartewire.Type]string{
	astartewire.TypeDouble: `20.0`, astartewire.TypeDoubleArray: `[1.5,-2.0]`, astartewire.TypeInteger: `42`, astartewire.TypeIntegerArray: `[1,2]`,
	astartewire.TypeLongInteger: `"1152921504606846976"`, astartewire.TypeLongIntegerArray: `["-5","1152921504606846976"]`,
	astartewire.TypeString: `"a<b>&ü"`, astartewire.TypeStringArray: `["a",""]`, astartewire.TypeBoolean: `true`,
	astartewire.TypeBooleanArray: `[false,true]`, astartewire.TypeBinaryBlob: `"AP8="`, astartewire.TypeBinaryBlobArray: `["AQ==",""]`,
	astartewire.TypeDatetime: `"2026-01-02T10:11:12.013Z"`, astartewire.TypeDatetimeArray: `[]`,
}

// TestValueEncoding reads a value of every type from all four kinds of interfaces.
func TestValueEncoding(t *testing.T) {
	s := newSite(t, types("org.example.All", `"type":"datastream","ownership":"device"`, ""),
		types("org.example.Obj", `"type":"datastream","ownership":"device","aggregation":"object"`, "/o"),
		types("org.example.Props", `"type":"properties","ownership":"device"`, ""))
	dev := s.declared("org.example.All:1:0", "org.example.Obj:1:0", "org.example.Props:1:0")
	object := map[string]any{}
	var objectJSON []string
	for _, typ := range astartewire.Types {
		s.sample("org.example.All:1/"+typ.String()+"_value", 0, typeValues[typ])
		object[typ.String()+"_value"] = typeValues[typ]
		objectJSON = append(objectJSON, `"`+typ.String()+`_value":`+typeJSON[typ])
		value, err := core.Append(nil, typeValues[typ])
		if err != nil {
			t.Fatal(err)
		}
		s.do(func(tx *commit.Tx) error {
			return tx.PutEntry(core.DocumentKey{Device: dev.Num, Name: "org.example.Props:1", Side: core.Reported},
				core.Entry{Path: "/" + typ.String() + "_value", Value: value, Changed: s.now})
		})
	}
	s.sample("org.example.Obj:1/o", 0, object)
	var all []scenario
	for _, typ := range astartewire.Types {
		number := strings.ReplaceAll(strings.ReplaceAll(typeJSON[typ], `"1152921504606846976"`, `1152921504606846976`), `"-5"`, `-5`)
		all = append(all,
			scenario{
				name: typ.String() + " series", do: "GET " + appInterfaces + "/org.example.All/" + typ.String() + "_value", status: 200,
				want: `{"data":[{"timestamp":"2026-01-02T12:00:00.000Z","value":` + typeJSON[typ] + `}]}`,
			},
			scenario{
				name: typ.String() + " series, integers as numbers", do: "GET " + appInterfaces + "/org.example.All/" + typ.String() + "_value?allow_bigintegers=true",
				status: 200, want: `{"data":[{"timestamp":"2026-01-02T12:00:00.000Z","value":` + number + `}]}`,
			},
			scenario{
				name: typ.String() + " property", do: "GET " + appInterfaces + "/org.example.Props/" + typ.String() + "_value", status: 200,
				want: `{"data":` + number + `}`,
			},
		)
	}
	all = append(all,
		scenario{name: "object", do: "GET " + appInterfaces + "/org.example.Obj/o", status: 200, want: `{"data":[{"timestamp":"2026-01-02T12:00:00.000Z",` + strings.Join(objectJSON, ",") + `}]}`},
		scenario{
			name: "safe integers only", do: "GET " + appInterfaces + "/org.example.All/longintegerarray_value?allow_safe_bigintegers=true", status: 200,
			want: `{"data":[{"timestamp":"2026-01-02T12:00:00.000Z","value":[-5,"1152921504606846976"]}]}`,
		},
		scenario{name: "numbers in the snapshot", do: "GET " + appInterfaces + "/org.example.All", status: 200, want: `~"value":[-5,1152921504606846976]`},
		scenario{
			name: "milliseconds", do: "GET " + appInterfaces + "/org.example.All/datetime_value?keep_milliseconds=true", status: 200,
			want: `{"data":[{"timestamp":1767355200000,"value":"2026-01-02T10:11:12.013Z"}]}`,
		},
		scenario{name: "no text is escaped for HTML", do: "GET " + appInterfaces + "/org.example.Props/string_value", status: 200, want: `~a<b>&ü`},
	)
	s.run(t, all)
}

func TestUnusualNumbers(t *testing.T) {
	s := newSite(t, temps)
	s.declared("org.example.Temps:1:0")
	for i, f := range []float64{1e21, -1e-9, 1 << 60, 0} {
		s.sample("org.example.Temps:1/a/temp", time.Duration(i)*time.Second, f)
	}
	s.run(t, []scenario{{
		name: "series", do: "GET " + appInterfaces + "/org.example.Temps/a/temp?format=disjoint_tables&keep_milliseconds=1", status: 200,
		want: `{"data":{"value":[[1e+21,1767355200000],[-1e-9,1767355201000],[1152921504606847000.0,1767355202000],[0.0,1767355203000]]}}`,
	}})
	for in, out := range map[number]string{number(nan()): "null", 1: "1.0", 0.1: "0.1"} {
		if b, err := in.MarshalJSON(); err != nil || string(b) != out {
			t.Errorf("%v: got %s %v, want %s", float64(in), b, err, out)
		}
	}
}

func nan() float64 { var zero float64; return zero / zero }

func TestPropertiesRead(t *testing.T) {
	s := newSite(t, config, target1)
	dev := s.declared("org.example.Config:1:0", "org.example.Target:1:0", "org.example.Missing:1:0")
	const in = "GET " + appInterfaces
	s.run(t, []scenario{
		{name: "nothing set", do: in + "/org.example.Config", status: 200, want: `{"data":{}}`},
		{name: "path not set", do: in + "/org.example.Config/a/blob", status: 200, want: `{"data":{}}`},
		{name: "nothing set below", do: in + "/org.example.Config/room1", status: 200, want: `{"data":{}}`},
		{name: "no endpoint", do: in + "/org.example.Config/room1/none", status: 400, want: detailBody("Endpoint not found")},
		{name: "beyond the endpoint", do: in + "/org.example.Config/a/blob/x", status: 400, want: detailBody("Endpoint not found")},
		{name: "placeholder", do: in + "/org.example.Config/%25%7Broom%7D/mode", status: 400, want: detailBody("Endpoint not found")},
		{name: "not declared", do: in + "/org.example.None", status: 404, want: detailBody("Interface not found in device introspection")},
		{name: "not installed", do: in + "/org.example.Missing", status: 404, want: detailBody("Interface not found")},
		{name: "unknown device", do: "GET " + appDevices + "/AAAAAAAAAAAAAAAAAAAAAA/interfaces/org.example.Config", status: 404, want: detailBody("Device not found")},
		{name: "no device", do: "GET " + appDevices + "/x/interfaces/org.example.Config", status: 400, want: detailBody("Bad request")},
	})
	for path, value := range map[string]any{"/room1/mode": "eco", "/room1/level": int64(3), "/room 2/mode": "", "/room1/blob": []byte("x")} {
		enc, err := core.Append(nil, value)
		if err != nil {
			t.Fatal(err)
		}
		s.do(func(tx *commit.Tx) error {
			return tx.PutEntry(propertiesOf(dev, parseDef(t, config)).Key(), core.Entry{Path: path, Value: enc, Changed: s.now})
		})
	}
	s.run(t, []scenario{
		{name: "tree", do: in + "/org.example.Config", status: 200, want: `{"data":{"room1":{"mode":"eco","level":3,"blob":"eA=="},"room 2":{"mode":""}}}`},
		{name: "subtree", do: in + "/org.example.Config/room1", status: 200, want: `{"data":{"mode":"eco","level":3,"blob":"eA=="}}`},
		{name: "value", do: in + "/org.example.Config/room1/level", status: 200, want: `{"data":3}`},
		{name: "escaped path", do: in + "/org.example.Config/room%202/mode", status: 200, want: `{"data":""}`},
		{name: "slashes", do: in + "//org.example.Config//room1/level/", status: 200, want: `{"data":3}`},
		{name: "another interface is empty", do: in + "/org.example.Target", status: 200, want: `{"data":{}}`},
	})
}

func TestIndividualRead(t *testing.T) {
	s := newSite(t, temps)
	s.declared("org.example.Temps:1:0")
	const one = "GET " + appInterfaces + "/org.example.Temps"
	const at = one + "/a/temp"
	s.run(t, []scenario{
		{name: "nothing stored", do: one, status: 200, want: `{"data":{}}`},
		{name: "no samples", do: at, status: 404, want: detailBody("Path not found")},
		{name: "no endpoint", do: one + "/a/none", status: 400, want: detailBody("Endpoint not found")},
		{name: "partial path", do: one + "/a", status: 400, want: detailBody("Endpoint not found")},
	})
	for i := range 4 {
		s.sample("org.example.Temps:1/a/temp", time.Duration(i)*time.Second+500*time.Microsecond, float64(i))
	}
	s.sample("org.example.Temps:1/b/text", time.Minute, "x")
	s.sample("org.example.Temps:10/a/temp", time.Hour, 99.0) // another major version
	row := func(i int) string { return fmt.Sprintf(`{"timestamp":"2026-01-02T12:00:0%d.000Z","value":%d.0}`, i, i) }
	rows := func(is ...int) string {
		var all []string
		for _, i := range is {
			all = append(all, row(i))
		}
		return `{"data":[` + strings.Join(all, ",") + `]}`
	}
	const t1 = "2026-01-02T12:00:01.000Z"
	s.run(t, []scenario{
		{
			name: "snapshot", do: one, status: 200, want: `{"data":{"a":{"temp":{"value":3.0,"timestamp":"2026-01-02T12:00:03.000Z","reception_timestamp":"2026-01-02T12:00:04.000Z"}},` +
				`"b":{"text":{"value":"x","timestamp":"2026-01-02T12:01:00.000Z","reception_timestamp":"2026-01-02T12:01:01.000Z"}}}}`,
		},
		{name: "all, oldest first", do: at, status: 200, want: rows(0, 1, 2, 3)},
		{name: "limit: the newest", do: at + "?limit=2", status: 200, want: rows(3, 2)},
		{name: "limit 0", do: at + "?limit=0", status: 200, want: `{"data":[]}`},
		{name: "since", do: at + "?since=" + t1, status: 200, want: rows(1, 2, 3)},
		{name: "since_after, as the API showed the time", do: at + "?since_after=" + t1, status: 200, want: rows(2, 3)},
		{name: "to", do: at + "?to=" + t1, status: 200, want: rows(0)},
		{name: "to and limit: the newest before", do: at + "?limit=1&to=2026-01-02T12:00:02Z", status: 200, want: rows(1)},
		{name: "since and limit: the oldest", do: at + "?limit=2&since=" + t1, status: 200, want: rows(1, 2)},
		{name: "a page after the other", do: at + "?limit=2&since_after=" + t1, status: 200, want: rows(2, 3)},
		{name: "without offset", do: at + "?since=2026-01-02T12:00:02", status: 200, want: rows(2, 3)},
		{name: "another offset", do: at + "?since=2026-01-02T13:00:02%2B01:00", status: 200, want: rows(2, 3)},
		{name: "offset with a plus that is not escaped", do: at + "?since=2026-01-02T13:00:02+01:00", status: 200, want: rows(2, 3)},
		{name: "with a space", do: at + "?since=2026-01-02%2012:00:02.000001Z", status: 200, want: rows(3)},
		{name: "nothing in the range", do: at + "?since=2027-01-01T00:00:00Z", status: 404, want: detailBody("Path not found")},
		{name: "unknown options are ignored", do: at + "?limit=1&x=y&retrieve_metadata=true", status: 200, want: rows(3)},
		{name: "both beginnings", do: at + "?since=" + t1 + "&since_after=" + t1, status: 422, want: `{"errors":{"since_after":["conflicts already set parameter"]}}`},
		{name: "no time", do: at + "?since=yesterday&to=1767355200000", status: 422, want: `{"errors":{"since":["is invalid"],"to":["is invalid"]}}`},
		{name: "no limit", do: at + "?limit=-1", status: 422, want: `{"errors":{"limit":["must be greater than or equal to 0"]}}`},
		{name: "no format", do: at + "?format=csv", status: 422, want: `{"errors":{"format":["is invalid"]}}`},
		{name: "two points are no chart", do: at + "?downsample_to=2", status: 422, want: `{"errors":{"downsample_to":["must be greater than 2"]}}`},
		{name: "text is no chart", do: one + "/b/text?downsample_to=3", status: 422, want: `{"errors":{"downsample_to":["is not supported for values of type string"]}}`},
		{name: "downsampled", do: at + "?downsample_to=3", status: 200, want: rows(0, 1, 3)},
		{
			name: "table", do: at + "?format=table&limit=1", status: 200,
			want: `{"data":[["2026-01-02T12:00:03.000Z",3.0]],"metadata":{"columns":{"timestamp":0,"temp":1},"table_header":["timestamp","temp"]}}`,
		},
		{name: "disjoint tables", do: at + "?format=disjoint_tables&limit=1", status: 200, want: `{"data":{"value":[[3.0,"2026-01-02T12:00:03.000Z"]]}}`},
	})
}

func TestObjectRead(t *testing.T) {
	s := newSite(t, position, flat)
	s.declared("org.example.Position:1:0", "org.example.Flat:1:0")
	const one, two = "GET " + appInterfaces + "/org.example.Position", "GET " + appInterfaces + "/org.example.Flat"
	s.run(t, []scenario{
		{name: "nothing stored", do: one, status: 200, want: `{"data":{}}`},
		{name: "nothing stored, endpoints of one level", do: two, status: 200, want: `{"data":{}}`},
		{name: "no samples", do: one + "/me", status: 404, want: detailBody("Path not found")},
		{name: "below the object", do: one + "/me/x", status: 404, want: detailBody("Path not found")},
		{name: "no endpoint", do: one + "/me/z", status: 400, want: detailBody("Endpoint not found")},
	})
	for i := range 3 {
		s.sample("org.example.Position:1/me", time.Duration(i)*time.Second, map[string]any{"x": int64(i), "y": int64(-i * i)})
		s.sample("org.example.Flat:1/", time.Duration(i)*time.Second, map[string]any{"x": int64(i)})
	}
	obj := func(i int) string {
		return fmt.Sprintf(`{"timestamp":"2026-01-02T12:00:0%d.000Z","x":%d,"y":%d,"label":null}`, i, i, -i*i)
	}
	plain := func(i int) string {
		return fmt.Sprintf(`{"timestamp":"2026-01-02T12:00:0%d.000Z","x":%d,"y":null}`, i, i)
	}
	s.run(t, []scenario{
		{name: "the only path: a list", do: one, status: 200, want: `{"data":{"me":[` + obj(0) + `,` + obj(1) + `,` + obj(2) + `]}}`},
		{name: "the only path, limit: the newest first", do: one + "?limit=2", status: 200, want: `{"data":{"me":[` + obj(2) + `,` + obj(1) + `]}}`},
		{name: "endpoints of one level: the list itself", do: two, status: 200, want: `{"data":[` + plain(0) + `,` + plain(1) + `,` + plain(2) + `]}`},
		{name: "path", do: one + "/me?limit=1", status: 200, want: `{"data":[` + obj(2) + `]}`},
		{name: "since", do: one + "/me?since_after=2026-01-02T12:00:01Z", status: 200, want: `{"data":[` + obj(2) + `]}`},
		{
			name: "table", do: one + "/me?format=table&limit=1", status: 200,
			want: `{"data":[[null,"2026-01-02T12:00:02.000Z",2,-4]],"metadata":{"columns":{"label":0,"timestamp":1,"x":2,"y":3},"table_header":["label","timestamp","x","y"]}}`,
		},
		{
			name: "disjoint tables", do: one + "/me?format=disjoint_tables&limit=1", status: 200,
			want: `{"data":{"x":[[2,"2026-01-02T12:00:02.000Z"]],"y":[[-4,"2026-01-02T12:00:02.000Z"]],"label":[[null,"2026-01-02T12:00:02.000Z"]]}}`,
		},
		{name: "downsampled by a key", do: one + "/me?downsample_to=3&downsample_key=y&limit=3&since=2026-01-01T00:00:00Z", status: 200, want: `~"y":-4`},
		{name: "downsampled rows have that key only", do: one + "/me?downsample_to=3&downsample_key=y", status: 200, want: `~{"timestamp":"2026-01-02T12:00:00.000Z","y":0}`},
		{name: "no usable key: as if not asked", do: one + "/me?downsample_to=3&downsample_key=label", status: 200, want: `{"data":[` + obj(0) + `,` + obj(1) + `,` + obj(2) + `]}`},
		{
			name: "several paths: the newest of each, no list", do: one + "?limit=2", status: 200, want: `{"data":{"me":` + obj(2) + `,"you":{"timestamp":"2026-01-02T12:00:00.000Z","x":null,"y":null,"label":"hi"}}}`,
			given: func(s *site) { s.sample("org.example.Position:1/you", 0, map[string]any{"label": "hi"}) },
		},
	})
}
