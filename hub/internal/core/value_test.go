package core

import (
	"bytes"
	"errors"
	"math"
	"testing"
	"time"
)

func TestValueRoundTrip(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678000, time.UTC)
	in := map[string]any{
		"n": nil, "t": true, "f": false, "i": int64(math.MinInt64), "d": -0.5, "at": at, "s": "grüß", "b": []byte{0, 255},
		"a": []any{int64(1), "x", []any{}}, "m": map[string]any{}, "num": Number("18446744073709551615"),
	}
	v, err := Append(nil, in)
	if err != nil {
		t.Fatal(err)
	}
	out, err := Value(v).Decode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Append(nil, out)
	if err != nil || !bytes.Equal(v, again) {
		t.Errorf("got %x, want %x (%v)", again, v, err)
	}
	if got := out.(map[string]any)["at"]; got != at {
		t.Errorf("time: got %v, want %v", got, at)
	}
}

func TestValueRefuses(t *testing.T) {
	for name, v := range map[string]Value{
		"empty": {}, "unknown kind": {99}, "short float": {KindFloat, 1}, "trailing": {KindNull, 0},
		"long string": {KindString, 5, 'a'}, "bad UTF-8": {KindString, 1, 0xff}, "no number": {KindNumber, 2, '1', ' '}, "empty number": {KindNumber, 0}, "huge array": {KindArray, 0xff, 0xff, 0xff, 0x7f},
		"deep": bytes.Repeat([]byte{KindArray, 1}, 100),
	} {
		if x, err := v.Decode(); err == nil {
			t.Errorf("%s: got %v, want an error", name, x)
		}
	}
}

// TestAppendNumber checks that a number is an int or a float exactly when these give it back as it was written.
func TestAppendNumber(t *testing.T) {
	for text, want := range map[string]any{
		"1": int64(1), "-9223372036854775808": int64(math.MinInt64), "9223372036854775808": Number("9223372036854775808"), "1.0": 1.0, "0.1": 0.1, "-2.5": -2.5,
		"1.50": Number("1.50"), "1e3": Number("1e3"), "1e+30": 1e30, "-0": Number("-0"), "-0.0": math.Copysign(0, -1), "1e999": Number("1e999"),
		"0.1000000000000000055511151231257827": Number("0.1000000000000000055511151231257827"),
	} {
		got, err := Value(AppendNumber(nil, text)).Decode()
		if err != nil || got != want {
			t.Errorf("%s: got %v (%T), %v, want %v (%T)", text, got, got, err, want, want)
		}
	}
	if _, err := Append(nil, Number("x")); !errors.Is(err, ErrInvalid) {
		t.Errorf("a number that is none: %v, want %v", err, ErrInvalid)
	}
}

// weigh returns what a decoded value takes, at the least.
func weigh(x any) int {
	n := 16
	switch x := x.(type) {
	case string:
		n += len(x)
	case Number:
		n += len(x)
	case []byte:
		n += len(x)
	case []any:
		for _, e := range x {
			n += weigh(e)
		}
	case map[string]any:
		for k, e := range x {
			n += len(k) + weigh(e)
		}
	}
	return n
}

func TestWeight(t *testing.T) {
	flags := AppendArray(nil, 1000)
	for range 1000 {
		flags = AppendBool(flags, true)
	}
	for _, tt := range []struct {
		v    Value
		want int
	}{
		{nil, 0},
		{AppendNull(nil), 16},
		{AppendInt(nil, 1<<40), 16},
		{AppendString(nil, "abc"), 19},
		{flags, 24 + 16_000},
		{AppendBool(AppendKey(AppendMap(nil, 1), "k"), true), 24 + 32 + 1 + 16},
		{Value{KindString, 9}, 2},
		{Value{KindArray, 9, 0}, 3},
		{bytes.Repeat([]byte{KindArray, 1}, 100), 200}, // malformed
	} {
		if got := tt.v.Weight(); got != tt.want {
			t.Errorf("%x: got %d, want %d", tt.v, got, tt.want)
		}
	}
}

func FuzzValue(f *testing.F) {
	seed, _ := Append(nil, map[string]any{"a": []any{int64(1), 2.5, "x", nil, true}})
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := Value(b).Decode()
		if err != nil {
			return
		}
		if w := Value(b).Weight(); w < len(b) || w < weigh(x) {
			t.Fatalf("weighs %d, want at least %d, %d", w, len(b), weigh(x))
		}
		v, err := Append(nil, x)
		if err != nil {
			t.Fatalf("cannot write what was read: %v", err)
		}
		if _, err := Value(v).Decode(); err != nil {
			t.Fatalf("cannot read what was written: %v", err)
		}
	})
}
