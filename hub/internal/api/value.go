package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// maxSafe is the largest integer up to which every reader of JSON has all of them: what follows is a string.
const maxSafe = 1<<53 - 1

// valueOf returns a value in the form that [admin.Value] describes, exactly.
func valueOf(v core.Value) (admin.Value, error) {
	x, err := v.Decode()
	if err != nil {
		return admin.Value{}, fmt.Errorf("%w: stored value: %w", core.ErrStorage, err)
	}
	typ, val := render(nil, nil, x)
	return admin.Value{Type: typ, Value: val}, nil
}

// render appends the type and the value of x, both as JSON. What x can be is what [core.Value.Decode] returns.
func render(typ, val []byte, x any) (t, v []byte) {
	switch x := x.(type) {
	case nil:
		return append(typ, `"null"`...), append(val, "null"...)
	case bool:
		return append(typ, `"bool"`...), strconv.AppendBool(val, x)
	case int64:
		typ = append(typ, `"int"`...)
		if x > maxSafe || x < -maxSafe {
			val = append(val, '"')
			return typ, append(strconv.AppendInt(val, x, 10), '"')
		}
		return typ, strconv.AppendInt(val, x, 10)
	case float64:
		return append(typ, `"float"`...), appendFloat(val, x)
	case time.Time:
		return append(typ, `"time"`...), append(val, `"`+admin.Time{Time: x}.String()+`"`...)
	case string:
		return append(typ, `"string"`...), appendText(val, x)
	case core.Number:
		return append(typ, `"number"`...), append(append(append(val, '"'), x...), '"')
	case []byte:
		val = append(val, '"')
		val = base64.StdEncoding.AppendEncode(val, x)
		return append(typ, `"bytes"`...), append(val, '"')
	case []any:
		return renderArray(typ, val, x)
	case map[string]any:
		return renderMap(typ, val, x)
	}
	return append(typ, `"null"`...), append(val, "null"...)
}

func renderArray(typ, val []byte, list []any) (t, v []byte) {
	typ, val = append(typ, '['), append(val, '[')
	start := len(typ)
	first, same := "", true
	for i, x := range list {
		if i > 0 {
			typ, val = append(typ, ','), append(val, ',')
		}
		from := len(typ)
		typ, val = render(typ, val, x)
		if i == 0 {
			first = string(typ[from:])
		}
		same = same && string(typ[from:]) == first
	}
	if same && len(list) > 1 {
		typ = append(typ[:start], first...) // one type for all
	}
	return append(typ, ']'), append(val, ']')
}

func renderMap(typ, val []byte, m map[string]any) (t, v []byte) {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	typ, val = append(typ, '{'), append(val, '{')
	for i, k := range keys {
		if i > 0 {
			typ, val = append(typ, ','), append(val, ',')
		}
		typ, val = append(appendText(typ, k), ':'), append(appendText(val, k), ':')
		typ, val = render(typ, val, m[k])
	}
	return append(typ, '}'), append(val, '}')
}

func appendText(b []byte, s string) []byte {
	text, _ := json.Marshal(s) // a string has no way to fail
	return append(b, text...)
}

func appendFloat(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(b, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(b, `"-Infinity"`...)
	}
	return strconv.AppendFloat(b, f, 'g', -1, 64)
}
