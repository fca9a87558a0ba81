package mqtt

import (
	"strings"
	"testing"
)

// wire takes hex digits with spaces; a text in double quotes stands for a string field, with its length, one in single
// quotes for its characters, and brackets for a variable byte integer and as many bytes.
func wire(t testing.TB, s string) []byte {
	t.Helper()
	b, rest := wirePart(t, strings.Join(strings.Fields(s), " ")) // lines may be broken, but not within a text
	if rest != "" {
		t.Fatalf("%q: bracket too many", s)
	}
	return b
}

// wirePart stops behind a closing bracket.
func wirePart(t testing.TB, s string) (b []byte, rest string) {
	t.Helper()
	for s != "" {
		at := strings.IndexAny(s, `"'[]`)
		if at < 0 {
			return append(b, unhex(t, s)...), ""
		}
		b = append(b, unhex(t, s[:at])...)
		mark := s[at]
		s = s[at+1:]
		switch mark {
		case '[':
			var part []byte
			part, s = wirePart(t, s)
			b = append(appendVarint(b, len(part)), part...)
		case ']':
			return b, s
		default:
			text, after, ok := strings.Cut(s, string(mark))
			if !ok {
				t.Fatalf("%q: no closing %c", s, mark)
			}
			if mark == '"' {
				b = append(b, byte(len(text)>>8), byte(len(text)))
			}
			b, s = append(b, text...), after
		}
	}
	return b, ""
}
