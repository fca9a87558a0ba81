package mqtt

import (
	"encoding/binary"

	"github.com/fairlead-iot/fairlead/internal/topic"
)

// SubAckFailure is the code in a SUBACK for a filter that was refused; the others are the granted QoS.
const SubAckFailure = 0x80

// Subscription asks for the messages that match a filter.
type Subscription struct {
	Filter string
	QoS    byte // 0, 1 or 2: the most that the client wants
}

// Subscribe asks for one or more subscriptions. It owns its memory.
type Subscribe struct {
	ID            uint16
	Subscriptions []Subscription // at least one
}

// Decode reads a SUBSCRIBE. All filters in it are well formed.
func (p *Subscribe) Decode(f Frame, _ Version) error {
	*p = Subscribe{}
	if err := f.check(TypeSubscribe); err != nil {
		return err
	}
	d := fields{t: TypeSubscribe, b: f.Body}
	p.ID = d.id()
	if d.err == nil && len(d.b) == 0 {
		return violation(ReasonProtocolError, "SUBSCRIBE without a filter")
	}
	for len(d.b) > 0 {
		s := Subscription{Filter: d.filter(), QoS: d.byte("options")}
		if s.QoS > 2 {
			d.fail(malformed("SUBSCRIBE with options %#x", s.QoS))
		}
		p.Subscriptions = append(p.Subscriptions, s)
	}
	return d.end()
}

// Append appends the packet.
func (p *Subscribe) Append(b []byte, _ Version) []byte {
	n := 2
	for _, s := range p.Subscriptions {
		n += 2 + len(s.Filter) + 1
	}
	b = appendHeader(b, TypeSubscribe, TypeSubscribe.flags(), n)
	b = binary.BigEndian.AppendUint16(b, p.ID)
	for _, s := range p.Subscriptions {
		b = appendBytes(b, s.Filter)
		b = append(b, s.QoS)
	}
	return b
}

// SubAck answers a SUBSCRIBE with one code per filter, in the same order.
type SubAck struct {
	ID    uint16
	Codes []byte // granted QoS or SubAckFailure; after Decode a copy
}

// Decode reads a SUBACK.
func (p *SubAck) Decode(f Frame, _ Version) error {
	*p = SubAck{}
	if err := f.check(TypeSubAck); err != nil {
		return err
	}
	d := fields{t: TypeSubAck, b: f.Body}
	p.ID = d.id()
	if d.err != nil {
		return d.err
	}
	if len(d.b) == 0 {
		return malformed("SUBACK without a code")
	}
	for _, c := range d.b {
		if c > 2 && c != SubAckFailure {
			return malformed("SUBACK with reserved code %#x", c)
		}
	}
	p.Codes = append([]byte(nil), d.b...)
	return nil
}

// Append appends the packet.
func (p *SubAck) Append(b []byte, _ Version) []byte {
	b = appendHeader(b, TypeSubAck, 0, 2+len(p.Codes))
	b = binary.BigEndian.AppendUint16(b, p.ID)
	return append(b, p.Codes...)
}

// Unsubscribe ends one or more subscriptions. It owns its memory.
type Unsubscribe struct {
	ID      uint16
	Filters []string // at least one
}

// Decode reads an UNSUBSCRIBE. All filters in it are well formed.
func (p *Unsubscribe) Decode(f Frame, _ Version) error {
	*p = Unsubscribe{}
	if err := f.check(TypeUnsubscribe); err != nil {
		return err
	}
	d := fields{t: TypeUnsubscribe, b: f.Body}
	p.ID = d.id()
	if d.err == nil && len(d.b) == 0 {
		return violation(ReasonProtocolError, "UNSUBSCRIBE without a filter")
	}
	for len(d.b) > 0 {
		p.Filters = append(p.Filters, d.filter())
	}
	return d.end()
}

// Append appends the packet.
func (p *Unsubscribe) Append(b []byte, _ Version) []byte {
	n := 2
	for _, s := range p.Filters {
		n += 2 + len(s)
	}
	b = appendHeader(b, TypeUnsubscribe, TypeUnsubscribe.flags(), n)
	b = binary.BigEndian.AppendUint16(b, p.ID)
	for _, s := range p.Filters {
		b = appendBytes(b, s)
	}
	return b
}

// filter reads a topic filter.
func (d *fields) filter() string {
	p := d.binary("topic filter")
	if d.err != nil {
		return ""
	}
	if err := topic.ValidateFilter(p); err != nil {
		d.fail(filterError(d.t, p, err))
		return ""
	}
	return string(p)
}
