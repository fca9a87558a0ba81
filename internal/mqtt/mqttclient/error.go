package mqttclient

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// ErrSessionLost ends what was in flight when the server has forgotten the session: whether it has the message is unknown.
// It wraps fairlead.ErrUnavailable.
var ErrSessionLost = fmt.Errorf("%w: the server has lost the session, and what became of the message is unknown", fairlead.ErrUnavailable)

// ErrUnknownSession ends a connection of version 5 on which the server has a session that nobody here knows: see [Config.AdoptSession]. It wraps fairlead.ErrConflict.
var ErrUnknownSession = fmt.Errorf("%w: the server has a session that this process does not know", fairlead.ErrConflict)

// ErrNotConnected is returned by calls that need a connection while there is none. It wraps fairlead.ErrUnavailable.
var ErrNotConnected = fmt.Errorf("%w: not connected", fairlead.ErrUnavailable)

// A ServerError is a connection that the server refused in CONNACK, or ended by DISCONNECT. It wraps the
// [fairlead.PlatformError].
type ServerError struct {
	Platform  fairlead.PlatformError
	Packet    mqtt.Type       // TypeConnAck or TypeDisconnect
	Code      mqtt.ReasonCode // in CONNACK before version 5, one of the ConnAck constants
	Reference string          // the other server to use, if it named one (version 5)
	Moved     bool            // it is the one to use from now on
}

// Error returns the refusal in one line.
func (e *ServerError) Error() string { return e.Platform.Error() }

// Unwrap returns the [fairlead.PlatformError].
func (e *ServerError) Unwrap() error { return &e.Platform }

func refused(clientID string, v mqtt.Version, p *mqtt.ConnAck) error {
	e := &ServerError{Packet: mqtt.TypeConnAck, Code: mqtt.ReasonCode(p.Code), Reference: p.ServerReference}
	e.Platform = fairlead.PlatformError{
		Op: fmt.Sprintf("connect as %q", clientID), Code: strconv.Itoa(int(p.Code)), Detail: p.Reason, Kind: KindOf(e.Code),
	}
	if v != mqtt.V5 {
		e.Platform.Kind = kindOf3(p.Code)
	}
	e.Moved = v == mqtt.V5 && e.Code == mqtt.ReasonServerMoved
	return e
}

func disconnected(p *mqtt.Disconnect) error {
	e := &ServerError{
		Packet: mqtt.TypeDisconnect, Code: p.Code, Reference: p.ServerReference, Moved: p.Code == mqtt.ReasonServerMoved,
		Platform: fairlead.PlatformError{Op: "stay connected", Code: strconv.Itoa(int(p.Code)), Detail: p.Reason, Kind: KindOf(p.Code)},
	}
	if e.Platform.Kind == nil {
		e.Platform.Kind = fairlead.ErrUnavailable // an end without a reason, which clients only should send
	}
	return e
}

// kindOf3 is for the return codes of versions 3.1 and 3.1.1. AWS IoT is reported to use 7 for policies, too.
func kindOf3(code byte) error {
	switch code {
	case mqtt.ConnAckBadVersion, mqtt.ConnAckBadClientID:
		return fairlead.ErrInvalid
	case mqtt.ConnAckBadCredentials:
		return fairlead.ErrUnauthenticated
	case mqtt.ConnAckNotAuthorized, 7:
		return fairlead.ErrDenied
	}
	return fairlead.ErrUnavailable
}

// KindOf returns the kind of failure that a reason code of version 5 stands for, nil for those that are none.
func KindOf(c mqtt.ReasonCode) error {
	if !c.Failed() {
		return nil
	}
	switch c {
	case mqtt.ReasonBadCredentials, mqtt.ReasonBadAuthenticationMethod:
		return fairlead.ErrUnauthenticated
	case mqtt.ReasonNotAuthorized, mqtt.ReasonBanned:
		return fairlead.ErrDenied
	case mqtt.ReasonMessageRateTooHigh, mqtt.ReasonQuotaExceeded, mqtt.ReasonConnectionRateExceeded, mqtt.ReasonReceiveMaximumExceeded:
		return fairlead.ErrThrottled
	case mqtt.ReasonPacketTooLarge:
		return fairlead.ErrTooLarge
	case mqtt.ReasonSessionTakenOver, mqtt.ReasonPacketIDInUse:
		return fairlead.ErrConflict
	case mqtt.ReasonPacketIDNotFound:
		return fairlead.ErrNotFound
	case mqtt.ReasonMalformedPacket, mqtt.ReasonProtocolError, mqtt.ReasonUnsupportedVersion, mqtt.ReasonClientIDNotValid,
		mqtt.ReasonTopicFilterInvalid, mqtt.ReasonTopicNameInvalid, mqtt.ReasonTopicAliasInvalid, mqtt.ReasonPayloadFormatInvalid,
		mqtt.ReasonRetainNotSupported, mqtt.ReasonQoSNotSupported, mqtt.ReasonSharedNotSupported,
		mqtt.ReasonSubscriptionIDsNotSupported, mqtt.ReasonWildcardsNotSupported:
		return fairlead.ErrInvalid
	}
	return fairlead.ErrUnavailable
}

// refusedMessage is a PUBACK, PUBREC or PUBCOMP with the code of a failure.
func refusedMessage(topic []byte, p *mqtt.Ack) error {
	return &fairlead.PlatformError{
		Op: fmt.Sprintf("publish to %.200q", topic), Code: strconv.Itoa(int(p.Code)), Detail: p.Reason, Kind: KindOf(p.Code),
	}
}

// violation is what we find wrong with the peer, where the codec cannot.
func violation(code mqtt.ReasonCode, format string, args ...any) error {
	return &mqtt.Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

// isViolation returns the code to disconnect with.
func isViolation(err error) (mqtt.ReasonCode, bool) {
	var e *mqtt.Error
	if !errors.As(err, &e) {
		return 0, false
	}
	return e.Code, true
}

// unavailable wraps what a network says.
func unavailable(doing string, err error) error {
	if _, ok := isViolation(err); ok {
		return fmt.Errorf("%s: %w", doing, err)
	}
	var platform *fairlead.PlatformError
	if errors.As(err, &platform) { // it has said what it is
		return fmt.Errorf("%s: %w", doing, err)
	}
	if kind := alertKind(err); kind != nil {
		return fmt.Errorf("%s: %w: %w", doing, kind, err)
	}
	return fmt.Errorf("%s: %w: %w", doing, fairlead.ErrUnavailable, err)
}
