package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

func TestValues(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 120_000_000, time.UTC)
	for _, tt := range []struct {
		v          any
		typ, value string
	}{
		{nil, `"null"`, `null`},
		{true, `"bool"`, `true`},
		{int64(0), `"int"`, `0`},
		{int64(1)<<53 - 1, `"int"`, `9007199254740991`},
		{int64(1) << 53, `"int"`, `"9007199254740992"`},
		{-(int64(1)<<53 - 1), `"int"`, `-9007199254740991`},
		{-(int64(1) << 53), `"int"`, `"-9007199254740992"`},
		{int64(math.MinInt64), `"int"`, `"-9223372036854775808"`},
		{1.0, `"float"`, `1`},
		{-0.1, `"float"`, `-0.1`},
		{1e300, `"float"`, `1e+300`},
		{math.Copysign(0, -1), `"float"`, `-0`},
		{math.NaN(), `"float"`, `"NaN"`},
		{math.Inf(1), `"float"`, `"Infinity"`},
		{math.Inf(-1), `"float"`, `"-Infinity"`},
		{at, `"time"`, `"2026-01-02T03:04:05.12Z"`},
		{time.Time{}, `"time"`, `"0001-01-01T00:00:00Z"`},
		{time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC), `"time"`, `"9999-12-31T23:59:59.999999Z"`},
		{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), `"time"`, `"@253402300800000000"`},
		{time.UnixMicro(math.MinInt64).UTC(), `"time"`, `"@-9223372036854775808"`},
		{"grüß\n\"<", `"string"`, `"grüß\n\"\u003c"`},
		{[]byte{}, `"bytes"`, `""`},
		{[]byte{0, 255}, `"bytes"`, `"AP8="`},
		{core.Number("18446744073709551615"), `"number"`, `"18446744073709551615"`},
		{[]any{}, `[]`, `[]`},
		{[]any{"x"}, `["string"]`, `["x"]`},
		{[]any{int64(1), int64(2)}, `["int"]`, `[1,2]`},
		{[]any{int64(1), 2.0}, `["int","float"]`, `[1,2]`},
		{[]any{[]any{true}, []any{false}}, `[["bool"]]`, `[[true],[false]]`},
		{map[string]any{"b": []byte("b"), "a": int64(1)}, `{"a":"int","b":"bytes"}`, `{"a":1,"b":"Yg=="}`},
	} {
		got, err := valueOf(must(core.Append(nil, tt.v)))
		if err != nil || string(got.Type) != tt.typ || string(got.Value) != tt.value {
			t.Errorf("%v: got %s %s, %v, want %s %s", tt.v, got.Type, got.Value, err, tt.typ, tt.value)
		}
	}
	if _, err := valueOf(core.Value{99}); !errors.Is(err, core.ErrStorage) {
		t.Errorf("damaged value: got %v", err)
	}
}

// FuzzValue has every value come back from its JSON exactly as it was.
func FuzzValue(f *testing.F) {
	for _, v := range append(everything(), nil, []any{}, []any{map[string]any{"": []any{nil, 1.5}}}, math.Inf(1), time.UnixMicro(math.MaxInt64)) {
		f.Add(must(core.Append(nil, v)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := core.Value(b).Decode()
		if err != nil {
			return
		}
		want := must(core.Append(nil, x)) // b may be in another order
		v, err := valueOf(want)
		if w := core.Value(want).Weight(); len(v.Type) > 6*w || len(v.Value) > 6*w {
			t.Fatalf("weighs %d; type %d, value %d bytes", w, len(v.Type), len(v.Value))
		}
		if err != nil {
			t.Fatal(err)
		}
		// The way over the line.
		var back admin.Value
		if err := json.Unmarshal(must(json.Marshal(v)), &back); err != nil {
			t.Fatal(err)
		}
		y, err := back.Decode()
		if err != nil {
			t.Fatalf("%s %s: %v", v.Type, v.Value, err)
		}
		if got := must(core.Append(nil, y)); !bytes.Equal(got, want) && !hasNaN(x) {
			t.Errorf("%s %s: got %x, want %x", v.Type, v.Value, got, want)
		}
	})
}

// hasNaN reports whether there is a NaN in x: of those only that they are is kept, not their bits.
func hasNaN(x any) bool {
	switch x := x.(type) {
	case float64:
		return math.IsNaN(x)
	case []any:
		for _, e := range x {
			if hasNaN(e) {
				return true
			}
		}
	case map[string]any:
		for _, e := range x {
			if hasNaN(e) {
				return true
			}
		}
	}
	return false
}
