package astarte

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// An Object is the value of an interface with object aggregation: values by the last levels of its endpoints.
type Object map[string]any

// Times that the platform can decode: the years -9999 to 9999 (Elixir's DateTime).
const (
	minMillis = -377_705_116_800_000
	maxMillis = 253_402_300_799_999
)

func invalid(problem string) *ValidationError {
	return &ValidationError{Problem: problem, Kind: fairlead.ErrInvalid}
}

func tooLarge(problem string) *ValidationError {
	return &ValidationError{Problem: problem, Kind: fairlead.ErrTooLarge}
}

// toWire turns a value that a program gives into what the wire package takes: bool, int64, float64, string, []byte, time.Time, or a slice of
// these as []any. It is strict: an integer is no double, and the reverse, as in the official SDKs.
func toWire(t astartewire.Type, v any) (any, error) {
	if !t.IsArray() {
		return scalarToWire(t, v)
	}
	var items []any
	switch v := v.(type) {
	case []float64:
		items = anys(v)
	case []int32:
		items = anys(v)
	case []int64:
		items = anys(v)
	case []int:
		items = anys(v)
	case []bool:
		items = anys(v)
	case []string:
		items = anys(v)
	case [][]byte:
		items = anys(v)
	case []time.Time:
		items = anys(v)
	default:
		return nil, wrongType(t, v)
	}
	if len(items) > MaxArrayLen {
		return nil, tooLarge(fmt.Sprintf("an array of %d elements, at most %d are possible", len(items), MaxArrayLen))
	}
	for i, item := range items {
		w, err := scalarToWire(t.Elem(), item)
		if err != nil {
			var e *ValidationError
			if errors.As(err, &e) {
				e.Problem = fmt.Sprintf("element %d: %s", i, e.Problem)
			}
			return nil, err
		}
		items[i] = w
	}
	if items == nil {
		items = []any{}
	}
	// An empty slice of the wrong type is as wrong as a full one.
	if len(items) == 0 && !emptyFits(t.Elem(), v) {
		return nil, wrongType(t, v)
	}
	return items, nil
}

func anys[T any](s []T) []any {
	items := make([]any, len(s))
	for i, v := range s {
		items[i] = v
	}
	return items
}

func emptyFits(elem astartewire.Type, v any) bool {
	ok := false
	switch v.(type) {
	case []float64:
		ok = elem == astartewire.TypeDouble
	case []int32, []int64, []int:
		ok = elem == astartewire.TypeInteger || elem == astartewire.TypeLongInteger
	case []bool:
		ok = elem == astartewire.TypeBoolean
	case []string:
		ok = elem == astartewire.TypeString
	case [][]byte:
		ok = elem == astartewire.TypeBinaryBlob
	case []time.Time:
		ok = elem == astartewire.TypeDatetime
	}
	return ok
}

func wrongType(t astartewire.Type, v any) error {
	if v == nil {
		return invalid(fmt.Sprintf("there is no value, want %s", t))
	}
	return invalid(fmt.Sprintf("found a value of type %T, want %s", v, t))
}

func scalarToWire(t astartewire.Type, v any) (any, error) {
	switch v := v.(type) {
	case float64:
		if t == astartewire.TypeDouble {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return nil, invalid(fmt.Sprintf("%v cannot be sent, doubles have to be finite", v))
			}
			return v, nil
		}
	case int:
		return integerToWire(t, int64(v), v)
	case int32:
		return integerToWire(t, int64(v), v)
	case int64:
		return integerToWire(t, v, v)
	case bool:
		if t == astartewire.TypeBoolean {
			return v, nil
		}
	case string:
		if t == astartewire.TypeString {
			if !utf8.ValidString(v) {
				return nil, invalid("the string is not valid UTF-8")
			}
			return v, limit("a string", len(v), MaxStringBytes)
		}
	case []byte:
		if t == astartewire.TypeBinaryBlob {
			return v, limit("a binaryblob", len(v), MaxBinaryBlobBytes)
		}
	case time.Time:
		if t == astartewire.TypeDatetime {
			v = v.Round(time.Millisecond) // the official SDKs round, too (observed with astarte-device-sdk 0.14.0)
			if ms := v.UnixMilli(); ms < minMillis || ms > maxMillis {
				return nil, invalid(fmt.Sprintf("%v is beyond the years that the platform knows", v))
			}
			return v, nil
		}
	}
	return nil, wrongType(t, v)
}

func integerToWire(t astartewire.Type, n int64, v any) (any, error) {
	switch {
	case t == astartewire.TypeLongInteger:
		return n, nil
	case t != astartewire.TypeInteger:
		return nil, wrongType(t, v)
	case n != int64(int32(n)):
		return nil, invalid(fmt.Sprintf("%d does not fit into 32 bits", n))
	}
	return n, nil
}

func limit(what string, n, most int) error {
	if n > most {
		return tooLarge(fmt.Sprintf("%s of %d bytes, at most %d are possible", what, n, most))
	}
	return nil
}

// fromWire turns a value that the wire package has decoded into the Go type that belongs to t.
func fromWire(t astartewire.Type, v any) any {
	if items, ok := v.([]any); ok {
		switch t.Elem() {
		case astartewire.TypeDouble:
			return slice[float64](items)
		case astartewire.TypeInteger:
			return integers(items)
		case astartewire.TypeLongInteger:
			return slice[int64](items)
		case astartewire.TypeBoolean:
			return slice[bool](items)
		case astartewire.TypeString:
			return slice[string](items)
		case astartewire.TypeBinaryBlob:
			return slice[[]byte](items)
		default:
			return slice[time.Time](items)
		}
	}
	if n, ok := v.(int64); ok && t == astartewire.TypeInteger {
		return int32(n)
	}
	return v
}

func slice[T any](items []any) []T {
	s := make([]T, len(items))
	for i, v := range items {
		s[i], _ = v.(T) // Decode has checked
	}
	return s
}

func integers(items []any) []int32 {
	s := make([]int32, len(items))
	for i, v := range items {
		n, _ := v.(int64)
		s[i] = int32(n)
	}
	return s
}
