package mqtt

import (
	"encoding/binary"

	"github.com/fairlead-iot/fairlead/internal/topic"
)

// Connect is the first packet of a client. It owns its memory: nothing in it refers to the frame.
type Connect struct {
	Version      Version // 0 means V311 when encoding
	ProtocolName string  // as found; when encoding, empty means the one that belongs to Version

	CleanStart  bool   // called "clean session" before version 5
	KeepAlive   uint16 // seconds; 0 turns it off
	ClientID    string
	Will        *Will // nil if there is none
	Username    string
	HasUsername bool
	Password    []byte
	HasPassword bool // before version 5 only with a user name

	// Version 5 only.
	SessionExpiry              uint32 // seconds after the connection; SessionNeverExpires has no end
	ReceiveMaximum             uint16 // 0 if absent, which means 65535
	MaximumPacketSize          uint32 // 0 if absent, which means no limit
	TopicAliasMaximum          uint16
	RequestResponseInformation bool
	NoProblemInformation       bool             // wants reason strings and user properties only in CONNACK, DISCONNECT and PUBLISH
	AuthMethod                 Optional[string] // of an enhanced authentication
	AuthData                   []byte           // nil if absent
	User                       []UserProperty
}

// SessionNeverExpires is the session expiry interval of a session that stays.
const SessionNeverExpires = 0xffffffff

// Will is the message that the server publishes when the client is gone without DISCONNECT.
type Will struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool

	// Version 5 only.
	Delay         uint32             // seconds from the end of the connection
	MessageExpiry Optional[uint32]   // seconds; absent: never
	Properties    *MessageProperties // nil if there are none
}

// Bits of the CONNECT flags.
const (
	flagReserved   = 1 << 0
	flagCleanStart = 1 << 1
	flagWill       = 1 << 2
	flagWillQoS    = 3 << 3
	flagWillRetain = 1 << 5
	flagPassword   = 1 << 6
	flagUsername   = 1 << 7
)

// Names of the protocol in CONNECT.
const (
	protocolName   = "MQTT"
	protocolName31 = "MQIsdp"
)

var (
	connectProperties = propertySet(propSessionExpiry, propReceiveMaximum, propMaximumPacketSize, propTopicAliasMaximum,
		propRequestResponse, propRequestProblem, propUser, propAuthMethod, propAuthData)
	willProperties = messageProperties | propertySet(propWillDelay, propMessageExpiry)
)

// Decode reads a CONNECT, which names its version itself. v is the only version that is taken, or 0 for all; another one
// is [ErrVersion]. If the error is that one, Version and ProtocolName are what the client asked for; after another
// error, Version is the version in which to answer, or 0 if what was sent is not MQTT.
func (p *Connect) Decode(f Frame, v Version) error {
	*p = Connect{}
	if err := f.check(TypeConnect, v); err != nil {
		return err
	}
	d := fields{t: TypeConnect, b: f.Body}
	if err := p.decodeVersion(&d, v); err != nil {
		return err
	}
	flags := d.byte("flags")
	if err := checkConnectFlags(flags, p.Version); err != nil && d.err == nil {
		return err
	}
	p.CleanStart = flags&flagCleanStart != 0
	p.KeepAlive = d.uint16("keep alive")
	if p.Version == V5 {
		p.decodeProperties(&d)
	}
	p.ClientID = d.text("client identifier")
	if flags&flagWill != 0 {
		p.Will = &Will{QoS: flags & flagWillQoS >> 3, Retain: flags&flagWillRetain != 0}
		p.Will.decode(&d, p.Version)
	}
	// Version 3.1 lets the length decide: what the flags promise may be missing.
	if p.Version == V31 && len(d.b) == 0 {
		flags &^= flagUsername
	}
	if p.HasUsername = flags&flagUsername != 0; p.HasUsername {
		p.Username = d.text("user name")
	}
	if p.Version == V31 && len(d.b) == 0 {
		flags &^= flagPassword
	}
	if p.HasPassword = flags&flagPassword != 0; p.HasPassword {
		p.Password = append([]byte(nil), d.binary("password")...)
	}
	return d.end()
}

// decodeVersion reads the protocol's name and level, and stops at those that this codec cannot or shall not go on with.
func (p *Connect) decodeVersion(d *fields, v Version) error {
	name := d.binary("protocol name")
	level := Version(d.byte("protocol level"))
	if d.err != nil {
		return d.err
	}
	switch string(name) {
	case protocolName:
		p.ProtocolName = protocolName
	case protocolName31:
		p.ProtocolName = protocolName31
	default: // somebody else's protocol; CONNACK would mean nothing to it [MQTT-3.1.2-1]
		return violation(ReasonProtocolError, "CONNECT with protocol name %.40q", name)
	}
	p.Version = level
	known := level == V311 || level == V5
	if p.ProtocolName == protocolName31 {
		known = level == V31
	}
	if !known || v != 0 && v != level {
		return violation(ReasonUnsupportedVersion, "%s level %d", p.ProtocolName, level)
	}
	return nil
}

func checkConnectFlags(flags byte, v Version) error {
	switch {
	case flags&flagReserved != 0:
		return malformed("CONNECT with its reserved flag set")
	case flags&flagWill == 0 && flags&(flagWillQoS|flagWillRetain) != 0:
		return malformed("CONNECT with will QoS or will retain, but no will")
	case flags&flagWillQoS == flagWillQoS:
		return malformed("CONNECT with will QoS 3")
	case flags&flagPassword != 0 && flags&flagUsername == 0 && v != V5:
		return malformed("CONNECT with a password, but no user name")
	}
	return nil
}

func (p *Connect) decodeProperties(d *fields) {
	rest := d.beginProperties()
	for id := d.property(connectProperties, repeatedUser); id != 0; id = d.property(connectProperties, repeatedUser) {
		switch id {
		case propSessionExpiry:
			p.SessionExpiry = d.uint32(propertyNames[id])
		case propReceiveMaximum:
			p.ReceiveMaximum = d.positive16(id)
		case propMaximumPacketSize:
			p.MaximumPacketSize = d.positive32(id)
		case propTopicAliasMaximum:
			p.TopicAliasMaximum = d.uint16(propertyNames[id])
		case propRequestResponse:
			p.RequestResponseInformation = d.flag(id)
		case propRequestProblem:
			p.NoProblemInformation = !d.flag(id)
		case propAuthMethod:
			p.AuthMethod = Some(d.propertyText(id))
		case propAuthData:
			p.AuthData = d.data(id)
		case propUser:
			d.user(&p.User)
		}
	}
	if d.err == nil && p.AuthData != nil && !p.AuthMethod.Present {
		d.fail(violation(ReasonProtocolError, "CONNECT with authentication data, but no method"))
	}
	d.endProperties(rest)
}

func (w *Will) decode(d *fields, v Version) {
	if v == V5 {
		rest := d.beginProperties()
		for id := d.property(willProperties, repeatedUser); id != 0; id = d.property(willProperties, repeatedUser) {
			switch id {
			case propWillDelay:
				w.Delay = d.uint32(propertyNames[id])
			case propMessageExpiry:
				w.MessageExpiry = Some(d.uint32(propertyNames[id]))
			default:
				d.message(id, &w.Properties)
			}
		}
		d.endProperties(rest)
	}
	w.Topic = d.text("will topic")
	w.Payload = append([]byte(nil), d.binary("will message")...)
	if d.err == nil && topic.Validate(w.Topic) != nil {
		d.fail(violation(ReasonTopicNameInvalid, "CONNECT with will topic %.80q", w.Topic))
	}
}

func (p *Connect) flags() (flags byte) {
	if p.CleanStart {
		flags |= flagCleanStart
	}
	if p.Will != nil {
		flags |= flagWill | p.Will.QoS<<3
		if p.Will.Retain {
			flags |= flagWillRetain
		}
	}
	if p.HasUsername {
		flags |= flagUsername
	}
	if p.HasPassword {
		flags |= flagPassword
	}
	return flags
}

// Append appends the packet in the version that it names; its second argument is not used.
func (p *Connect) Append(b []byte, _ Version) []byte {
	name, version := p.ProtocolName, p.Version
	if version == 0 {
		version = V311
	}
	if name == "" {
		name = protocolName
		if version == V31 {
			name = protocolName31
		}
	}
	b, start := begin(append(b, byte(TypeConnect)<<4))
	b = appendBytes(b, name)
	b = append(b, byte(version), p.flags())
	b = binary.BigEndian.AppendUint16(b, p.KeepAlive)
	if version == V5 {
		b = p.appendProperties(b)
	}
	b = appendBytes(b, p.ClientID)
	if p.Will != nil {
		if version == V5 {
			b = p.Will.appendProperties(b)
		}
		b = appendBytes(b, p.Will.Topic)
		b = appendBytes(b, p.Will.Payload)
	}
	if p.HasUsername {
		b = appendBytes(b, p.Username)
	}
	if p.HasPassword {
		b = appendBytes(b, p.Password)
	}
	return end(b, start)
}

func (p *Connect) appendProperties(b []byte) []byte {
	b, start := begin(b)
	b = append32(b, propSessionExpiry, p.SessionExpiry)
	b = append16(b, propReceiveMaximum, p.ReceiveMaximum)
	b = append32(b, propMaximumPacketSize, p.MaximumPacketSize)
	b = append16(b, propTopicAliasMaximum, p.TopicAliasMaximum)
	if p.RequestResponseInformation {
		b = append(b, propRequestResponse, 1)
	}
	b = appendUnless(b, propRequestProblem, p.NoProblemInformation)
	b = appendAuth(b, p.AuthMethod, p.AuthData)
	return end(appendUser(b, p.User), start)
}

func (w *Will) appendProperties(b []byte) []byte {
	b, start := begin(b)
	b = append32(b, propWillDelay, w.Delay)
	b = appendOptional32(b, propMessageExpiry, w.MessageExpiry)
	return end(appendMessage(b, w.Properties), start)
}
