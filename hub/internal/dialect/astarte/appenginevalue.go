package astarte

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// encoding says how values are written where there is a choice.
type encoding struct {
	bigIntegers     bool // longintegers as numbers
	safeBigIntegers bool // those that a double holds exactly as numbers
	milliseconds    bool // timestamps in milliseconds since 1970
}

// asNumbers is the encoding of property trees and of the snapshot of individual datastreams.
func (e encoding) asNumbers() encoding {
	e.bigIntegers = true
	return e
}

// maxSafe is where the platform draws the line of longintegers that a double holds: 2^52-1.
const maxSafe = 0xFFFFFFFFFFFFF

// value returns a stored value of type t in the form that encoding/json writes as AppEngine does.
func (e encoding) value(v core.Value, t astartewire.Type) (any, error) {
	x, err := v.Decode()
	if err != nil {
		return nil, storedWrong(err)
	}
	return e.json(x, t), nil
}

func (e encoding) json(x any, t astartewire.Type) any {
	switch x := x.(type) {
	case int64:
		switch t.Elem() {
		case astartewire.TypeDouble:
			return number(x)
		case astartewire.TypeLongInteger:
			if !e.bigIntegers && !(e.safeBigIntegers && x <= maxSafe) {
				return strconv.FormatInt(x, 10)
			}
		}
		return x
	case float64:
		return number(x)
	case []byte:
		return base64.StdEncoding.EncodeToString(x)
	case time.Time:
		return x.UTC().Format(isoTime)
	case []any:
		out := make([]any, len(x))
		for i := range x {
			out[i] = e.json(x[i], t.Elem())
		}
		return out
	}
	return x // boolean, string, null
}

// storedWrong reports a value that is not as it was written; only a damaged database holds one.
func storedWrong(err error) error { return fmt.Errorf("stored value: %w: %v", core.ErrStorage, err) }

// timestamp writes the time of a sample.
func (e encoding) timestamp(t time.Time) any {
	if e.milliseconds {
		return t.UnixMilli()
	}
	return t.UTC().Format(isoTime)
}

// number writes a double so that it cannot be taken for an integer: typed clients (serde in Rust, say) tell 20.0 from
// 20. What JSON has no form for is null.
type number float64

// MarshalJSON writes the shortest form that reads back as the same number.
func (n number) MarshalJSON() ([]byte, error) {
	f := float64(n)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return []byte("null"), nil
	}
	b, err := json.Marshal(f)
	if err == nil && !strings.ContainsAny(string(b), ".eE") {
		b = append(b, ".0"...)
	}
	return b, err
}

// tree nests values by the levels of their paths.
type tree map[string]any

// add puts a value at a path such as "/room1/temp".
func (t tree) add(path string, v any) {
	for {
		level, rest, more := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		if !more {
			t[level] = v
			return
		}
		next, ok := t[level].(tree)
		if !ok {
			next = tree{}
			t[level] = next
		}
		t, path = next, rest
	}
}
