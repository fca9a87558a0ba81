package astartewire

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestResolve(t *testing.T) {
	iface := mustInterface(t, datastream(TypeInteger, "/fixed/one", "/room/y", "/%{a}/x", "/%{a}/deep/%{b}/end", "/l/m/n"))
	long := "/l" + strings.Repeat("/m", 70)
	for _, c := range []struct {
		path     string
		endpoint string
		err      error
	}{
		{"/fixed/one", "/fixed/one", nil},
		{"/room/y", "/room/y", nil},
		{"/room/x", "/%{a}/x", nil}, // the fixed level leads nowhere, the parameter does
		{"/other/x", "/%{a}/x", nil},
		{"/l/x", "/%{a}/x", nil},
		{"/1 ä.%{/x", "/%{a}/x", nil},
		{"/a%/x", "/%{a}/x", nil},
		{"/room/deep/b/end", "/%{a}/deep/%{b}/end", nil},
		{"/l/m/n", "/l/m/n", nil},
		{"", "", ErrAmbiguousPath},
		{"/", "", ErrAmbiguousPath},
		{"/room", "", ErrAmbiguousPath},
		{"/other", "", ErrAmbiguousPath},
		{"/other/deep", "", ErrAmbiguousPath},
		{"/l/m", "", ErrAmbiguousPath},
		{"/fixed/one/y", "", ErrMappingNotFound},
		{"/room/z", "", ErrMappingNotFound},
		{"/other/y", "", ErrMappingNotFound},
		{"/fixed/One", "", ErrMappingNotFound},
		{"fixed/one", "", ErrMappingNotFound},
		{"room/y", "", ErrMappingNotFound},
		{"/fixed/one/", "", ErrMappingNotFound},
		{"/room/y/", "", ErrMappingNotFound},
		{"/%{a}/x", "", ErrMappingNotFound},
		{"/z%{a}z/x", "", ErrMappingNotFound},
		{"/+/x", "", ErrMappingNotFound},
		{"/a/#", "", ErrMappingNotFound},
		{"/a+b/x", "", ErrMappingNotFound},
		{"/a\x00/x", "", ErrMappingNotFound},
		{long, "", ErrMappingNotFound},
		{"//", "", ErrInvalidPath},
		{"//x", "", ErrInvalidPath},
		{"/a//x", "", ErrInvalidPath},
		{"/a/x//", "", ErrInvalidPath},
		{"/\xff/x", "", ErrInvalidPath},
		{"/nothing/\xff", "", ErrInvalidPath},
	} {
		m, err := iface.Resolve(c.path)
		got := ""
		if m != nil {
			got = m.Endpoint
		}
		if got != c.endpoint || !errors.Is(err, c.err) {
			t.Errorf("%q: got %q, %v, want %q, %v", c.path, got, err, c.endpoint, c.err)
		}
	}
	if _, err := new(Interface).Resolve("/a"); !errors.Is(err, ErrMappingNotFound) {
		t.Errorf("zero interface: got %v", err)
	}
	if err := CheckPath("/a//b"); !errors.Is(err, ErrInvalidPath) {
		t.Errorf("CheckPath: got %v", err)
	}
	if err := CheckPath("/a/b/"); err != nil {
		t.Errorf("CheckPath: got %v", err)
	}
}

func TestResolveObject(t *testing.T) {
	object := func(endpoints ...string) *Interface {
		return mustInterface(t, edit(t, datastream(TypeInteger, endpoints...), `aggregation="object"`))
	}
	for _, c := range []struct {
		iface *Interface
		path  string
		err   error
	}{
		{object("/s/a", "/s/b"), "/s", nil},
		{object("/s/a", "/s/b"), "/s/a", ErrMappingNotFound},
		{object("/s/a", "/s/b"), "/s/", ErrMappingNotFound},
		{object("/s/a", "/s/b"), "/t", ErrMappingNotFound},
		{object("/s/a", "/s/b"), "", ErrMappingNotFound},
		{object("/s/a", "/s/b"), "/", ErrMappingNotFound},
		{object("/s/a", "/s/b"), "s", ErrMappingNotFound},
		{object("/%{r}/t/a", "/%{r}/t/b"), "/room 1/t", nil},
		{object("/%{r}/t/a", "/%{r}/t/b"), "/room", ErrMappingNotFound},
		{object("/%{r}/t/a", "/%{r}/t/b"), "/+/t", ErrMappingNotFound},
		{object("/%{r}/t/a", "/%{r}/t/b"), "/%{r}/t", ErrMappingNotFound},
		{object("/%{r}/t/a", "/%{r}/t/b"), "/room//t", ErrInvalidPath},
		{object("/%{r}/t/a", "/%{r}/t/b"), "/\xff/t", ErrInvalidPath},
		{object("/a", "/b"), "", nil},
		{object("/a", "/b"), "/", nil},
		{object("/a", "/b"), "/a", ErrMappingNotFound},
		{mustInterface(t, datastream(TypeInteger, "/a")), "", ErrMappingNotFound},
	} {
		o, err := c.iface.ResolveObject(c.path)
		if !errors.Is(err, c.err) || (err == nil) != (o != nil) {
			t.Errorf("%s at %q: got %v, %v, want %v", c.iface.Mappings[0].Endpoint, c.path, o, err, c.err)
		}
	}
	iface := object("/s/a", "/s/b")
	o, _ := iface.ResolveObject("/s")
	if o.Key([]byte("b")) != &iface.Mappings[1] || o.Key([]byte("c")) != nil || o.ExplicitTimestamp() {
		t.Errorf("got %v, %v", o.Key([]byte("b")), o.Key([]byte("c")))
	}
}

// slowResolve is the reference: it matches the path against each endpoint by regular expressions.
func slowResolve(i *Interface, path string) (endpoint string, err error) {
	if strings.Contains(path, "//") || !utf8.ValidString(path) {
		return "", ErrInvalidPath
	}
	if path == "" || path == "/" {
		return "", ErrAmbiguousPath
	}
	if strings.ContainsAny(path, "+#\x00") || regexp.MustCompile(`%{[a-zA-Z_][a-zA-Z0-9_]*}`).MatchString(path) {
		return "", ErrMappingNotFound
	}
	err = ErrMappingNotFound
	for _, m := range i.Mappings {
		levels := strings.Split(m.Endpoint[1:], "/")
		pattern := "^"
		for n, l := range levels {
			if l[0] == '%' {
				l = `[^/]+`
			}
			if pattern += "/" + l; regexp.MustCompile(`(?s)` + pattern + "$").MatchString(path) {
				if n == len(levels)-1 {
					return m.Endpoint, nil
				}
				err = ErrAmbiguousPath
			}
		}
	}
	return "", err
}

func compareResolve(t *testing.T, i *Interface, path string) {
	t.Helper()
	want, wantErr := slowResolve(i, path)
	m, err := i.Resolve(path)
	got := ""
	if m != nil {
		got = m.Endpoint
	}
	if got != want || err != wantErr {
		t.Fatalf("%q: got %q, %v, want %q, %v", path, got, err, want, wantErr)
	}
}

// FuzzResolve compares with slowResolve, on endpoints that come from the fuzzer too.
func FuzzResolve(f *testing.F) {
	f.Add("/fixed/one /room/y /%{a}/x /%{a}/deep/%{b}/end", "/room/x")
	f.Add("/a/%{b} /c", "/a/ä")
	f.Add("/%{a}/b /c/d", "/c")
	f.Fuzz(func(t *testing.T, endpoints, path string) {
		for _, e := range strings.Fields(endpoints) {
			if !validEndpoint(e) {
				return
			}
		}
		i, err := ParseInterface([]byte(datastream(TypeInteger, strings.Fields(endpoints)...)))
		if err == nil {
			compareResolve(t, i, path)
		}
	})
}

// TestResolveRandom compares with slowResolve on many small interfaces, whose paths often meet. Of the random endpoints
// it keeps those that do not overlap.
func TestResolveRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	levels := []string{"a", "b", "c", "%{p}"}
	random := func() string {
		var s string
		for range 1 + rng.IntN(4) {
			s += "/" + levels[rng.IntN(len(levels))]
		}
		return s
	}
	resolved := map[error]int{}
	for range 500 {
		var endpoints []string
		for range 6 {
			next := append(slices.Clone(endpoints), random())
			if _, err := ParseInterface([]byte(datastream(TypeInteger, next...))); err == nil {
				endpoints = next
			}
		}
		i := mustInterface(t, datastream(TypeInteger, endpoints...))
		for range 20 {
			path := strings.ReplaceAll(random(), "%{p}", "x")
			compareResolve(t, i, path)
			_, err := i.Resolve(path)
			resolved[err]++
		}
	}
	if len(resolved) != 3 {
		t.Errorf("not all outcomes seen: %v", resolved)
	}
}

// TestResolveCost builds the widest branching that definitions allow and asks for paths that must try both branches at
// each level.
func TestResolveCost(t *testing.T) {
	var endpoints []string
	for n := range 1 << 9 { // every combination of a fixed level and a parameter, told apart by the last level
		e := ""
		for bit := range 9 {
			e += []string{"/a", "/%{p}"}[n>>bit&1]
		}
		endpoints = append(endpoints, fmt.Sprintf("%s/e%d", e, n))
	}
	i := mustInterface(t, datastream(TypeInteger, endpoints...))
	compareResolve(t, i, strings.Repeat("/a", 9)+"/e511")
	compareResolve(t, i, strings.Repeat("/a", 9)+"/nothing")
	compareResolve(t, i, strings.Repeat("/a", 9))
}
