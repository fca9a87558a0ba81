package astartewire

import (
	"errors"
	"strings"
	"unicode/utf8"
)

var (
	// ErrInvalidPath means that a path is not UTF-8 or has an empty level inside (platform: invalid_path).
	ErrInvalidPath = errors.New("invalid path")
	// ErrMappingNotFound means that a path belongs to no endpoint (platform: mapping_not_found).
	ErrMappingNotFound = errors.New("mapping not found")
	// ErrAmbiguousPath means that a path stops short of endpoints that begin with it (platform: ambiguous_path).
	ErrAmbiguousPath = errors.New("ambiguous path")
)

// A node is a level of the tree of endpoints.
type node struct {
	fixed   map[string]*node
	param   *node
	mapping *Mapping // where an endpoint ends
}

// find resolves the rest of a path. As endpoints do not overlap, at most one mapping can match; partial means that
// endpoints begin with the path. A node is entered at most once, so the cost is bounded by the number of nodes.
func (n *node) find(rest string) (m *Mapping, partial bool) {
	if rest == "" {
		return n.mapping, n.mapping == nil
	}
	level, rest := cutLevel(rest)
	if next := n.fixed[level]; next != nil {
		if m, partial = next.find(rest); m != nil {
			return m, false
		}
	}
	if n.param != nil {
		m, p := n.param.find(rest)
		return m, m == nil && (partial || p)
	}
	return nil, partial
}

// cutLevel splits "/a/b" into "a" and "/b".
func cutLevel(path string) (level, rest string) {
	if i := strings.IndexByte(path[1:], '/'); i >= 0 {
		return path[1 : 1+i], path[1+i:]
	}
	return path[1:], ""
}

// compile prepares i for resolving paths.
func (i *Interface) compile() {
	i.exact, i.root = map[string]*Mapping{}, &node{}
	for k := range i.Mappings {
		m := &i.Mappings[k]
		if !strings.Contains(m.Endpoint, "%") {
			i.exact[m.Endpoint] = m
		}
		n := i.root
		for level, rest := cutLevel(m.Endpoint); ; level, rest = cutLevel(rest) {
			n = n.enter(level)
			if rest == "" {
				break
			}
		}
		n.mapping = m
	}
	if i.Aggregation == AggregationObject {
		i.compileObject()
	}
}

func (n *node) enter(level string) *node {
	if level[0] == '%' {
		if n.param == nil {
			n.param = &node{}
		}
		return n.param
	}
	next := n.fixed[level]
	if next == nil {
		if n.fixed == nil {
			n.fixed = map[string]*node{}
		}
		next = &node{}
		n.fixed[level] = next
	}
	return next
}

// overlaps reports whether a path could match two endpoints, or an endpoint be the beginning of another.
func (i *Interface) overlaps() bool {
	split := make([][]string, len(i.Mappings))
	for k := range i.Mappings {
		split[k] = strings.Split(i.Mappings[k].Endpoint[1:], "/")
		for _, other := range split[:k] {
			if overlap(split[k], other) {
				return true
			}
		}
	}
	return false
}

func overlap(a, b []string) bool {
	for l := range min(len(a), len(b)) {
		if a[l] != b[l] && a[l][0] != '%' && b[l][0] != '%' {
			return false
		}
	}
	return true
}

// Resolve returns the mapping whose endpoint matches path, which begins with a slash, or [ErrInvalidPath],
// [ErrMappingNotFound] or [ErrAmbiguousPath]. A fixed level matches literally, a parameter any text that is not empty.
//
// Stricter than the platform on purpose: a trailing slash, a level like "%{name}" (a wildcard in the platform's
// matcher), MQTT's wildcards and a zero byte match nothing, because each would store data under a path that no reader
// expects.
//
// On an object interface Resolve finds single endpoints, to which no data can be sent; see [Interface.ResolveObject].
func (i *Interface) Resolve(path string) (*Mapping, error) {
	if m := i.exact[path]; m != nil {
		return m, nil
	}
	path, err := checkPath(path)
	if err != nil {
		return nil, err
	}
	if i.root == nil {
		return nil, ErrMappingNotFound
	}
	m, partial := i.root.find(path)
	switch {
	case m != nil:
		return m, nil
	case partial:
		return nil, ErrAmbiguousPath
	}
	return nil, ErrMappingNotFound
}

// ResolveObject returns the object that is sent to path: the common beginning of the endpoints, which is "" or "/" for
// endpoints of one level. Any other path is [ErrMappingNotFound], also one that is too short, as on the platform, or
// [ErrInvalidPath]; and so is any path on an interface without object aggregation. The rules for levels are those of
// [Interface.Resolve].
func (i *Interface) ResolveObject(path string) (*Object, error) {
	path, err := checkPath(path)
	if err != nil {
		return nil, err
	}
	if i.object == nil {
		return nil, ErrMappingNotFound
	}
	for _, want := range i.base {
		if path == "" {
			return nil, ErrMappingNotFound
		}
		var level string
		if level, path = cutLevel(path); want != "" && level != want {
			return nil, ErrMappingNotFound
		}
	}
	if path != "" {
		return nil, ErrMappingNotFound
	}
	return i.object, nil
}

// CheckPath applies the platform's first check of a path, which comes before the interface is looked up: valid UTF-8,
// and no "//" in it. The error is [ErrInvalidPath].
func CheckPath(path string) error {
	if strings.Contains(path, "//") || !utf8.ValidString(path) {
		return ErrInvalidPath
	}
	return nil
}

// checkPath returns path with "/" made "", if it can match anything.
func checkPath(path string) (string, error) {
	if err := CheckPath(path); err != nil {
		return "", err
	}
	if path == "" || path == "/" {
		return "", nil
	}
	if path[0] != '/' || path[len(path)-1] == '/' || strings.ContainsAny(path, "+#\x00") || hasPlaceholder(path) {
		return "", ErrMappingNotFound
	}
	return path, nil
}

// hasPlaceholder reports whether something like %{name} is in path.
func hasPlaceholder(path string) bool {
	for {
		_, rest, ok := strings.Cut(path, "%{")
		if !ok {
			return false
		}
		if name, _, ok := strings.Cut(rest, "}"); ok && validToken(name) {
			return true
		}
		path = rest
	}
}
