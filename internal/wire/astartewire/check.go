package astartewire

import (
	"errors"
	"math"
	"unicode/utf8"
)

// Limits of values (astarte_core mapping/value_type.ex).
const (
	MaxStringLen = 65_536 // bytes
	MaxBlobLen   = 65_536 // bytes
	MaxArrayLen  = 1_024  // elements
)

// Reasons to refuse a value. The comments give the platform's name of the error.
var (
	ErrUnexpectedType = errors.New("unexpected value type")       // unexpected_value_type
	ErrSizeExceeded   = errors.New("value size exceeds limits")   // value_size_exceeded
	ErrUnexpectedKey  = errors.New("unexpected object key")       // unexpected_object_key
	ErrMissingKey     = errors.New("missing required object key") // missing_required_mapping
)

// Check reports whether a received value may be stored under a mapping of type t: nil, [ErrUnexpectedType] or
// [ErrSizeExceeded].
//
// Doubles may be sent as integers, datetimes as integers of milliseconds, integers and longintegers in either size.
// Three choices of ours: -2^31 (integer) and -2^63 (longinteger) are accepted, which the platform refuses although its
// SDKs send them; a string sent as binary is refused, which the platform accepts; an integer for a datetime must lie
// within the years that a datetime may have, which the platform does not check.
func (t Type) Check(v Value) error {
	if !t.IsArray() {
		return t.checkScalar(v)
	}
	if v.Type != BSONArray {
		return ErrUnexpectedType
	}
	if v.Len() > MaxArrayLen {
		return ErrSizeExceeded
	}
	elem, ok := t.Elem(), true
	v.Each(func(_ []byte, e Value) bool {
		ok = elem.checkScalar(e) == nil
		return ok
	})
	if !ok {
		return ErrUnexpectedType // for elements that are too large, too
	}
	return nil
}

func (t Type) checkScalar(v Value) error {
	ok := false
	switch t {
	case TypeDouble:
		f := v.Float()
		ok = isInt(v) || v.Type == BSONDouble && !math.IsNaN(f) && !math.IsInf(f, 0)
	case TypeInteger:
		ok = isInt(v) && v.Int() == int64(int32(v.Int()))
	case TypeLongInteger:
		ok = isInt(v)
	case TypeBoolean:
		ok = v.Type == BSONBool
	case TypeString:
		ok = v.Type == BSONString && utf8.Valid(v.Bin())
		if ok && len(v.Bin()) > MaxStringLen {
			return ErrSizeExceeded
		}
	case TypeBinaryBlob:
		ok = v.Type == BSONBinary
		if ok && len(v.Bin()) > MaxBlobLen {
			return ErrSizeExceeded
		}
	case TypeDatetime:
		ok = v.Type == BSONDatetime || isInt(v) && validMillis(v.Int())
	}
	if !ok {
		return ErrUnexpectedType
	}
	return nil
}

func isInt(v Value) bool { return v.Type == BSONInt32 || v.Type == BSONInt64 }

func validMillis(ms int64) bool { return minMillis <= ms && ms <= maxMillis }
