package astartewire

import "errors"

// ErrUndecodable means that a payload is no BSON document in the platform's sense (platform: undecodable_bson_payload).
var ErrUndecodable = errors.New("undecodable payload")

// A Payload is the content of a data message.
type Payload struct {
	// Unset means that the message carries no value: it is empty, or its value is null or an empty binary.
	Unset bool
	// Value is the value; a document for object interfaces. It aliases the message, unless that had to be put in order.
	Value Value
	// HasTime means that the sender gave a timestamp, TimeMillis, in milliseconds since 1970 UTC. It counts only where
	// the mapping has an explicit timestamp.
	HasTime    bool
	TimeMillis int64
}

// ParsePayload reads the payload of a data message as the platform does (astarte_data_updater_plant
// payloads_decoder.ex, on cyanide): nothing, or one BSON document with the value under "v", optionally a datetime under
// "t" and a document of metadata, which is ignored, under "m". In this order:
//
//   - no bytes: unset
//   - "v" together with a datetime "t": value and timestamp, whatever "m" is
//   - "v" and a document "m": value
//   - "v" is an empty binary: unset (a binaryblob can be set to nothing only together with "t" or "m")
//   - "v": value; a "t" of another type is ignored
//   - no "v": the whole document is the value, an old form of objects
//
// A null value is unset in any case. The whole document is checked strictly: lengths, terminators, the element types
// that the platform knows, booleans 0 and 1, datetimes within the years -9999 to 9999, keys in UTF-8, array keys "0" to
// "n-1" in any order; of equal keys the last one counts. Two differences from the platform: nesting deeper than 64
// levels is refused, and an error in a nested document is undecodable, where the platform reports a wrong value type.
//
// It does not allocate, except for documents with equal keys or disordered arrays.
func ParsePayload(b []byte) (Payload, error) {
	if len(b) == 0 {
		return Payload{Unset: true}, nil
	}
	var c checker
	if !c.container(b, false, 1) {
		return Payload{}, ErrUndecodable
	}
	if c.odd {
		b = normalize(nil, b, false)
	}
	return decode(b), nil
}

func decode(b []byte) Payload {
	var p Payload
	var hasValue, hasMeta bool
	for off := 4; off < len(b)-1; {
		keyEnd, end := element(b, off)
		typ, raw := b[off], b[keyEnd+1:end:end]
		if keyEnd == off+2 {
			switch b[off+1] {
			case 'v':
				p.Value, hasValue = Value{Type: typ, raw: raw}, true
			case 't':
				if typ == BSONDatetime {
					p.HasTime, p.TimeMillis = true, Value{Type: typ, raw: raw}.Millis()
				}
			case 'm':
				hasMeta = typ == BSONDocument
			}
		}
		off = end
	}
	switch {
	case !hasValue:
		return Payload{Value: Value{Type: BSONDocument, raw: b}}
	case p.Value.IsNull():
		p.Unset = true
	case p.Value.Type == BSONBinary && len(p.Value.raw) == 5 && !p.HasTime && !hasMeta:
		p.Unset = true
	}
	return p
}
