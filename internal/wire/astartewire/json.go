package astartewire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// ParseJSON reads a value that a program sends to a server-owned mapping of type t through AppEngine. It returns a
// bool, int64 (both integer types), float64, string, []byte, time.Time (UTC) or, for array types, []any of these; or
// [ErrUnexpectedType] or [ErrSizeExceeded].
//
// The casts are the platform's (astarte_appengine_api, InterfaceValue): a double is any number; an integer a number
// without fraction and exponent; a longinteger such a number or a string of one; a binaryblob padded standard base64; a
// datetime whole milliseconds since 1970, or ISO 8601 with an offset from UTC, date and time separated by T or a space.
// Null is of no type. The limits are those of [Type.Check].
func (t Type) ParseJSON(raw json.RawMessage) (any, error) {
	raw = bytes.Trim(raw, " \t\r\n")
	if len(raw) == 0 || !utf8.Valid(raw) {
		return nil, ErrUnexpectedType
	}
	if !t.IsArray() {
		return t.parseScalar(raw)
	}
	var items []json.RawMessage
	if raw[0] != '[' || json.Unmarshal(raw, &items) != nil {
		return nil, ErrUnexpectedType
	}
	if len(items) > MaxArrayLen {
		return nil, ErrSizeExceeded
	}
	values := make([]any, len(items))
	for i, item := range items {
		v, err := t.Elem().parseScalar(item)
		if err != nil {
			return nil, ErrUnexpectedType
		}
		values[i] = v
	}
	return values, nil
}

func (t Type) parseScalar(raw json.RawMessage) (any, error) {
	switch t {
	case TypeDouble:
		return parseNumber(raw)
	case TypeInteger:
		return parseInteger(string(raw), 32)
	case TypeLongInteger:
		s := string(raw)
		if raw[0] == '"' {
			if json.Unmarshal(raw, &s) != nil {
				return nil, ErrUnexpectedType
			}
		}
		return parseInteger(s, 64)
	case TypeBoolean:
		switch string(raw) {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return nil, ErrUnexpectedType
	case TypeDatetime:
		return parseDatetime(raw)
	}
	var s string
	if raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return nil, ErrUnexpectedType
	}
	if t == TypeString {
		if len(s) > MaxStringLen {
			return nil, ErrSizeExceeded
		}
		return s, nil
	}
	blob, err := base64.StdEncoding.DecodeString(s)
	if t != TypeBinaryBlob || err != nil || strings.ContainsAny(s, "\r\n") { // Go skips line breaks, the platform does not
		return nil, ErrUnexpectedType
	}
	if len(blob) > MaxBlobLen {
		return nil, ErrSizeExceeded
	}
	return blob, nil
}

func parseNumber(raw json.RawMessage) (any, error) {
	var f float64
	if raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') || json.Unmarshal(raw, &f) != nil {
		return nil, ErrUnexpectedType
	}
	return f, nil
}

func parseInteger(s string, bits int) (any, error) {
	n, err := strconv.ParseInt(s, 10, bits)
	if err != nil {
		return nil, ErrUnexpectedType
	}
	return n, nil
}

func parseDatetime(raw json.RawMessage) (any, error) {
	if raw[0] != '"' {
		ms, err := strconv.ParseInt(string(raw), 10, 64)
		if err != nil || !validMillis(ms) {
			return nil, ErrUnexpectedType
		}
		return time.UnixMilli(ms).UTC(), nil
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return nil, ErrUnexpectedType
	}
	at, ok := parseISO8601(s)
	if !ok {
		return nil, ErrUnexpectedType
	}
	return at, nil
}

// parseISO8601 reads a time as Elixir's DateTime.from_iso8601 does: YYYY-MM-DD, T or a space, HH:MM:SS, a fraction
// after a point or comma if there is one (microseconds count), and Z, +HH, +HHMM or +HH:MM.
func parseISO8601(s string) (time.Time, bool) {
	const layout = "2006-01-02T15:04:05"
	if len(s) <= len(layout) || s[10] != 'T' && s[10] != ' ' {
		return time.Time{}, false
	}
	at, err := time.Parse(layout, s[:10]+"T"+s[11:len(layout)])
	if err != nil {
		return time.Time{}, false
	}
	s = s[len(layout):]
	if s[0] == '.' || s[0] == ',' {
		end := 1
		for micros := 100_000; end < len(s) && s[end] >= '0' && s[end] <= '9'; end, micros = end+1, micros/10 {
			at = at.Add(time.Duration(int(s[end]-'0')*micros) * time.Microsecond)
		}
		if end == 1 {
			return time.Time{}, false
		}
		s = s[end:]
	}
	offset, ok := parseOffset(s)
	return at.Add(-offset), ok
}

func parseOffset(s string) (time.Duration, bool) {
	if s == "Z" {
		return 0, true
	}
	if s == "" || s[0] != '+' && s[0] != '-' || s == "-00:00" {
		return 0, false
	}
	digits := s[1:]
	if len(digits) == 5 && digits[2] == ':' {
		digits = digits[:2] + digits[3:]
	}
	if len(digits) == 2 {
		digits += "00"
	}
	hm, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || len(digits) != 4 || hm/100 > 23 || hm%100 > 59 {
		return 0, false
	}
	d := time.Duration(hm/100)*time.Hour + time.Duration(hm%100)*time.Minute
	if s[0] == '-' {
		d = -d
	}
	return d, true
}

// AppendBSON appends v, a value of one of the Go types that [Type.ParseJSON] returns, as an element to b, as the server
// sends it: integers of both types in 32 bits if they fit, doubles always as doubles, binary with subtype 0. The error is
// [ErrUnexpectedType] or [ErrSizeExceeded].
func (t Type) AppendBSON(b []byte, key string, v any) ([]byte, error) {
	if !t.IsArray() {
		return t.appendScalar(b, key, v)
	}
	items, ok := v.([]any)
	if !ok {
		return nil, ErrUnexpectedType
	}
	if len(items) > MaxArrayLen {
		return nil, ErrSizeExceeded
	}
	b, array := BeginArray(b, key)
	for i, item := range items {
		var err error
		if b, err = t.Elem().appendScalar(b, IndexKey(i), item); err != nil {
			return nil, ErrUnexpectedType
		}
	}
	return EndDocument(b, array), nil
}

func (t Type) appendScalar(b []byte, key string, v any) ([]byte, error) {
	switch v := v.(type) {
	case bool:
		if t == TypeBoolean {
			return AppendBool(b, key, v), nil
		}
	case int64:
		if t == TypeInteger && v == int64(int32(v)) || t == TypeLongInteger {
			return AppendInt(b, key, v), nil
		}
	case float64:
		if t == TypeDouble && !math.IsNaN(v) && !math.IsInf(v, 0) {
			return AppendDouble(b, key, v), nil
		}
	case string:
		if t == TypeString && len(v) > MaxStringLen {
			return nil, ErrSizeExceeded
		}
		if t == TypeString && utf8.ValidString(v) {
			return AppendString(b, key, v), nil
		}
	case []byte:
		if t == TypeBinaryBlob && len(v) > MaxBlobLen {
			return nil, ErrSizeExceeded
		}
		if t == TypeBinaryBlob {
			return AppendBinary(b, key, v), nil
		}
	case time.Time:
		if t == TypeDatetime && validMillis(v.UnixMilli()) {
			return AppendDatetime(b, key, v.UnixMilli()), nil
		}
	}
	return nil, ErrUnexpectedType
}

// AppendPayload appends the payload {"v": v} as the server sends it; see [Type.AppendBSON].
func (t Type) AppendPayload(b []byte, v any) ([]byte, error) {
	b, doc := BeginDocument(b)
	b, err := t.AppendBSON(b, "v", v)
	if err != nil {
		return nil, err
	}
	return EndDocument(b, doc), nil
}

// Decode returns a received value as one of the Go types that [Type.ParseJSON] returns, copied out of the payload, or
// the error of [Type.Check].
func (t Type) Decode(v Value) (any, error) {
	if err := t.Check(v); err != nil {
		return nil, err
	}
	if !t.IsArray() {
		return t.decodeScalar(v), nil
	}
	items := make([]any, 0, v.Len())
	v.Each(func(_ []byte, e Value) bool {
		items = append(items, t.Elem().decodeScalar(e))
		return true
	})
	return items, nil
}

func (t Type) decodeScalar(v Value) any {
	switch t {
	case TypeDouble:
		return v.Float()
	case TypeInteger, TypeLongInteger:
		return v.Int()
	case TypeBoolean:
		return v.Bool()
	case TypeString:
		return v.Str()
	case TypeBinaryBlob:
		return append([]byte{}, v.Bin()...)
	}
	return time.UnixMilli(v.Millis()).UTC()
}
