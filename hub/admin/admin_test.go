package admin

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTime(t *testing.T) {
	for in, want := range map[string]string{
		"2026-05-06T12:00:00Z":           "2026-05-06T12:00:00Z",
		"2026-05-06T12:00:00.1234567Z":   "2026-05-06T12:00:00.123456Z",
		"2026-05-06T12:00:00.5+02:00":    "2026-05-06T10:00:00.5Z",
		"@0":                             "1970-01-01T00:00:00Z",
		"@253402300800000000":            "@253402300800000000",
		"@-9223372036854775808":          "@-9223372036854775808",
		"9999-12-31T23:59:59.999999Z":    "9999-12-31T23:59:59.999999Z",
		"0000-01-01T00:00:00Z":           "0000-01-01T00:00:00Z",
		"9999-12-31T23:59:59.999-01:00":  "@253402304399999000",
		"2026-05-06T12:00:00.999999999Z": "2026-05-06T12:00:00.999999Z",
	} {
		got, err := ParseTime(in)
		if err != nil || got.String() != want {
			t.Errorf("%s: got %v, %v, want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "now", "@", "@x", "@9223372036854775808", "2026-05-06", "2026-05-06 12:00:00Z"} {
		if got, err := ParseTime(in); err == nil {
			t.Errorf("%q: got %v, want an error", in, got)
		}
	}
}

func FuzzTime(f *testing.F) {
	f.Add("2026-05-06T12:00:00.5+02:00")
	f.Add("@-1")
	f.Fuzz(func(t *testing.T, s string) {
		x, err := ParseTime(s)
		if err != nil {
			return
		}
		text, _ := x.MarshalJSON()
		var again Time
		if err := again.UnmarshalJSON(text); err != nil || !again.Equal(x.Time) {
			t.Errorf("%q: got %v, written and read again %v, %v", s, x, again, err)
		}
	})
}

func TestDecode(t *testing.T) {
	for _, tt := range []struct {
		typ, value string
		want       any
	}{
		{`"int"`, `"9007199254740993"`, int64(9007199254740993)},
		{`"int"`, `7`, int64(7)},
		{`"float"`, `7`, 7.0},
		{`"float"`, `"-Infinity"`, math.Inf(-1)},
		{`"bytes"`, `"AP8="`, []byte{0, 255}},
		{`"number"`, `"18446744073709551615"`, json.Number("18446744073709551615")},
		{`"time"`, `"2026-05-06T12:00:00Z"`, time.Date(2026, 5, 6, 12, 0, 0, 0, time.UTC)},
		{`["int"]`, `[1,2]`, []any{int64(1), int64(2)}},
		{`["int","null"]`, `[1,null]`, []any{int64(1), nil}},
		{`{"a":{"b":"bool"}}`, `{"a":{"b":true}}`, map[string]any{"a": map[string]any{"b": true}}},
	} {
		got, err := Value{Type: []byte(tt.typ), Value: []byte(tt.value)}.Decode()
		if d := cmp.Diff(tt.want, got); d != "" || err != nil {
			t.Errorf("%s %s: %v\n%s", tt.typ, tt.value, err, d)
		}
	}
	for _, tt := range [][2]string{
		{`"int"`, `1.5`},
		{`"int"`, `true`},
		{`"int"`, `"9223372036854775808"`},
		{`"float"`, `"x"`},
		{`"bytes"`, `"?"`},
		{`"number"`, `"x"`},
		{`"number"`, `1`},
		{`"bytes"`, `1`},
		{`"time"`, `1`},
		{`"none"`, `1`},
		{`1`, `1`},
		{``, `1`},
		{`"int"`, ``},
		{`"int"`, `1 2`},
		{`["int","int"]`, `[1]`},
		{`{"a":"int"}`, `{"b":1}`},
		{`{"a":"int"}`, `{"a":1,"b":1}`},
		{`["int"]`, `{}`},
		{`"null"`, `1`},
		{`"bool"`, `"true"`},
		{`"string"`, `1`},
	} {
		if got, err := (Value{Type: []byte(tt[0]), Value: []byte(tt[1])}).Decode(); !errors.Is(err, ErrValue) {
			t.Errorf("%s %s: got %v, %v, want an error", tt[0], tt[1], got, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`["int",{"a":"bytes"}]`), []byte(`[1,{"a":"AA=="}]`))
	f.Fuzz(func(t *testing.T, typ, value []byte) {
		if got, err := (Value{Type: typ, Value: value}).Decode(); err != nil && (got != nil || !errors.Is(err, ErrValue)) {
			t.Errorf("%q %q: got %v, %v", typ, value, got, err)
		}
	})
}

func TestDeviceKey(t *testing.T) {
	k := DeviceKey{Dialect: "astarte", Tenant: "dev", ID: "x"}
	if got, err := ParseDeviceKey(k.String()); err != nil || got != k {
		t.Errorf("got %v, %v", got, err)
	}
	for _, s := range []string{"", "x", "a/b", "a//c", "a/b/", "a/b/c/d"} {
		if got, err := ParseDeviceKey(s); err == nil {
			t.Errorf("%q: got %v", s, got)
		}
	}
}

// FuzzStream: whatever a stream has in it, what is made of it are whole messages.
func FuzzStream(f *testing.F) {
	f.Add("id: 1\nevent: a.b\ndata: {}\n\n")
	f.Add(": comment\n\nid:2\ndata:a\ndata: b\nretry: 5\n\n")
	f.Fuzz(func(t *testing.T, s string) {
		var m message
		data := 0
		for line := range strings.SplitSeq(s, "\n") {
			if strings.HasPrefix(line, "data:") {
				data += len(line)
			}
			if m.add([]byte(line)) {
				if line != "" || !m.any || len(m.data) > data {
					t.Errorf("%q: message %+v", s, m)
				}
				m, data = message{}, 0
			}
		}
	})
}
