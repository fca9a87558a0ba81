package mqtt

import (
	"errors"
	"fmt"

	"github.com/fairlead-iot/fairlead/internal/topic"
)

// ReasonCode tells why a connection or a request is refused. The numbers are those of version 5; an older version
// can say most of them only by closing the connection.
type ReasonCode uint8

// The reason codes that the codec itself gives.
const (
	ReasonMalformedPacket    ReasonCode = 0x81
	ReasonProtocolError      ReasonCode = 0x82
	ReasonUnsupportedVersion ReasonCode = 0x84
	ReasonTopicFilterInvalid ReasonCode = 0x8f
	ReasonTopicNameInvalid   ReasonCode = 0x90
	ReasonPacketTooLarge     ReasonCode = 0x95
)

// Kinds of [Error], for errors.Is.
var (
	// ErrMalformed: the bytes are no packet of this type.
	ErrMalformed = errors.New("malformed packet")
	// ErrProtocol: the bytes can be read, but the protocol forbids what they say.
	ErrProtocol = errors.New("protocol error")
	// ErrTooLarge: the packet is longer than the limit given to the FrameReader.
	ErrTooLarge = errors.New("packet too large")
	// ErrVersion: a CONNECT asks for a version that the codec does not speak. A server answers it with the
	// return code [ConnAckBadVersion] before it closes.
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
	case ReasonPacketTooLarge:
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
