package astartewire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"unicode/utf8"
)

// A refValue is what the reference decoder makes of a BSON value: bool, int64, float64 (its bits for NaN), string,
// []byte, refTime, nil, refDoc or refArray.
type (
	refTime  int64
	refDoc   map[string]any
	refArray []any
)

// refDecode is a slow, plain decoder in the manner of the platform's: maps, copies and panics, which refDocument turns
// into "undecodable".
type refDecode struct{ b []byte }

func (r *refDecode) take(n int64) []byte {
	if n < 0 || n > int64(len(r.b)) {
		panic("short")
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func refDocument(b []byte) (d refDoc, ok bool) {
	defer func() {
		if recover() != nil {
			d, ok = nil, false
		}
	}()
	return refContainer(b, 1), true
}

func refContainer(b []byte, depth int) refDoc {
	if depth > maxDepth || len(b) < 5 || int64(binary.LittleEndian.Uint32(b)) != int64(len(b)) {
		panic("length")
	}
	d := refDoc{}
	for r := (&refDecode{b: b[4:]}); ; {
		if len(r.b) == 1 && r.b[0] == 0 {
			return d
		}
		typ := r.take(1)[0]
		end := bytes.IndexByte(r.b, 0)
		key := string(r.take(int64(end)))
		r.take(1)
		if !utf8.ValidString(key) || len(r.b) == 0 {
			panic("key")
		}
		d[key] = r.value(typ, depth)
	}
}

func (r *refDecode) value(typ byte, depth int) any {
	u32 := func() int64 { return int64(binary.LittleEndian.Uint32(r.take(4))) }
	u64 := func() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }
	must := func(ok bool) {
		if !ok {
			panic("value")
		}
	}
	switch typ {
	case BSONDouble:
		bits := u64()
		f := math.Float64frombits(bits)
		must(!math.IsNaN(f) || bits == bitsNaN || bits == bitsNegNaN)
		return f
	case BSONString:
		s := r.take(u32())
		must(len(s) > 0 && s[len(s)-1] == 0)
		return string(s[:len(s)-1])
	case BSONDocument, BSONArray:
		n := int64(binary.LittleEndian.Uint32(append(bytes.Clone(r.b), 0, 0, 0, 0)))
		d := refContainer(r.take(n), depth+1)
		if typ == BSONDocument {
			return d
		}
		a := make(refArray, len(d))
		for i := range a {
			v, ok := d[strconv.Itoa(i)]
			must(ok)
			a[i] = v
		}
		return a
	case BSONBinary:
		n := u32()
		sub := r.take(1)[0]
		must(sub <= 6 || sub >= 0x80)
		return bytes.Clone(r.take(n))
	case BSONBool:
		v := r.take(1)[0]
		must(v <= 1)
		return v == 1
	case BSONDatetime:
		ms := int64(u64())
		must(validMillis(ms))
		return refTime(ms)
	case BSONNull:
		return nil
	case BSONInt32:
		return int64(int32(u32()))
	case BSONInt64:
		return int64(u64())
	}
	panic("type")
}

// refPayload applies the rules for "v", "t" and "m" to a decoded document.
func refPayload(d refDoc) (value any, unset, hasTime bool, millis int64) {
	v, hasV := d["v"]
	at, hasT := d["t"].(refTime)
	_, hasM := d["m"].(refDoc)
	bin, isBin := v.([]byte)
	switch {
	case !hasV:
		return d, false, false, 0
	case hasT:
		return v, v == nil, true, int64(at)
	case hasM:
		return v, v == nil, false, 0
	case isBin && len(bin) == 0:
		return v, true, false, 0
	}
	return v, v == nil, false, 0
}

// toRef turns a Value into what the reference decoder makes of it.
func toRef(v Value) any {
	switch v.Type {
	case BSONDouble:
		return v.Float()
	case BSONString:
		return v.Str()
	case BSONBinary:
		return bytes.Clone(v.Bin())
	case BSONBool:
		return v.Bool()
	case BSONDatetime:
		return refTime(v.Millis())
	case BSONNull:
		return nil
	case BSONDocument:
		d := refDoc{}
		v.Each(func(key []byte, e Value) bool {
			if _, again := d[string(key)]; again {
				panic("key twice")
			}
			d[string(key)] = toRef(e)
			return true
		})
		return d
	case BSONArray:
		a := refArray{}
		v.Each(func(key []byte, e Value) bool {
			if string(key) != strconv.Itoa(len(a)) {
				panic("array out of order")
			}
			a = append(a, toRef(e))
			return true
		})
		return a
	}
	return v.Int()
}

// FuzzParsePayload compares ParsePayload with the reference decoder, and what AppendValue writes with what was read.
func FuzzParsePayload(f *testing.F) {
	for _, v := range loadVectors(f, "bson.json") {
		f.Add(mustHex(f, v.Hex))
	}
	for _, v := range loadVectors(f, "downlink.json") {
		if v.Transport == "MQTT PUBLISH payload" {
			f.Add(mustHex(f, v.Hex))
		}
	}
	f.Add(mustHex(f, "1b 000000 04 7600 13000000 10 3100 02000000 10 3000 01000000 00 00"))
	f.Add(mustHex(f, "22 000000 03 7600 1a000000 10 6100 01000000 10 6200 02000000 10 6100 03000000 00 00"))
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		f.Add(randomDocument(rng))
	}
	f.Fuzz(comparePayload)
}

func comparePayload(t *testing.T, b []byte) {
	p, err := ParsePayload(b)
	if len(b) == 0 {
		if err != nil || !p.Unset {
			t.Fatalf("empty: got %+v, %v", p, err)
		}
		return
	}
	d, ok := refDocument(b)
	if ok != (err == nil) {
		t.Fatalf("%x: got %v, want decodable %v", b, err, ok)
	}
	if !ok {
		return
	}
	value, unset, hasTime, millis := refPayload(d)
	if p.Unset != unset || p.HasTime != hasTime || p.TimeMillis != millis {
		t.Fatalf("%x: got %+v, want unset %v, time %v %d", b, p, unset, hasTime, millis)
	}
	want, got := fmt.Sprintf("%#v", value), fmt.Sprintf("%#v", toRef(p.Value))
	if want != got {
		t.Fatalf("%x: got %s, want %s", b, got, want)
	}
	for _, typ := range Types {
		_ = typ.Check(p.Value)
		if _, err := typ.Decode(p.Value); (err == nil) != (typ.Check(p.Value) == nil) {
			t.Fatalf("%x: %v: Decode: %v", b, typ, err)
		}
	}
	again, mark := BeginDocument(nil)
	again = EndDocument(AppendValue(again, "v", p.Value), mark)
	p2, err := ParsePayload(again)
	if err != nil && len(b) < len(again) {
		return // the old form of objects may be too deep one level further down
	}
	if err != nil || fmt.Sprintf("%#v", toRef(p2.Value)) != want {
		t.Fatalf("%x: written again: %+v, %v", b, p2, err)
	}
}

// TestRandomDocuments compares with the reference decoder on documents that are legal or nearly so, which fuzzing from
// bytes rarely finds.
func TestRandomDocuments(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 5_000 {
		comparePayload(t, randomDocument(rng))
	}
}

// randomDocument returns a document with v, t and m and other keys, some of them twice, some arrays in disorder, and
// sometimes with a damaged byte.
func randomDocument(rng *rand.Rand) []byte {
	keys := []string{"v", "v", "t", "m", "a", "b", "longer_key", "", "ä"}
	b, mark := BeginDocument(nil)
	for range rng.IntN(5) {
		b = randomElement(rng, b, keys[rng.IntN(len(keys))], 0)
	}
	b = EndDocument(b, mark)
	if rng.IntN(4) == 0 {
		b[rng.IntN(len(b))] = byte(rng.IntN(256))
	}
	return b
}

func randomElement(rng *rand.Rand, b []byte, key string, depth int) []byte {
	kind := rng.IntN(10)
	if depth > 3 {
		kind = rng.IntN(8)
	}
	switch kind {
	case 0:
		return AppendDouble(b, key, rng.NormFloat64())
	case 1:
		return AppendInt(b, key, rng.Int64N(1<<33)-1<<32)
	case 2:
		return AppendString(b, key, "text"[:rng.IntN(5)])
	case 3:
		return AppendBinary(b, key, make([]byte, rng.IntN(3)))
	case 4:
		return AppendBool(b, key, rng.IntN(2) == 0)
	case 5:
		return AppendNull(b, key)
	case 6, 7:
		return AppendDatetime(b, key, rng.Int64N(1e12))
	case 8:
		b, mark := BeginSubdocument(b, key)
		for range rng.IntN(4) {
			b = randomElement(rng, b, string(rune('a'+rng.IntN(3))), depth+1)
		}
		return EndDocument(b, mark)
	}
	b, mark := BeginArray(b, key)
	n := rng.IntN(4)
	order := rng.Perm(n)
	for i := range n {
		if rng.IntN(8) > 0 {
			order[i] = i // mostly in order
		}
	}
	for i := range n {
		b = randomElement(rng, b, IndexKey(order[i]), depth+1)
	}
	return EndDocument(b, mark)
}
