package mqtt

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
