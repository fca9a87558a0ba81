package astartewire

import (
	"errors"
	"maps"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseIntrospection(t *testing.T) {
	type m = map[string]InterfaceVersion
	for _, c := range []struct {
		in   string
		want m // nil for an error
	}{
		{"", m{}},
		{"org.example.Temps:1:0;org.example.P:0:3", m{"org.example.Temps": {1, 0}, "org.example.P": {0, 3}}},
		{"Temps:0:0", m{"Temps": {0, 0}}},
		{"a:+1:007", m{"a": {1, 7}}},
		{"a:1:0;a:2:1", m{"a": {2, 1}}},
		{"a:2147483647:0", m{"a": {2147483647, 0}}},
		{"a:2147483648:0", nil},
		{"a:1:0;", nil},
		{";a:1:0", nil},
		{"a:1:0;;b:1:0", nil},
		{";", nil},
		{"a:1", nil},
		{"a:1:0:0", nil},
		{"a:1:", nil},
		{"a::1", nil},
		{":1:1", nil},
		{"a:-1:0", nil},
		{"a:1.0:0", nil},
		{"a:0x1:0", nil},
		{"a:1_0:0", nil},
		{"a: 1:0", nil},
		{"a:1:0 ", nil},
		{"a-b:1:0", nil},
		{"org.a-b.C:1:0", m{"org.a-b.C": {1, 0}}},
		{"1a:1:0", nil},
		{"ä:1:0", nil},
		{"\xff:1:0", nil},
	} {
		got, err := ParseIntrospection([]byte(c.in))
		if (c.want == nil) != errors.Is(err, ErrIntrospection) || !cmp.Equal(got, c.want) {
			t.Errorf("%q: got %v, %v, want %v", c.in, got, err, c.want)
		}
	}
}

func TestAppendIntrospection(t *testing.T) {
	got := AppendIntrospection([]byte(">"), map[string]InterfaceVersion{"b.B": {0, 12}, "a.A": {1, 0}})
	if want := ">a.A:1:0;b.B:0:12"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// interfaceName is the platform's own pattern (astarte_core interface.ex).
var interfaceName = regexp.MustCompile(`^([a-zA-Z][a-zA-Z0-9]*\.([a-zA-Z0-9][a-zA-Z0-9-]*\.)*)?[a-zA-Z][a-zA-Z0-9]*$`)

// FuzzIntrospection compares with a parser built on regular expressions, and with what the writer makes of the result.
func FuzzIntrospection(f *testing.F) {
	for _, s := range []string{
		"", "org.example.Temps:1:0;org.example.P:0:3", "a:1:0;", "a.b-c.d:1:2", "a:+1:00;a:2:2", "a.1-.b:0:1", "a.-.b:0:1",
	} {
		f.Add([]byte(s))
	}
	version := regexp.MustCompile(`^[+-]?[0-9]+$`)
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ParseIntrospection(b)
		ok := true
		if len(b) > 0 {
			for _, item := range strings.Split(string(b), ";") {
				parts := strings.Split(item, ":")
				if len(parts) != 3 || !interfaceName.MatchString(parts[0]) {
					ok = false
					break
				}
				for _, v := range parts[1:] {
					n := strings.TrimLeft(strings.TrimLeft(v, "+-"), "0")
					tooLarge := len(n) > 10 || len(n) == 10 && n > "2147483647"
					ok = ok && version.MatchString(v) && (v[0] != '-' || n == "") && !tooLarge
				}
			}
		}
		if ok != (err == nil) {
			t.Fatalf("%q: got %v, want valid %v", b, err, ok)
		}
		again, err2 := ParseIntrospection(AppendIntrospection(nil, got))
		if err == nil && (err2 != nil || !maps.Equal(got, again)) {
			t.Errorf("%q: got %v, again %v, %v", b, got, again, err2)
		}
	})
}

func TestSameName(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"org.example.Temps", "org.example.temps", true},
		{"org.ex-ample.Temps", "org.example.temps", true},
		{"org.example.Temps", "org.example.Temp", false},
		{"a.b.C", "ab.C", false},
	} {
		if got := SameNameIgnoringCaseAndHyphens(c.a, c.b); got != c.want {
			t.Errorf("%q, %q: got %v, want %v", c.a, c.b, got, c.want)
		}
	}
}
