package identity

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// hidden is what is shown instead of a secret.
const hidden = "[secret]"

// A Secret is a token, password or shared key. Whatever prints, logs or encodes it shows "[secret]"; [Secret.Reveal] is the
// only way to its content. The zero value is the empty secret, which means that there is none.
type Secret struct {
	// A pointer, because package fmt does not ask a Secret in an unexported field of another struct, and prints what it finds; for a
	// pointer that is a number.
	s *string
}

// NewSecret returns a secret with that content.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{&s}
}

// Reveal returns the content. Do not log it, nor make it part of an error.
func (s Secret) Reveal() string {
	if s.s == nil {
		return ""
	}
	return *s.s
}

// IsZero tells whether there is no secret.
func (s Secret) IsZero() bool { return s.s == nil }

// Equal compares in constant time, except for lengths.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// String returns "[secret]", or "" if there is none.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return hidden
}

// GoString is String for %#v.
func (s Secret) GoString() string { return fmt.Sprintf("identity.Secret(%q)", s.String()) }

// Format prints String for every verb, %x and %d included.
func (s Secret) Format(f fmt.State, verb rune) {
	if verb == 'v' && f.Flag('#') {
		_, _ = io.WriteString(f, s.GoString())
		return
	}
	_, _ = io.WriteString(f, s.String())
}

// MarshalText returns String: a document that shows a configuration does not show its secrets. It cannot be read back.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText sets the content, so that a Secret can be a field of a configuration file. It refuses what MarshalText wrote.
func (s *Secret) UnmarshalText(text []byte) error {
	if string(text) == hidden {
		return fmt.Errorf("read a secret: found %q, which stands in its place where it must not be shown", hidden)
	}
	*s = NewSecret(string(text))
	return nil
}

// LogValue returns String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
