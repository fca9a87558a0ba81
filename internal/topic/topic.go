// Package topic knows the rules of MQTT topic names and topic filters, and finds the filters that match a name.
//
// A name such as "plant/7/temp" is a path of levels. A filter is a path in which a level may be a wildcard: "+"
// stands for exactly one level, and "#", only at the end, for all levels from there on, its parent included:
// "plant/#" matches "plant", "plant/7" and "plant/7/temp". A wildcard at the beginning does not match names that
// start with "$"; those belong to the server. (MQTT Version 3.1.1, section 4.7.)
//
// Functions that take Text work on a string or on bytes from a read buffer alike, without a copy.
package topic

import (
	"errors"
	"unicode/utf8"
)

// MaxBytes is the longest name or filter that MQTT can carry.
const MaxBytes = 65_535

// What can be wrong with a name or a filter.
var (
	ErrEmpty    = errors.New("topic is empty")
	ErrTooLong  = errors.New("topic is longer than 65535 bytes")
	ErrEncoding = errors.New("topic is not UTF-8 or has U+0000")
	ErrWildcard = errors.New("wildcard where none may stand")
	ErrTooDeep  = errors.New("topic filter has too many levels")
)

// Text is a string or the bytes of one.
type Text interface{ string | []byte }

// Validate reports, as one of the errors above, why a message cannot be published to name; nil if it can.
func Validate[S Text](name S) error {
	return validate(name, false)
}

// ValidateFilter reports, as one of the errors above, why nobody can subscribe to filter; nil if one can.
func ValidateFilter[S Text](filter S) error {
	return validate(filter, true)
}

// special marks the bytes that need a closer look; most topics have none of them but slashes.
var special = func() (t [256]bool) {
	t[0], t['+'], t['#'] = true, true, true
	for c := utf8.RuneSelf; c < len(t); c++ {
		t[c] = true
	}
	return t
}()

func validate[S Text](s S, wildcards bool) error {
	if len(s) == 0 {
		return ErrEmpty
	}
	if len(s) > MaxBytes {
		return ErrTooLong
	}
	ascii := true
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !special[c] {
			continue
		}
		switch {
		case c == 0:
			return ErrEncoding
		case c >= utf8.RuneSelf:
			ascii = false
		case !wildcards || !alone(s, i) || c == '#' && i != len(s)-1:
			return ErrWildcard
		}
	}
	if !ascii && !validUTF8(s) {
		return ErrEncoding
	}
	return nil
}

// alone reports whether the byte at i is a level by itself.
func alone[S Text](s S, i int) bool {
	return (i == 0 || s[i-1] == '/') && (i == len(s)-1 || s[i+1] == '/')
}

func validUTF8[S Text](s S) bool {
	switch s := any(s).(type) {
	case string:
		return utf8.ValidString(s)
	case []byte:
		return utf8.Valid(s)
	}
	return false
}
