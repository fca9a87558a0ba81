package mqtt

import (
	"encoding/binary"

	"github.com/fairlead-iot/fairlead/internal/topic"
)

// SubAckFailure is the code in a SUBACK for a filter that was refused; the others are the granted QoS. Version 3.1 knows
// no refusal; servers give this code there too.
const SubAckFailure = 0x80

// RetainHandling tells which retained messages a new subscription is sent.
type RetainHandling uint8

// The ways to handle retained messages.
const (
	RetainSend      RetainHandling = 0 // all that match
	RetainSendIfNew RetainHandling = 1 // all that match, unless the subscription was there already
	RetainDontSend  RetainHandling = 2
)

// Subscription asks for the messages that match a filter.
type Subscription struct {
	Filter string
	QoS    byte // 0, 1 or 2: the most that the client wants

	// Version 5 only.
	NoLocal           bool // not what the client has published itself; never with a shared subscription
	RetainAsPublished bool // hand the retain flag of messages on as it is
	RetainHandling    RetainHandling
}

// Bits of the subscription options.
const (
	optionQoS               = 3 << 0
	optionNoLocal           = 1 << 2
	optionRetainAsPublished = 1 << 3
	optionRetainHandling    = 3 << 4
	optionReserved          = 3 << 6

	retainHandlingShift = 4
)

// Subscribe asks for one or more subscriptions. It owns its memory.
type Subscribe struct {
	ID            uint16
	Subscriptions []Subscription // at least one

	// Version 5 only.
	SubscriptionID uint32 // comes with the messages of these subscriptions; 0 if there is none
	User           []UserProperty
}

var subscribeProperties = propertySet(propSubscriptionID, propUser)

// Decode reads a SUBSCRIBE. All filters in it are well formed, in version 5 shared ones too.
func (p *Subscribe) Decode(f Frame, v Version) error {
	*p = Subscribe{}
	if err := f.check(TypeSubscribe, v); err != nil {
		return err
	}
	d := fields{t: TypeSubscribe, b: f.Body}
	p.ID = d.id()
	if v == V5 {
		rest := d.beginProperties()
		for id := d.property(subscribeProperties, repeatedUser); id != 0; id = d.property(subscribeProperties, repeatedUser) {
			if id == propUser {
				d.user(&p.User)
			} else {
				p.SubscriptionID = d.subscriptionID()
			}
		}
		d.endProperties(rest)
	}
	if d.err == nil && len(d.b) == 0 {
		return violation(ReasonProtocolError, "SUBSCRIBE without a filter")
	}
	for len(d.b) > 0 {
		s := Subscription{Filter: d.filter(v)}
		s.decodeOptions(&d, v)
		p.Subscriptions = append(p.Subscriptions, s)
	}
	return d.end()
}

func (s *Subscription) decodeOptions(d *fields, v Version) {
	b := d.byte("options")
	s.QoS = b & optionQoS
	if v != V5 {
		if b > 2 {
			d.fail(malformed("SUBSCRIBE with options %#x", b))
		}
		return
	}
	s.NoLocal, s.RetainAsPublished = b&optionNoLocal != 0, b&optionRetainAsPublished != 0
	s.RetainHandling = RetainHandling(b & optionRetainHandling >> retainHandlingShift)
	switch {
	case b&optionReserved != 0:
		d.fail(malformed("SUBSCRIBE with options %#x", b))
	case s.QoS > 2, s.RetainHandling > RetainDontSend:
		d.fail(violation(ReasonProtocolError, "SUBSCRIBE with options %#x", b))
	case s.NoLocal && topic.IsShared(s.Filter):
		d.fail(violation(ReasonProtocolError, "SUBSCRIBE with no local for a shared subscription"))
	}
}

func (s *Subscription) options(v Version) byte {
	b := s.QoS
	if v != V5 {
		return b
	}
	if s.NoLocal {
		b |= optionNoLocal
	}
	if s.RetainAsPublished {
		b |= optionRetainAsPublished
	}
	return b | byte(s.RetainHandling)<<retainHandlingShift
}

// Append appends the packet.
func (p *Subscribe) Append(b []byte, v Version) []byte {
	b, start := begin(append(b, byte(TypeSubscribe)<<4|TypeSubscribe.flags()))
	b = binary.BigEndian.AppendUint16(b, p.ID)
	if v == V5 {
		var block int
		b, block = begin(b)
		if p.SubscriptionID != 0 {
			b = appendSubscriptionID(b, p.SubscriptionID)
		}
		b = end(appendUser(b, p.User), block)
	}
	for i := range p.Subscriptions {
		b = appendBytes(b, p.Subscriptions[i].Filter)
		b = append(b, p.Subscriptions[i].options(v))
	}
	return end(b, start)
}

func appendSubscriptionID(b []byte, id uint32) []byte {
	if id > MaxSubscriptionID {
		panic("mqtt: a subscription identifier is larger than the protocol allows")
	}
	return appendVarint(append(b, propSubscriptionID), int(id))
}

// SubAck answers a SUBSCRIBE with one code per filter, in the same order. It owns its memory.
type SubAck struct {
	ID    uint16
	Codes []byte // granted QoS or SubAckFailure; in version 5 any ReasonCode for SUBACK

	// Version 5 only.
	Reason string // for people; empty if there is none
	User   []UserProperty
}

// Decode reads a SUBACK.
func (p *SubAck) Decode(f Frame, v Version) error {
	*p = SubAck{}
	if err := f.check(TypeSubAck, v); err != nil {
		return err
	}
	d := fields{t: TypeSubAck, b: f.Body}
	p.ID = d.id()
	if v == V5 {
		var a Ack
		a.decodeReason(&d)
		p.Reason, p.User = a.Reason, a.User
	}
	if d.err != nil {
		return d.err
	}
	if len(d.b) == 0 {
		return malformed("SUBACK without a code")
	}
	for _, c := range d.b {
		if c > 2 && c != SubAckFailure && (v != V5 || ReasonCode(c).check(TypeSubAck) != nil) {
			return malformed("SUBACK with reserved code %#x", c)
		}
	}
	p.Codes = append([]byte(nil), d.b...)
	return nil
}

// Append appends the packet.
func (p *SubAck) Append(b []byte, v Version) []byte {
	b, start := begin(append(b, byte(TypeSubAck)<<4))
	b = binary.BigEndian.AppendUint16(b, p.ID)
	if v == V5 {
		b = appendReason(b, p.Reason, p.User)
	}
	return end(append(b, p.Codes...), start)
}

// Unsubscribe ends one or more subscriptions. It owns its memory.
type Unsubscribe struct {
	ID      uint16
	Filters []string       // at least one
	User    []UserProperty // version 5 only
}

// Decode reads an UNSUBSCRIBE. All filters in it are well formed, in version 5 shared ones too.
func (p *Unsubscribe) Decode(f Frame, v Version) error {
	*p = Unsubscribe{}
	if err := f.check(TypeUnsubscribe, v); err != nil {
		return err
	}
	d := fields{t: TypeUnsubscribe, b: f.Body}
	p.ID = d.id()
	if v == V5 {
		rest := d.beginProperties()
		for d.property(repeatedUser, repeatedUser) != 0 {
			d.user(&p.User)
		}
		d.endProperties(rest)
	}
	if d.err == nil && len(d.b) == 0 {
		return violation(ReasonProtocolError, "UNSUBSCRIBE without a filter")
	}
	for len(d.b) > 0 {
		p.Filters = append(p.Filters, d.filter(v))
	}
	return d.end()
}

// Append appends the packet.
func (p *Unsubscribe) Append(b []byte, v Version) []byte {
	b, start := begin(append(b, byte(TypeUnsubscribe)<<4|TypeUnsubscribe.flags()))
	b = binary.BigEndian.AppendUint16(b, p.ID)
	if v == V5 {
		var block int
		b, block = begin(b)
		b = end(appendUser(b, p.User), block)
	}
	for _, s := range p.Filters {
		b = appendBytes(b, s)
	}
	return end(b, start)
}
