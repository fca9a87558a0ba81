package astartewire

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// ErrIntrospection means that an introspection message is malformed (platform: invalid_introspection).
var ErrIntrospection = errors.New("invalid introspection")

// An InterfaceVersion is the version of an interface that a device declares.
type InterfaceVersion struct {
	Major, Minor int
}

// ParseIntrospection reads the introspection that a device publishes on its base topic: "name:major:minor" items joined
// by semicolons; an empty message declares nothing. One bad item, an empty one included, makes the message invalid; of
// equal names the last one wins. Versions may have a sign and leading zeros, as on the platform; above 2^31-1 they are
// refused here, while the platform would fail later, when it stores them.
func ParseIntrospection(b []byte) (map[string]InterfaceVersion, error) {
	if len(b) == 0 {
		return map[string]InterfaceVersion{}, nil
	}
	text := string(b)
	m := make(map[string]InterfaceVersion, strings.Count(text, ";")+1)
	for item := range strings.SplitSeq(text, ";") {
		name, rest, ok1 := strings.Cut(item, ":")
		major, minor, ok2 := strings.Cut(rest, ":")
		maj, err1 := parseVersion(major)
		mnr, err2 := parseVersion(minor) // a fourth part leaves a colon in minor, which is no digit
		if !ok1 || !ok2 || err1 != nil || err2 != nil || !ValidInterfaceName(name) {
			return nil, ErrIntrospection
		}
		m[name] = InterfaceVersion{Major: maj, Minor: mnr}
	}
	return m, nil
}

func parseVersion(s string) (int, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt32 {
		return 0, ErrIntrospection
	}
	return int(n), nil
}

// AppendIntrospection appends the introspection message that declares m to b, in order of names.
func AppendIntrospection(b []byte, m map[string]InterfaceVersion) []byte {
	for i, name := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, name...)
		b = strconv.AppendInt(append(b, ':'), int64(m[name].Major), 10)
		b = strconv.AppendInt(append(b, ':'), int64(m[name].Minor), 10)
	}
	return b
}

// ValidInterfaceName reports whether name has the form of an interface name (astarte_core interface.ex):
// ^([a-zA-Z][a-zA-Z0-9]*\.([a-zA-Z0-9][a-zA-Z0-9-]*\.)*)?[a-zA-Z][a-zA-Z0-9]*$, that is labels joined by dots, of
// which the first and the last begin with a letter and have no hyphen. Length and reserved names are not looked at.
func ValidInterfaceName(name string) bool {
	first := true
	for {
		label, rest, more := strings.Cut(name, ".")
		if !validLabel(label, first || !more) {
			return false
		}
		if !more {
			return true
		}
		name, first = rest, false
	}
}

// validLabel checks one label; outer ones (first, last) are stricter.
func validLabel(label string, outer bool) bool {
	for i := range len(label) {
		c := label[i]
		switch {
		case isLetter(c):
		case c >= '0' && c <= '9':
			if i == 0 && outer {
				return false
			}
		case c == '-':
			if i == 0 || outer {
				return false
			}
		default:
			return false
		}
	}
	return label != ""
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// SameNameIgnoringCaseAndHyphens reports whether two interface names collide on the platform, which derives table names
// from them: a realm cannot hold two spellings of such a name.
func SameNameIgnoringCaseAndHyphens(a, b string) bool {
	return strings.EqualFold(strings.ReplaceAll(a, "-", ""), strings.ReplaceAll(b, "-", ""))
}
