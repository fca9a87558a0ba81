package crash

import (
	"slices"
	"testing"
)

// stream returns a stream of messages "1" to "n", of which those in acked are acknowledged; those in twice were sent
// two times.
func stream(once bool, n int, acked, twice string) *Stream {
	s := &Stream{Where: "w", Once: once}
	for i := range n {
		value := string(rune('1' + i))
		m := s.Add(value)
		m.Times = 1
		m.Acked = slices.Contains([]byte(acked), value[0])
		if slices.Contains([]byte(twice), value[0]) {
			m.Times = 2
		}
	}
	return s
}

func kinds(list []Violation) []string {
	var k []string
	for _, v := range list {
		k = append(k, v.Kind)
	}
	return k
}

func split(s string) []string {
	var out []string
	for _, r := range s {
		out = append(out, string(r))
	}
	return out
}

func TestStreamCheck(t *testing.T) {
	for _, c := range []struct {
		name   string
		stream *Stream
		stored string
		runs   int
		want   []string
	}{
		{"all there", stream(false, 5, "12345", ""), "12345", 0, nil},
		{"unacknowledged may be missing", stream(false, 5, "123", ""), "1235", 0, nil},
		{"repeated may be doubled", stream(false, 5, "12345", "34"), "1234345", 1, nil},
		{"nothing sent", stream(false, 0, "", ""), "", 0, nil},
		{"the last acknowledged is missing", stream(false, 5, "12345", ""), "1234", 0, []string{Missing}},
		{"one in the middle is missing", stream(false, 5, "12345", ""), "1245", 0, []string{Missing}},
		{"all are missing", stream(false, 5, "12345", ""), "", 0, []string{Missing, Missing, Missing, Missing}},
		{"doubled, but sent once", stream(false, 5, "12345", ""), "123345", 1, []string{Doubled}},
		{"doubled in a session that knows repetitions", stream(true, 5, "12345", "3"), "123345", 1, []string{Doubled}},
		{"swapped", stream(false, 5, "12345", ""), "12435", 1, []string{Disorder}},
		{"went back too often", stream(false, 5, "12345", "2345"), "12323454545", 1, []string{Disorder, Doubled, Doubled}},
		{"of nobody", stream(false, 5, "12345", ""), "12x345", 0, []string{Invented}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := kinds(c.stream.Check(split(c.stored), c.runs)); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// property makes a property: each change is a letter, "-" for unset, and upper case if acknowledged ("+" for unset).
func property(ops string) *Property {
	p := &Property{Where: "w"}
	for _, r := range ops {
		p.Add(state(r)).Acked = r == '+' || r >= 'A' && r <= 'Z'
	}
	return p
}

func state(r rune) *string {
	if r == '-' || r == '+' {
		return nil
	}
	if r >= 'A' && r <= 'Z' {
		r += 'a' - 'A'
	}
	s := string(r)
	return &s
}

func TestPropertyCheck(t *testing.T) {
	for _, c := range []struct {
		ops  string
		now  rune
		want string // "" for none
	}{
		{"", '-', ""},
		{"A", 'a', ""},
		{"ABc", 'b', ""},
		{"ABc", 'c', ""},
		{"AB-", '-', ""},
		{"AB-c", 'c', ""},
		{"a", '-', ""},
		{"A+", '-', ""},
		{"A", '-', Missing},
		{"A+B", '-', Missing},
		{"AB", 'a', Stale},
		{"A+", 'a', Stale},
		{"AB", 'x', Invented},
		{"", 'x', Invented},
	} {
		got := kinds(property(c.ops).Check(state(c.now)))
		if c.want == "" && len(got) > 0 || c.want != "" && !slices.Equal(got, []string{c.want}) {
			t.Errorf("after %q the state %q: got %v, want %q", c.ops, c.now, got, c.want)
		}
	}
}

func TestPropertyCheckReceived(t *testing.T) {
	for _, c := range []struct{ ops, received, want string }{
		{"", "", ""},
		{"AB+C", "ab-c", ""},
		{"AbC", "ac", ""},
		{"AbC", "abc", ""},
		{"A-C", "ac", ""},
		{"A-C", "a-c", ""},
		{"ABC", "ac", Missing},
		{"A+C", "ac", Missing},
		{"ABC", "ab", Missing},
		{"ABC", "abcc", Doubled},
		{"ABC", "abbc", Missing}, // and Doubled: what follows is out of step
		{"ABC", "bac", Missing},
	} {
		var received []*string
		for _, r := range c.received {
			received = append(received, state(r))
		}
		got := kinds(property(c.ops).CheckReceived(received))
		if c.want == "" && len(got) > 0 || c.want != "" && !slices.Contains(got, c.want) {
			t.Errorf("of %q the device got %q: got %v, want %q", c.ops, c.received, got, c.want)
		}
	}
}

func TestStreamCheckReceived(t *testing.T) {
	for _, c := range []struct {
		name     string
		stream   *Stream
		received string
		exactly  bool
		want     []string
	}{
		{"QoS 2", stream(true, 3, "123", "2"), "123", true, nil},
		{"QoS 2, doubled", stream(true, 3, "123", "2"), "1223", true, []string{Doubled}},
		{"QoS 2, new sessions", stream(false, 3, "123", "2"), "12323", true, []string{Doubled}},
		{"QoS 1, delivered again", stream(false, 3, "123", ""), "12323", false, nil},
		{"QoS 1, missing", stream(false, 3, "123", ""), "13", false, []string{Missing}},
		{"QoS 1, disorder", stream(false, 3, "123", ""), "132", false, []string{Disorder}},
	} {
		if got := kinds(c.stream.CheckReceived(split(c.received), c.exactly)); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestStreamCheckOrder(t *testing.T) {
	for _, c := range []struct {
		name, received string
		stream         *Stream
		want           []string
	}{
		{"some of them", "135", stream(true, 5, "", ""), nil},
		{"delivered again", "12312", stream(true, 5, "", ""), nil},
		{"disorder", "132", stream(true, 5, "", ""), []string{Disorder}},
		{"sent again, for another member", "132", stream(false, 5, "", "2"), nil},
		{"sent again, and known", "132", stream(true, 5, "", "2"), []string{Disorder}},
	} {
		if got := kinds(c.stream.CheckOrder("m", split(c.received))); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}
