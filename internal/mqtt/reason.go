package mqtt

import "strconv"

// ReasonCode tells how a request went or why a connection ends. The numbers are those of version 5 (section 2.4); an
// older version can say most of them only by closing the connection.
type ReasonCode uint8

// The reason codes of version 5. From 0x80 on they are failures.
const (
	ReasonSuccess                     ReasonCode = 0x00 // in DISCONNECT: the ordinary end; in SUBACK: QoS 0 is granted
	ReasonGrantedQoS1                 ReasonCode = 0x01
	ReasonGrantedQoS2                 ReasonCode = 0x02
	ReasonDisconnectWithWill          ReasonCode = 0x04
	ReasonNoMatchingSubscribers       ReasonCode = 0x10
	ReasonNoSubscriptionExisted       ReasonCode = 0x11
	ReasonContinueAuthentication      ReasonCode = 0x18
	ReasonReauthenticate              ReasonCode = 0x19
	ReasonUnspecified                 ReasonCode = 0x80
	ReasonMalformedPacket             ReasonCode = 0x81
	ReasonProtocolError               ReasonCode = 0x82
	ReasonImplementationSpecific      ReasonCode = 0x83
	ReasonUnsupportedVersion          ReasonCode = 0x84
	ReasonClientIDNotValid            ReasonCode = 0x85
	ReasonBadCredentials              ReasonCode = 0x86 // bad user name or password
	ReasonNotAuthorized               ReasonCode = 0x87
	ReasonServerUnavailable           ReasonCode = 0x88
	ReasonServerBusy                  ReasonCode = 0x89
	ReasonBanned                      ReasonCode = 0x8a
	ReasonServerShuttingDown          ReasonCode = 0x8b
	ReasonBadAuthenticationMethod     ReasonCode = 0x8c
	ReasonKeepAliveTimeout            ReasonCode = 0x8d
	ReasonSessionTakenOver            ReasonCode = 0x8e
	ReasonTopicFilterInvalid          ReasonCode = 0x8f
	ReasonTopicNameInvalid            ReasonCode = 0x90
	ReasonPacketIDInUse               ReasonCode = 0x91
	ReasonPacketIDNotFound            ReasonCode = 0x92
	ReasonReceiveMaximumExceeded      ReasonCode = 0x93
	ReasonTopicAliasInvalid           ReasonCode = 0x94
	ReasonPacketTooLarge              ReasonCode = 0x95
	ReasonMessageRateTooHigh          ReasonCode = 0x96
	ReasonQuotaExceeded               ReasonCode = 0x97
	ReasonAdministrativeAction        ReasonCode = 0x98
	ReasonPayloadFormatInvalid        ReasonCode = 0x99
	ReasonRetainNotSupported          ReasonCode = 0x9a
	ReasonQoSNotSupported             ReasonCode = 0x9b
	ReasonUseAnotherServer            ReasonCode = 0x9c
	ReasonServerMoved                 ReasonCode = 0x9d
	ReasonSharedNotSupported          ReasonCode = 0x9e // shared subscriptions
	ReasonConnectionRateExceeded      ReasonCode = 0x9f
	ReasonMaximumConnectTime          ReasonCode = 0xa0
	ReasonSubscriptionIDsNotSupported ReasonCode = 0xa1
	ReasonWildcardsNotSupported       ReasonCode = 0xa2 // in subscriptions
)

// Sender tells which end of a connection sends a packet. Some things only one of them may say.
type Sender uint8

// The two ends.
const (
	Client Sender = 1
	Server Sender = 2
)

// String returns "client" or "server".
func (s Sender) String() string {
	switch s {
	case Client:
		return "client"
	case Server:
		return "server"
	}
	return "sender " + strconv.Itoa(int(s))
}

// types is a set of packet types, one bit each.
type types uint16

const (
	inConnAck    types = 1 << TypeConnAck
	inPubAck     types = 1 << TypePubAck
	inPubRec     types = 1 << TypePubRec
	inPubRel     types = 1 << TypePubRel
	inPubComp    types = 1 << TypePubComp
	inSubAck     types = 1 << TypeSubAck
	inUnsubAck   types = 1 << TypeUnsubAck
	inDisconnect types = 1 << TypeDisconnect
	inAuth       types = 1 << TypeAuth

	inTaken    = inPubAck | inPubRec  // the answers to PUBLISH
	inReleased = inPubRel | inPubComp // the second half of QoS 2
)

// reasons holds, for each code, its name and the packets in which client and server may use it: table 2-6 of the
// specification, and the tables in the sections about the packets, which tell the sender. Where two of them differ, both hold: 0x8c in
// DISCONNECT is only in the first, 0x9b in a DISCONNECT of the client only in section 3.3.4.
var reasons = [256]struct {
	name           string
	client, server types
}{
	ReasonSuccess: {
		"success", inTaken | inReleased | inDisconnect,
		inConnAck | inTaken | inReleased | inSubAck | inUnsubAck | inDisconnect | inAuth,
	},
	ReasonGrantedQoS1:                 {"granted QoS 1", 0, inSubAck},
	ReasonGrantedQoS2:                 {"granted QoS 2", 0, inSubAck},
	ReasonDisconnectWithWill:          {"disconnect with will message", inDisconnect, 0},
	ReasonNoMatchingSubscribers:       {"no matching subscribers", 0, inTaken},
	ReasonNoSubscriptionExisted:       {"no subscription existed", 0, inUnsubAck},
	ReasonContinueAuthentication:      {"continue authentication", inAuth, inAuth},
	ReasonReauthenticate:              {"re-authenticate", inAuth, 0},
	ReasonUnspecified:                 {"unspecified error", inTaken | inDisconnect, inConnAck | inTaken | inSubAck | inUnsubAck | inDisconnect},
	ReasonMalformedPacket:             {"malformed packet", inDisconnect, inConnAck | inDisconnect},
	ReasonProtocolError:               {"protocol error", inDisconnect, inConnAck | inDisconnect},
	ReasonImplementationSpecific:      {"implementation specific error", inTaken | inDisconnect, inConnAck | inTaken | inSubAck | inUnsubAck | inDisconnect},
	ReasonUnsupportedVersion:          {"unsupported protocol version", 0, inConnAck},
	ReasonClientIDNotValid:            {"client identifier not valid", 0, inConnAck},
	ReasonBadCredentials:              {"bad user name or password", 0, inConnAck},
	ReasonNotAuthorized:               {"not authorized", inTaken, inConnAck | inTaken | inSubAck | inUnsubAck | inDisconnect},
	ReasonServerUnavailable:           {"server unavailable", 0, inConnAck},
	ReasonServerBusy:                  {"server busy", 0, inConnAck | inDisconnect},
	ReasonBanned:                      {"banned", 0, inConnAck},
	ReasonServerShuttingDown:          {"server shutting down", 0, inDisconnect},
	ReasonBadAuthenticationMethod:     {"bad authentication method", 0, inConnAck | inDisconnect},
	ReasonKeepAliveTimeout:            {"keep alive timeout", 0, inDisconnect},
	ReasonSessionTakenOver:            {"session taken over", 0, inDisconnect},
	ReasonTopicFilterInvalid:          {"topic filter invalid", 0, inSubAck | inUnsubAck | inDisconnect},
	ReasonTopicNameInvalid:            {"topic name invalid", inTaken | inDisconnect, inConnAck | inTaken | inDisconnect},
	ReasonPacketIDInUse:               {"packet identifier in use", inTaken, inTaken | inSubAck | inUnsubAck},
	ReasonPacketIDNotFound:            {"packet identifier not found", inReleased, inReleased},
	ReasonReceiveMaximumExceeded:      {"receive maximum exceeded", inDisconnect, inDisconnect},
	ReasonTopicAliasInvalid:           {"topic alias invalid", inDisconnect, inDisconnect},
	ReasonPacketTooLarge:              {"packet too large", inDisconnect, inConnAck | inDisconnect},
	ReasonMessageRateTooHigh:          {"message rate too high", inDisconnect, inDisconnect},
	ReasonQuotaExceeded:               {"quota exceeded", inTaken | inDisconnect, inConnAck | inTaken | inSubAck | inDisconnect},
	ReasonAdministrativeAction:        {"administrative action", inDisconnect, inDisconnect},
	ReasonPayloadFormatInvalid:        {"payload format invalid", inTaken | inDisconnect, inConnAck | inTaken | inDisconnect},
	ReasonRetainNotSupported:          {"retain not supported", 0, inConnAck | inDisconnect},
	ReasonQoSNotSupported:             {"QoS not supported", inDisconnect, inConnAck | inDisconnect},
	ReasonUseAnotherServer:            {"use another server", 0, inConnAck | inDisconnect},
	ReasonServerMoved:                 {"server moved", 0, inConnAck | inDisconnect},
	ReasonSharedNotSupported:          {"shared subscriptions not supported", 0, inSubAck | inDisconnect},
	ReasonConnectionRateExceeded:      {"connection rate exceeded", 0, inConnAck | inDisconnect},
	ReasonMaximumConnectTime:          {"maximum connect time", 0, inDisconnect},
	ReasonSubscriptionIDsNotSupported: {"subscription identifiers not supported", 0, inSubAck | inDisconnect},
	ReasonWildcardsNotSupported:       {"wildcard subscriptions not supported", 0, inSubAck | inDisconnect},
}

// String returns the specification's name of the code, in lower case: "not authorized". Code 0 is "success", also
// where the packet gives it another name.
func (c ReasonCode) String() string {
	if name := reasons[c].name; name != "" {
		return name
	}
	return "reason 0x" + strconv.FormatUint(uint64(c), 16)
}

// Failed reports whether the code refuses what was asked for.
func (c ReasonCode) Failed() bool { return c >= ReasonUnspecified }

// Allowed reports whether the sender may use the code in a packet of the type. Decode takes what either may use.
func (c ReasonCode) Allowed(by Sender, t Type) bool {
	r := &reasons[c]
	return by == Client && r.client>>t&1 != 0 || by == Server && r.server>>t&1 != 0
}

// check reports a code that nobody may use in a packet of the type.
func (c ReasonCode) check(t Type) error {
	if r := &reasons[c]; (r.client|r.server)>>t&1 == 0 {
		return malformed("%v with reason code %#x", t, uint8(c))
	}
	return nil
}

// checkSender reports a code that only the other end may use in a packet of the type.
func (c ReasonCode) checkSender(by Sender, t Type) error {
	if !c.Allowed(by, t) {
		return violation(ReasonProtocolError, "%v with reason code %#x (%v) from a %v", t, uint8(c), c, by)
	}
	return nil
}
