package load

import (
	"encoding/binary"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// PayloadBytes is the size of a message's payload: a BSON document {"v": binary}.
const PayloadBytes = 128

// valueBytes is what remains of it for the value.
const valueBytes = PayloadBytes - len("\x00\x00\x00\x00"+"\x05v\x00"+"\x00\x00\x00\x00"+"\x00"+"\x00")

// A template is a PUBLISH whose packet identifier and value are written anew in place for each message.
type template struct {
	packet []byte
	id     []byte // within packet
	value  []byte // within packet
}

func newTemplate(topic string) template {
	doc, mark := astartewire.BeginDocument(nil)
	doc = astartewire.AppendBinary(doc, "v", make([]byte, valueBytes))
	doc = astartewire.EndDocument(doc, mark)
	p := mqtt.Publish{QoS: 1, Topic: []byte(topic), ID: 1, Payload: doc}
	t := template{packet: p.Append(nil, mqtt.V311)}
	n := len(t.packet)
	t.id = t.packet[n-len(doc)-2 : n-len(doc)]
	t.value = t.packet[n-1-valueBytes : n-1]
	return t
}

// patch returns the packet of message seq; it is good until the next call.
func (t *template) patch(id uint16, seq uint64) []byte {
	binary.BigEndian.PutUint16(t.id, id)
	fill(t.value, seq)
	return t.packet
}

// fill writes the value of message seq: the number, and noise that follows from it, so that no server gains by
// compressing what real data would not let it compress, and a reader can tell a wrong value from the right one.
func fill(value []byte, seq uint64) {
	binary.BigEndian.PutUint64(value, seq)
	x := seq*0x9e3779b97f4a7c15 + 1
	for b := value[8:]; len(b) > 0; {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		if len(b) < 8 {
			var last [8]byte
			binary.LittleEndian.PutUint64(last[:], x)
			copy(b, last[:])
			return
		}
		binary.LittleEndian.PutUint64(b, x)
		b = b[8:]
	}
}

// Seq returns the number of the message that has this value; ok is false if no message has it.
func Seq(value []byte) (seq uint64, ok bool) {
	if len(value) != valueBytes {
		return 0, false
	}
	seq = binary.BigEndian.Uint64(value)
	var want [valueBytes]byte
	fill(want[:], seq)
	return seq, want == [valueBytes]byte(value)
}

// PayloadSeq is Seq for a whole payload.
func PayloadSeq(payload []byte) (seq uint64, ok bool) {
	if len(payload) != PayloadBytes {
		return 0, false
	}
	return Seq(payload[PayloadBytes-1-valueBytes : PayloadBytes-1])
}
