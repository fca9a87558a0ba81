package mqtt

import "encoding/binary"

// Ack is one of the packets that answer another: PUBACK, PUBREC, PUBREL, PUBCOMP and UNSUBACK, as Type says. Before
// version 5 they carry a packet identifier and nothing else.
type Ack struct {
	Type Type
	Code ReasonCode // of all but UNSUBACK
	ID   uint16

	// Version 5 only; it owns its memory.
	Codes  []ReasonCode // of UNSUBACK: one for each filter, in the same order
	Reason string       // for people; empty if there is none
	User   []UserProperty
}

var (
	ackProperties = propertySet(propReasonString, propUser)
	repeatedUser  = propertySet(propUser)
)

// Decode reads any of the five types.
func (p *Ack) Decode(f Frame, v Version) error {
	*p = Ack{Type: f.Type}
	switch f.Type {
	case TypePubAck, TypePubRec, TypePubRel, TypePubComp, TypeUnsubAck:
	default:
		return violation(ReasonProtocolError, "%v where an acknowledgement is due", f.Type)
	}
	if err := f.check(f.Type, v); err != nil {
		return err
	}
	if len(f.Body) != 2 {
		return p.decodeLong(f, v)
	}
	if p.ID = binary.BigEndian.Uint16(f.Body); p.ID == 0 {
		return violation(ReasonProtocolError, "%v with packet identifier 0", f.Type)
	}
	if v == V5 && f.Type == TypeUnsubAck {
		return malformed("UNSUBACK ends within its properties")
	}
	return nil
}

// decodeLong reads what is not just a packet identifier.
func (p *Ack) decodeLong(f Frame, v Version) error {
	if v != V5 {
		return malformed("%v with %d bytes, must be 2", f.Type, len(f.Body))
	}
	d := fields{t: f.Type, b: f.Body}
	p.ID = d.id()
	if f.Type == TypeUnsubAck {
		p.decodeReason(&d)
		p.Codes = d.codes()
		return d.end()
	}
	p.Code = ReasonCode(d.byte("reason code"))
	if d.err == nil {
		if err := p.Code.check(f.Type); err != nil {
			return err
		}
	}
	if len(d.b) > 0 { // no property length means no properties
		p.decodeReason(&d)
	}
	return d.end()
}

func (p *Ack) decodeReason(d *fields) {
	rest := d.beginProperties()
	for id := d.property(ackProperties, repeatedUser); id != 0; id = d.property(ackProperties, repeatedUser) {
		if id == propUser {
			d.user(&p.User)
		} else {
			p.Reason = d.propertyText(id)
		}
	}
	d.endProperties(rest)
}

// codes reads the rest of an UNSUBACK.
func (d *fields) codes() []ReasonCode {
	if d.err != nil {
		return nil
	}
	if len(d.b) == 0 {
		d.fail(malformed("%v without a reason code", d.t))
		return nil
	}
	codes := make([]ReasonCode, len(d.b))
	for i, c := range d.b {
		codes[i] = ReasonCode(c)
		if err := codes[i].check(d.t); err != nil {
			d.fail(err)
			return nil
		}
	}
	d.b = nil
	return codes
}

// Append appends the packet, in the shortest form that says all.
func (p *Ack) Append(b []byte, v Version) []byte {
	if v != V5 || p.Type != TypeUnsubAck && p.Code == 0 && p.Reason == "" && len(p.User) == 0 {
		return append(b, byte(p.Type)<<4|p.Type.flags(), 2, byte(p.ID>>8), byte(p.ID))
	}
	b, start := begin(append(b, byte(p.Type)<<4|p.Type.flags()))
	b = binary.BigEndian.AppendUint16(b, p.ID)
	if p.Type != TypeUnsubAck {
		b = append(b, byte(p.Code))
		if p.Reason == "" && len(p.User) == 0 {
			return end(b, start)
		}
	}
	b = appendReason(b, p.Reason, p.User)
	for _, c := range p.Codes {
		b = append(b, byte(c))
	}
	return end(b, start)
}

// appendReason appends the block of properties that most answers have.
func appendReason(b []byte, reason string, user []UserProperty) []byte {
	b, start := begin(b)
	b = appendText(b, propReasonString, reason)
	return end(appendUser(b, user), start)
}

// CheckSender reports a code that only the other end may send: the error is an *Error.
func (p *Ack) CheckSender(by Sender) error {
	if p.Type != TypeUnsubAck {
		return p.Code.checkSender(by, p.Type)
	}
	if by != Server {
		return violation(ReasonProtocolError, "UNSUBACK from a %v", by)
	}
	return nil
}
