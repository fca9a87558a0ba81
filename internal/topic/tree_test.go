package topic

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
)

// subscription is one entry of the model that the tree is compared with.
type subscription struct {
	filter string
	key    int
}

func found(t *Tree[int, int], name string) map[subscription]int {
	got := map[subscription]int{}
	t.Match(name, func(key, value int) { got[subscription{key: key}] += value })
	again := map[subscription]int{}
	t.MatchBytes([]byte(name), func(key, value int) { again[subscription{key: key}] += value })
	if !maps.Equal(got, again) {
		return nil
	}
	return got
}

// play runs operations, chosen by the bytes, on a tree and on a plain map, and compares them with each other.
func play(t *testing.T, filters, names []string, ops []byte) {
	var tree Tree[int, int]
	model := map[subscription]int{}
	for i := 0; i+2 < len(ops); i += 3 {
		s := subscription{filters[int(ops[i])%len(filters)], int(ops[i+1] % 40)} // 40: more than fewKeys
		_, has := model[s]
		if ops[i+2]%3 != 0 {
			value := 1 << (ops[i+2] % 8)
			if added, err := tree.Add(s.filter, s.key, value); err != nil || added == has {
				t.Fatalf("add %v: got %v, %v; had it: %v", s, added, err, has)
			}
			model[s] = value
		} else {
			if removed := tree.Remove(s.filter, s.key); removed != has {
				t.Fatalf("remove %v: got %v, want %v", s, removed, has)
			}
			delete(model, s)
		}
		if want, has := model[s]; has {
			if got, ok := tree.Value(s.filter, s.key); !ok || got != want {
				t.Fatalf("value of %v: got %v, %v, want %v", s, got, ok, want)
			}
		} else if _, ok := tree.Value(s.filter, s.key); ok {
			t.Fatalf("value of %v: got one, want none", s)
		}
		if tree.Len() != len(model) {
			t.Fatalf("length: got %d, want %d", tree.Len(), len(model))
		}
	}
	for _, name := range names {
		want := map[subscription]int{}
		for s, value := range model {
			if Match(s.filter, name) {
				want[subscription{key: s.key}] += value
			}
		}
		if got := found(&tree, name); !maps.Equal(got, want) {
			t.Fatalf("%q:\n got %v\nwant %v", name, got, want)
		}
	}
	for s := range model {
		tree.Remove(s.filter, s.key)
	}
	if tree.Len() != 0 || !tree.root.empty() || len(tree.exact) != 0 {
		t.Fatalf("the emptied tree holds something: %+v", tree)
	}
}

func TestTreeAgainstMatch(t *testing.T) {
	filters := texts(3, true, "a", "b", "$", "", "+")
	names := texts(4, false, "a", "b", "c", "$", "")
	r := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		ops := make([]byte, 3*r.IntN(1000))
		for i := range ops {
			ops[i] = byte(r.Uint32())
		}
		play(t, filters, names, ops)
	}
}

func FuzzTree(f *testing.F) {
	filters := append(texts(2, true, "a", "$", "+"), "a/+/c", "a/b/c", "a/+/#", "+/+/c/d", "a/b/c/d/e/#")
	names := append(texts(2, false, "a", "$", "x"), "a/b/c", "a/b/c/d", "a/b/c/d/e", "a/b/c/d/e/f")
	f.Add([]byte{1, 1, 1, 1, 1, 0})
	f.Fuzz(func(t *testing.T, ops []byte) { play(t, filters, names, ops) })
}

// Many children and many keys change the form in which nodes and sets keep them, forth and back.
func TestTreeGrowsAndShrinks(t *testing.T) {
	var tree Tree[int, int]
	const n = 1000
	for i := range n {
		for _, filter := range []string{fmt.Sprintf("fleet/%d/#", i), "fleet/all", "fleet/+"} {
			if added, err := tree.Add(filter, i, i); !added || err != nil {
				t.Fatal(filter, added, err)
			}
		}
	}
	for name, want := range map[string]int{"fleet/all": 2 * n, "fleet/7": n + 1, "fleet/7/x": 1, "fleet": 0, "fleet/x/y": 0} {
		got := 0
		tree.Match(name, func(int, int) { got++ })
		if got != want {
			t.Errorf("%s: got %d, want %d", name, got, want)
		}
	}
	for i := range n {
		for _, filter := range []string{fmt.Sprintf("fleet/%d/#", i), "fleet/all", "fleet/+"} {
			if !tree.Remove(filter, i) || tree.Remove(filter, i) {
				t.Fatalf("remove %s of %d", filter, i)
			}
		}
	}
	if tree.Len() != 0 || !tree.root.empty() {
		t.Errorf("got %d subscriptions, want none", tree.Len())
	}
}

func TestTreeRefusesFilters(t *testing.T) {
	var tree Tree[string, int]
	for filter, want := range map[string]error{
		"": ErrEmpty, "a#": ErrWildcard, "a\x00": ErrEncoding,
		strings.Repeat("+/", MaxLevels):                          ErrTooDeep, // one more, and empty
		strings.Repeat("/", MaxBytes):                            ErrTooDeep,
		strings.TrimSuffix(strings.Repeat("+/", MaxLevels), "/"): nil,
	} {
		if _, err := tree.Add(filter, "k", 0); !errors.Is(err, want) {
			t.Errorf("%.20q: got %v, want %v", filter, err, want)
		}
		if got := tree.Remove(filter, "k"); got != (want == nil) {
			t.Errorf("remove %.20q: got %v", filter, got)
		}
	}
	tree.Match("", func(string, int) { t.Error("the empty name matches") })
}

// Filters made to branch at every level, names of tens of thousands of levels: a match must visit nodes, not paths
// through all ways to read the name.
func TestTreeStandsBombs(t *testing.T) {
	var tree Tree[int, int]
	const depth = 12
	for i := range 1 << depth { // all mixtures of "a" and "+"
		levels := make([]string, depth)
		for l := range levels {
			levels[l] = "a"
			if i>>l&1 == 1 {
				levels[l] = "+"
			}
		}
		if _, err := tree.Add(strings.Join(levels, "/"), i, 0); err != nil {
			t.Fatal(err)
		}
	}
	for l := 1; l < MaxLevels; l++ {
		if _, err := tree.Add(strings.Repeat("+/", l)+"#", -l, 0); err != nil {
			t.Fatal(err)
		}
	}
	count := 0
	visit := func(int, int) { count++ }
	for name, want := range map[string]int{
		strings.Repeat("a/", depth-1) + "a":    1<<depth + depth,
		strings.Repeat("a/", 32_000) + "a":     MaxLevels - 1,
		strings.Repeat("/", MaxBytes-1):        MaxLevels - 1,
		"$" + strings.Repeat("a/", 32_000):     0,
		"a/" + strings.Repeat("b", MaxBytes-2): 2,
	} {
		count = 0
		tree.Match(name, visit)
		if count != want {
			t.Errorf("%.10q with %d bytes: got %d, want %d", name, len(name), count, want)
		}
	}
}

func TestTreeMatchAllocatesNothing(t *testing.T) {
	var tree Tree[int, byte]
	for i := range 1000 {
		for _, filter := range []string{"r/%d/exact/topic", "r/%d/+/topic", "r/%d/#", "+/%d/exact/+"} {
			if _, err := tree.Add(fmt.Sprintf(filter, i), i, 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	name, count := []byte("r/777/exact/topic"), 0
	text := string(name)
	visit := func(int, byte) { count++ }
	if got := testing.AllocsPerRun(100, func() {
		tree.Match(text, visit)
		tree.MatchBytes(name, visit)
	}); got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
	if want := 101 * 2 * 4; count != want { // AllocsPerRun runs once more to warm up
		t.Errorf("got %d matches, want %d", count, want)
	}
}

// BenchmarkTree fills a tree with 100,000 filters and reports the memory for each, its text included, next to the
// time of a match.
func BenchmarkTree(b *testing.B) {
	for _, c := range []struct{ what, filter, name string }{
		{"exact", "realm/device-%05d/iface/value", "realm/device-00777/iface/value"},
		{"subtree", "realm/device-%05d/iface/#", "realm/device-00777/iface/value"},
	} {
		b.Run(c.what, func(b *testing.B) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var tree Tree[*int, byte]
			key, count := new(int), 0
			for i := range 100_000 {
				if _, err := tree.Add(fmt.Sprintf(c.filter, i), key, 1); err != nil {
					b.Fatal(err)
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			name := []byte(c.name)
			visit := func(*int, byte) { count++ }
			b.ReportAllocs()
			for b.Loop() {
				tree.MatchBytes(name, visit)
			}
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/100_000, "B/filter")
			if count != b.N {
				b.Errorf("got %d matches, want %d", count, b.N)
			}
			runtime.KeepAlive(&tree)
		})
	}
}

func BenchmarkMatch(b *testing.B) {
	filter, name := "realm/+/iface/#", []byte("realm/device-00777/iface/value")
	b.ReportAllocs()
	for b.Loop() {
		if !Match(filter, name) {
			b.Fatal("no match")
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	name := []byte("realm/device-00777/iface/value")
	b.ReportAllocs()
	for b.Loop() {
		if err := Validate(name); err != nil {
			b.Fatal(err)
		}
	}
}
