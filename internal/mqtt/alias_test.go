package mqtt

import (
	"errors"
	"testing"
)

func TestAliasReader(t *testing.T) {
	r := NewAliasReader(3) // [MQTT-3.3.2-10] [MQTT-3.3.2-12] all from 1 to 3 are taken
	for i, c := range []struct {
		topic string
		alias uint16
		want  string
		code  ReasonCode
	}{
		{"a", 0, "a", 0},
		{"", 1, "", ReasonProtocolError}, // not set yet
		{"b", 3, "b", 0},
		{"", 3, "b", 0},
		{"", 2, "", ReasonProtocolError},
		{"c", 3, "c", 0}, // changed
		{"", 3, "c", 0},
		{"d", 1, "d", 0},
		{"", 1, "d", 0},
		{"e", 4, "", ReasonTopicAliasInvalid}, // [MQTT-3.2.2-17] [MQTT-3.3.2-9]
		{"", 65535, "", ReasonTopicAliasInvalid},
	} {
		p := Publish{Topic: []byte(c.topic), TopicAlias: c.alias}
		err := r.Resolve(&p)
		var e *Error
		if errors.As(err, &e); err != nil && e.Code != c.code || err == nil && (c.code != 0 || string(p.Topic) != c.want) {
			t.Errorf("step %d: got %q, %v", i, p.Topic, err)
		}
	}
	var none AliasReader // [MQTT-3.2.2-18]
	if err := none.Resolve(&Publish{Topic: []byte("a"), TopicAlias: 1}); err == nil {
		t.Error("a reader without aliases takes one")
	}
	// What was noted is not part of a read buffer, and what was handed out stays when the alias changes.
	b := []byte("x")
	set := Publish{Topic: b, TopicAlias: 2}
	if err := r.Resolve(&set); err != nil {
		t.Fatal(err)
	}
	b[0] = '!'
	get := Publish{TopicAlias: 2}
	if err := r.Resolve(&get); err != nil || string(get.Topic) != "x" {
		t.Errorf("got %q, %v", get.Topic, err)
	}
	if err := r.Resolve(&Publish{Topic: []byte("y"), TopicAlias: 2}); err != nil || string(get.Topic) != "x" {
		t.Errorf("got %q, %v", get.Topic, err)
	}
}

// What one end shortens the other understands, within the receiver's maximum. [MQTT-3.1.2-26] [MQTT-3.3.2-11]
func TestAliasesInverse(t *testing.T) {
	for _, maximum := range []uint16{0, 1, 2, 100} { // [MQTT-3.1.2-27] at 0
		w, r := NewAliasWriter(maximum), NewAliasReader(maximum)
		short := 0
		for i := range 30 {
			topic := string(rune('a' + i*i%7))
			p := Publish{Topic: []byte(topic)}
			w.Shorten(&p)
			if p.TopicAlias > maximum {
				t.Fatalf("maximum %d: got alias %d", maximum, p.TopicAlias)
			}
			var got Publish
			if err := got.Decode(frame(t, p.Append(nil, V5)), V5); err != nil {
				t.Fatal(err)
			}
			if len(got.Topic) == 0 {
				short++
			}
			if err := r.Resolve(&got); err != nil || string(got.Topic) != topic {
				t.Fatalf("maximum %d: got %q, %v, want %q", maximum, got.Topic, err, topic)
			}
		}
		if want := map[uint16]int{0: 0, 100: 26}; short != want[maximum] && maximum%100 == 0 {
			t.Errorf("maximum %d: %d packets were shortened, want %d", maximum, short, want[maximum])
		}
	}
}

func TestAliasesAllocateNothing(t *testing.T) {
	w, r := NewAliasWriter(5), NewAliasReader(5)
	topic, buf := []byte("realm/device-00777/iface/value"), make([]byte, 0, 200)
	var got Publish
	if n := testing.AllocsPerRun(100, func() {
		p := Publish{QoS: 1, ID: 1, Topic: topic, Payload: topic}
		w.Shorten(&p)
		buf = p.Append(buf[:0], V5)
		if err := got.Decode(Frame{Type: TypePublish, Flags: buf[0] & 0x0f, Body: buf[2:]}, V5); err != nil {
			t.Fatal(err)
		}
		if err := r.Resolve(&got); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
	if string(got.Topic) != string(topic) {
		t.Errorf("got %q", got.Topic)
	}
}
