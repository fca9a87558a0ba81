package mqtt

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzPacket: what Decode accepts, Append writes again byte for byte, for every type. In 3.1.1 there is one way to
// write a packet, so nothing weaker will do. In 3.1 and 5 there are several; there it writes the packet in one of
// them, which means the same and is not longer.
func FuzzPacket(f *testing.F) {
	for _, c := range valid {
		raw := unhex(f, c.raw)
		f.Add(byte(V311), raw[0], raw[2:])
		f.Add(byte(V31), raw[0], raw[2:])
	}
	for _, c := range invalid {
		raw := unhex(f, c.raw)
		f.Add(byte(V311), raw[0], raw[2:])
	}
	add := func(v Version, raw string) {
		fr := frame(f, wire(f, raw))
		f.Add(byte(v), byte(fr.Type)<<4|fr.Flags, bytes.Clone(fr.Body))
	}
	for _, c := range valid31 {
		add(V31, c.raw)
	}
	for _, c := range valid5 {
		add(V5, c.raw)
	}
	for _, c := range other5 {
		add(V5, c.raw)
	}
	for _, c := range invalid5 {
		add(V5, c.raw)
	}
	f.Fuzz(func(t *testing.T, version, first byte, body []byte) {
		v := V31 + Version(version)%3
		fr := Frame{Type: Type(first >> 4), Flags: first & 0x0f, Body: body}
		p := NewPacket(fr.Type)
		if p == nil {
			return
		}
		before := bytes.Clone(body)
		err := p.Decode(fr, v)
		if !bytes.Equal(body, before) {
			t.Fatal("Decode writes into the frame")
		}
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %T, want *Error", err)
			}
			return
		}
		checkInverse(t, p, append(appendHeader(nil, fr.Type, fr.Flags, len(body)), body...), v)
	})
}

// checkInverse encodes what was decoded from raw.
func checkInverse(t *testing.T, p Packet, raw []byte, v Version) {
	got := p.Append(nil, v)
	if p, ok := p.(*Publish); ok && p.Size(v) != len(got) {
		t.Errorf("size: got %d, want %d", p.Size(v), len(got))
	}
	if c, ok := p.(*ConnAck); ok && len(raw) == 4 && v == V5 && c.Code == byte(ReasonUnsupportedVersion) {
		return // an older server's answer, which is shorter
	}
	if v == V311 || len(got) > len(raw) {
		if !bytes.Equal(got, raw) {
			t.Errorf("%+v:\n got %x\nwant %x", p, got, raw)
		}
		return
	}
	f := frame(t, got)
	again := NewPacket(f.Type)
	if err := again.Decode(f, v); err != nil {
		t.Fatalf("%+v: %v", p, err)
	}
	if diff := cmp.Diff(p, again, payloads); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if last := again.Append(nil, v); !bytes.Equal(last, got) {
		t.Errorf("%+v:\n got %x\nwant %x", p, last, got)
	}
}

// decodeOne decodes the only packet in raw.
func decodeOne(raw []byte, p Packet, v Version) error {
	r := NewFrameReader(bufio.NewReader(bytes.NewReader(raw)), MaxRemainingBytes)
	f, err := r.Next()
	if err != nil {
		return err
	}
	if err := p.Decode(f, v); err != nil {
		return err
	}
	if _, err := r.Next(); err != io.EOF {
		return fmt.Errorf("behind the packet: %w", err)
	}
	return nil
}

var nilIsEmpty = cmp.FilterValues(func(a, b []byte) bool { return len(a)+len(b) == 0 }, cmp.Ignore())

// FuzzConnect: any CONNECT that can be said comes back as it was, or is refused as a whole.
func FuzzConnect(f *testing.F) {
	f.Add("pump-7", "w", []byte{1}, byte(1), "user", []byte("password"), uint16(60), byte(0xff))
	f.Add("", "", []byte{}, byte(0), "", []byte{}, uint16(0), byte(0))
	f.Fuzz(func(t *testing.T, id, will string, payload []byte, qos byte, user string, password []byte, alive uint16, has byte) {
		want := &Connect{Version: V311, ProtocolName: "MQTT", CleanStart: has&1 != 0, KeepAlive: alive, ClientID: id}
		if has&2 != 0 {
			want.Will = &Will{Topic: will, Payload: payload, QoS: qos % 3, Retain: has&4 != 0}
		}
		if has&8 != 0 {
			want.Username, want.HasUsername = user, true
			if has&16 != 0 {
				want.Password, want.HasPassword = password, true
			}
		}
		if max(len(id), len(will), len(payload), len(user), len(password)) > MaxStringBytes {
			return
		}
		var got Connect
		err := decodeOne(want.Append(nil, V311), &got, V311)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrProtocol) {
				t.Error(err)
			}
			return
		}
		if diff := cmp.Diff(want, &got, nilIsEmpty); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// FuzzPublish is the same for PUBLISH.
func FuzzPublish(f *testing.F) {
	f.Add([]byte("a/b"), []byte("payload"), uint16(1), byte(0xff))
	f.Fuzz(func(t *testing.T, topic, payload []byte, id uint16, has byte) {
		want := &Publish{QoS: has & 3 % 3, Retain: has&4 != 0, Topic: topic, Payload: payload}
		if len(topic) > MaxStringBytes {
			return
		}
		if want.QoS > 0 {
			want.ID, want.Dup = max(id, 1), has&8 != 0
		}
		raw := want.Append(nil, V311)
		if want.Size(V311) != len(raw) {
			t.Errorf("size: got %d, want %d", want.Size(V311), len(raw))
		}
		var got Publish
		if decodeOne(raw, &got, V311) != nil {
			return
		}
		if diff := cmp.Diff(want, &got, nilIsEmpty); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// FuzzProperties: what version 5 can say of a message and of an answer comes back as it was, or is refused as a whole.
func FuzzProperties(f *testing.F) {
	f.Add("text", "re/ply", []byte{1}, "k", "v", uint32(60), uint32(300), uint16(7), uint16(0xffff))
	f.Add("", "", []byte{}, "", "", uint32(0), uint32(0), uint16(0), uint16(0))
	f.Fuzz(func(t *testing.T, text, reply string, data []byte, key, value string, expiry, id uint32, alias, has uint16) {
		if max(len(text), len(reply), len(data), len(key), len(value)) > MaxStringBytes || id > MaxSubscriptionID {
			return
		}
		m := &MessageProperties{ResponseTopic: reply, PayloadFormat: Some(byte(has & 1))}
		if has&2 != 0 {
			m.ContentType = Some(text)
		}
		if has&4 != 0 {
			m.CorrelationData = append([]byte{}, data...)
		}
		for range has >> 3 & 7 {
			m.User = append(m.User, UserProperty{key, value})
		}
		p := &Publish{Topic: []byte("a"), TopicAlias: alias, Properties: m, Payload: data}
		w := &Connect{Version: V5, ProtocolName: "MQTT", SessionExpiry: expiry, Will: &Will{Topic: "w", Delay: id, Properties: m}, User: m.User}
		if has&64 != 0 {
			p.MessageExpiry, w.Will.MessageExpiry = Some(expiry), Some(expiry)
		}
		if id > 0 {
			p.SubscriptionIDs = []uint32{id, 1, id}
		}
		a := &Ack{Type: TypePubAck, ID: 1, Code: ReasonNotAuthorized, Reason: text, User: m.User}
		for _, want := range []Packet{p, w, a} {
			got := NewPacket(Type(want.Append(nil, V5)[0] >> 4))
			if err := decodeOne(want.Append(nil, V5), got, V5); err != nil {
				if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrProtocol) {
					t.Error(err)
				}
			} else if diff := cmp.Diff(want, got, payloads); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		}
	})
}

// chunks gives its bytes in pieces of the given sizes, in turn.
type chunks struct {
	data  []byte
	sizes []byte
	turn  int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := len(c.data)
	if len(c.sizes) > 0 {
		n = min(n, int(c.sizes[c.turn%len(c.sizes)])+1)
		c.turn++
	}
	n = copy(p, c.data[:n])
	c.data = c.data[n:]
	return n, nil
}

// frames reads all frames and prints them and the error at the end.
func frames(r io.Reader, buffer, limit int) (all []string) {
	fr := NewFrameReader(bufio.NewReaderSize(r, buffer), limit)
	for {
		f, err := fr.Next()
		if err != nil {
			return append(all, err.Error())
		}
		all = append(all, fmt.Sprintf("%v %d %x", f.Type, f.Flags, f.Body))
	}
}

// FuzzFrameReader: neither the pieces in which a stream arrives nor the size of the buffer change what is read.
func FuzzFrameReader(f *testing.F) {
	var all []byte
	for _, c := range valid {
		all = append(all, unhex(f, c.raw)...)
	}
	f.Add(all, []byte{0}, byte(0))
	f.Add(append(appendHeader(nil, TypePublish, 0, 300), make([]byte, 400)...), []byte{7, 200}, byte(16))
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}, []byte{1}, byte(1))
	f.Fuzz(func(t *testing.T, data, sizes []byte, buffer byte) {
		const limit = 1 << 20
		want := frames(bytes.NewReader(data), 2<<20, limit)
		got := frames(&chunks{data: data, sizes: sizes}, int(buffer), limit)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}
