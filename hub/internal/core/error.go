package core

import (
	"errors"
	"strings"
)

// Kinds of failure. Services and storage return errors that wrap one of them; each dialect turns the kind into
// its platform's own code and text, and no other code does.
var (
	// ErrInvalid means the request itself is malformed or breaks a rule; repeating it cannot help.
	ErrInvalid = errors.New("invalid")
	// ErrUnauthenticated means that the caller did not prove who it is.
	ErrUnauthenticated = errors.New("unauthenticated")
	// ErrDenied means that the caller is known and may not do this.
	ErrDenied = errors.New("denied")
	// ErrNotFound means that the named object does not exist (or must not be seen by this caller).
	ErrNotFound = errors.New("not found")
	// ErrConflict means that the object exists already or has changed since the caller looked.
	ErrConflict = errors.New("conflict")
	// ErrTooLarge means that a size or count limit would be exceeded.
	ErrTooLarge = errors.New("too large")
	// ErrUnreachable means that a device has no session that could take the message.
	ErrUnreachable = errors.New("unreachable")
	// ErrStorage means that the disk refused (full, failing); nothing was changed, the caller may try again later.
	ErrStorage = errors.New("storage unavailable")
	// ErrStopping means that the hub is shutting down; nothing was changed.
	ErrStopping = errors.New("stopping")
)

// Kinds lists every kind, so that each edge can be tested to have an answer for all of them.
var Kinds = []error{
	ErrInvalid, ErrUnauthenticated, ErrDenied, ErrNotFound, ErrConflict, ErrTooLarge, ErrUnreachable, ErrStorage, ErrStopping,
}

// Plain returns the words of an error for people: without those for its kind, which are for programs.
func Plain(err error) string { return PlainText(err.Error()) }

// PlainText is [Plain] for the text of an error.
func PlainText(s string) string {
	for again := true; again; {
		again = false
		for _, k := range Kinds {
			short := strings.TrimSuffix(strings.TrimPrefix(s, k.Error()+": "), ": "+k.Error())
			short = strings.Replace(short, ": "+k.Error()+": ", ": ", 1)
			again = again || short != s
			s = short
		}
	}
	return s
}
