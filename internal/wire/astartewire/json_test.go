package astartewire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseJSON(t *testing.T) {
	at := time.Date(2022, 11, 22, 10, 11, 21, 0, time.UTC)
	quoted := func(n int) string { return `"` + strings.Repeat("x", n) + `"` }
	blob := func(n int) string { return `"` + base64.StdEncoding.EncodeToString(make([]byte, n)) + `"` }
	ones := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("1,", n), ",") + "]" }
	for _, c := range []struct {
		typ  Type
		in   string
		want any // or an error
	}{
		{TypeDouble, `1.5`, 1.5},
		{TypeDouble, `7`, 7.0},
		{TypeDouble, `-1e300`, -1e300},
		{TypeDouble, `-0.0`, math.Copysign(0, -1)},
		{TypeDouble, `1e400`, ErrUnexpectedType},
		{TypeDouble, `"1.5"`, ErrUnexpectedType},
		{TypeDouble, `true`, ErrUnexpectedType},
		{TypeDouble, `null`, ErrUnexpectedType},
		{TypeInteger, ` 7 `, int64(7)},
		{TypeInteger, `2147483647`, int64(math.MaxInt32)},
		{TypeInteger, `-2147483648`, int64(math.MinInt32)},
		{TypeInteger, `2147483648`, ErrUnexpectedType},
		{TypeInteger, `7.0`, ErrUnexpectedType},
		{TypeInteger, `1e3`, ErrUnexpectedType},
		{TypeInteger, `"7"`, ErrUnexpectedType},
		{TypeInteger, `null`, ErrUnexpectedType},
		{TypeInteger, ``, ErrUnexpectedType},
		{TypeLongInteger, `7`, int64(7)},
		{TypeLongInteger, `"9223372036854775807"`, int64(math.MaxInt64)},
		{TypeLongInteger, `"-9223372036854775808"`, int64(math.MinInt64)},
		{TypeLongInteger, `9223372036854775808`, ErrUnexpectedType},
		{TypeLongInteger, `"9223372036854775808"`, ErrUnexpectedType},
		{TypeLongInteger, `"0x7"`, ErrUnexpectedType},
		{TypeLongInteger, `""`, ErrUnexpectedType},
		{TypeLongInteger, `7.5`, ErrUnexpectedType},
		{TypeBoolean, `true`, true},
		{TypeBoolean, `false`, false},
		{TypeBoolean, `1`, ErrUnexpectedType},
		{TypeBoolean, `"true"`, ErrUnexpectedType},
		{TypeString, `""`, ""},
		{TypeString, `"hi\u00e4"`, "hiä"},
		{TypeString, quoted(MaxStringLen), strings.Repeat("x", MaxStringLen)},
		{TypeString, quoted(MaxStringLen + 1), ErrSizeExceeded},
		{TypeString, "\"\xff\"", ErrUnexpectedType},
		{TypeString, `7`, ErrUnexpectedType},
		{TypeString, `null`, ErrUnexpectedType},
		{TypeBinaryBlob, `"AQID"`, []byte{1, 2, 3}},
		{TypeBinaryBlob, `"+/8="`, []byte{0xfb, 0xff}},
		{TypeBinaryBlob, `""`, []byte{}},
		{TypeBinaryBlob, `"-_8="`, ErrUnexpectedType},
		{TypeBinaryBlob, `"AQ"`, ErrUnexpectedType},
		{TypeBinaryBlob, `"AQ\nID"`, ErrUnexpectedType},
		{TypeBinaryBlob, blob(MaxBlobLen), make([]byte, MaxBlobLen)},
		{TypeBinaryBlob, blob(MaxBlobLen + 1), ErrSizeExceeded},
		{TypeBinaryBlob, `[1,2]`, ErrUnexpectedType},
		{TypeDatetime, `1669111881000`, at},
		{TypeDatetime, `-1`, time.UnixMilli(-1).UTC()},
		{TypeDatetime, `253402300800000`, ErrUnexpectedType},
		{TypeDatetime, `1.5`, ErrUnexpectedType},
		{TypeDatetime, `"2022-11-22T10:11:21Z"`, at},
		{TypeDatetime, `"2022-11-22 10:11:21+00:00"`, at},
		{TypeDatetime, `"2022-11-22T12:11:21+02:00"`, at},
		{TypeDatetime, `"2022-11-22T12:11:21+0200"`, at},
		{TypeDatetime, `"2022-11-22T05:11:21-05"`, at},
		{TypeDatetime, `"2022-11-22T10:11:21.123Z"`, at.Add(123 * time.Millisecond)},
		{TypeDatetime, `"2022-11-22T10:11:21,1234567Z"`, at.Add(123456 * time.Microsecond)},
		{TypeDatetime, `"2022-11-22T10:11:21"`, ErrUnexpectedType},
		{TypeDatetime, `"2022-11-22T10:11:21-00:00"`, ErrUnexpectedType},
		{TypeDatetime, `"2022-11-22T10:11:21.Z"`, ErrUnexpectedType},
		{TypeDatetime, `"2022-11-22T10:11:21+24:00"`, ErrUnexpectedType},
		{TypeDatetime, `"2022-11-22T10:11:21+00:60"`, ErrUnexpectedType},
		{TypeDatetime, `"2022-11-22T10:11:21+1"`, ErrUnexpectedType},
		{TypeDatetime, `"2022-11-22T10:11:21z"`, ErrUnexpectedType},
		{TypeDatetime, `"2022-11-22T10:11:61Z"`, ErrUnexpectedType},
		{TypeDatetime, `"2022-11-31T10:11:21Z"`, ErrUnexpectedType},
		{TypeDatetime, `"2022-11-22T10:11Z"`, ErrUnexpectedType},
		{TypeDatetime, `"2022-11-22t10:11:21Z"`, ErrUnexpectedType},
		{TypeDatetime, `"2022-11-22"`, ErrUnexpectedType},
		{TypeDatetime, `"1669111881000"`, ErrUnexpectedType},
		{TypeDatetime, `null`, ErrUnexpectedType},
		{TypeIntegerArray, `[]`, []any{}},
		{TypeIntegerArray, `[1, 2]`, []any{int64(1), int64(2)}},
		{TypeDoubleArray, `[1, 2.5]`, []any{1.0, 2.5}},
		{TypeLongIntegerArray, `["5",6]`, []any{int64(5), int64(6)}},
		{TypeBinaryBlobArray, `["AQ==",""]`, []any{[]byte{1}, []byte{}}},
		{TypeDatetimeArray, `[0]`, []any{time.UnixMilli(0).UTC()}},
		{TypeBooleanArray, `[true,false]`, []any{true, false}},
		{TypeIntegerArray, ones(MaxArrayLen + 1), ErrSizeExceeded},
		{TypeStringArray, `[` + quoted(MaxStringLen+1) + `]`, ErrUnexpectedType},
		{TypeIntegerArray, `[1,null]`, ErrUnexpectedType},
		{TypeIntegerArray, `[1`, ErrUnexpectedType},
		{TypeIntegerArray, `null`, ErrUnexpectedType},
		{TypeIntegerArray, `1`, ErrUnexpectedType},
		{TypeInteger, `[1]`, ErrUnexpectedType},
		{TypeInteger, `{}`, ErrUnexpectedType},
		{0, `1`, ErrUnexpectedType},
	} {
		got, err := c.typ.ParseJSON(json.RawMessage(c.in))
		if want, ok := c.want.(error); ok {
			if got != nil || !errors.Is(err, want) {
				t.Errorf("%v %.40s: got %.40v, %v, want %v", c.typ, c.in, got, err, want)
			}
			continue
		}
		if diff := cmp.Diff(c.want, got, sameBits); diff != "" || err != nil {
			t.Errorf("%v %.40s: %v, (-want +got):\n%.400s", c.typ, c.in, err, diff)
			continue
		}
		// What may be written can be sent, and a device reads the same, times to the millisecond.
		b, err := c.typ.AppendPayload(nil, got)
		if err != nil {
			t.Errorf("%v %.40s: AppendPayload: %v", c.typ, c.in, err)
			continue
		}
		p, err := ParsePayload(b)
		if err != nil {
			t.Errorf("%v %.40s: ParsePayload: %v", c.typ, c.in, err)
			continue
		}
		back, err := c.typ.Decode(p.Value)
		if v, ok := got.(time.Time); ok {
			got = v.Truncate(time.Millisecond)
		}
		if diff := cmp.Diff(got, back, sameBits); diff != "" || err != nil {
			t.Errorf("%v %.40s: sent: %v, (-want +got):\n%.400s", c.typ, c.in, err, diff)
		}
	}
}

func TestAppendBSONRefuses(t *testing.T) {
	for _, c := range []struct {
		typ  Type
		v    any
		want error
	}{
		{TypeDouble, int64(1), ErrUnexpectedType},
		{TypeDouble, math.NaN(), ErrUnexpectedType},
		{TypeDouble, math.Inf(1), ErrUnexpectedType},
		{TypeInteger, int64(math.MaxInt32) + 1, ErrUnexpectedType},
		{TypeInteger, 1, ErrUnexpectedType},
		{TypeString, "\xff", ErrUnexpectedType},
		{TypeString, strings.Repeat("x", MaxStringLen+1), ErrSizeExceeded},
		{TypeBinaryBlob, make([]byte, MaxBlobLen+1), ErrSizeExceeded},
		{TypeBinaryBlob, "x", ErrUnexpectedType},
		{TypeDatetime, time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC), ErrUnexpectedType},
		{TypeBoolean, nil, ErrUnexpectedType},
		{TypeBooleanArray, true, ErrUnexpectedType},
		{TypeBooleanArray, []any{true, 1.5}, ErrUnexpectedType},
		{TypeBooleanArray, make([]any, MaxArrayLen+1), ErrSizeExceeded},
	} {
		if b, err := c.typ.AppendPayload(nil, c.v); !errors.Is(err, c.want) {
			t.Errorf("%v %.20v: got %x, %v, want %v", c.typ, c.v, b, err, c.want)
		}
	}
}

func TestObject(t *testing.T) {
	iface := mustInterface(t, `{"interface_name":"org.example.O","version_major":1,"version_minor":0,"type":"datastream",
		"ownership":"server","aggregation":"object","mappings":[{"endpoint":"/s/a","type":"integer","required":true},
		{"endpoint":"/s/b","type":"string"},{"endpoint":"/s/c","type":"doublearray"}]}`)
	o, err := iface.ResolveObject("/s")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		in   string
		key  string
		want error
		typ  string
	}{
		{`{"a":1,"b":"x","c":[1]}`, "", nil, ""},
		{`{"a":1}`, "", nil, ""},
		{`{"b":"x"}`, "a", ErrMissingKey, "integer"},
		{`{}`, "a", ErrMissingKey, "integer"},
		{`{"a":1,"d":1}`, "d", ErrUnexpectedKey, "object"},
		{`{"a":1,"A":1}`, "A", ErrUnexpectedKey, "object"},
		{`{"a":"x"}`, "a", ErrUnexpectedType, "integer"},
		{`{"a":null}`, "a", ErrUnexpectedType, "integer"},
		{`{"a":1,"c":[` + strings.TrimSuffix(strings.Repeat("1,", 1025), ",") + `]}`, "c", ErrSizeExceeded, "doublearray"},
		{`1`, "", ErrUnexpectedType, "object"},
		{`null`, "", ErrUnexpectedType, "object"},
		{`[]`, "", ErrUnexpectedType, "object"},
		{`{`, "", ErrUnexpectedType, "object"},
	} {
		values, err := o.ParseJSON(json.RawMessage(c.in))
		var ke *KeyError
		if !errors.Is(err, c.want) || errors.As(err, &ke) && (ke.Key != c.key || ke.ExpectedType() != c.typ) {
			t.Errorf("%.40s: got %v, want %v for %q", c.in, err, c.want, c.key)
		}
		if err != nil {
			continue
		}
		b, err := o.AppendPayload(nil, values)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		p, err := ParsePayload(b)
		if err != nil || o.Check(p.Value) != nil || p.Value.Len() != len(values) {
			t.Errorf("%s: %x: %v, %v", c.in, b, err, o.Check(p.Value))
		}
	}
	for _, values := range []map[string]any{{"a": "x"}, {"d": int64(1)}} {
		if b, err := o.AppendPayload(nil, values); err == nil {
			t.Errorf("%v: got %x", values, b)
		}
	}
}

func TestObjectCheck(t *testing.T) {
	iface := mustInterface(t, `{"interface_name":"org.example.O","version_major":1,"version_minor":0,"type":"datastream",
		"ownership":"device","aggregation":"object","mappings":[{"endpoint":"/s/a","type":"integer","required":true},
		{"endpoint":"/s/b","type":"string"}]}`)
	o, err := iface.ResolveObject("/s")
	if err != nil {
		t.Fatal(err)
	}
	const (
		b1    = "02 6200 02000000 7800"
		aNull = "0a 6100"
		bNull = "0a 6200"
		c1    = "10 6300 01000000"
		aStr  = "02 6100 02000000 7800"
	)
	for _, c := range []struct {
		name     string
		elements []string
		want     error
	}{
		{"all", []string{a1, b1}, nil},
		{"partial", []string{a1}, nil},
		{"null", []string{a1, bNull}, nil},
		{"required missing", []string{b1}, ErrMissingKey},
		{"required null", []string{aNull, b1}, ErrMissingKey},
		{"nothing", nil, ErrMissingKey},
		{"foreign key", []string{a1, c1}, ErrUnexpectedKey},
		{"foreign key before missing one", []string{c1}, ErrUnexpectedKey},
		{"wrong type", []string{aStr}, ErrUnexpectedType},
		{"wrong type, overridden", []string{aStr, a1}, nil},
	} {
		object := doc(t, c.elements...)
		p, err := ParsePayload(doc(t, fmt.Sprintf("03 7600 %x", object)))
		if err != nil {
			t.Fatal(err)
		}
		if got := o.Check(p.Value); !errors.Is(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
		// The old form, without "v".
		if p, err = ParsePayload(object); err != nil || !errors.Is(o.Check(p.Value), c.want) {
			t.Errorf("%s, old form: got %v, %v, want %v", c.name, err, o.Check(p.Value), c.want)
		}
	}
	for _, payload := range [][]byte{nil, doc(t, v7), doc(t, vNull)} {
		p, err := ParsePayload(payload)
		if err != nil || !errors.Is(o.Check(p.Value), ErrUnexpectedType) {
			t.Errorf("%x: got %v, %v", payload, err, o.Check(p.Value))
		}
	}
}

// FuzzParseJSON checks for each type that a value that is accepted can be sent and is read back.
func FuzzParseJSON(f *testing.F) {
	for _, s := range []string{
		`1`, `"5"`, `1.5`, `"AQID"`, `"2022-11-22 10:11:21.5+02:00"`, `[1,2]`, `["x"]`, `null`, `true`, `"-0001-01-01T00:00:00Z"`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, typ := range Types {
			v, err := typ.ParseJSON(b)
			if err != nil {
				continue
			}
			payload, err := typ.AppendPayload([]byte("x"), v)
			if err != nil {
				t.Fatalf("%v %q: %v", typ, b, err)
			}
			p, err := ParsePayload(payload[1:])
			if err != nil || p.Unset && !bytes.Equal(b, []byte(`""`)) && typ != TypeBinaryBlob {
				t.Fatalf("%v %q: %+v, %v", typ, b, p, err)
			}
			if err := typ.Check(p.Value); err != nil {
				t.Fatalf("%v %q: %v", typ, b, err)
			}
		}
	})
}
