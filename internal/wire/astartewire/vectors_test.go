package astartewire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestBSONVectors decodes each payload that the official Python SDK sent to the value it was told to send, and encodes
// that value to the same bytes.
func TestBSONVectors(t *testing.T) {
	single := map[string]any{} // values of the individual vectors, by name without prefix; objects refer to them
	for _, v := range loadVectors(t, "bson.json") {
		t.Run(v.Name, func(t *testing.T) {
			payload := mustHex(t, v.Hex)
			p, err := ParsePayload(payload)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case v.Name == "unset":
				if !p.Unset {
					t.Error("not unset")
				}
			case strings.HasPrefix(v.Name, "object_"):
				checkObjectVector(t, v, payload, p, single)
			default:
				checkValueVector(t, v, payload, p, single)
			}
		})
	}
	if len(single) == 0 {
		t.Error("no individual vectors")
	}
}

// vectorType returns the type that the endpoint's name says: "double_endpoint" is a double.
func vectorType(t *testing.T, endpoint string) Type {
	t.Helper()
	name := strings.TrimSuffix(endpoint[strings.LastIndexByte(endpoint, '/')+1:], "_endpoint")
	if name == "q0" || name == "q1" || name == "q2" || name == "v" {
		return TypeInteger
	}
	typ, err := ParseType(name)
	if err != nil {
		t.Fatal(err)
	}
	return typ
}

func checkValueVector(t *testing.T, v vector, payload []byte, p Payload, single map[string]any) {
	endpoint, text, _ := strings.Cut(v.What, " = ")
	typ := vectorType(t, endpoint)
	want, rest := parsePython(t, text)
	want = rounded(want)
	single[strings.TrimPrefix(v.Name, "individual_")] = want
	if v.Name == "individual_binaryblob_1" { // an empty binary without timestamp is unset for the platform
		if !p.Unset || len(p.Value.Bin()) != 0 {
			t.Errorf("got %+v, want unset", p)
		}
	} else if p.Unset {
		t.Error("unset")
	}
	got, err := typ.Decode(p.Value)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, sameBits); diff != "" {
		t.Errorf("value (-want +got):\n%s", diff)
	}
	at, timed := strings.CutPrefix(rest, ", timestamp ")
	if timed != p.HasTime {
		t.Errorf("has timestamp: got %v, want %v", p.HasTime, timed)
	}
	b, doc := BeginDocument(nil)
	if b, err = typ.AppendBSON(b, "v", want); err != nil {
		t.Fatal(err)
	}
	if timed {
		wantTime, _ := parsePython(t, at)
		ms := rounded(wantTime).(time.Time).UnixMilli()
		if p.TimeMillis != ms {
			t.Errorf("timestamp: got %d, want %d", p.TimeMillis, ms)
		}
		b = AppendDatetime(b, "t", ms)
	}
	if b = EndDocument(b, doc); !bytes.Equal(b, payload) {
		t.Errorf("encoded:\ngot  %x\nwant %x", b, payload)
	}
}

// checkObjectVector compares the members with the individual vectors: object_full_second_values holds the second value
// of each type, the others the first.
func checkObjectVector(t *testing.T, v vector, payload []byte, p Payload, single map[string]any) {
	suffix := "_0"
	if v.Name == "object_full_second_values" {
		suffix = "_1"
	}
	b, doc := BeginDocument(nil)
	b, object := BeginSubdocument(b, "v")
	n := 0
	p.Value.Each(func(key []byte, e Value) bool {
		n++
		typ := vectorType(t, string(key))
		want, ok := single[typ.String()+suffix]
		if !ok {
			want = single[typ.String()+"_0"]
		}
		got, err := typ.Decode(e)
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		if diff := cmp.Diff(want, got, sameBits); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
		if b, err = typ.AppendBSON(b, string(key), want); err != nil {
			t.Fatal(err)
		}
		return true
	})
	if n != len(Types) {
		t.Errorf("got %d members, want %d", n, len(Types))
	}
	b = EndDocument(b, object)
	if timed := v.Name == "object_timed"; timed != p.HasTime {
		t.Errorf("has timestamp: got %v, want %v", p.HasTime, timed)
	}
	if p.HasTime {
		b = AppendDatetime(b, "t", p.TimeMillis)
	}
	if b = EndDocument(b, doc); !bytes.Equal(b, payload) {
		t.Errorf("encoded:\ngot  %x\nwant %x", b, payload)
	}
}

// sameBits tells 0.0 and -0.0 apart.
var sameBits = cmp.Comparer(func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) })

// rounded returns v with its times as the Python SDK sends them: to the nearest millisecond.
func rounded(v any) any {
	switch v := v.(type) {
	case time.Time:
		return v.Round(time.Millisecond).UTC()
	case []any:
		for i := range v {
			v[i] = rounded(v[i])
		}
	}
	return v
}

// parsePython reads one Python literal, as the vectors show values, and returns what follows it.
func parsePython(t *testing.T, s string) (v any, rest string) {
	t.Helper()
	switch {
	case strings.HasPrefix(s, "True"):
		return true, s[4:]
	case strings.HasPrefix(s, "False"):
		return false, s[5:]
	case strings.HasPrefix(s, "b'"):
		text, rest := parsePythonString(t, s[2:])
		return []byte(text), rest
	case s[0] == '\'':
		text, rest := parsePythonString(t, s[1:])
		return text, rest
	case s[0] == '[':
		items := []any{}
		for s = s[1:]; s[0] != ']'; s = strings.TrimPrefix(s, ", ") {
			var item any
			item, s = parsePython(t, s)
			items = append(items, item)
		}
		return items, s[1:]
	case strings.HasPrefix(s, "datetime("):
		args, rest, _ := strings.Cut(s[len("datetime("):], ")")
		return parsePythonTime(t, args), rest
	}
	end := strings.IndexAny(s+",", ",]}")
	if n, err := strconv.ParseInt(s[:end], 10, 64); err == nil {
		return n, s[end:]
	}
	f, err := strconv.ParseFloat(s[:end], 64)
	if err != nil {
		t.Fatalf("not understood: %q", s)
	}
	return f, s[end:]
}

func parsePythonString(t *testing.T, s string) (text, rest string) {
	t.Helper()
	var b []byte
	for s[0] != '\'' {
		if strings.HasPrefix(s, `\x`) {
			raw, err := hex.DecodeString(s[2:4])
			if err != nil {
				t.Fatal(err)
			}
			b, s = append(b, raw...), s[4:]
			continue
		}
		b, s = append(b, s[0]), s[1:]
	}
	return string(b), s[1:]
}

func parsePythonTime(t *testing.T, args string) time.Time {
	t.Helper()
	n := make([]int, 7)
	zone := time.UTC
	for i, arg := range strings.Split(args, ", ") {
		switch {
		case arg == "tzinfo=utc":
		case arg == "tzinfo=+02:00":
			zone = time.FixedZone("", 2*3600)
		default:
			var err error
			if n[i], err = strconv.Atoi(arg); err != nil {
				t.Fatalf("datetime(%s): %v", args, err)
			}
		}
	}
	return time.Date(n[0], time.Month(n[1]), n[2], n[3], n[4], n[5], n[6]*1000, zone)
}

// TestGoSDKVectors reads every publish of the official Go SDK, whose program sends one value of each type on interfaces
// whose last levels name the types, and puts "v" and "t" in no fixed order.
func TestGoSDKVectors(t *testing.T) {
	seen := map[Type]bool{}
	for _, v := range loadVectors(t, "go_sdk.json") {
		if !strings.HasPrefix(v.Name, "publish_") {
			continue
		}
		topic, payload := publishPayload(t, mustHex(t, v.Hex))
		_, path, _ := strings.Cut(topic, ".Everything")
		switch {
		case strings.HasSuffix(topic, "/control/emptyCache"):
		case strings.HasSuffix(topic, "/control/producer/properties"):
			if items, err := ParsePurgeList(payload); err != nil || len(items) != 0 {
				t.Errorf("%s: got %q, %v, want an empty list", v.Name, items, err)
			}
		case path == "": // the base topic
			m, err := ParseIntrospection(payload)
			if err != nil || len(m) == 0 {
				t.Errorf("%s: got %v, %v", v.Name, m, err)
			}
			if _, ok := m["org.astarte-platform.device.individual.datastream.Everything"]; !ok {
				t.Errorf("%s: got %v", v.Name, m)
			}
		case path == "/test": // the object
			p, err := ParsePayload(payload)
			if err != nil {
				t.Fatalf("%s: %v", v.Name, err)
			}
			p.Value.Each(func(key []byte, e Value) bool {
				typ, err := ParseType(string(key))
				if err == nil {
					err = typ.Check(e)
				}
				if err != nil {
					t.Errorf("%s: %s: %v", v.Name, key, err)
				}
				return true
			})
		default:
			typ, err := ParseType(strings.TrimPrefix(path, "/test/"))
			if err != nil {
				t.Fatalf("%s: %v", v.Name, err)
			}
			p, err := ParsePayload(payload)
			if err == nil {
				err = typ.Check(p.Value)
			}
			if err != nil {
				t.Errorf("%s: %v", v.Name, err)
			}
			seen[typ] = true
		}
	}
	if len(seen) != len(Types) {
		t.Errorf("got %d types, want %d", len(seen), len(Types))
	}
}

// TestMessageHubVectors reads what the official message hub (Rust) published, and what it was sent.
func TestMessageHubVectors(t *testing.T) {
	types := map[string]Type{ // of the interfaces used in the capture
		"DD/i": TypeInteger, "DD/d": TypeDouble, "DD/l": TypeLongInteger, "DD/id/1-x/s": TypeString, "TS/i": TypeInteger,
		"DP/a": TypeInteger, "DP/z": TypeInteger, "DP/b": TypeBoolean, "DP/s": TypeString, "SP/x": TypeString,
		"SP/n": TypeInteger, "SD/i": TypeInteger, "SD/l": TypeLongInteger, "SD/room1/v": TypeDouble, "SD/1/v": TypeDouble,
	}
	checked := 0
	check := func(name, topic, payload string) {
		_, short, ok := strings.Cut(topic, "org.example.capture.")
		if !ok {
			return
		}
		checked++
		p, err := ParsePayload(mustHex(t, payload))
		switch {
		case name == "down_garbage":
			if err == nil {
				t.Errorf("%s: decoded", name)
			}
			return
		case err != nil:
			t.Errorf("%s: %v", name, err)
			return
		case payload == "":
			if !p.Unset {
				t.Errorf("%s: not unset", name)
			}
			return
		case short == "OB/s" || short == "SO/room1":
			if p.Value.Type != BSONDocument {
				t.Errorf("%s: got type %#x", name, p.Value.Type)
			}
			return
		}
		if err := types[short].Check(p.Value); (err != nil) != (name == "down_wrong_type") {
			t.Errorf("%s: %s: %v", name, short, err)
		}
	}
	for _, v := range loadVectors(t, "message_hub.json") {
		var d struct {
			Topic     string
			Published []struct{ Topic, Payload string }
		}
		if json.Unmarshal(v.Decoded, &d) != nil {
			continue
		}
		if strings.HasPrefix(v.Name, "down_") {
			check(v.Name, d.Topic, v.Hex)
		}
		for _, p := range d.Published {
			check(v.Name, p.Topic, p.Payload)
		}
	}
	if checked < 20 {
		t.Errorf("only %d payloads found", checked)
	}
}

// TestDownlinkVectors checks that our decoder refuses at least all that the Python SDK's cannot read.
func TestDownlinkVectors(t *testing.T) {
	bad := map[string]bool{
		"bson_truncated": true, "bson_length_plus_one": true, "bson_garbage": true, "bson_trailing": true,
		"bson_type_07": true, "bson_type_11": true, "bson_type_13": true,
	}
	for _, v := range loadVectors(t, "downlink.json") {
		if v.Transport != "MQTT PUBLISH payload" || v.Name == "unknown_control" {
			continue
		}
		p, err := ParsePayload(mustHex(t, v.Hex))
		if (err != nil) != bad[v.Name] {
			t.Errorf("%s: %v", v.Name, err)
		}
		if v.Name == "bson_bad_utf8" && TypeString.Check(p.Value) != ErrUnexpectedType {
			t.Errorf("%s: accepted", v.Name)
		}
	}
}

// TestSessionVectors reads introspection and purge lists that the Python SDK sent and was sent.
func TestSessionVectors(t *testing.T) {
	found := 0
	for _, v := range loadVectors(t, "session.json") {
		var d struct {
			Topic, Payload string
			PayloadText    string `json:"payload_text"`
		}
		if json.Unmarshal(v.Decoded, &d) != nil || d.PayloadText == "" || strings.Count(d.Topic, "/") != 1 {
			continue
		}
		found++
		m, err := ParseIntrospection([]byte(d.PayloadText))
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		again, err := ParseIntrospection(AppendIntrospection(nil, m))
		if err != nil || !cmp.Equal(m, again) || len(m) != strings.Count(d.PayloadText, ";")+1 {
			t.Errorf("%s: got %v, %v", v.Name, again, err)
		}
		if got := m["org.example.capture.Types"]; got != (InterfaceVersion{Major: 1}) {
			t.Errorf("%s: got version %v", v.Name, got)
		}
	}
	if found == 0 {
		t.Error("no introspection found")
	}
}

func TestPurgeVectors(t *testing.T) {
	for _, v := range loadVectors(t, "properties.json") {
		var d struct{ Text string }
		_ = json.Unmarshal(v.Decoded, &d)
		items, err := ParsePurgeList(mustHex(t, v.Hex))
		if v.Name == "consumer_properties_plain" {
			if err == nil {
				t.Errorf("%s: plain text accepted", v.Name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		if d.Text != "" && strings.Join(items, ";") != d.Text {
			t.Errorf("%s: got %q, want %q", v.Name, items, d.Text)
		}
		again, err := ParsePurgeList(AppendPurgeList(nil, items))
		if err != nil || strings.Join(again, ";") != strings.Join(items, ";") {
			t.Errorf("%s: got %q, %v, want %q", v.Name, again, err, items)
		}
	}
}
