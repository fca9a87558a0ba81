package mqtt

import (
	"errors"
	"fmt"

	"github.com/fairlead-iot/fairlead/internal/topic"
)

// Kinds of [Error], for errors.Is.
var (
	// ErrMalformed: the bytes are no packet of this type.
	ErrMalformed = errors.New("malformed packet")
	// ErrProtocol: the bytes can be read, but the protocol forbids what they say.
	ErrProtocol = errors.New("protocol error")
	// ErrTooLarge: the packet is longer than the limit given to the FrameReader, or has more parts of a kind than
	// MaxRepeated.
	ErrTooLarge = errors.New("packet too large")
	// ErrVersion: a CONNECT asks for a version that the codec does not speak, or that was not asked for. A server
	// answers it with the return code [ConnAckBadVersion] before it closes.
	ErrVersion = errors.New("unsupported protocol version")
)

// Error is a violation of the protocol by the peer. The connection cannot be used any more.
type Error struct {
	Code ReasonCode
	Text string // what was found; holds no payload, user name or password
}

// Error returns the kind and what was found.
func (e *Error) Error() string { return e.Unwrap().Error() + ": " + e.Text }

// Unwrap returns the kind: one of ErrMalformed, ErrProtocol, ErrTooLarge, ErrVersion.
func (e *Error) Unwrap() error {
	switch e.Code {
	case ReasonMalformedPacket:
		return ErrMalformed
	case ReasonPacketTooLarge, ReasonQuotaExceeded:
		return ErrTooLarge
	case ReasonUnsupportedVersion:
		return ErrVersion
	}
	return ErrProtocol
}

func malformed(format string, args ...any) error {
	return &Error{Code: ReasonMalformedPacket, Text: fmt.Sprintf(format, args...)}
}

func violation(code ReasonCode, format string, args ...any) error {
	return &Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

// topicError and filterError tell bytes that are no string at all from strings that are no topic.
func topicError(t Type, name []byte, err error) error {
	if errors.Is(err, topic.ErrEncoding) {
		return malformed("%v with topic %.80q: %v", t, name, err)
	}
	return violation(ReasonTopicNameInvalid, "%v with topic %.80q: %v", t, name, err)
}

func filterError(t Type, filter []byte, err error) error {
	if errors.Is(err, topic.ErrEncoding) {
		return malformed("%v with filter %.80q: %v", t, filter, err)
	}
	return violation(ReasonTopicFilterInvalid, "%v with filter %.80q: %v", t, filter, err)
}
