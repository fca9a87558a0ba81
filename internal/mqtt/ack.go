package mqtt

import "encoding/binary"

// Ack is one of the packets that carry a packet identifier and nothing else: PUBACK, PUBREC, PUBREL, PUBCOMP and
// UNSUBACK, as Type says.
type Ack struct {
	Type Type
	ID   uint16
}

// Decode reads any of the five types.
func (p *Ack) Decode(f Frame, _ Version) error {
	*p = Ack{Type: f.Type}
	switch f.Type {
	case TypePubAck, TypePubRec, TypePubRel, TypePubComp, TypeUnsubAck:
	default:
		return violation(ReasonProtocolError, "%v where an acknowledgement is due", f.Type)
	}
	if err := f.check(f.Type); err != nil {
		return err
	}
	if len(f.Body) != 2 {
		return malformed("%v with %d bytes, must be 2", f.Type, len(f.Body))
	}
	if p.ID = binary.BigEndian.Uint16(f.Body); p.ID == 0 {
		return violation(ReasonProtocolError, "%v with packet identifier 0", f.Type)
	}
	return nil
}

// Append appends the packet.
func (p *Ack) Append(b []byte, _ Version) []byte {
	return append(b, byte(p.Type)<<4|p.Type.flags(), 2, byte(p.ID>>8), byte(p.ID))
}
