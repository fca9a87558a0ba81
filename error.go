package fairlead

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kinds of failure. Every error of the SDK that a program may want to act on wraps one of them; test with [errors.Is]
// and never by text. An error that wraps none is a mistake in the program, a context that ended, or something that nobody foresaw.
var (
	// ErrInvalid means that the request or the configuration itself breaks a rule; repeating it cannot help.
	ErrInvalid = errors.New("invalid")
	// ErrUnauthenticated means that the platform does not believe who we are: credentials are wrong, expired or revoked.
	ErrUnauthenticated = errors.New("unauthenticated")
	// ErrDenied means that the platform knows us, and we may not do this.
	ErrDenied = errors.New("denied")
	// ErrNotFound means that the named object does not exist.
	ErrNotFound = errors.New("not found")
	// ErrConflict means that the object exists already, or has changed since we looked.
	ErrConflict = errors.New("conflict")
	// ErrTooLarge means that one message or document is larger than may be.
	ErrTooLarge = errors.New("too large")
	// ErrThrottled means that the platform asks us to slow down.
	ErrThrottled = errors.New("throttled")
	// ErrUnavailable means that the platform cannot be reached, or fails at its end; the same may succeed later.
	ErrUnavailable = errors.New("unavailable")
	// ErrFull means that a limit of the outbox is reached. It passes when messages are sent, expire or are deleted.
	ErrFull = errors.New("outbox full")
	// ErrStorage means that the device's disk refused: full, read-only or failing. Nothing was accepted.
	ErrStorage = errors.New("storage unavailable")
	// ErrDamaged means that a file's content is not what was written there.
	ErrDamaged = errors.New("damaged")
	// ErrInUse means that another process, or another part of this one, has the file open.
	ErrInUse = errors.New("in use")
	// ErrExpired means that the time of a certificate, token or message has run out, or has not begun.
	ErrExpired = errors.New("expired")
	// ErrClosed means that the object was closed before or during the call.
	ErrClosed = errors.New("closed")
)

// A PlatformError is what a platform answered when it refused. Code and Detail are the platform's own, so that its
// documentation can be searched for them. [errors.Is] finds Kind:
//
//	var refusal *fairlead.PlatformError
//	if errors.As(err, &refusal) && errors.Is(err, fairlead.ErrThrottled) {
//		wait(refusal.RetryAfter)
//	}
type PlatformError struct {
	Op         string        // what we asked, such as `update shadow "pump-7"`
	Code       string        // the platform's code, verbatim: "409", "404001"; "" if it gave none
	Detail     string        // the platform's text, verbatim; "" if it gave none
	RetryAfter time.Duration // what the platform advised, 0 if it gave no advice
	Kind       error         // one of the Err values of this package; nil if the code says nothing that we know
}

// Error returns all that is known in one line. Detail comes from outside and is quoted.
func (e *PlatformError) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Op != "" {
		b.WriteString(": ")
	}
	b.WriteString("refused by the platform")
	if e.Code != "" {
		fmt.Fprintf(&b, " with code %q", e.Code)
	}
	if e.Kind != nil {
		fmt.Fprintf(&b, ": %v", e.Kind)
	}
	if e.Detail != "" {
		fmt.Fprintf(&b, ": %q", e.Detail)
	}
	if e.RetryAfter > 0 {
		fmt.Fprintf(&b, " (try again after %v)", e.RetryAfter)
	}
	return b.String()
}

// Unwrap returns Kind.
func (e *PlatformError) Unwrap() error { return e.Kind }
