package topic

import (
	"errors"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		s            string
		name, filter error
	}{
		{"a", nil, nil},
		{"/", nil, nil},             // [MQTT-4.7.3-1] needs one character, not one level
		{"//a/ b/", nil, nil},       // empty levels and spaces are ordinary
		{"$SYS/x", nil, nil},        // the server's own, but well formed
		{"täglich/温度/🌡", nil, nil},  // [MQTT-1.5.3-1]
		{"\ufeffa", nil, nil},       // [MQTT-1.5.3-3]
		{"a\u0001\u007f", nil, nil}, // should not be sent, need not be refused
		{"", ErrEmpty, ErrEmpty},    // [MQTT-4.7.3-1]
		{"a\x00b", ErrEncoding, ErrEncoding},
		{"a\xffb", ErrEncoding, ErrEncoding},
		{"a\xed\xa0\x80b", ErrEncoding, ErrEncoding}, // U+D800 [MQTT-1.5.3-1]
		{"a/\xc3", ErrEncoding, ErrEncoding},
		{"a\xc0\x80b", ErrEncoding, ErrEncoding}, // U+0000 in two bytes
		{strings.Repeat("a", MaxBytes), nil, nil},
		{strings.Repeat("a", MaxBytes+1), ErrTooLong, ErrTooLong}, // [MQTT-4.7.3-3]
		{"#", ErrWildcard, nil},
		{"+", ErrWildcard, nil},
		{"a/#", ErrWildcard, nil},
		{"/#", ErrWildcard, nil},
		{"+/+/#", ErrWildcard, nil},
		{"+/a/+", ErrWildcard, nil},
		{"a#", ErrWildcard, ErrWildcard}, // [MQTT-4.7.1-2]
		{"#a", ErrWildcard, ErrWildcard},
		{"a/#/b", ErrWildcard, ErrWildcard},
		{"#/", ErrWildcard, ErrWildcard},
		{"##", ErrWildcard, ErrWildcard},
		{"a+", ErrWildcard, ErrWildcard}, // [MQTT-4.7.1-3]
		{"+a/b", ErrWildcard, ErrWildcard},
		{"a/+b", ErrWildcard, ErrWildcard},
		{"++", ErrWildcard, ErrWildcard},
	} {
		if got := Validate(c.s); !errors.Is(got, c.name) {
			t.Errorf("Validate(%.20q): got %v, want %v", c.s, got, c.name)
		}
		if got := ValidateFilter([]byte(c.s)); !errors.Is(got, c.filter) {
			t.Errorf("ValidateFilter(%.20q): got %v, want %v", c.s, got, c.filter)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		filter, name string
		want         bool
	}{
		{"sport/tennis/player1/#", "sport/tennis/player1", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
		{"sport/tennis/player1/#", "sport/tennis/player2", false},
		{"sport/tennis/player1/#", "sport/tennis/player10", false},
		{"sport/#", "sport", true},
		{"#", "sport/tennis", true},
		{"#", "/", true},
		{"sport/tennis/+", "sport/tennis/player1", true},
		{"sport/tennis/+", "sport/tennis/player1/ranking", false},
		{"sport/+", "sport", false},
		{"sport/+", "sport/", true},
		{"+/+", "/finance", true},
		{"/+", "/finance", true},
		{"+", "/finance", false},
		{"+/tennis/#", "sport/tennis/a/b", true},
		{"a//b", "a//b", true},
		{"a/+/b", "a//b", true},
		{"a/b", "a/b/", false},
		{"a/b/", "a/b", false},
		{"a", "A", false}, // [MQTT-4.7.3-4] no normalisation: compared byte for byte
		{"\u00e9", "e\u0301", false},
		{"#", "$SYS/monitor", false}, // [MQTT-4.7.2-1]
		{"+/monitor", "$SYS/monitor", false},
		{"$SYS/#", "$SYS/", true},
		{"$SYS/#", "$SYS", true},
		{"$SYS/monitor/+", "$SYS/monitor/Clients", true},
		{"+/#", "a", true},
		{"a/#", "$a", false},
		{"a/+", "a/$b", true}, // the rule is for the first level only
		{"", "a", false},
		{"a", "", false},
	} {
		if got := Match(c.filter, c.name); got != c.want {
			t.Errorf("Match(%q, %q): got %v, want %v", c.filter, c.name, got, c.want)
		}
	}
}

// texts returns all topics of one to depth levels out of the given ones; with rest also those that end with "#".
func texts(depth int, rest bool, levels ...string) (all []string) {
	prefixes := []string{""}
	for range depth {
		var next []string
		for _, p := range prefixes {
			if rest {
				all = append(all, p+"#")
			}
			for _, l := range levels {
				if p+l != "" {
					all = append(all, p+l)
				}
				next = append(next, p+l+"/")
			}
		}
		prefixes = next
	}
	return all
}

// Covers is compared with its definition, on all short filters. Names that are one level longer, and a level that
// no filter has, make the names complete: a counterexample, if there is one, is among them.
func TestCoversAgainstItsDefinition(t *testing.T) {
	filters := texts(3, true, "a", "$", "+")
	names := texts(4, false, "a", "$", "z", "")
	matches := make([][]bool, len(filters))
	for i, f := range filters {
		matches[i] = make([]bool, len(names))
		for j, n := range names {
			matches[i][j] = Match(f, n)
		}
	}
	covered := 0
	for i, grant := range filters {
		for k, requested := range filters {
			want := true
			for j := range names {
				want = want && (!matches[k][j] || matches[i][j])
			}
			if got := Covers(grant, []byte(requested)); got != want {
				t.Errorf("Covers(%q, %q): got %v, want %v", grant, requested, got, want)
			}
			if want && i != k {
				covered++
			}
		}
	}
	if covered < 100 {
		t.Errorf("got %d pairs that cover, want more to believe the test", covered)
	}
}

func TestNothingAllocates(t *testing.T) {
	filter, name := []byte("realms/+/devices/#"), []byte("realms/tëst/devices/7/temperature")
	for what, f := range map[string]func(){
		"Validate":       func() { _ = Validate(name) },
		"ValidateFilter": func() { _ = ValidateFilter(filter) },
		"Match":          func() { _ = Match(filter, name) },
		"Covers":         func() { _ = Covers(filter, name) },
	} {
		if got := testing.AllocsPerRun(100, f); got != 0 {
			t.Errorf("%s: got %v allocations, want 0", what, got)
		}
	}
}

// matchReference is Match as one would write it first.
func matchReference(filter, name string) bool {
	if name[0] == '$' && strings.IndexByte("+#", filter[0]) >= 0 {
		return false
	}
	fs, ns := strings.Split(filter, "/"), strings.Split(name, "/")
	for i, f := range fs {
		switch {
		case f == "#":
			return true
		case i >= len(ns) || f != "+" && f != ns[i]:
			return false
		}
	}
	return len(fs) == len(ns)
}

func FuzzMatch(f *testing.F) {
	for _, seed := range []string{"a/b", "a/#", "+/b", "#", "$SYS/+", "/", "//", "é/+/#", "\xff", "a\x00"} {
		f.Add(seed, "a/b")
		f.Add(seed, "$SYS/é")
	}
	f.Fuzz(func(t *testing.T, filter, name string) {
		if (Validate(name) == nil) != (ValidateFilter(name) == nil && !strings.ContainsAny(name, "+#")) {
			t.Fatalf("%q: a name is a filter without wildcards", name)
		}
		if ValidateFilter(filter) != nil || Validate(name) != nil {
			Match(filter, name) // must only not panic
			Covers(filter, name)
			return
		}
		want := matchReference(filter, name)
		if got := Match([]byte(filter), name); got != want {
			t.Errorf("Match(%q, %q): got %v, want %v", filter, name, got, want)
		}
		if got := Covers(filter, name); got != want { // a name is a filter that matches itself alone
			t.Errorf("Covers(%q, %q): got %v, want %v", filter, name, got, want)
		}
		var tree Tree[int, int]
		if _, err := tree.Add(filter, 1, 2); err != nil {
			return // too deep
		}
		got := false
		tree.Match(name, func(int, int) { got = true })
		if got != want {
			t.Errorf("Tree %q matches %q: got %v, want %v", filter, name, got, want)
		}
	})
}
