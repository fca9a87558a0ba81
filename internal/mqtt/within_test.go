package mqtt

import (
	"reflect"
	"strings"
	"testing"
)

// [MQTT-3.2.2-19] [MQTT-3.2.2-20] [MQTT-3.4.2-2] [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3] [MQTT-3.6.2-2] [MQTT-3.6.2-3]
// [MQTT-3.7.2-2] [MQTT-3.7.2-3] [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.11.2-1] [MQTT-3.11.2-2] [MQTT-3.14.2-3]
// [MQTT-3.14.2-4] [MQTT-3.15.2-2] [MQTT-3.15.2-3]
func TestAppendWithinLeavesOut(t *testing.T) {
	user := []UserProperty{{strings.Repeat("k", 100), "v"}}
	const reason = "a reason of some length"
	for _, p := range []Packet{
		&ConnAck{Code: 0x87, Reason: reason, User: user},
		&Ack{Type: TypePubAck, ID: 1, Code: 0x87, Reason: reason, User: user},
		&Ack{Type: TypePubRec, ID: 1, Reason: reason, User: user},
		&Ack{Type: TypePubRel, ID: 1, Reason: reason, User: user},
		&Ack{Type: TypePubComp, ID: 1, Code: 0x92, Reason: reason, User: user},
		&Ack{Type: TypeUnsubAck, ID: 1, Codes: []ReasonCode{0}, Reason: reason, User: user},
		&SubAck{ID: 1, Codes: []byte{1}, Reason: reason, User: user},
		&Disconnect{Code: 0x8e, Reason: reason, User: user},
		&Auth{Code: 0x18, Method: Some("m"), Reason: reason, User: user},
	} {
		full := p.Append(nil, V5)
		last := len(full) + 1
		for limit := uint32(len(full)); limit > 0; limit-- {
			out, fits := AppendWithin([]byte("before"), p, V5, limit)
			out = out[len("before"):]
			if !fits {
				if len(out) != 0 || limit > 14 {
					t.Errorf("%T: %d bytes, though it does not fit %d", p, len(out), limit)
				}
				continue
			}
			if len(out) > int(limit) || len(out) > last {
				t.Errorf("%T: got %d bytes, limit %d", p, len(out), limit)
			}
			last = len(out)
			got := NewPacket(Type(out[0] >> 4))
			if err := got.Decode(frame(t, out), V5); err != nil {
				t.Fatal(err)
			}
			v, w := reflect.ValueOf(got).Elem(), reflect.ValueOf(p).Elem()
			for i := range v.NumField() {
				switch name := v.Type().Field(i).Name; name {
				case "User", "Reason": // Reason goes after User
					if name == "Reason" && limit >= 60 && v.Field(i).String() != reason {
						t.Errorf("%T, limit %d: the reason is missing", p, limit)
					}
				default:
					if !reflect.DeepEqual(v.Field(i).Interface(), w.Field(i).Interface()) {
						t.Errorf("%T, limit %d: %s differs", p, limit, name)
					}
				}
			}
		}
		if again := p.Append(nil, V5); string(again) != string(full) {
			t.Errorf("%T was changed", p)
		}
		if out, fits := AppendWithin(nil, p, V5, 0); !fits || string(out) != string(full) {
			t.Errorf("%T: no limit: got %d bytes", p, len(out))
		}
	}
}

// [MQTT-3.1.2-24] [MQTT-3.2.2-15] A message is sent as it is or not at all.
func TestAppendWithinKeepsMessages(t *testing.T) {
	p := &Publish{Topic: []byte("a"), Payload: []byte("b"), Properties: &MessageProperties{User: []UserProperty{{"k", "v"}}}}
	size := uint32(p.Size(V5))
	if out, fits := AppendWithin(nil, p, V5, size); !fits || len(out) != int(size) {
		t.Errorf("at the limit: %d bytes, %v", len(out), fits)
	}
	if out, fits := AppendWithin(nil, p, V5, size-1); fits || len(out) != 0 {
		t.Errorf("over the limit: %d bytes, %v", len(out), fits)
	}
}

func TestPayloadOK(t *testing.T) {
	for _, c := range []struct {
		m       *MessageProperties
		payload string
		want    bool
	}{
		{nil, "\xff", true},
		{&MessageProperties{}, "\xff", true},
		{&MessageProperties{PayloadFormat: Some[byte](PayloadBytes)}, "\xff", true},
		{&MessageProperties{PayloadFormat: Some[byte](PayloadUTF8)}, "", true},
		{&MessageProperties{PayloadFormat: Some[byte](PayloadUTF8)}, "ü\x00", true}, // only strings exclude U+0000
		{&MessageProperties{PayloadFormat: Some[byte](PayloadUTF8)}, "\xff", false},
		{&MessageProperties{PayloadFormat: Some[byte](PayloadUTF8)}, "\xed\xa0\x80", false},
	} {
		if got := c.m.PayloadOK([]byte(c.payload)); got != c.want {
			t.Errorf("%+v, %q: got %v", c.m, c.payload, got)
		}
	}
}

func TestOptional(t *testing.T) {
	var none Optional[byte]
	if none.Or(2) != 2 || Some[byte](0).Or(2) != 0 {
		t.Error("absent and 0 are not told apart")
	}
}
