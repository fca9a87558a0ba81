package awswire

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func mustParse(tb testing.TB, s string) *Node {
	tb.Helper()
	n, err := ParseJSON([]byte(s))
	if err != nil {
		tb.Fatalf("parse %s: %v", s, err)
	}
	return n
}

func TestParseJSON(t *testing.T) {
	for _, tt := range []struct {
		in, want string
		err      error
	}{
		{in: ` {"b": 1.0, "a" : [1e3, -0, null, true, false ], "c":{}} `, want: `{"b":1.0,"a":[1e3,-0,null,true,false],"c":{}}`},
		{in: `12345678901234567890.10`, want: `12345678901234567890.10`},
		{in: `{"a":1,"b":2,"a":3}`, want: `{"a":3,"b":2}`},
		{in: `"\u00e9\ud83d\ude00\n\"\\\/\u0001"`, want: "\"é😀\\n\\\"\\\\/\\u0001\""},
		{in: `"\ud83d x"`, want: "\"\uFFFD x\""},
		{in: `"\ud83d\u0041"`, want: "\"\uFFFDA\""},
		{in: "\"a\tb\"", err: ErrJSON},
		{in: `01`, err: ErrJSON},
		{in: `1.`, err: ErrJSON},
		{in: `+1`, err: ErrJSON},
		{in: `{"a":1,}`, err: ErrJSON},
		{in: `{a:1}`, err: ErrJSON},
		{in: `[1 2]`, err: ErrJSON},
		{in: `{} {}`, err: ErrJSON},
		{in: ``, err: ErrJSON},
		{in: `"\u12`, err: ErrJSON},
		{in: `nul`, err: ErrJSON},
		{in: "\"\xff\"", err: ErrEncoding},
		{in: strings.Repeat("[", maxNesting+1), err: ErrNesting},
		{in: strings.Repeat("[", maxNesting) + strings.Repeat("]", maxNesting), want: strings.Repeat("[", maxNesting) + strings.Repeat("]", maxNesting)},
	} {
		n, err := ParseJSON([]byte(tt.in))
		if !errors.Is(err, tt.err) {
			t.Errorf("%s: error %v, want %v", tt.in, err, tt.err)
		} else if got := string(n.Append(nil)); err == nil && got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.in, got, tt.want)
		}
	}
}

func TestManyMembers(t *testing.T) {
	n := NewObject()
	for _, c := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
		n.Put(c, NewString(c))
	}
	n.Put("y", NewInt(1))
	n.Put("aa", NewInt(2))
	if got := len(n.Members); got != 27 {
		t.Errorf("%d members, want 27", got)
	}
	if got, _ := n.Member("y").Int(); got != 1 {
		t.Errorf("y is %d, want 1", got)
	}
	if got, _ := n.Member("aa").Int(); got != 2 {
		t.Errorf("aa is %d, want 2", got)
	}
	if n.Member("zz") != nil {
		t.Error("found a member that is not there")
	}
}

func TestEqual(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{`1`, `1.0`, true},
		{`100`, `1e2`, true},
		{`0.001`, `1E-3`, true},
		{`-0`, `0.0`, true},
		{`1`, `-1`, false},
		{`12345678901234567890`, `12345678901234567891`, false},
		{`1e999999999999`, `1e999999999999`, true},
		{`1e999999999999`, `10e999999999998`, false}, // nobody counts with these
		{`1`, `"1"`, false},
		{`{"a":1,"b":[1,2]}`, `{"b":[1,2.0],"a":1}`, true},
		{`[1,2]`, `[2,1]`, false},
		{`{"a":1}`, `{"b":1}`, false},
		{`{}`, `null`, false},
	} {
		if got := mustParse(t, tt.a).Equal(mustParse(t, tt.b)); got != tt.want {
			t.Errorf("%s = %s: %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestNewFloat(t *testing.T) {
	for f, want := range map[float64]string{1: "1.0", 0.5: "0.5", 1e30: "1e+30", -2.25: "-2.25", math.Inf(1): "null"} {
		if got := string(NewFloat(f).Append(nil)); got != want {
			t.Errorf("%g: %s, want %s", f, got, want)
		}
	}
}

// FuzzJSON checks that we accept what encoding/json accepts, but for what is not UTF-8 and very deep, that what we write
// means the same, and that writing and reading are inverse.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.50,{"b":null}],"\u00e9":"\ud800"}`, `[true,false]`, `-1.5E+7`, `"\b"`, `{"a":1,"a":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		n, err := ParseJSON(text)
		if err != nil {
			if errors.Is(err, ErrJSON) && json.Valid(text) {
				t.Fatalf("refused %q", text)
			}
			return
		}
		out := n.Append(nil)
		var want, got any
		if err := json.Unmarshal(text, &want); err != nil {
			if strings.Contains(err.Error(), "cannot unmarshal number") {
				return // larger than a float
			}
			t.Fatalf("accepted %q: %v", text, err)
		}
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%q came back as %q: %v", text, out, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q came back as %q:\n%s", text, out, diff)
		}
		again, err := ParseJSON(out)
		if err != nil || !n.Equal(again) || string(again.Append(nil)) != string(out) {
			t.Errorf("%q is read again as %q, %v", out, again.Append(nil), err)
		}
	})
}
