package core

import (
	"bytes"
	"math"
	"testing"
	"time"
)

func TestValueRoundTrip(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678000, time.UTC)
	in := map[string]any{
		"n": nil, "t": true, "f": false, "i": int64(math.MinInt64), "d": -0.5, "at": at, "s": "grüß", "b": []byte{0, 255},
		"a": []any{int64(1), "x", []any{}}, "m": map[string]any{},
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
		"long string": {KindString, 5, 'a'}, "bad UTF-8": {KindString, 1, 0xff}, "huge array": {KindArray, 0xff, 0xff, 0xff, 0x7f},
		"deep": bytes.Repeat([]byte{KindArray, 1}, 100),
	} {
		if x, err := v.Decode(); err == nil {
			t.Errorf("%s: got %v, want an error", name, x)
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
		v, err := Append(nil, x)
		if err != nil {
			t.Fatalf("cannot write what was read: %v", err)
		}
		if _, err := Value(v).Decode(); err != nil {
			t.Fatalf("cannot read what was written: %v", err)
		}
	})
}
