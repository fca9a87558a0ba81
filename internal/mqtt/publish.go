package mqtt

import (
	"encoding/binary"

	"github.com/fairlead-iot/fairlead/internal/topic"
)

// Publish carries a message, in either direction. After Decode, Topic and Payload are parts of the frame and live
// as long as it does; Properties and SubscriptionIDs own their memory. Neither Decode nor Append (into a slice with
// room) allocates, but for these two.
type Publish struct {
	Dup     bool
	QoS     byte // 0, 1 or 2
	Retain  bool
	Topic   []byte // in version 5 empty if TopicAlias stands for it
	ID      uint16 // packet identifier; 0 exactly if QoS is 0
	Payload []byte

	// Version 5 only. Expiry, alias and identifiers are set anew for each receiver; the rest is the message's own.
	TopicAlias      uint16             // 0 if there is none; see AliasReader
	MessageExpiry   Optional[uint32]   // seconds; absent: never
	SubscriptionIDs []uint32           // of the subscriptions that match, in any order; from servers only
	Properties      *MessageProperties // nil if there are none
	// Encoded holds properties that MessageProperties.Append has encoded; Append puts them in instead of Properties, and
	// Decode does not set it.
	Encoded []byte
}

// MaxSubscriptionID is the largest subscription identifier.
const MaxSubscriptionID = 268_435_455

// Bits of the PUBLISH flags.
const (
	flagRetain   = 1 << 0
	flagDup      = 1 << 3
	publishQoS   = 3 << 1
	publishShift = 1
)

var (
	publishProperties  = messageProperties | propertySet(propMessageExpiry, propTopicAlias, propSubscriptionID)
	repeatedSubIDsUser = propertySet(propSubscriptionID, propUser)
)

// Decode reads a PUBLISH.
func (p *Publish) Decode(f Frame, v Version) error {
	if f.Type != TypePublish {
		return f.check(TypePublish, v)
	}
	// Each field is set once; to clear the whole first costs a tenth of all this.
	p.ID, p.TopicAlias, p.MessageExpiry, p.SubscriptionIDs, p.Properties, p.Encoded = 0, 0, Optional[uint32]{}, nil, nil, nil
	p.Dup, p.QoS, p.Retain = f.Flags&flagDup != 0, f.Flags&publishQoS>>publishShift, f.Flags&flagRetain != 0
	if p.QoS == 3 {
		return malformed("PUBLISH with QoS 3")
	}
	if p.Dup && p.QoS == 0 {
		return violation(ReasonProtocolError, "PUBLISH with DUP at QoS 0")
	}
	b := f.Body
	if len(b) < 2 {
		return malformed("PUBLISH ends within its topic")
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	if len(b) < n {
		return malformed("PUBLISH ends within its topic")
	}
	p.Topic, b = b[2:n:n], b[n:]
	if err := topic.Validate(p.Topic); err != nil && !(v == V5 && len(p.Topic) == 0) { // an alias may stand for it
		return topicError(TypePublish, p.Topic, err)
	}
	if p.QoS > 0 {
		if len(b) < 2 {
			return malformed("PUBLISH ends within its packet identifier")
		}
		if p.ID = binary.BigEndian.Uint16(b); p.ID == 0 {
			return violation(ReasonProtocolError, "PUBLISH with packet identifier 0")
		}
		b = b[2:]
	}
	if v == V5 {
		var err error
		if b, err = p.decodeProperties(b); err != nil {
			return err
		}
	}
	p.Payload = b[:len(b):len(b)]
	return nil
}

// decodeProperties reads the properties and returns the payload.
func (p *Publish) decodeProperties(b []byte) (payload []byte, err error) {
	if len(b) > 0 && b[0] == 0 && len(p.Topic) > 0 {
		return b[1:], nil // most messages have none
	}
	d := fields{t: TypePublish, b: b}
	payload = d.beginProperties()
	for id := d.property(publishProperties, repeatedSubIDsUser); id != 0; id = d.property(publishProperties, repeatedSubIDsUser) {
		switch id {
		case propMessageExpiry:
			p.MessageExpiry = Some(d.uint32(propertyNames[id]))
		case propTopicAlias:
			p.TopicAlias = d.positive16(id)
		case propSubscriptionID:
			if len(p.SubscriptionIDs) == MaxRepeated {
				d.fail(violation(ReasonQuotaExceeded, "PUBLISH with more than %d subscription identifiers", MaxRepeated))
				continue
			}
			p.SubscriptionIDs = append(p.SubscriptionIDs, d.subscriptionID())
		default:
			d.message(id, &p.Properties)
		}
	}
	if d.err == nil && len(p.Topic) == 0 && p.TopicAlias == 0 {
		return nil, violation(ReasonProtocolError, "PUBLISH without a topic and without an alias")
	}
	return payload, d.err
}

// Size returns how many bytes Append appends.
func (p *Publish) Size(v Version) int {
	n := p.bareSize()
	if v == V5 {
		properties := p.propertiesSize()
		n += varintSize(properties) + properties
	}
	return 1 + varintSize(n) + n
}

// bareSize returns the remaining length without properties.
func (p *Publish) bareSize() int {
	n := 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		n += 2
	}
	return n
}

func (p *Publish) propertiesSize() int {
	n := len(p.Encoded)
	if n == 0 {
		n = p.Properties.size()
	}
	if p.TopicAlias != 0 {
		n += 3
	}
	if p.MessageExpiry.Present {
		n += 5
	}
	for _, id := range p.SubscriptionIDs {
		n += 1 + varintSize(int(id))
	}
	return n
}

// Append appends the packet.
func (p *Publish) Append(b []byte, v Version) []byte {
	flags := p.QoS << publishShift
	if p.Retain {
		flags |= flagRetain
	}
	if p.Dup {
		flags |= flagDup
	}
	n, properties := p.bareSize(), 0
	if v == V5 {
		properties = p.propertiesSize()
		n += varintSize(properties) + properties
	}
	b = appendHeader(b, TypePublish, flags, n)
	b = appendBytes(b, p.Topic)
	if p.QoS > 0 {
		b = binary.BigEndian.AppendUint16(b, p.ID)
	}
	if v == V5 {
		b = appendVarint(b, properties)
		if properties > 0 {
			b = p.appendProperties(b)
		}
	}
	return append(b, p.Payload...)
}

func (p *Publish) appendProperties(b []byte) []byte {
	b = append16(b, propTopicAlias, p.TopicAlias)
	b = appendOptional32(b, propMessageExpiry, p.MessageExpiry)
	for _, id := range p.SubscriptionIDs {
		b = appendSubscriptionID(b, id)
	}
	if len(p.Encoded) > 0 {
		return append(b, p.Encoded...)
	}
	return appendMessage(b, p.Properties)
}

// CheckSender reports what only the other end may send: the error is an *Error. [MQTT-3.3.4-6]
func (p *Publish) CheckSender(by Sender) error {
	if by == Client && len(p.SubscriptionIDs) > 0 {
		return violation(ReasonProtocolError, "PUBLISH with a subscription identifier from a client")
	}
	return nil
}
