package awswire

import (
	"fmt"
	"strconv"
)

// A ShadowError is a refusal of the shadow service: a code like those of HTTP and the service's own text.
type ShadowError struct {
	Code    int
	Message string
}

func (e *ShadowError) Error() string { return strconv.Itoa(e.Code) + " " + e.Message }

// The refusals of the shadow service (AWS IoT Core Developer Guide, "Device Shadow error messages", read 2026-11). The text of
// ErrShadowBusy is unspecified.
var (
	ErrShadowJSON         = &ShadowError{400, "Invalid JSON"}
	ErrShadowNoState      = &ShadowError{400, "Missing required node: state"}
	ErrShadowState        = &ShadowError{400, "State node must be an object"}
	ErrShadowDesired      = &ShadowError{400, "Desired node must be an object"}
	ErrShadowReported     = &ShadowError{400, "Reported node must be an object"}
	ErrShadowVersion      = &ShadowError{400, "Invalid version"}
	ErrShadowToken        = &ShadowError{400, "Invalid clientToken"}
	ErrShadowNesting      = &ShadowError{400, "JSON contains too many levels of nesting; maximum is 6"}
	ErrShadowNode         = &ShadowError{400, "State contains an invalid node"}
	ErrShadowUnauthorized = &ShadowError{401, "Unauthorized"}
	ErrShadowForbidden    = &ShadowError{403, "Forbidden"}
	ErrShadowNoThing      = &ShadowError{404, "Thing not found"}
	ErrShadowConflict     = &ShadowError{409, "Version conflict"}
	ErrShadowTooLarge     = &ShadowError{413, "The payload exceeds the maximum size allowed"}
	ErrShadowEncoding     = &ShadowError{415, "Unsupported documented encoding; supported encoding is UTF-8"}
	ErrShadowBusy         = &ShadowError{429, "Too many requests"}
	ErrShadowInternal     = &ShadowError{500, "Internal service failure"}
)

// ErrNoShadow returns the refusal for a shadow that is not there (observed in published tests against the service).
func ErrNoShadow(thing, shadow string) *ShadowError {
	name := thing
	if shadow != "" {
		name += "~" + shadow
	}
	return &ShadowError{404, fmt.Sprintf("No shadow exists with name: '%s'", name)}
}

// Append appends the error document to b, as it is published on a rejected topic. at is in seconds; token is left out if it
// is empty.
func (e *ShadowError) Append(b []byte, at int64, token string) []byte {
	b = strconv.AppendInt(append(b, `{"code":`...), int64(e.Code), 10)
	b = AppendText(append(b, `,"message":`...), e.Message)
	return appendEnd(b, at, token)
}

// appendEnd ends a document of the shadow or jobs service: the time, and the token if there is one.
func appendEnd(b []byte, at int64, token string) []byte {
	b = strconv.AppendInt(append(b, `,"timestamp":`...), at, 10)
	return appendToken(b, token)
}

func appendToken(b []byte, token string) []byte {
	if token != "" {
		b = AppendText(append(b, `,"clientToken":`...), token)
	}
	return append(b, '}')
}
