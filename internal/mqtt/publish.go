package mqtt

import (
	"encoding/binary"

	"github.com/fairlead-iot/fairlead/internal/topic"
)

// Publish carries a message, in either direction. After Decode, Topic and Payload are parts of the frame and live
// as long as it does; neither Decode nor Append (into a slice with room) allocates.
type Publish struct {
	Dup     bool
	QoS     byte // 0, 1 or 2
	Retain  bool
	Topic   []byte
	ID      uint16 // packet identifier; 0 exactly if QoS is 0
	Payload []byte
}

// Bits of the PUBLISH flags.
const (
	flagRetain   = 1 << 0
	flagDup      = 1 << 3
	publishQoS   = 3 << 1
	publishShift = 1
)

// Decode reads a PUBLISH.
func (p *Publish) Decode(f Frame, _ Version) error {
	*p = Publish{}
	if f.Type != TypePublish {
		return f.check(TypePublish)
	}
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
	if err := topic.Validate(p.Topic); err != nil {
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
	p.Payload = b[:len(b):len(b)]
	return nil
}

// Size returns how many bytes Append appends.
func (p *Publish) Size(_ Version) int {
	n := p.remaining()
	return headerSize(n) + n
}

func (p *Publish) remaining() int {
	n := 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		n += 2
	}
	return n
}

// Append appends the packet.
func (p *Publish) Append(b []byte, _ Version) []byte {
	flags := p.QoS << publishShift
	if p.Retain {
		flags |= flagRetain
	}
	if p.Dup {
		flags |= flagDup
	}
	b = appendHeader(b, TypePublish, flags, p.remaining())
	b = appendBytes(b, p.Topic)
	if p.QoS > 0 {
		b = binary.BigEndian.AppendUint16(b, p.ID)
	}
	return append(b, p.Payload...)
}
