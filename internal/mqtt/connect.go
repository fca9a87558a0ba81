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
	HasPassword bool
}

// Will is the message that the server publishes when the client is gone without DISCONNECT.
type Will struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
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

// Decode reads a CONNECT of any version; its second argument is not used, the packet itself names its version.
// On an error that is [ErrVersion], Version and ProtocolName are what the client asked for.
func (p *Connect) Decode(f Frame, _ Version) error {
	*p = Connect{}
	if err := f.check(TypeConnect); err != nil {
		return err
	}
	d := fields{t: TypeConnect, b: f.Body}
	if err := p.decodeVersion(&d); err != nil {
		return err
	}
	flags := d.byte("flags")
	if err := checkConnectFlags(flags); err != nil && d.err == nil {
		return err
	}
	p.CleanStart = flags&flagCleanStart != 0
	p.KeepAlive = d.uint16("keep alive")
	p.ClientID = d.text("client identifier")
	if flags&flagWill != 0 {
		p.Will = &Will{QoS: flags & flagWillQoS >> 3, Retain: flags&flagWillRetain != 0}
		p.Will.Topic = d.text("will topic")
		p.Will.Payload = append([]byte(nil), d.binary("will message")...)
		if d.err == nil && topic.Validate(p.Will.Topic) != nil {
			d.fail(violation(ReasonTopicNameInvalid, "CONNECT with will topic %.80q", p.Will.Topic))
		}
	}
	if p.HasUsername = flags&flagUsername != 0; p.HasUsername {
		p.Username = d.text("user name")
	}
	if p.HasPassword = flags&flagPassword != 0; p.HasPassword {
		p.Password = append([]byte(nil), d.binary("password")...)
	}
	return d.end()
}

// decodeVersion reads the protocol's name and level, and stops at those that this codec cannot go on with.
func (p *Connect) decodeVersion(d *fields) error {
	name := d.binary("protocol name")
	p.Version = Version(d.byte("protocol level"))
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
	if p.ProtocolName != protocolName || p.Version != V311 {
		return violation(ReasonUnsupportedVersion, "%s level %d", p.ProtocolName, p.Version)
	}
	return nil
}

func checkConnectFlags(flags byte) error {
	switch {
	case flags&flagReserved != 0:
		return malformed("CONNECT with its reserved flag set")
	case flags&flagWill == 0 && flags&(flagWillQoS|flagWillRetain) != 0:
		return malformed("CONNECT with will QoS or will retain, but no will")
	case flags&flagWillQoS == flagWillQoS:
		return malformed("CONNECT with will QoS 3")
	case flags&flagPassword != 0 && flags&flagUsername == 0:
		return malformed("CONNECT with a password, but no user name")
	}
	return nil
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
	n := 2 + len(name) + 4 + 2 + len(p.ClientID)
	if p.Will != nil {
		n += 4 + len(p.Will.Topic) + len(p.Will.Payload)
	}
	if p.HasUsername {
		n += 2 + len(p.Username)
	}
	if p.HasPassword {
		n += 2 + len(p.Password)
	}
	b = appendHeader(b, TypeConnect, 0, n)
	b = appendBytes(b, name)
	b = append(b, byte(version), p.flags())
	b = binary.BigEndian.AppendUint16(b, p.KeepAlive)
	b = appendBytes(b, p.ClientID)
	if p.Will != nil {
		b = appendBytes(b, p.Will.Topic)
		b = appendBytes(b, p.Will.Payload)
	}
	if p.HasUsername {
		b = appendBytes(b, p.Username)
	}
	if p.HasPassword {
		b = appendBytes(b, p.Password)
	}
	return b
}
