package topic

// set holds the subscriptions to one filter. A nil set is empty.
type set[K comparable, V any] struct {
	entries []entry[K, V]
	index   map[K]int // position in entries; only once there are more than fewKeys
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

// fewKeys is up to how many keys are compared one by one. Filters that a whole fleet subscribes to need the index,
// or adding the fleet would take quadratic time.
const fewKeys = 16

func (s *set[K, V]) find(key K) int {
	if s.index != nil {
		if i, ok := s.index[key]; ok {
			return i
		}
		return -1
	}
	for i := range s.entries {
		if s.entries[i].key == key {
			return i
		}
	}
	return -1
}

func (s *set[K, V]) get(key K) (value V, found bool) {
	i := s.find(key)
	if i < 0 {
		return value, false
	}
	return s.entries[i].value, true
}

func (s *set[K, V]) put(key K, value V) (added bool) {
	if i := s.find(key); i >= 0 {
		s.entries[i].value = value
		return false
	}
	if s.entries == nil {
		s.entries = make([]entry[K, V], 0, 1) // most filters have one subscriber
	}
	s.entries = append(s.entries, entry[K, V]{key, value})
	switch {
	case s.index != nil:
		s.index[key] = len(s.entries) - 1
	case len(s.entries) > fewKeys:
		s.index = make(map[K]int, 2*fewKeys)
		for i := range s.entries {
			s.index[s.entries[i].key] = i
		}
	}
	return true
}

// delete moves the last entry into the gap.
func (s *set[K, V]) delete(key K) (removed bool) {
	i := s.find(key)
	if i < 0 {
		return false
	}
	last := len(s.entries) - 1
	if i != last {
		s.entries[i] = s.entries[last]
		if s.index != nil {
			s.index[s.entries[i].key] = i
		}
	}
	s.entries[last] = entry[K, V]{} // lets go of what the key refers to
	s.entries = s.entries[:last]
	if s.index != nil {
		delete(s.index, key)
	}
	return true
}

func (s *set[K, V]) empty() bool { return s == nil || len(s.entries) == 0 }

func (s *set[K, V]) each(visit func(K, V)) {
	if s == nil {
		return
	}
	for i := range s.entries {
		visit(s.entries[i].key, s.entries[i].value)
	}
}
