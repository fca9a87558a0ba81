package mqtt

import "encoding/binary"

// Append appends the properties as a PUBLISH has them, without the length in front: for whoever keeps messages and does
// not look into them, see [Publish.Encoded].
func (m *MessageProperties) Append(b []byte) []byte { return appendMessage(b, m) }

// DecodeMessageProperties reads what [MessageProperties.Append] has made: nil from nothing. The error is an *Error.
func DecodeMessageProperties(b []byte) (m *MessageProperties, err error) {
	d := fields{t: TypePublish, b: b, block: b}
	for id := d.property(messageProperties, repeatedUser); id != 0; id = d.property(messageProperties, repeatedUser) {
		d.message(id, &m)
	}
	if d.err != nil {
		return nil, d.err
	}
	return m, nil
}

// EncodedContentType returns the content type in properties that [MessageProperties.Append] has made, nil if there is
// none. It decodes nothing else and does not allocate; the result refers to b.
func EncodedContentType(b []byte) []byte {
	for len(b) > 0 {
		id := b[0]
		b = b[1:]
		count := 1
		switch id {
		case propPayloadFormat:
			if len(b) < 1 {
				return nil
			}
			b = b[1:]
			continue
		case propUser:
			count = 2
		case propContentType, propResponseTopic, propCorrelationData:
		default:
			return nil
		}
		for range count {
			if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
				return nil
			}
			n := 2 + int(binary.BigEndian.Uint16(b))
			if id == propContentType {
				return b[2:n]
			}
			b = b[n:]
		}
	}
	return nil
}
