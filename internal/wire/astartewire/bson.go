package astartewire

import (
	"encoding/binary"
	"math"
	"strconv"
	"unicode/utf8"
)

// Types of BSON elements that the platform knows (bsonspec.org; cyanide, the platform's library, refuses all others).
const (
	BSONDouble   byte = 0x01
	BSONString   byte = 0x02
	BSONDocument byte = 0x03
	BSONArray    byte = 0x04
	BSONBinary   byte = 0x05
	BSONBool     byte = 0x08
	BSONDatetime byte = 0x09
	BSONNull     byte = 0x0a
	BSONInt32    byte = 0x10
	BSONInt64    byte = 0x12
)

// A Value is one BSON value that [ParsePayload] has checked. It aliases the payload and is valid as long as that is
// not changed. The accessors return the zero value when the type is another; the zero Value is of no type.
type Value struct {
	Type byte // one of the BSON constants

	raw []byte // the value's bytes, length and terminator included
}

// IsNull reports whether v is null.
func (v Value) IsNull() bool { return v.Type == BSONNull }

// Float returns the number of a double or an integer.
func (v Value) Float() float64 {
	if v.Type == BSONDouble {
		return math.Float64frombits(binary.LittleEndian.Uint64(v.raw))
	}
	return float64(v.Int())
}

// Int returns the number of an integer of either size.
func (v Value) Int() int64 {
	switch v.Type {
	case BSONInt32:
		return int64(int32(binary.LittleEndian.Uint32(v.raw)))
	case BSONInt64:
		return int64(binary.LittleEndian.Uint64(v.raw))
	}
	return 0
}

// Bool returns the value of a boolean.
func (v Value) Bool() bool { return v.Type == BSONBool && v.raw[0] == 1 }

// Str returns a copy of a string. It may hold anything, invalid UTF-8 too, until [Type.Check] has accepted it.
func (v Value) Str() string {
	if v.Type != BSONString {
		return ""
	}
	return string(v.raw[4 : len(v.raw)-1])
}

// Bin returns the bytes of a binary value of any subtype, or of a string; they alias the payload.
func (v Value) Bin() []byte {
	switch v.Type {
	case BSONBinary:
		return v.raw[5:len(v.raw):len(v.raw)]
	case BSONString:
		return v.raw[4 : len(v.raw)-1 : len(v.raw)-1]
	}
	return nil
}

// Millis returns a datetime, or an integer, which the platform accepts for one: milliseconds since 1970 UTC.
func (v Value) Millis() int64 {
	if v.Type == BSONDatetime {
		return int64(binary.LittleEndian.Uint64(v.raw))
	}
	return v.Int()
}

// Each calls f for the elements of a document or array until f returns false: an array's in order of their indexes, a
// document's in the order in which they were sent (each key once). The key aliases the payload. Of any other type Each
// finds nothing.
func (v Value) Each(f func(key []byte, v Value) bool) {
	if v.Type != BSONDocument && v.Type != BSONArray {
		return
	}
	for off := 4; off < len(v.raw)-1; {
		keyEnd, end := element(v.raw, off)
		if end < 0 || !f(v.raw[off+1:keyEnd:keyEnd], Value{Type: v.raw[off], raw: v.raw[keyEnd+1 : end : end]}) {
			return
		}
		off = end
	}
}

// Len returns the number of elements of a document or array.
func (v Value) Len() int {
	n := 0
	v.Each(func([]byte, Value) bool { n++; return true })
	return n
}

// element measures the element at b[off:]: its type byte, its key up to keyEnd (where the terminator is), and its value
// up to end. It returns a negative end if the type is unknown or the bytes do not suffice.
func element(b []byte, off int) (keyEnd, end int) {
	keyEnd = off + 1
	for {
		if keyEnd >= len(b) {
			return 0, -1
		}
		if b[keyEnd] == 0 {
			break
		}
		keyEnd++
	}
	start := keyEnd + 1
	room := len(b) - start
	var size, least, head int
	switch b[off] {
	case BSONDouble, BSONDatetime, BSONInt64:
		size = 8
	case BSONInt32:
		size = 4
	case BSONBool:
		size = 1
	case BSONNull:
		size = 0
	case BSONString:
		least, head = 1, 4
	case BSONDocument, BSONArray:
		least, head = 5, 0
	case BSONBinary:
		least, head = 0, 5
	default:
		return 0, -1
	}
	if b[off] >= BSONString && b[off] <= BSONBinary {
		if room < 4 {
			return 0, -1
		}
		n := int(int32(binary.LittleEndian.Uint32(b[start:])))
		if n < least || n > room { // before adding, which could overflow an int of 32 bits
			return 0, -1
		}
		size = n + head
	}
	if size > room {
		return 0, -1
	}
	return keyEnd, start + size
}

// maxDepth bounds the nesting of documents and arrays, so that hostile input cannot exhaust the stack. Values of
// interfaces reach depth 3. (The platform has no bound.)
const maxDepth = 64

// Datetimes outside the years -9999 to 9999 are undecodable for the platform (Elixir's DateTime.from_unix).
const (
	minMillis = -377_705_116_800_000
	maxMillis = 253_402_300_799_999
)

// NaN and the infinities decode to something that is no number, but only with these bits: other NaNs are undecodable.
const (
	bitsNaN    = 0x7ff8_0000_0000_0000
	bitsNegNaN = 0xfff8_0000_0000_0000
	exponent   = 0x7ff0_0000_0000_0000
)

// A checker verifies the structure of a document, in one pass without allocation.
type checker struct {
	// odd is set when some document may have a key twice, or some array is not in order: both legal, and never seen
	// from a client. Such a document is rewritten by normalize, so that all other code may rely on unique, ordered keys.
	odd bool
}

// container checks the document or array that is exactly b.
func (c *checker) container(b []byte, array bool, depth int) bool {
	if depth > maxDepth || len(b) < 5 || int64(binary.LittleEndian.Uint32(b)) != int64(len(b)) || b[len(b)-1] != 0 {
		return false
	}
	body := b[: len(b)-1 : len(b)-1] // without the terminator, which no element may contain
	var seen keySet
	off, disordered := 4, false
	for n := 0; off < len(body); n++ {
		keyEnd, end := element(body, off)
		if end < 0 {
			return false
		}
		key := body[off+1 : keyEnd]
		if array {
			disordered = disordered || !isIndex(key, n)
		} else if !c.odd && seen.add(key) {
			// Rescanning is for the rare collision of hashes; past a bound the rewriting decides.
			c.odd = n > 256 || hasKey(body[:off], key)
		}
		if !validKey(key) || !c.value(body[off], body[keyEnd+1:end], depth) {
			return false
		}
		off = end
	}
	if disordered {
		c.odd = true
		return areIndexes(body)
	}
	return true
}

// value checks the content of a value whose bytes element has measured.
func (c *checker) value(typ byte, raw []byte, depth int) bool {
	switch typ {
	case BSONString:
		return raw[len(raw)-1] == 0
	case BSONBinary:
		return raw[4] <= 0x06 || raw[4] >= 0x80
	case BSONDouble:
		bits := binary.LittleEndian.Uint64(raw)
		return bits&exponent != exponent || bits&^(1<<63) == exponent || bits == bitsNaN || bits == bitsNegNaN
	case BSONBool:
		return raw[0] <= 1
	case BSONDatetime:
		ms := int64(binary.LittleEndian.Uint64(raw))
		return minMillis <= ms && ms <= maxMillis
	case BSONDocument, BSONArray:
		return c.container(raw, typ == BSONArray, depth+1)
	}
	return true // null and integers: any bits will do
}

func validKey(key []byte) bool {
	for _, c := range key {
		if c >= utf8.RuneSelf {
			return utf8.Valid(key)
		}
	}
	return true
}

// hasKey reports whether the elements in body, from offset 4, include key.
func hasKey(body, key []byte) bool {
	for off := 4; off < len(body); {
		keyEnd, end := element(body, off)
		if string(body[off+1:keyEnd]) == string(key) {
			return true
		}
		off = end
	}
	return false
}

// A keySet remembers hashes of keys.
type keySet [8]uint64

// add adds key and reports whether it may have been there before.
func (s *keySet) add(key []byte) bool {
	h := uint32(2166136261) // FNV-1a
	for _, c := range key {
		h = (h ^ uint32(c)) * 16777619
	}
	h ^= h >> 16
	w, bit := &s[h>>6&7], uint64(1)<<(h&63)
	had := *w&bit != 0
	*w |= bit
	return had
}

// isIndex reports whether key is the decimal form of i.
func isIndex(key []byte, i int) bool {
	if i < 10 {
		return len(key) == 1 && key[0] == byte('0'+i)
	}
	if i < MaxArrayLen {
		return string(key) == indexKeys[i]
	}
	var buf [20]byte
	return string(key) == string(strconv.AppendInt(buf[:0], int64(i), 10))
}

// lastElements returns the offset of the last element of each key in body, and the keys in order of first appearance.
func lastElements(body []byte) (last map[string]int, order []string) {
	last = map[string]int{}
	for off := 4; off < len(body); {
		keyEnd, end := element(body, off)
		key := string(body[off+1 : keyEnd])
		if _, again := last[key]; !again {
			order = append(order, key)
		}
		last[key] = off
		off = end
	}
	return last, order
}

// areIndexes reports whether the keys in the body of an array are exactly "0" to "n-1".
func areIndexes(body []byte) bool {
	last, order := lastElements(body)
	for i := range order {
		if _, ok := last[strconv.Itoa(i)]; !ok {
			return false
		}
	}
	return true
}

// normalize appends the document or array b, which a checker has passed, to dst with each key once (the last one
// counts) and the elements of arrays in order.
func normalize(dst, b []byte, array bool) []byte {
	last, order := lastElements(b[:len(b)-1])
	dst, mark := BeginDocument(dst)
	for i, key := range order {
		if array {
			key = strconv.Itoa(i)
		}
		off := last[key]
		keyEnd, end := element(b, off)
		typ, raw := b[off], b[keyEnd+1:end]
		dst = appendHead(dst, typ, key)
		if typ == BSONDocument || typ == BSONArray {
			dst = normalize(dst, raw, typ == BSONArray)
		} else {
			dst = append(dst, raw...)
		}
	}
	return EndDocument(dst, mark)
}
