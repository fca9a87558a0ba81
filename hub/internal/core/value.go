package core

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A Value is one value in the hub's own encoding: what samples and document entries hold, whatever the dialect.
// A kind byte is followed by the content:
//
//	null, false, true   nothing
//	int                 zig-zag varint (64 bit)
//	float               8 bytes, IEEE 754, big endian
//	time                zig-zag varint, microseconds since 1970 UTC
//	string, bytes       uvarint length, content (strings are valid UTF-8)
//	array               uvarint count, that many values
//	map                 uvarint count, that many pairs of key (uvarint length, UTF-8) and value
//	number              uvarint length, a number as JSON writes it: one that int and float would not give back as it was
//
// The encoding is built with the Append functions, which allocate only when the buffer must grow, and is read
// with [Value.Decode]. A nil Value means "absent".
type Value []byte

// The kinds of a Value.
const (
	KindNull byte = iota
	KindFalse
	KindTrue
	KindInt
	KindFloat
	KindTime
	KindString
	KindBytes
	KindArray
	KindMap
	KindNumber
)

// A Number is the text of a [KindNumber], such as "12345678901234567890" or "1.50".
type Number string

// maxDepth bounds nesting, so that hostile input cannot exhaust the stack.
const maxDepth = 32

var errValue = errors.New("malformed value")

// AppendNull appends null to b.
func AppendNull(b []byte) []byte { return append(b, KindNull) }

// AppendBool appends a boolean to b.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, KindTrue)
	}
	return append(b, KindFalse)
}

// AppendInt appends an integer to b.
func AppendInt(b []byte, v int64) []byte { return binary.AppendVarint(append(b, KindInt), v) }

// AppendFloat appends a floating point number to b.
func AppendFloat(b []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(append(b, KindFloat), math.Float64bits(v))
}

// AppendTime appends an instant to b, in microseconds.
func AppendTime(b []byte, t time.Time) []byte { return AppendTimeMicro(b, t.UnixMicro()) }

// AppendTimeMicro appends an instant, given in microseconds since 1970 UTC, to b.
func AppendTimeMicro(b []byte, us int64) []byte { return binary.AppendVarint(append(b, KindTime), us) }

// AppendString appends a string, which must be valid UTF-8, to b.
func AppendString[S string | []byte](b []byte, s S) []byte {
	b = binary.AppendUvarint(append(b, KindString), uint64(len(s)))
	return append(b, s...)
}

// AppendBytes appends binary data to b.
func AppendBytes(b []byte, p []byte) []byte {
	b = binary.AppendUvarint(append(b, KindBytes), uint64(len(p)))
	return append(b, p...)
}

// AppendNumber appends a number of JSON as it is written to b. Numbers that int and float hold exactly as they are written
// are appended as those, so that each has one form.
func AppendNumber[S ~string | ~[]byte](b []byte, text S) []byte {
	s := string(text)
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && strconv.FormatInt(n, 10) == s {
		return AppendInt(b, n)
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && FormatFloat(f) == s {
		return AppendFloat(b, f)
	}
	b = binary.AppendUvarint(append(b, KindNumber), uint64(len(s)))
	return append(b, s...)
}

// FormatFloat returns a finite float as JSON, so that it cannot be taken for an integer: 1 is "1.0".
func FormatFloat(f float64) string {
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}

// AppendArray appends the head of an array of n elements to b; the caller appends the elements.
func AppendArray(b []byte, n int) []byte {
	return binary.AppendUvarint(append(b, KindArray), uint64(n))
}

// AppendMap appends the head of a map of n pairs to b; for each pair the caller appends a key ([AppendKey]) and a value.
func AppendMap(b []byte, n int) []byte { return binary.AppendUvarint(append(b, KindMap), uint64(n)) }

// AppendKey appends the key of a pair, which must be valid UTF-8, to b.
func AppendKey[S string | []byte](b []byte, key S) []byte {
	b = binary.AppendUvarint(b, uint64(len(key)))
	return append(b, key...)
}

// Append appends v to b. It takes nil, bool, int64, float64, time.Time, string, []byte, [Number], []any and map[string]any
// of these (keys are written in sorted order), the types that [Value.Decode] returns.
func Append(b []byte, v any) ([]byte, error) {
	var err error
	switch v := v.(type) {
	case nil:
		return AppendNull(b), nil
	case bool:
		return AppendBool(b, v), nil
	case int64:
		return AppendInt(b, v), nil
	case float64:
		return AppendFloat(b, v), nil
	case time.Time:
		return AppendTime(b, v), nil
	case string:
		if !utf8.ValidString(v) {
			return b, fmt.Errorf("%w: string is not UTF-8", ErrInvalid)
		}
		return AppendString(b, v), nil
	case []byte:
		return AppendBytes(b, v), nil
	case Number:
		if !validNumber(string(v)) {
			return b, fmt.Errorf("%w: not a number", ErrInvalid)
		}
		return AppendNumber(b, v), nil
	case []any:
		b = AppendArray(b, len(v))
		for _, e := range v {
			if b, err = Append(b, e); err != nil {
				return b, err
			}
		}
		return b, nil
	case map[string]any:
		b = AppendMap(b, len(v))
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			if !utf8.ValidString(k) {
				return b, fmt.Errorf("%w: key is not UTF-8", ErrInvalid)
			}
			if b, err = Append(AppendKey(b, k), v[k]); err != nil {
				return b, err
			}
		}
		return b, nil
	}
	return b, fmt.Errorf("%w: no value form for %T", ErrInvalid, v)
}

// Kind returns the kind byte; KindNull for an absent value.
func (v Value) Kind() byte {
	if len(v) == 0 {
		return KindNull
	}
	return v[0]
}

// Decode returns the value as nil, bool, int64, float64, time.Time (UTC), string, []byte, [Number], []any or map[string]any.
// The result shares no memory with v. A malformed value, or bytes after it, is an error.
func (v Value) Decode() (any, error) {
	r := reader{b: v}
	x, err := r.value(0)
	if err == nil && len(r.b) != 0 {
		err = errValue
	}
	return x, err
}

// Weight is about how many bytes the value takes when it is decoded: for arrays of booleans 16 times as many as it has
// here. What is made for somebody who asks is bounded by that; as JSON nothing takes more than six times its weight.
func (v Value) Weight() int {
	r := reader{b: v}
	n, err := r.weight(0)
	if err != nil {
		return len(v)
	}
	return max(len(v), n)
}

const (
	scalarWeight = 16 // in an array or a map
	listWeight   = 24
	pairWeight   = 32 // besides key and value
)

func (r *reader) weight(depth int) (n int, err error) {
	if len(r.b) == 0 || depth > maxDepth {
		return 0, errValue
	}
	kind, least := r.b[0], 1
	r.b = r.b[1:]
	switch kind {
	case KindArray:
	case KindMap:
		least = 2
	case KindString, KindBytes, KindNumber:
		p, err := r.chunk()
		return scalarWeight + len(p), err
	case KindInt, KindTime:
		_, w := binary.Uvarint(r.b)
		if w <= 0 {
			return 0, errValue
		}
		r.b = r.b[w:]
		return scalarWeight, nil
	case KindFloat:
		if len(r.b) < 8 {
			return 0, errValue
		}
		r.b = r.b[8:]
		return scalarWeight, nil
	default:
		return scalarWeight, nil
	}
	count, err := r.count(least)
	n = listWeight
	for ; count > 0 && err == nil; count-- {
		if kind == KindMap {
			var key []byte
			key, err = r.chunk()
			n += pairWeight + len(key)
		}
		if err == nil {
			var x int
			x, err = r.weight(depth + 1)
			n += x
		}
	}
	return n, err
}

// reader takes encoded values apart; see [Value] for the form.
type reader struct{ b []byte }

func (r *reader) value(depth int) (any, error) {
	if len(r.b) == 0 || depth > maxDepth {
		return nil, errValue
	}
	kind := r.b[0]
	r.b = r.b[1:]
	switch kind {
	case KindNull:
		return nil, nil
	case KindFalse:
		return false, nil
	case KindTrue:
		return true, nil
	case KindInt, KindTime:
		n, w := binary.Varint(r.b)
		if w <= 0 {
			return nil, errValue
		}
		r.b = r.b[w:]
		if kind == KindTime {
			return time.UnixMicro(n).UTC(), nil
		}
		return n, nil
	case KindFloat:
		if len(r.b) < 8 {
			return nil, errValue
		}
		f := math.Float64frombits(binary.BigEndian.Uint64(r.b))
		r.b = r.b[8:]
		return f, nil
	case KindString:
		p, err := r.text()
		return string(p), err
	case KindBytes:
		p, err := r.chunk()
		return append([]byte{}, p...), err
	case KindNumber:
		p, err := r.chunk()
		if err == nil && !validNumber(string(p)) {
			err = errValue
		}
		return Number(p), err
	case KindArray:
		return r.array(depth)
	case KindMap:
		return r.mapping(depth)
	}
	return nil, errValue
}

// validNumber reports whether s is a number of JSON (RFC 8259 section 6).
func validNumber(s string) bool {
	first := strings.TrimPrefix(s, "-")
	return first != "" && first[0] >= '0' && first[0] <= '9' && json.Valid([]byte(s)) && !strings.ContainsAny(s, " \t\r\n")
}

func (r *reader) array(depth int) (any, error) {
	n, err := r.count(1)
	if err != nil {
		return nil, err
	}
	a := make([]any, n)
	for i := range a {
		if a[i], err = r.value(depth + 1); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (r *reader) mapping(depth int) (any, error) {
	n, err := r.count(2)
	if err != nil {
		return nil, err
	}
	m := make(map[string]any, n)
	for range n {
		k, err := r.text()
		if err != nil {
			return nil, err
		}
		if m[string(k)], err = r.value(depth + 1); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// count reads a number of elements of at least size bytes each; more than can follow is malformed.
func (r *reader) count(size int) (int, error) {
	n, w := binary.Uvarint(r.b)
	if w <= 0 || n > uint64((len(r.b)-w)/size) {
		return 0, errValue
	}
	r.b = r.b[w:]
	return int(n), nil
}

func (r *reader) chunk() ([]byte, error) {
	n, err := r.count(1)
	if err != nil {
		return nil, err
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p, nil
}

func (r *reader) text() ([]byte, error) {
	p, err := r.chunk()
	if err == nil && !utf8.Valid(p) {
		err = errValue
	}
	return p, err
}
