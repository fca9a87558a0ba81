package topic

import "strings"

// node is one level of the filters with wildcards.
type node[K comparable, V any] struct {
	level string
	kids  []*node[K, V]          // while few
	index map[string]*node[K, V] // all children, instead of kids, once there were more than fewKids
	plus  *node[K, V]            // the level "+"
	here  *set[K, V]             // of the filter that ends with this level
	rest  *set[K, V]             // of the filter that ends with "#" behind this level
}

// fewKids is up to how many children are compared one by one; a map for fewer costs more than it saves.
const fewKids = 8

// grow returns the set of filter and makes it and the nodes on the way to it if they are missing.
func (n *node[K, V]) grow(filter string) *set[K, V] {
	for i := 0; i <= len(filter); {
		end := levelEnd(filter, i)
		switch level := filter[i:end]; level {
		case "#":
			return ensure(&n.rest)
		case "+":
			n = ensure(&n.plus)
		default:
			kid := findKid(n, level)
			if kid == nil {
				// A copy, because a node outlives the filter that brought it, and must not pin that.
				kid = &node[K, V]{level: strings.Clone(level)}
				n.addKid(kid)
			}
			n = kid
		}
		i = end + 1
	}
	return ensure(&n.here)
}

// find returns the set of filter, nil if there is none.
func (n *node[K, V]) find(filter string) *set[K, V] {
	for i := 0; i <= len(filter); {
		end := levelEnd(filter, i)
		switch level := filter[i:end]; level {
		case "#":
			return n.rest
		case "+":
			n = n.plus
		default:
			n = findKid(n, level)
		}
		if n == nil {
			return nil
		}
		i = end + 1
	}
	return n.here
}

// remove deletes key from the set of the filter whose levels from i on lead there, and then what became empty.
func (n *node[K, V]) remove(filter string, i int, key K) (removed bool) {
	if i > len(filter) {
		return drop(&n.here, key)
	}
	end := levelEnd(filter, i)
	level := filter[i:end]
	if level == "#" {
		return drop(&n.rest, key)
	}
	if level == "+" {
		if n.plus == nil {
			return false
		}
		if removed = n.plus.remove(filter, end+1, key); n.plus.empty() {
			n.plus = nil
		}
		return removed
	}
	kid := findKid(n, level)
	if kid == nil {
		return false
	}
	if removed = kid.remove(filter, end+1, key); kid.empty() {
		n.removeKid(kid)
	}
	return removed
}

func (n *node[K, V]) empty() bool {
	return n.here == nil && n.rest == nil && n.plus == nil && len(n.kids) == 0 && len(n.index) == 0
}

func findKid[K comparable, V any, S Text](n *node[K, V], level S) *node[K, V] {
	if n.index != nil {
		return n.index[string(level)]
	}
	for _, kid := range n.kids {
		if kid.level == string(level) {
			return kid
		}
	}
	return nil
}

func (n *node[K, V]) addKid(kid *node[K, V]) {
	if n.index == nil && len(n.kids) < fewKids {
		n.kids = append(n.kids, kid)
		return
	}
	if n.index == nil {
		n.index = make(map[string]*node[K, V], 2*fewKids)
		for _, k := range n.kids {
			n.index[k.level] = k
		}
		n.kids = nil
	}
	n.index[kid.level] = kid
}

func (n *node[K, V]) removeKid(kid *node[K, V]) {
	if n.index != nil {
		if delete(n.index, kid.level); len(n.index) == 0 {
			n.index = nil // a map that was large stays large
		}
		return
	}
	for i, k := range n.kids {
		if k == kid {
			last := len(n.kids) - 1
			n.kids[i], n.kids[last] = n.kids[last], nil
			if n.kids = n.kids[:last]; last == 0 {
				n.kids = nil
			}
			return
		}
	}
}

// ensure returns what p points to, made if it is missing.
func ensure[T any](p **T) *T {
	if *p == nil {
		*p = new(T)
	}
	return *p
}

// drop deletes key from the set and then the set if it is empty.
func drop[K comparable, V any](p **set[K, V], key K) (removed bool) {
	if *p == nil {
		return false
	}
	if removed = (*p).delete(key); (*p).empty() {
		*p = nil
	}
	return removed
}
