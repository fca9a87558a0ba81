package astartewire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

// doc builds a document from elements in hex: "10 7600 07000000" is {"v": 7}.
func doc(tb testing.TB, elements ...string) []byte {
	tb.Helper()
	b, mark := BeginDocument(nil)
	for _, e := range elements {
		b = append(b, mustHex(tb, e)...)
	}
	return EndDocument(b, mark)
}

// Elements for the tests.
const (
	v7        = "10 7600 07000000"
	v8        = "10 7600 08000000"
	vNull     = "0a 7600"
	vEmptyBin = "05 7600 00000000 00"
	t1000     = "09 7400 e803000000000000"
	tWrong    = "12 7400 e803000000000000"
	mDoc      = "03 6d00 0500000000"
	mWrong    = "10 6d00 01000000"
	a1        = "10 6100 01000000"
)

// TestAppendixExamples are the examples of the platform's protocol description, byte for byte.
func TestAppendixExamples(t *testing.T) {
	two := []byte{1, 2}
	for _, c := range []struct {
		want  string
		build func(b []byte) []byte
	}{
		{"10000000017600000000000000f83f00", func(b []byte) []byte { return AppendDouble(b, "v", 1.5) }},
		{"090000000876000100", func(b []byte) []byte { return AppendBool(b, "v", true) }},
		{"0c0000001076000700000000", func(b []byte) []byte { return AppendInt(b, "v", 7) }},
		{"10000000127600070000000000000000", func(b []byte) []byte { return AppendLong(b, "v", 7) }},
		{"0f0000000276000300000068690000", func(b []byte) []byte { return AppendString(b, "v", "hi") }},
		{"0f0000000576000200000000010200", func(b []byte) []byte { return AppendBinary(b, "v", two) }},
		{"10000000097600000000000000000000", func(b []byte) []byte { return AppendDatetime(b, "v", 0) }},
		{"080000000a760000", func(b []byte) []byte { return AppendNull(b, "v") }},
		{"1100000004760009000000083000010000", func(b []byte) []byte {
			b, mark := BeginArray(b, "v")
			return EndDocument(AppendBool(b, IndexKey(0), true), mark)
		}},
		{"1f0000000376000c0000001061000100000000097400e80300000000000000", func(b []byte) []byte {
			b, mark := BeginSubdocument(b, "v")
			b = EndDocument(AppendInt(b, "a", 1), mark)
			return AppendDatetime(b, "t", 1000)
		}},
	} {
		b, mark := BeginDocument(nil)
		if got := EndDocument(c.build(b), mark); !bytes.Equal(got, mustHex(t, c.want)) {
			t.Errorf("got %x, want %s", got, c.want)
		}
		if _, err := ParsePayload(mustHex(t, c.want)); err != nil {
			t.Errorf("%s: %v", c.want, err)
		}
	}
}

func TestPayloadRules(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []byte
		want string // what describe says
	}{
		{"empty", nil, "unset"},
		{"value", doc(t, v7), "7"},
		{"value and time", doc(t, v7, t1000), "7 at 1000"},
		{"time first", doc(t, t1000, v7), "7 at 1000"},
		{"all three", doc(t, mDoc, v7, t1000), "7 at 1000"},
		{"value and metadata", doc(t, v7, mDoc), "7"},
		{"time of wrong type", doc(t, v7, tWrong), "7"},
		{"metadata of wrong type", doc(t, v7, mWrong), "7"},
		{"empty binary", doc(t, vEmptyBin), "unset"},
		{"empty binary, time of wrong type", doc(t, vEmptyBin, tWrong), "unset"},
		{"empty binary, metadata of wrong type", doc(t, vEmptyBin, mWrong), "unset"},
		{"empty binary and time", doc(t, vEmptyBin, t1000), "binary at 1000"},
		{"empty binary and metadata", doc(t, vEmptyBin, mDoc), "binary"},
		{"null", doc(t, vNull), "unset"},
		{"null and time", doc(t, vNull, t1000), "unset at 1000"},
		{"old object", doc(t, a1), "{a}"},
		{"old object with t", doc(t, a1, t1000), "{a t}"},
		{"empty document", doc(t), "{}"},
		{"value twice", doc(t, v7, v8), "8"},
		{"value twice, null last", doc(t, v7, vNull), "unset"},
		{"time twice, wrong last", doc(t, v7, t1000, tWrong), "7"},
		{"longer keys", doc(t, "10 767600 07000000", "10 00 07000000"), "{vv }"},
	} {
		p, err := ParsePayload(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := describe(p); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func describe(p Payload) string {
	var s string
	switch {
	case p.Unset:
		s = "unset"
	case p.Value.Type == BSONBinary:
		s = "binary"
	case p.Value.Type == BSONDocument:
		var keys []string
		p.Value.Each(func(key []byte, _ Value) bool { keys = append(keys, string(key)); return true })
		s = "{" + strings.Join(keys, " ") + "}"
	default:
		s = fmt.Sprint(p.Value.Int())
	}
	if p.HasTime {
		s += fmt.Sprintf(" at %d", p.TimeMillis)
	}
	return s
}

func TestUndecodable(t *testing.T) {
	nested := func(depth int) []byte { // a document within documents under "m", as deep as that
		b := doc(t)
		for range depth - 1 {
			outer, mark := BeginDocument(nil)
			b = EndDocument(append(appendHead(outer, BSONDocument, "m"), b...), mark)
		}
		return b
	}
	good := doc(t, v7)
	for _, c := range []struct {
		name string
		in   []byte
	}{
		{"short", good[:4]},
		{"truncated", good[:len(good)-1]},
		{"trailing byte", append(bytes.Clone(good), 0)},
		{"length too large", append([]byte{0x0d}, good[1:]...)},
		{"length negative", append([]byte{0xff, 0xff, 0xff, 0xff}, good[4:]...)},
		{"no terminator", append(bytes.Clone(good[:len(good)-1]), 1)},
		{"terminator within", doc(t, "00", v7)},
		{"key without end", doc(t, "10 7676")},
		{"key not UTF-8", doc(t, "0a ff00")},
		{"string of length 0", doc(t, "02 7600 00000000 00")},
		{"string of length -1", doc(t, "02 7600 ffffffff 00")},
		{"string beyond the end", doc(t, "02 7600 05000000 6869 00")},
		{"string of maximum length", doc(t, "02 7600 ffffff7f 6869 00")},
		{"string without terminator", doc(t, "02 7600 03000000 686961")},
		{"binary of length -1", doc(t, "05 7600 ffffffff 00")},
		{"binary beyond the end", doc(t, "05 7600 02000000 00 01")},
		{"binary of maximum length", doc(t, "05 7600 ffffff7f 00 01")},
		{"binary without subtype", doc(t, "05 7600 00000000")},
		{"binary subtype 7", doc(t, "05 7600 00000000 07")},
		{"binary subtype 7f", doc(t, "05 7600 00000000 7f")},
		{"boolean 2", doc(t, "08 7600 02")},
		{"boolean ff", doc(t, "08 7600 ff")},
		{"int32 cut", doc(t, "10 7600 070000")},
		{"double cut", doc(t, "01 7600 00000000000000")},
		{"odd NaN", doc(t, "01 7600 010000000000f87f")},
		{"signalling NaN", doc(t, "01 7600 010000000000f07f")},
		{"datetime too late", doc(t, fmt.Sprintf("09 7600 %x", le64(maxMillis+1)))},
		{"datetime too early", doc(t, fmt.Sprintf("09 7600 %x", le64(minMillis-1)))},
		{"document too short", doc(t, "03 7600 04000000")},
		{"document beyond the end", doc(t, "03 7600 06000000 00")},
		{"document of the wrong length", doc(t, "03 7600 06000000 0000")},
		{"document without terminator", doc(t, "03 7600 05000000 01")},
		{"error in metadata", doc(t, v7, "03 6d00 08000000 ff 0000 00")},
		{"error in an array", doc(t, "04 7600 09000000 08 3000 02 00")},
		{"array with a gap", doc(t, "04 7600 0b000000 0a3000 0a3200 00")},
		{"array from 1", doc(t, "04 7600 08000000 0a3100 00")},
		{"array with another key", doc(t, "04 7600 08000000 0a6100 00")},
		{"array with a leading zero", doc(t, "04 7600 0c000000 0a3000 0a303100 00")},
		{"array with a gap, overridden", doc(t, "04 7600 08000000 0a3100 00", v7)},
		{"too deep", nested(maxDepth + 1)},
	} {
		if p, err := ParsePayload(c.in); !errors.Is(err, ErrUndecodable) {
			t.Errorf("%s: got %+v, %v, want ErrUndecodable", c.name, p, err)
		}
	}
	for _, typ := range []byte{0x00, 0x06, 0x07, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x11, 0x13, 0x7f, 0xff} {
		if _, err := ParsePayload(doc(t, fmt.Sprintf("%02x 7600 000000000000000000000000", typ))); err == nil {
			t.Errorf("element type %#x accepted", typ)
		}
	}
	if _, err := ParsePayload(nested(maxDepth)); err != nil {
		t.Errorf("depth %d: %v", maxDepth, err)
	}
}

func le64(n int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)) }

func TestDecodable(t *testing.T) {
	for _, c := range []struct {
		name, element string
		typ           Type
		want          error
	}{
		{"binary subtype 6", "05 7600 01000000 06 01", TypeBinaryBlob, nil},
		{"binary subtype 2", "05 7600 01000000 02 ff", TypeBinaryBlob, nil},
		{"binary subtype 80", "05 7600 01000000 80 ff", TypeBinaryBlob, nil},
		{"binary subtype ff", "05 7600 01000000 ff ff", TypeBinaryBlob, nil},
		{"latest datetime", fmt.Sprintf("09 7600 %x", le64(maxMillis)), TypeDatetime, nil},
		{"earliest datetime", fmt.Sprintf("09 7600 %x", le64(minMillis)), TypeDatetime, nil},
		{"NaN", "01 7600 000000000000f87f", TypeDouble, ErrUnexpectedType},
		{"negative NaN", "01 7600 000000000000f8ff", TypeDouble, ErrUnexpectedType},
		{"infinity", "01 7600 000000000000f07f", TypeDouble, ErrUnexpectedType},
		{"negative infinity", "01 7600 000000000000f0ff", TypeDouble, ErrUnexpectedType},
		{"string not UTF-8", "02 7600 02000000 ff00", TypeString, ErrUnexpectedType},
		{"string with a zero", "02 7600 04000000 61006200", TypeString, nil},
		{"empty array", "04 7600 0500000000", TypeDoubleArray, nil},
	} {
		p, err := ParsePayload(doc(t, c.element))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if got := c.typ.Check(p.Value); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// TestOddDocuments checks what needs rewriting: disordered arrays and equal keys, at any depth, read as the platform
// reads them.
func TestOddDocuments(t *testing.T) {
	for _, c := range []struct {
		name    string
		element string
		want    []int64
	}{
		{"disordered", "04 7600 13000000 10 3100 02000000 10 3000 01000000 00", []int64{1, 2}},
		{"index twice, the last counts", "04 7600 13000000 10 3000 01000000 10 3000 02000000 00", []int64{2}},
		{"key twice", "03 7600 1a000000 10 6100 01000000 10 6200 02000000 10 6100 03000000 00", []int64{3, 2}},
		{"within an array", "04 7600 1b000000 03 3000 13000000 10 6100 01000000 10 6100 02000000 00 00", []int64{2}},
	} {
		p, err := ParsePayload(doc(t, c.element))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []int64
		var collect func(_ []byte, v Value) bool
		collect = func(_ []byte, v Value) bool {
			if v.Type == BSONDocument {
				v.Each(collect)
				return true
			}
			got = append(got, v.Int())
			return true
		}
		p.Value.Each(collect)
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// TestManyKeys runs large documents through the detection of equal keys, past the bound where it stops being exact.
func TestManyKeys(t *testing.T) {
	for _, n := range []int{1, 10, 200, 300, 5000} {
		for _, again := range []bool{false, true} {
			b, mark := BeginDocument(nil)
			for i := range n {
				b = AppendInt(b, fmt.Sprintf("key_%d", i), int64(i))
			}
			if again {
				b = AppendInt(b, "key_0", -1)
			}
			p, err := ParsePayload(EndDocument(b, mark))
			if err != nil || p.Value.Len() != n {
				t.Fatalf("%d keys: got %d, %v", n, p.Value.Len(), err)
			}
			p.Value.Each(func(_ []byte, v Value) bool {
				if (v.Int() == -1) != again {
					t.Errorf("%d keys, one again %v: the first is %d", n, again, v.Int())
				}
				return false
			})
		}
	}
}

func TestNoAllocation(t *testing.T) {
	object, mark := BeginDocument(nil)
	object, v := BeginSubdocument(object, "v")
	for i := range 60 {
		object = AppendDouble(object, fmt.Sprintf("sensor_%d", i), float64(i))
	}
	object = EndDocument(EndDocument(object, v), mark)
	array, mark := BeginDocument(nil)
	array, v = BeginArray(array, "v")
	for i := range MaxArrayLen {
		array = AppendInt(array, IndexKey(i), int64(i))
	}
	array = EndDocument(EndDocument(array, v), mark)
	iface, oiface := benchInterface(t), mustInterface(t, objectDefinition(60))
	blob := benchBlob()
	for _, c := range []struct {
		name string
		f    func() error
	}{
		{"blob", func() error {
			p, err := ParsePayload(blob)
			if err != nil {
				return err
			}
			m, err := iface.Resolve("/rooms/kitchen/blob")
			if err != nil {
				return err
			}
			return m.Type.Check(p.Value)
		}},
		{"object", func() error {
			p, err := ParsePayload(object)
			if err != nil {
				return err
			}
			o, err := oiface.ResolveObject("/kitchen")
			if err != nil {
				return err
			}
			return o.Check(p.Value)
		}},
		{"array", func() error {
			p, err := ParsePayload(array)
			if err != nil {
				return err
			}
			return TypeIntegerArray.Check(p.Value)
		}},
	} {
		var err error
		if n := testing.AllocsPerRun(100, func() { err = c.f() }); n != 0 || err != nil {
			t.Errorf("%s: %v allocations, %v", c.name, n, err)
		}
	}
}

func TestCheck(t *testing.T) {
	value := func(build func(b []byte) []byte) Value {
		b, mark := BeginDocument(nil)
		p, err := ParsePayload(EndDocument(build(b), mark))
		if err != nil {
			t.Fatal(err)
		}
		return p.Value
	}
	integer := func(n int64) Value { return value(func(b []byte) []byte { return AppendLong(b, "v", n) }) }
	str := func(n int) Value {
		return value(func(b []byte) []byte { return AppendString(b, "v", strings.Repeat("x", n)) })
	}
	bin := func(n int) Value {
		return value(func(b []byte) []byte { return AppendBinary(b, "v", make([]byte, n)) })
	}
	array := func(n int, elem func(b []byte, key string) []byte) Value {
		return value(func(b []byte) []byte {
			b, mark := BeginArray(b, "v")
			for i := range n {
				b = elem(b, IndexKey(i))
			}
			return EndDocument(b, mark)
		})
	}
	ints := func(b []byte, key string) []byte { return AppendInt(b, key, 1) }
	nulls := AppendNull
	longStrings := func(b []byte, key string) []byte {
		return AppendString(b, key, strings.Repeat("x", MaxStringLen+1))
	}
	double := value(func(b []byte) []byte { return AppendDouble(b, "v", 1) })
	boolean := value(func(b []byte) []byte { return AppendBool(b, "v", true) })
	datetime := value(func(b []byte) []byte { return AppendDatetime(b, "v", 1) })
	null := value(func(b []byte) []byte { return AppendNull(b, "v") })
	object := value(func(b []byte) []byte { b, m := BeginSubdocument(b, "v"); return EndDocument(b, m) })
	for _, c := range []struct {
		name string
		typ  Type
		v    Value
		want error
	}{
		{"double from integer", TypeDouble, integer(7), nil},
		{"double from boolean", TypeDouble, boolean, ErrUnexpectedType},
		{"integer from double", TypeInteger, double, ErrUnexpectedType},
		{"integer in 64 bits", TypeInteger, integer(7), nil},
		{"largest integer", TypeInteger, integer(math.MaxInt32), nil},
		{"smallest integer (the platform refuses it)", TypeInteger, integer(math.MinInt32), nil},
		{"integer too large", TypeInteger, integer(math.MaxInt32 + 1), ErrUnexpectedType},
		{"integer too small", TypeInteger, integer(math.MinInt32 - 1), ErrUnexpectedType},
		{"smallest longinteger (the platform refuses it)", TypeLongInteger, integer(math.MinInt64), nil},
		{"longinteger from double", TypeLongInteger, double, ErrUnexpectedType},
		{"boolean", TypeBoolean, boolean, nil},
		{"boolean from integer", TypeBoolean, integer(1), ErrUnexpectedType},
		{"longest string", TypeString, str(MaxStringLen), nil},
		{"string too long", TypeString, str(MaxStringLen + 1), ErrSizeExceeded},
		{"string from binary (the platform accepts it)", TypeString, bin(3), ErrUnexpectedType},
		{"longest blob", TypeBinaryBlob, bin(MaxBlobLen), nil},
		{"blob too long", TypeBinaryBlob, bin(MaxBlobLen + 1), ErrSizeExceeded},
		{"blob from string", TypeBinaryBlob, str(3), ErrUnexpectedType},
		{"datetime", TypeDatetime, datetime, nil},
		{"datetime from integer", TypeDatetime, integer(1000), nil},
		{"datetime from an integer out of range", TypeDatetime, integer(maxMillis + 1), ErrUnexpectedType},
		{"datetime from double", TypeDatetime, double, ErrUnexpectedType},
		{"integer from datetime", TypeInteger, datetime, ErrUnexpectedType},
		{"null", TypeInteger, null, ErrUnexpectedType},
		{"document", TypeInteger, object, ErrUnexpectedType},
		{"document for an array", TypeIntegerArray, object, ErrUnexpectedType},
		{"scalar for an array", TypeIntegerArray, integer(1), ErrUnexpectedType},
		{"array for a scalar", TypeInteger, array(1, ints), ErrUnexpectedType},
		{"longest array", TypeIntegerArray, array(MaxArrayLen, ints), nil},
		{"array too long", TypeIntegerArray, array(MaxArrayLen+1, ints), ErrSizeExceeded},
		{"array of integers as doubles", TypeDoubleArray, array(2, ints), nil},
		{"array of integers as strings", TypeStringArray, array(2, ints), ErrUnexpectedType},
		{"array of nulls", TypeIntegerArray, array(1, nulls), ErrUnexpectedType},
		{"array with a string that is too long", TypeStringArray, array(1, longStrings), ErrUnexpectedType},
		{"no type", 0, integer(1), ErrUnexpectedType},
		{"no value", TypeInteger, Value{}, ErrUnexpectedType},
	} {
		if got := c.typ.Check(c.v); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}
