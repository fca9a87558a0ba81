package topic

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestSplitShared(t *testing.T) {
	for _, c := range []struct {
		filter, group, rest string
		want                error
	}{
		{"$share/workers/jobs/#", "workers", "jobs/#", nil}, // [MQTT-4.8.2-1]
		{"$share/a b$/+/x", "a b$", "+/x", nil},
		{"$share/g//", "g", "/", nil},
		{"$share/g/$share/h/x", "g", "$share/h/x", nil}, // the name of a topic, as any other
		{"$share/ü/x", "ü", "x", nil},
		{"a/#", "", "a/#", nil}, // not shared
		{"$share", "", "$share", nil},
		{"$SHARE/g/x", "", "$SHARE/g/x", nil},
		{"/$share/g/x", "", "/$share/g/x", nil},
		{"$shared/g/x", "", "$shared/g/x", nil},
		{"", "", "", ErrEmpty},
		{"a#", "", "", ErrWildcard},
		{"$share/", "", "", ErrShare},    // [MQTT-4.8.2-1] a group of at least one character
		{"$share//x", "", "", ErrShare},  // likewise
		{"$share/g", "", "", ErrShare},   // [MQTT-4.8.2-2] a slash behind the group
		{"$share/g/", "", "", ErrShare},  // [MQTT-4.8.2-2] a filter behind the slash
		{"$share/+/x", "", "", ErrShare}, // [MQTT-4.8.2-2] no wildcards in the group
		{"$share/#/x", "", "", ErrShare},
		{"$share/a+/x", "", "", ErrShare},
		{"$share/#", "", "", ErrShare},
		{"$share/g/a#", "", "", ErrWildcard},
		{"$share/g/#/a", "", "", ErrWildcard},
		{"$share/g/a\x00", "", "", ErrEncoding},
		{"$share/\xff/a", "", "", ErrEncoding},
		{"$share/g/" + strings.Repeat("a", MaxBytes), "", "", ErrTooLong},
	} {
		group, rest, err := SplitShared(c.filter)
		if !errors.Is(err, c.want) {
			t.Errorf("%.30q: got %v, want %v", c.filter, err, c.want)
		}
		if err == nil && (group != c.group || rest != c.rest) {
			t.Errorf("%q: got %q and %q", c.filter, group, rest)
		}
		g, r, err := SplitShared([]byte(c.filter))
		if !errors.Is(err, c.want) || err == nil && (string(g) != group || string(r) != rest) {
			t.Errorf("%.30q in bytes: got %q, %q, %v", c.filter, g, r, err)
		}
	}
}

// FuzzSplitShared: what is taken apart makes the same filter again, and both parts hold what they promise.
func FuzzSplitShared(f *testing.F) {
	for _, s := range []string{"$share/g/a/#", "$share//x", "$share/g", "a/b", "$share/+/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, filter string) {
		group, rest, err := SplitShared(filter)
		if err != nil {
			return
		}
		if again := "$share/" + group + "/" + rest; IsShared(filter) && again != filter || !IsShared(filter) && rest != filter {
			t.Errorf("%q became %q and %q", filter, group, rest)
		}
		if strings.ContainsAny(group, "/+#\x00") || ValidateFilter(rest) != nil || ValidateFilter(filter) != nil {
			t.Errorf("%q is accepted: %q, %q", filter, group, rest)
		}
	})
}

func TestSharesTakeTurns(t *testing.T) {
	var s Shares[int, byte]
	add := func(group, filter string, key int) {
		if added, err := s.Add(group, filter, key, byte(key)); !added || err != nil {
			t.Fatal(group, filter, key, added, err)
		}
	}
	const members = 40 // more than the set keeps without an index
	for key := range members {
		add("workers", "jobs/+", key)
	}
	add("workers", "jobs/#", 7) // the same group with another filter is another share
	add("audit", "jobs/+", 7)
	if s.Len() != members+2 {
		t.Errorf("got %d subscriptions, want %d", s.Len(), members+2)
	}
	got := map[string][]int{}
	for range 2 * members {
		s.MatchBytes([]byte("jobs/1"), func(sh *Share[int, byte]) {
			key, value, ok := sh.Next(nil)
			if !ok || int(value) != key {
				t.Fatal(key, value, ok)
			}
			id := fmt.Sprintf("%s %s %d", sh.Group(), sh.Filter(), sh.Len())
			got[id] = append(got[id], key)
		})
	}
	if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, []string{"audit jobs/+ 1", "workers jobs/# 1", "workers jobs/+ 40"}) {
		t.Fatalf("got %q", keys)
	}
	for i, key := range got["workers jobs/+ 40"] {
		if key != i%members {
			t.Fatalf("message %d goes to %d", i, key)
		}
	}
	s.Match("other", func(*Share[int, byte]) { t.Error("a foreign name matches") })
}

func TestShareNextPassesOver(t *testing.T) {
	var s Shares[string, bool]
	for _, k := range []string{"a", "b", "c"} {
		if _, err := s.Add("g", "x", k, k != "b"); err != nil {
			t.Fatal(err)
		}
	}
	if added, err := s.Add("g", "x", "b", false); added || err != nil {
		t.Errorf("again: %v, %v", added, err)
	}
	next := func(take func(string, bool) bool) (got string) {
		s.Match("x", func(sh *Share[string, bool]) { got, _, _ = sh.Next(take) })
		return got
	}
	willing := func(_ string, v bool) bool { return v }
	var order string
	for range 4 {
		order += next(willing)
	}
	if order != "acac" {
		t.Errorf("got %s, want acac", order)
	}
	if got := next(func(string, bool) bool { return false }); got != "" {
		t.Errorf("got %q, though nobody is willing", got)
	}
	if v, ok := s.Value("g", "x", "c"); !v || !ok {
		t.Error("value of c")
	}
	if _, ok := s.Value("g", "y", "c"); ok {
		t.Error("value in a share that is not there")
	}
}

func TestSharesForgetTheEmpty(t *testing.T) {
	var s Shares[int, struct{}]
	for _, f := range []string{"a", "a/+", "a/#"} {
		for key := range 3 {
			if _, err := s.Add("g", f, key, struct{}{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := s.Add("g", "a#", 1, struct{}{}); !errors.Is(err, ErrWildcard) {
		t.Errorf("got %v", err)
	}
	if s.Remove("g", "a", 9) || s.Remove("h", "a", 1) || s.Remove("g", "b", 1) {
		t.Error("removed what was not there")
	}
	for key := range 3 {
		for _, f := range []string{"a", "a/+", "a/#"} {
			if !s.Remove("g", f, key) || s.Remove("g", f, key) {
				t.Errorf("remove %s of %d", f, key)
			}
		}
	}
	if s.Len() != 0 || s.tree.Len() != 0 || !s.tree.root.empty() {
		t.Errorf("%d subscriptions and %d shares are left", s.Len(), s.tree.Len())
	}
}
