package topic

import "strings"

// MaxLevels is how many levels a filter in a [Tree] may have. It bounds the depth of every walk. MQTT itself sets
// no limit; brokers do (mosquitto: 200).
const MaxLevels = 128

// Tree finds, among many filters, those that match a name. Each filter holds any number of keys (subscribers), and
// each key of a filter one value (the options of that subscription). The zero Tree is empty and ready.
//
// Filters without a wildcard live in one hash table, so that a hundred thousand of them cost little memory and one
// look-up; those with wildcards in a trie of levels. A match visits each node of the trie at most once, so no
// choice of filters makes it cost more than the filters themselves. A Tree is not safe for concurrent use.
type Tree[K comparable, V any] struct {
	exact map[string]*set[K, V]
	root  node[K, V]
	count int
}

// Len returns the number of subscriptions: pairs of filter and key.
func (t *Tree[K, V]) Len() int { return t.count }

// Add subscribes key to filter, or changes the value if it is subscribed already; added tells which. The error is
// one of [ValidateFilter], or ErrTooDeep. The tree keeps the string.
func (t *Tree[K, V]) Add(filter string, key K, value V) (added bool, err error) {
	if err := ValidateFilter(filter); err != nil {
		return false, err
	}
	if strings.Count(filter, "/") >= MaxLevels {
		return false, ErrTooDeep
	}
	var s *set[K, V]
	if hasWildcard(filter) {
		s = t.root.grow(filter)
	} else if s = t.exact[filter]; s == nil {
		if t.exact == nil {
			t.exact = make(map[string]*set[K, V])
		}
		s = new(set[K, V])
		t.exact[filter] = s
	}
	if added = s.put(key, value); added {
		t.count++
	}
	return added, nil
}

// Remove ends the subscription of key to filter; removed tells whether there was one.
func (t *Tree[K, V]) Remove(filter string, key K) (removed bool) {
	if hasWildcard(filter) {
		removed = t.root.remove(filter, 0, key)
	} else if s := t.exact[filter]; s != nil {
		if removed = s.delete(key); s.empty() {
			delete(t.exact, filter)
		}
	}
	if removed {
		t.count--
	}
	return removed
}

// Value returns the value of the subscription of key to filter.
func (t *Tree[K, V]) Value(filter string, key K) (value V, found bool) {
	s := t.exact[filter]
	if hasWildcard(filter) {
		s = t.root.find(filter)
	}
	if s == nil {
		return value, false
	}
	return s.get(key)
}

// Match calls visit for each subscription whose filter matches name, in no particular order: several times for a
// key that has several such filters. visit must not change the tree. Match does not allocate. It returns how many nodes
// of the trie it looked at, which is what it cost besides the visits.
func (t *Tree[K, V]) Match(name string, visit func(key K, value V)) (steps int) {
	return match(t, name, t.exact[name], visit)
}

// MatchBytes is Match for a name in a read buffer.
func (t *Tree[K, V]) MatchBytes(name []byte, visit func(key K, value V)) {
	match(t, name, t.exact[string(name)], visit)
}

func match[K comparable, V any, S Text](t *Tree[K, V], name S, exact *set[K, V], visit func(K, V)) (steps int) {
	if len(name) == 0 {
		return 0
	}
	exact.each(visit)
	if name[0] != '$' {
		return walk(&t.root, name, 0, visit)
	}
	// Wildcards at the first level do not reach the server's own topics [MQTT-4.7.2-1].
	end := levelEnd(name, 0)
	if kid := findKid(&t.root, name[:end]); kid != nil {
		return walk(kid, name, end+1, visit)
	}
	return 0
}

// walk visits all filters under n that match the levels of name from i on; i is behind the end if none are left. It
// returns how many nodes it came by.
func walk[K comparable, V any, S Text](n *node[K, V], name S, i int, visit func(K, V)) (steps int) {
	n.rest.each(visit)
	if i > len(name) {
		n.here.each(visit)
		return 1
	}
	if n.plus == nil && n.kids == nil && n.index == nil {
		return 1
	}
	end := levelEnd(name, i)
	if kid := findKid(n, name[i:end]); kid != nil {
		steps = walk(kid, name, end+1, visit)
	}
	if n.plus != nil {
		steps += walk(n.plus, name, end+1, visit)
	}
	return steps + 1
}

func hasWildcard(filter string) bool { return strings.ContainsAny(filter, "+#") }
