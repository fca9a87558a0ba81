package topic

import "errors"

// ErrShare is what is wrong with a filter that begins as a shared subscription and then is none.
var ErrShare = errors.New("shared subscription is not $share/group/filter")

// sharePrefix begins the filter of a shared subscription. (MQTT Version 5.0, section 4.8.2.)
const sharePrefix = "$share/"

// IsShared reports whether filter asks for a shared subscription, a well-formed one or not.
func IsShared[S Text](filter S) bool {
	return len(filter) >= len(sharePrefix) && string(filter[:len(sharePrefix)]) == sharePrefix
}

// SplitShared takes "$share/group/filter" apart; for a filter that is not shared, group is empty and rest is the
// filter itself. What is returned refers to the argument, nothing is copied. The error is ErrShare if the group is
// empty or has a wildcard or nothing follows it, else one of [ValidateFilter] about rest.
func SplitShared[S Text](filter S) (group, rest S, err error) {
	if !IsShared(filter) {
		return group, filter, ValidateFilter(filter)
	}
	if len(filter) > MaxBytes {
		return group, rest, ErrTooLong
	}
	const start = len(sharePrefix)
	end := levelEnd(filter, start)
	if end == start || end+1 >= len(filter) {
		return group, rest, ErrShare
	}
	// A group is one level of a topic: the rules for names are those for it, but for the error.
	switch err := Validate(filter[start:end]); {
	case errors.Is(err, ErrWildcard):
		return group, rest, ErrShare
	case err != nil:
		return group, rest, err
	}
	if err := ValidateFilter(filter[end+1:]); err != nil {
		return group, rest, err
	}
	return filter[start:end], filter[end+1:], nil
}

// Shares finds, among many shared subscriptions, those whose filter matches a name. Subscriptions with the same group
// and the same filter are one [Share] with many members, of which each message goes to one. The zero Shares is empty
// and ready. It is not safe for concurrent use.
type Shares[K comparable, V any] struct {
	tree  Tree[shareName, *Share[K, V]]
	count int
}

// shareName tells the shares of a filter apart. With the filter in it, the tree need not be asked what matched.
type shareName struct{ group, filter string }

// Share is one shared subscription and its members.
type Share[K comparable, V any] struct {
	name    shareName
	members set[K, V]
	turn    int // index of the member to be asked first
}

// Group returns the name of the group.
func (s *Share[K, V]) Group() string { return s.name.group }

// Filter returns the filter, without the prefix and the group.
func (s *Share[K, V]) Filter() string { return s.name.filter }

// Len returns the number of members, at least 1.
func (s *Share[K, V]) Len() int { return len(s.members.entries) }

// Next returns the member whose turn it is. Members come up one after the other; those that take refuses, if it is not
// nil, are passed over. ok is false if it refuses all. take must not change the subscriptions.
func (s *Share[K, V]) Next(take func(key K, value V) bool) (key K, value V, ok bool) {
	n := len(s.members.entries)
	for i := range n {
		at := (s.turn + i) % n
		e := s.members.entries[at]
		if take == nil || take(e.key, e.value) {
			s.turn = at + 1
			return e.key, e.value, true
		}
	}
	return key, value, false
}

// Len returns the number of subscriptions: triples of group, filter and key.
func (t *Shares[K, V]) Len() int { return t.count }

// Add makes key a member of the share of group and filter (as [SplitShared] returns them), or changes its value if it
// is one already; added tells which. The error is one of [Tree.Add].
func (t *Shares[K, V]) Add(group, filter string, key K, value V) (added bool, err error) {
	name := shareName{group, filter}
	s, found := t.tree.Value(filter, name)
	if !found {
		s = &Share[K, V]{name: name}
		if _, err := t.tree.Add(filter, name, s); err != nil {
			return false, err
		}
	}
	if added = s.members.put(key, value); added {
		t.count++
	}
	return added, nil
}

// Remove ends the membership of key; removed tells whether there was one. A share without members is gone.
func (t *Shares[K, V]) Remove(group, filter string, key K) (removed bool) {
	name := shareName{group, filter}
	s, found := t.tree.Value(filter, name)
	if !found || !s.members.delete(key) {
		return false
	}
	t.count--
	if s.members.empty() {
		t.tree.Remove(filter, name)
	}
	return true
}

// Value returns the value of key in the share of group and filter.
func (t *Shares[K, V]) Value(group, filter string, key K) (value V, found bool) {
	s, found := t.tree.Value(filter, shareName{group, filter})
	if !found {
		return value, false
	}
	return s.members.get(key)
}

// Find returns the share of group and filter, nil if there is none.
func (t *Shares[K, V]) Find(group, filter string) *Share[K, V] {
	s, _ := t.tree.Value(filter, shareName{group, filter})
	return s
}

// Match calls visit for each share whose filter matches name, in no particular order. visit must not change the
// subscriptions; it may call [Share.Next]. It returns what [Tree.Match] does.
func (t *Shares[K, V]) Match(name string, visit func(*Share[K, V])) (steps int) {
	return t.tree.Match(name, func(_ shareName, s *Share[K, V]) { visit(s) })
}

// MatchBytes is Match for a name in a read buffer.
func (t *Shares[K, V]) MatchBytes(name []byte, visit func(*Share[K, V])) {
	t.tree.MatchBytes(name, func(_ shareName, s *Share[K, V]) { visit(s) })
}
