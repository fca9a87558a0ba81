package topic

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestPrefix(t *testing.T) {
	for filter, want := range map[string]string{
		"a": "a", "a/b": "a/b", "#": "", "+": "", "/#": "", "/+": "/", "a/#": "a", "a/+": "a/", "a/b/+/c": "a/b/", "a//#": "a/", "+/a": "",
	} {
		if got := Prefix(filter); got != want {
			t.Errorf("%q: got %q, want %q", filter, got, want)
		}
	}
}

func TestSeek(t *testing.T) {
	for _, c := range []struct{ filter, name, want string }{
		{"#", "$SYS/x", "%"},
		{"+/x", "$a", "%"},
		{"+/x", "dev", "dev\x01"}, // "dev-1/x" comes before "dev/x"
		{"+/x", "dev/a", "dev/x"},
		{"+/x", "dev/y", "dev0"},
		{"+/x", "dev/x", "dev/x\x01"},
		{"a/#", "a", "a/"},
		{"a/#", "a-b", "a/"},
		{"a/#", "a/b", "a/b\x01"},
		{"a/b", "a/b/c", ""},
		{"a/b/+", "a/c", ""},
		{"+/+", "a/b/c", "a/b0"},
	} {
		if got := Seek(c.filter, c.name); got != c.want {
			t.Errorf("%q behind %q: got %q, want %q", c.filter, c.name, got, c.want)
		}
	}
}

// FuzzSeek compares with a look at all names that a few letters can make.
func FuzzSeek(f *testing.F) {
	f.Add("+/a/#", uint64(1))
	f.Add("a/+/b", uint64(2))
	f.Add("$a/+", uint64(3))
	f.Fuzz(func(t *testing.T, filter string, seed uint64) {
		if ValidateFilter(filter) != nil || len(filter) > 40 {
			return
		}
		r := rand.New(rand.NewPCG(seed, 0))
		letters := []string{"a", "b", "/", "/", "-", "0", "$"}
		names := make([]string, 300)
		for i := range names {
			for range 1 + r.IntN(6) {
				names[i] += letters[r.IntN(len(letters))]
			}
			if parts := strings.Split(filter, "/"); r.IntN(2) == 0 { // something that is near
				for k := range parts {
					if parts[k] == "+" || parts[k] == "#" || r.IntN(6) == 0 {
						parts[k] = strings.ReplaceAll(names[r.IntN(i+1)], "/", "")
					}
				}
				names[i] = strings.Join(parts, "/")
			}
			if Validate(names[i]) != nil {
				names[i] = "a"
			}
		}
		slices.Sort(names)
		for i, name := range names {
			if Match(filter, name) && !strings.HasPrefix(name, Prefix(filter)) {
				t.Errorf("%q matches %q, which does not begin with its prefix %q", filter, name, Prefix(filter))
			}
			next := Seek(filter, name)
			if next != "" && next <= name {
				t.Fatalf("%q behind %q: got %q", filter, name, next)
			}
			for _, other := range names[i:] {
				if other > name && (next == "" || other < next) && Match(filter, other) {
					t.Fatalf("%q behind %q: got %q, but %q matches", filter, name, next, other)
				}
			}
		}
	})
}
