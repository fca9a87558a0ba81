package feed

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/google/go-cmp/cmp"
)

func TestAppendValue(t *testing.T) {
	long := strings.Repeat("x", 200)
	for name, c := range map[string]struct {
		in   string
		want any
	}{
		"nothing":                    {"", nil},
		"integer":                    {"21", int64(21)},
		"negative":                   {"-7", int64(-7)},
		"line end of a shell":        {"21.5\n", 21.5},
		"largest integer":            {"9223372036854775807", int64(math.MaxInt64)},
		"smallest integer":           {"-9223372036854775808", int64(math.MinInt64)},
		"beyond 64 bits":             {"9223372036854775808", 9223372036854775808.0},
		"float":                      {"1e3", 1000.0},
		"negative zero":              {"-0", math.Copysign(0, -1)},
		"too large for a float":      {"1e999", "1e999"},
		"leading zero":               {"007", "007"},
		"no digit behind the dot":    {"1.", "1."},
		"sign in front":              {"+1", "+1"},
		"hexadecimal":                {"0x10", "0x10"},
		"not a number":               {"NaN", "NaN"},
		"two numbers":                {"1 2", "1 2"},
		"true":                       {"true", true},
		"false":                      {" false ", false},
		"null":                       {"null", nil},
		"upper case":                 {"TRUE", "TRUE"},
		"JSON string":                {`"on"`, "on"},
		"escapes":                    {`"a\"\\\/\b\f\n\r\tA"`, "a\"\\/\b\f\n\r\tA"},
		"surrogate pair":             {`"\ud83d\ude00"`, "\U0001F600"},
		"half a pair":                {`"\ud83dx"`, "\uFFFDx"},
		"half a pair before another": {`"\ud83d\u0041"`, "\uFFFDA"},
		"long escaped string":        {`"\n` + long + `"`, "\n" + long},
		"unterminated string":        {`"on`, `"on`},
		"control character in it":    {"\"a\tb\"", "\"a\tb\""},
		"array":                      {"[1, 2.5 ,\"x\",null,[]]", []any{int64(1), 2.5, "x", nil, []any{}}},
		"comma at the end":           {"[1,]", "[1,]"},
		"object":                     {`{"temp":21.5,"ok":true,"at":{"x":1}}`, map[string]any{"temp": 21.5, "ok": true, "at": map[string]any{"x": int64(1)}}},
		"empty object":               {"{ }", map[string]any{}},
		"key without quotes":         {"{a:1}", "{a:1}"},
		"comma at the end of object": {`{"a":1,}`, `{"a":1,}`},
		"nested too deep":            {strings.Repeat("[", 30) + strings.Repeat("]", 30), strings.Repeat("[", 30) + strings.Repeat("]", 30)},
		"text":                       {"Grüße", "Grüße"},
		"text of lines":              {"a\r\nb\tc\n", "a\r\nb\tc\n"},
		"not UTF-8":                  {"\xff\xfe", []byte("\xff\xfe")},
		"not UTF-8 in a string":      {"\"\xff\"", []byte("\"\xff\"")},
		"control characters":         {"a\x00b", []byte("a\x00b")},
		"large":                      {strings.Repeat("1", maxParsedBytes+1), []byte(strings.Repeat("1", maxParsedBytes+1))},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := core.Value(appendValue(nil, []byte(c.in), formAny)).Decode()
			if err != nil {
				t.Fatalf("not a value: %v", err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%.80q (-want +got):\n%s", c.in, diff)
			}
		})
	}
}

func TestAppendValueByContentType(t *testing.T) {
	for _, c := range []struct {
		contentType, in string
		want            any
	}{
		{"", "21", int64(21)},
		{"application/json", "21", int64(21)},
		{"application/senml+json; charset=utf-8", "[]", []any{}},
		{"application/json", "{broken", "{broken"},
		{"text/plain", "21", "21"},
		{"Text/Plain; charset=utf-8", "true", "true"},
		{"text/plain", "\xff", []byte("\xff")},
		{"application/octet-stream", "21", []byte("21")},
		{"image/png", "", []byte{}},
		{"x-unknown", "21", int64(21)},
	} {
		got, err := core.Value(appendValue(nil, []byte(c.in), formOf([]byte(c.contentType)))).Decode()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q as %q (-want +got):\n%s", c.in, c.contentType, diff)
		}
	}
}

// Long lists need more than the one byte that was left for their length.
func TestAppendValueLongList(t *testing.T) {
	for _, n := range []int{127, 128, 129, 16383, 16384, 20000} {
		in := "[" + strings.Repeat("1,", n-1) + "1]"
		got, err := core.Value(appendValue([]byte{9, 9}, []byte(in), formAny)[2:]).Decode()
		if err != nil {
			t.Fatal(n, err)
		}
		list, _ := got.([]any)
		if len(list) != n || list[n-1] != int64(1) {
			t.Errorf("%d elements became %d", n, len(list))
		}
	}
}

// FuzzAppendValue: every payload becomes a value that can be read; what is no JSON is kept as it is; and what is, is what
// encoding/json makes of it.
func FuzzAppendValue(f *testing.F) {
	for _, s := range []string{"", "1", "-0.5e3", `"a\u00e9\ud83d\ude00"`, `{"a":[1,true,null,{"b":"c"}]}`, "text", "\x00\xff", "[[[]]]", `{"a":1,"a":2}`} {
		f.Add([]byte(s), uint8(0))
	}
	f.Fuzz(func(t *testing.T, in []byte, hint uint8) {
		out := appendValue(nil, in, form(hint%3))
		got, err := core.Value(out).Decode()
		if err != nil {
			t.Fatalf("%q: not a value: %v", in, err)
		}
		if hint%3 != uint8(formAny) || len(in) == 0 || len(in) > maxParsedBytes {
			return
		}
		var want any
		d := json.NewDecoder(strings.NewReader(string(in)))
		d.UseNumber()
		isJSON := json.Valid(in) && utf8.Valid(in) && d.Decode(&want) == nil && d.Decode(new(any)) != nil
		switch got := got.(type) {
		case []byte:
			if string(got) != string(in) {
				t.Fatalf("%q became the bytes %q", in, got)
			}
			if isJSON && !unusual(want, 0) {
				t.Fatalf("%q is JSON and was kept as bytes", in)
			}
		case string:
			if !isJSON && got != string(in) {
				t.Fatalf("%q became the text %q", in, got)
			}
		}
		if isJSON && !unusual(want, 0) {
			if diff := cmp.Diff(plain(want), got); diff != "" {
				t.Fatalf("%q (-want +got):\n%s", in, diff)
			}
		}
	})
}

// unusual tells what JSON allows and we do not take for it: very deep nesting, numbers beyond a float.
func unusual(v any, depth int) bool {
	switch v := v.(type) {
	case json.Number:
		_, err := v.Float64()
		return err != nil
	case []any:
		for _, e := range v {
			if unusual(e, depth+1) {
				return true
			}
		}
		return depth >= maxJSONDepth
	case map[string]any:
		for _, e := range v {
			if unusual(e, depth+1) {
				return true
			}
		}
		return depth >= maxJSONDepth || len(v) != 1 // a key that is there twice may hide anything
	}
	return false
}

// plain turns what encoding/json gives into what core.Value gives.
func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil && v != "-0" {
			return n
		}
		x, _ := v.Float64()
		return x
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plain(v[i])
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k := range v {
			out[k] = plain(v[k])
		}
		return out
	}
	return v
}

func BenchmarkAppendValue(b *testing.B) {
	for name, in := range map[string]string{
		"number": "21.5", "text": "pump 7 is running", "object": `{"temp":21.5,"hum":40,"ok":true,"name":"pump-7"}`, "bytes": "\x00\x01\x02\x03",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(in)))
			var buf []byte
			p := []byte(in)
			for b.Loop() {
				buf = appendValue(buf[:0], p, formAny)
			}
		})
	}
}
