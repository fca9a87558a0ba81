package mqtt

import "strconv"

// Version is a protocol level as it stands in CONNECT.
type Version uint8

// The protocol levels in use.
const (
	V31  Version = 3 // MQTT 3.1, protocol name "MQIsdp"
	V311 Version = 4 // MQTT 3.1.1, protocol name "MQTT"
	V5   Version = 5 // MQTT 5, protocol name "MQTT"
)

// String returns the version as people write it: "3.1.1".
func (v Version) String() string {
	switch v {
	case V31:
		return "3.1"
	case V311:
		return "3.1.1"
	case V5:
		return "5"
	}
	return "level " + strconv.Itoa(int(v))
}

// Type is the kind of a packet, the upper half of its first byte.
type Type uint8

// The packet types. Type 0 is reserved in every version, TypeAuth exists in version 5 only.
const (
	TypeConnect     Type = 1
	TypeConnAck     Type = 2
	TypePublish     Type = 3
	TypePubAck      Type = 4
	TypePubRec      Type = 5
	TypePubRel      Type = 6
	TypePubComp     Type = 7
	TypeSubscribe   Type = 8
	TypeSubAck      Type = 9
	TypeUnsubscribe Type = 10
	TypeUnsubAck    Type = 11
	TypePingReq     Type = 12
	TypePingResp    Type = 13
	TypeDisconnect  Type = 14
	TypeAuth        Type = 15
)

var typeNames = [16]string{
	"reserved type 0", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
}

// String returns the name that the specification uses: "PUBLISH".
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "type " + strconv.Itoa(int(t))
}

// flags returns the lower half of the first byte that the type must have; PUBLISH has real flags instead.
func (t Type) flags() byte {
	switch t {
	case TypePubRel, TypeSubscribe, TypeUnsubscribe:
		return 2
	}
	return 0
}

// Packet is what all packet types have in common.
type Packet interface {
	// Decode replaces the packet by what the frame holds. The error is an *Error; after one the packet's
	// content is unspecified, unless the type says otherwise.
	Decode(f Frame, v Version) error
	// Append appends the packet's bytes to b. The packet must be one that Decode would accept: Append does not
	// check it, except that it panics when a field is longer than the protocol can express. What the version has no
	// place for is left out.
	Append(b []byte, v Version) []byte
}

// NewPacket returns an empty packet of the type, for code that handles any packet (tests, traces); the hot paths
// know what they expect. It returns nil for a type that no version in use has.
func NewPacket(t Type) Packet {
	switch t {
	case TypeConnect:
		return &Connect{}
	case TypeConnAck:
		return &ConnAck{}
	case TypePublish:
		return &Publish{}
	case TypePubAck, TypePubRec, TypePubRel, TypePubComp, TypeUnsubAck:
		return &Ack{}
	case TypeSubscribe:
		return &Subscribe{}
	case TypeSubAck:
		return &SubAck{}
	case TypeUnsubscribe:
		return &Unsubscribe{}
	case TypePingReq:
		return &PingReq{}
	case TypePingResp:
		return &PingResp{}
	case TypeDisconnect:
		return &Disconnect{}
	case TypeAuth:
		return &Auth{}
	}
	return nil
}

// Limits of the protocol itself.
const (
	MaxStringBytes    = 65_535      // longest string or binary field: its length has 16 bits
	MaxRemainingBytes = 268_435_455 // longest packet, without its first byte and length field
)
