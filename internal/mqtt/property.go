package mqtt

import (
	"slices"
	"unicode/utf8"

	"github.com/fairlead-iot/fairlead/internal/topic"
)

// MaxRepeated is how many user properties, and how many subscription identifiers, a packet may have. The protocol sets
// no limit; without one, a packet of a megabyte could cost ten times that in memory.
const MaxRepeated = 1024

// Optional is a value of which absence means something else than zero. Where both mean the same, or where zero is not
// allowed, the packets have plain fields.
type Optional[T any] struct {
	Value   T
	Present bool
}

// Some returns a value that is present.
func Some[T any](v T) Optional[T] { return Optional[T]{v, true} }

// Or returns the value, or what stands for its absence.
func (o Optional[T]) Or(absent T) T {
	if o.Present {
		return o.Value
	}
	return absent
}

// UserProperty is a name with a value, of which only the applications at the ends know the meaning. The order counts
// and names may repeat.
type UserProperty struct{ Key, Value string }

// Values of a payload format indicator.
const (
	PayloadBytes = 0 // unspecified; means the same as no indicator
	PayloadUTF8  = 1
)

// MessageProperties is what version 5 adds to a message for those who receive it: a server hands it on unaltered. It
// owns its memory, and one may belong to many packets.
type MessageProperties struct {
	PayloadFormat   Optional[byte] // PayloadBytes or PayloadUTF8
	ContentType     Optional[string]
	ResponseTopic   string // a topic name, no filter; empty if the message is no request
	CorrelationData []byte // nil if there is none; not the same as empty
	User            []UserProperty
}

// PayloadOK reports whether a payload is what the payload format indicator says of it. Decode does not ask, because the
// specification leaves it to each receiver; who asks answers a payload that is not OK with ReasonPayloadFormatInvalid.
// Without properties every payload is OK.
func (m *MessageProperties) PayloadOK(payload []byte) bool {
	return m == nil || m.PayloadFormat.Value != PayloadUTF8 || utf8.Valid(payload)
}

// Identifiers of properties. (MQTT Version 5.0, section 2.2.2.2.)
const (
	propPayloadFormat       = 0x01
	propMessageExpiry       = 0x02
	propContentType         = 0x03
	propResponseTopic       = 0x08
	propCorrelationData     = 0x09
	propSubscriptionID      = 0x0b
	propSessionExpiry       = 0x11
	propAssignedClientID    = 0x12
	propServerKeepAlive     = 0x13
	propAuthMethod          = 0x15
	propAuthData            = 0x16
	propRequestProblem      = 0x17
	propWillDelay           = 0x18
	propRequestResponse     = 0x19
	propResponseInformation = 0x1a
	propServerReference     = 0x1c
	propReasonString        = 0x1f
	propReceiveMaximum      = 0x21
	propTopicAliasMaximum   = 0x22
	propTopicAlias          = 0x23
	propMaximumQoS          = 0x24
	propRetainAvailable     = 0x25
	propUser                = 0x26
	propMaximumPacketSize   = 0x27
	propWildcardAvailable   = 0x28
	propSubIDAvailable      = 0x29
	propSharedAvailable     = 0x2a
)

var propertyNames = [...]string{
	propPayloadFormat: "payload format indicator", propMessageExpiry: "message expiry interval", propContentType: "content type",
	propResponseTopic: "response topic", propCorrelationData: "correlation data", propSubscriptionID: "subscription identifier",
	propSessionExpiry: "session expiry interval", propAssignedClientID: "assigned client identifier", propServerKeepAlive: "server keep alive",
	propAuthMethod: "authentication method", propAuthData: "authentication data", propRequestProblem: "request problem information",
	propWillDelay: "will delay interval", propRequestResponse: "request response information", propResponseInformation: "response information",
	propServerReference: "server reference", propReasonString: "reason string", propReceiveMaximum: "receive maximum",
	propTopicAliasMaximum: "topic alias maximum", propTopicAlias: "topic alias", propMaximumQoS: "maximum QoS",
	propRetainAvailable: "retain available", propUser: "user property", propMaximumPacketSize: "maximum packet size",
	propWildcardAvailable: "wildcard subscription available", propSubIDAvailable: "subscription identifiers available",
	propSharedAvailable: "shared subscription available",
}

// properties is a set of property identifiers, one bit each. All of them are below 64, so that one byte encodes each.
type properties uint64

func propertySet(ids ...int) (s properties) {
	for _, id := range ids {
		s |= 1 << id
	}
	return s
}

// messageProperties are those in MessageProperties.
var messageProperties = propertySet(propPayloadFormat, propContentType, propResponseTopic, propCorrelationData, propUser)

// beginProperties starts with the block of properties that comes next, and returns what follows it. Then property is
// called until it returns 0, then endProperties.
func (d *fields) beginProperties() (rest []byte) {
	n := d.varint("property length")
	if n > len(d.b) {
		d.fail(malformed("%v ends within its properties", d.t))
	}
	if d.err != nil {
		return nil
	}
	rest = d.b[n:]
	d.b = d.b[:n:n]
	d.block, d.copied, d.seen = d.b, "", 0
	return rest
}

func (d *fields) endProperties(rest []byte) {
	if d.err == nil {
		d.b = rest
	}
}

// property returns the identifier of the next property, whose value must then be read; 0 at the end of the block.
func (d *fields) property(allowed properties, repeated properties) int {
	if len(d.b) == 0 {
		return 0
	}
	id := int(d.b[0])
	d.b = d.b[1:]
	if id >= 64 || allowed>>id&1 == 0 { // unknown, or not for this packet
		d.fail(malformed("%v with property %#x", d.t, id))
		return 0
	}
	if bit := properties(1) << id; d.seen&bit == 0 {
		d.seen |= bit
	} else if repeated&bit == 0 {
		d.fail(violation(ReasonProtocolError, "%v with a second %s", d.t, propertyNames[id]))
		return 0
	}
	return id
}

// flag reads a byte that must be 0 or 1.
func (d *fields) flag(id int) bool {
	b := d.byte(propertyNames[id])
	if b > 1 {
		d.fail(violation(ReasonProtocolError, "%v with %s %d", d.t, propertyNames[id], b))
	}
	return b == 1
}

// positive16 and positive32 read numbers that must not be 0.
func (d *fields) positive16(id int) uint16 { return nonzero(d, id, d.uint16(propertyNames[id])) }
func (d *fields) positive32(id int) uint32 { return nonzero(d, id, d.uint32(propertyNames[id])) }

func nonzero[N uint16 | uint32](d *fields, id int, n N) N {
	if n == 0 && d.err == nil {
		code := ReasonProtocolError
		if id == propTopicAlias {
			code = ReasonTopicAliasInvalid
		}
		d.fail(violation(code, "%v with %s 0", d.t, propertyNames[id]))
	}
	return n
}

// subscriptionID reads a variable byte integer that must not be 0.
func (d *fields) subscriptionID() uint32 {
	return nonzero(d, propSubscriptionID, uint32(d.varint(propertyNames[propSubscriptionID])))
}

// propertyText reads and checks a string. All strings of a block are parts of one copy of it: a thousand of them cost
// one allocation.
func (d *fields) propertyText(id int) string {
	p := d.checked(propertyNames[id])
	if len(p) == 0 {
		return ""
	}
	if d.copied == "" {
		d.copied = string(d.block)
	}
	end := len(d.block) - len(d.b)
	return d.copied[end-len(p) : end]
}

// user reads a user property. [MQTT-1.5.7-1]
func (d *fields) user(to *[]UserProperty) {
	if len(*to) == MaxRepeated {
		d.fail(violation(ReasonQuotaExceeded, "%v with more than %d user properties", d.t, MaxRepeated))
		return
	}
	if *to == nil {
		*to = make([]UserProperty, 0, 4)
	}
	key := d.propertyText(propUser)
	*to = append(*to, UserProperty{key, d.propertyText(propUser)})
}

// data reads a byte string and copies it. It is not nil, to differ from absence.
func (d *fields) data(id int) []byte { return append([]byte{}, d.binary(propertyNames[id])...) }

// message reads the value of a property of the set messageProperties.
func (d *fields) message(id int, m **MessageProperties) {
	if *m == nil {
		*m = &MessageProperties{}
	}
	switch id {
	case propPayloadFormat:
		var b byte
		if d.flag(id) {
			b = PayloadUTF8
		}
		(*m).PayloadFormat = Some(b)
	case propContentType:
		(*m).ContentType = Some(d.propertyText(id))
	case propResponseTopic:
		(*m).ResponseTopic = d.propertyText(id)
		if d.err == nil && topic.Validate((*m).ResponseTopic) != nil { // [MQTT-3.3.2-14]
			d.fail(violation(ReasonProtocolError, "%v with response topic %.80q", d.t, (*m).ResponseTopic))
		}
	case propCorrelationData:
		(*m).CorrelationData = d.data(id)
	case propUser:
		d.user(&(*m).User)
	}
}

// size returns how many bytes appendMessage appends.
func (m *MessageProperties) size() (n int) {
	if m == nil {
		return 0
	}
	if m.PayloadFormat.Present {
		n += 2
	}
	if m.ContentType.Present {
		n += 3 + len(m.ContentType.Value)
	}
	if m.ResponseTopic != "" {
		n += 3 + len(m.ResponseTopic)
	}
	if m.CorrelationData != nil {
		n += 3 + len(m.CorrelationData)
	}
	for i := range m.User {
		n += 5 + len(m.User[i].Key) + len(m.User[i].Value)
	}
	return n
}

func appendMessage(b []byte, m *MessageProperties) []byte {
	if m == nil {
		return b
	}
	if m.PayloadFormat.Present {
		b = append(b, propPayloadFormat, m.PayloadFormat.Value)
	}
	if m.ContentType.Present {
		b = appendBytes(append(b, propContentType), m.ContentType.Value)
	}
	b = appendText(b, propResponseTopic, m.ResponseTopic)
	b = appendData(b, propCorrelationData, m.CorrelationData)
	return appendUser(b, m.User)
}

// appendText appends a property that is absent if it is empty.
func appendText(b []byte, id byte, s string) []byte {
	if s == "" {
		return b
	}
	return appendBytes(append(b, id), s)
}

// appendData appends a property that is absent if it is nil.
func appendData(b []byte, id byte, data []byte) []byte {
	if data == nil {
		return b
	}
	return appendBytes(append(b, id), data)
}

func appendUser(b []byte, user []UserProperty) []byte {
	for _, u := range user {
		b = appendBytes(appendBytes(append(b, propUser), u.Key), u.Value)
	}
	return b
}

// append16 and append32 append properties that are absent if they are 0.
func append16(b []byte, id byte, n uint16) []byte {
	if n == 0 {
		return b
	}
	return append(b, id, byte(n>>8), byte(n))
}

func append32(b []byte, id byte, n uint32) []byte {
	if n == 0 {
		return b
	}
	return append(b, id, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

func appendOptional32(b []byte, id byte, n Optional[uint32]) []byte {
	if !n.Present {
		return b
	}
	return append(b, id, byte(n.Value>>24), byte(n.Value>>16), byte(n.Value>>8), byte(n.Value))
}

// appendUnless appends a property that says no to something which is understood to be a yes.
func appendUnless(b []byte, id byte, no bool) []byte {
	if !no {
		return b
	}
	return append(b, id, 0)
}

// begin appends room for a length, and end puts it there. What takes more than a byte moves what was appended since:
// cheaper than to ask everything for its size first, except for PUBLISH, which is large.
func begin(b []byte) ([]byte, int) { return append(b, 0), len(b) + 1 }

func end(b []byte, start int) []byte {
	n := len(b) - start
	if n > MaxRemainingBytes {
		panic("mqtt: a packet is longer than the protocol allows")
	}
	var length [4]byte
	l := appendVarint(length[:0], n)
	b[start-1] = l[0]
	if len(l) > 1 {
		b = slices.Insert(b, start, l[1:]...)
	}
	return b
}
