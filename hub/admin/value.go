package admin

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// A Value is a value of a device, as JSON and with the type that JSON cannot tell. Together they are exact; see
// [Value.Decode].
//
//	type     value
//	null     null
//	bool     true, false
//	int      a number up to 2^53-1 on both sides of zero, beyond that a string: JSON readers use to make floats of numbers
//	float    a number, or one of the strings "NaN", "Infinity", "-Infinity"
//	string   a string
//	bytes    a string of padded base64
//	number   a string that holds a number as JSON writes it: one that int and float would not give back as it was
//	time     a string, see [Time]
//	[T]      an array whose elements all have type T
//	[T, U]   an array whose elements have these types, one each; [] an empty one
//	{k: T}   an object with the same keys
type Value struct {
	// The type: one of the names null, bool, int, float, string, bytes, number and time; or an array of types, one for each element
	// or one for all; or an object of types.
	Type json.RawMessage `json:"type"`
	// The value in the form that its type says.
	Value json.RawMessage `json:"value"`
}

// ErrValue means that a value is not of the form that its type says.
var ErrValue = errors.New("malformed value")

// Decode returns the value as nil, bool, int64, float64, time.Time, string, []byte, [json.Number], []any or map[string]any of
// these.
func (v Value) Decode() (any, error) {
	typ, err := generic(v.Type)
	if err != nil {
		return nil, fmt.Errorf("%w: type: %v", ErrValue, err)
	}
	val, err := generic(v.Value)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrValue, err)
	}
	return decode(typ, val)
}

// generic decodes exactly one JSON value, numbers as they are written.
func generic(text []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one value")
	}
	return v, nil
}

func decode(typ, val any) (any, error) {
	switch typ := typ.(type) {
	case string:
		if v, ok := scalar(typ, val); ok {
			return v, nil
		}
	case []any:
		list, ok := val.([]any)
		if !ok || len(typ) != len(list) && len(typ) != 1 {
			break
		}
		out := make([]any, len(list))
		for i := range list {
			var err error
			if out[i], err = decode(typ[min(i, len(typ)-1)], list[i]); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		object, ok := val.(map[string]any)
		if !ok || len(typ) != len(object) {
			break
		}
		out := make(map[string]any, len(object))
		for k, t := range typ {
			v, ok := object[k]
			if !ok {
				return nil, fmt.Errorf("%w: no %q", ErrValue, k)
			}
			var err error
			if out[k], err = decode(t, v); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return nil, fmt.Errorf("%w: not of type %.50v", ErrValue, typ)
}

func scalar(typ string, val any) (any, bool) {
	text, isText := val.(string)
	number, isNumber := val.(json.Number)
	switch typ {
	case "null":
		return nil, val == nil
	case "bool":
		v, ok := val.(bool)
		return v, ok
	case "int":
		if isNumber {
			text = number.String()
		}
		v, err := strconv.ParseInt(text, 10, 64)
		return v, err == nil
	case "float":
		switch {
		case isNumber:
			v, err := strconv.ParseFloat(number.String(), 64)
			return v, err == nil
		case text == "NaN":
			return math.NaN(), true
		case text == "Infinity":
			return math.Inf(1), true
		case text == "-Infinity":
			return math.Inf(-1), true
		}
	case "string":
		return text, isText
	case "bytes":
		v, err := base64.StdEncoding.Strict().DecodeString(text)
		return v, isText && err == nil
	case "number":
		n, err := generic([]byte(text))
		v, ok := n.(json.Number)
		return v, isText && err == nil && ok
	case "time":
		v, err := ParseTime(text)
		return v.Time, isText && err == nil
	}
	return nil, false
}

// Time is an instant of whole microseconds. In JSON it is a string of RFC 3339 in UTC with as many digits of the second
// as it needs. Devices may send times that this form cannot tell, outside the years 0 to 9999: those are "@" and the
// microseconds since 1970.
type Time struct{ time.Time }

// NewTime returns t in microseconds and UTC.
func NewTime(t time.Time) Time {
	if t.IsZero() {
		return Time{}
	}
	return Time{t.UTC().Truncate(time.Microsecond)}
}

// String returns the form that JSON has.
func (t Time) String() string {
	u := t.UTC()
	if u.Year() < 0 || u.Year() > 9999 {
		return "@" + strconv.FormatInt(u.UnixMicro(), 10)
	}
	return u.Format("2006-01-02T15:04:05.999999Z07:00")
}

// ParseTime reads what String writes, and any other time of RFC 3339; finer digits than microseconds are cut off.
func ParseTime(s string) (Time, error) {
	if us, ok := strings.CutPrefix(s, "@"); ok {
		n, err := strconv.ParseInt(us, 10, 64)
		if err != nil {
			return Time{}, fmt.Errorf("time %.50q: want @ and microseconds since 1970", s)
		}
		return Time{time.UnixMicro(n).UTC()}, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return Time{}, fmt.Errorf("time %.50q: want the form 2006-01-02T15:04:05Z", s)
	}
	return Time{t.UTC().Truncate(time.Microsecond)}, nil
}

// MarshalText implements [encoding.TextMarshaler].
func (t Time) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// MarshalJSON implements [json.Marshaler].
func (t Time) MarshalJSON() ([]byte, error) { return []byte(`"` + t.String() + `"`), nil }

// UnmarshalJSON implements [json.Unmarshaler].
func (t *Time) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("time %.50q: want a string", text)
	}
	v, err := ParseTime(s)
	if err != nil {
		return err
	}
	*t = v
	return nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (t *Time) UnmarshalText(text []byte) error {
	v, err := ParseTime(string(text))
	if err != nil {
		return err
	}
	*t = v
	return nil
}
