package mqtt

import "encoding/binary"

// Return codes of CONNACK in versions 3.1 and 3.1.1.
const (
	ConnAckAccepted       = 0
	ConnAckBadVersion     = 1 // unacceptable protocol version
	ConnAckBadClientID    = 2 // identifier rejected
	ConnAckUnavailable    = 3 // server unavailable
	ConnAckBadCredentials = 4 // bad user name or password
	ConnAckNotAuthorized  = 5
)

// ConnAck answers a CONNECT. It owns its memory.
type ConnAck struct {
	SessionPresent bool // not in version 3.1
	Code           byte // one of the ConnAck constants; in version 5 a ReasonCode. 0 is success in all

	// Version 5 only.
	SessionExpiry             Optional[uint32] // seconds; absent: as the client asked
	ReceiveMaximum            uint16           // 0 if absent, which means 65535
	MaximumQoS                Optional[byte]   // 0 or 1; absent: 2
	MaximumPacketSize         uint32           // 0 if absent, which means no limit
	TopicAliasMaximum         uint16
	ServerKeepAlive           Optional[uint16] // seconds; absent: as the client asked
	RetainUnavailable         bool
	WildcardUnavailable       bool // in subscriptions
	SubscriptionIDUnavailable bool
	SharedUnavailable         bool   // shared subscriptions
	AssignedClientID          string // this and the following texts are empty if absent
	ResponseInformation       string
	ServerReference           string
	AuthMethod                Optional[string]
	AuthData                  []byte // nil if absent
	Reason                    string // for people
	User                      []UserProperty
}

var connAckProperties = propertySet(propSessionExpiry, propReceiveMaximum, propMaximumQoS, propRetainAvailable,
	propMaximumPacketSize, propAssignedClientID, propTopicAliasMaximum, propReasonString, propUser, propWildcardAvailable,
	propSubIDAvailable, propSharedAvailable, propServerKeepAlive, propResponseInformation, propServerReference,
	propAuthMethod, propAuthData)

// Decode reads a CONNACK. It lets unknown codes of refusals through: the number is worth more to the user than our
// complaint about it. A server that does not speak version 5 answers in the form of version 3.1.1; that is read as
// the code ReasonUnsupportedVersion.
func (p *ConnAck) Decode(f Frame, v Version) error {
	*p = ConnAck{}
	if err := f.check(TypeConnAck, v); err != nil {
		return err
	}
	if v == V5 && len(f.Body) == 2 && f.Body[0] == 0 && f.Body[1] == ConnAckBadVersion {
		p.Code = byte(ReasonUnsupportedVersion)
		return nil
	}
	if len(f.Body) != 2 && (v != V5 || len(f.Body) < 2) {
		return malformed("CONNACK with %d bytes, must be 2", len(f.Body))
	}
	flags := f.Body[0]
	p.Code = f.Body[1]
	if v == V31 {
		return nil // it gives no meaning to the first byte
	}
	if flags > 1 {
		return malformed("CONNACK with reserved flags %#x", flags)
	}
	p.SessionPresent = flags == 1
	if p.SessionPresent && p.Code != ConnAckAccepted {
		return violation(ReasonProtocolError, "CONNACK with code %d and a session", p.Code)
	}
	if v != V5 {
		return nil
	}
	if c := ReasonCode(p.Code); !c.Failed() {
		if err := c.check(TypeConnAck); err != nil {
			return err
		}
	}
	d := fields{t: TypeConnAck, b: f.Body[2:]}
	p.decodeProperties(&d)
	return d.end()
}

func (p *ConnAck) decodeProperties(d *fields) {
	rest := d.beginProperties()
	for id := d.property(connAckProperties, repeatedUser); id != 0; id = d.property(connAckProperties, repeatedUser) {
		switch id {
		case propSessionExpiry:
			p.SessionExpiry = Some(d.uint32(propertyNames[id]))
		case propReceiveMaximum:
			p.ReceiveMaximum = d.positive16(id)
		case propMaximumQoS:
			var qos byte
			if d.flag(id) {
				qos = 1
			}
			p.MaximumQoS = Some(qos)
		case propMaximumPacketSize:
			p.MaximumPacketSize = d.positive32(id)
		case propTopicAliasMaximum:
			p.TopicAliasMaximum = d.uint16(propertyNames[id])
		case propServerKeepAlive:
			p.ServerKeepAlive = Some(d.uint16(propertyNames[id]))
		case propRetainAvailable:
			p.RetainUnavailable = !d.flag(id)
		case propWildcardAvailable:
			p.WildcardUnavailable = !d.flag(id)
		case propSubIDAvailable:
			p.SubscriptionIDUnavailable = !d.flag(id)
		case propSharedAvailable:
			p.SharedUnavailable = !d.flag(id)
		case propAssignedClientID:
			p.AssignedClientID = d.propertyText(id)
		case propResponseInformation:
			p.ResponseInformation = d.propertyText(id)
		case propServerReference:
			p.ServerReference = d.propertyText(id)
		case propAuthMethod:
			p.AuthMethod = Some(d.propertyText(id))
		case propAuthData:
			p.AuthData = d.data(id)
		case propReasonString:
			p.Reason = d.propertyText(id)
		case propUser:
			d.user(&p.User)
		}
	}
	d.endProperties(rest)
}

// Append appends the packet.
func (p *ConnAck) Append(b []byte, v Version) []byte {
	var flags byte
	if p.SessionPresent && v != V31 {
		flags = 1
	}
	if v != V5 {
		return append(b, byte(TypeConnAck)<<4, 2, flags, p.Code)
	}
	b, start := begin(append(b, byte(TypeConnAck)<<4))
	b, block := begin(append(b, flags, p.Code))
	b = appendOptional32(b, propSessionExpiry, p.SessionExpiry)
	b = append16(b, propReceiveMaximum, p.ReceiveMaximum)
	if p.MaximumQoS.Present {
		b = append(b, propMaximumQoS, p.MaximumQoS.Value)
	}
	b = append32(b, propMaximumPacketSize, p.MaximumPacketSize)
	b = append16(b, propTopicAliasMaximum, p.TopicAliasMaximum)
	if p.ServerKeepAlive.Present {
		b = binary.BigEndian.AppendUint16(append(b, propServerKeepAlive), p.ServerKeepAlive.Value)
	}
	b = appendUnless(b, propRetainAvailable, p.RetainUnavailable)
	b = appendUnless(b, propWildcardAvailable, p.WildcardUnavailable)
	b = appendUnless(b, propSubIDAvailable, p.SubscriptionIDUnavailable)
	b = appendUnless(b, propSharedAvailable, p.SharedUnavailable)
	b = appendText(b, propAssignedClientID, p.AssignedClientID)
	b = appendText(b, propResponseInformation, p.ResponseInformation)
	b = appendText(b, propServerReference, p.ServerReference)
	b = appendAuth(b, p.AuthMethod, p.AuthData)
	b = appendText(b, propReasonString, p.Reason)
	b = end(appendUser(b, p.User), block)
	return end(b, start)
}
