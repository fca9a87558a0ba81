package mqtt

import (
	"bufio"
	"bytes"
	"testing"
)

// loop is a stream of one packet again and again.
type loop struct {
	packet []byte
	at     int
}

func (l *loop) Read(p []byte) (n int, err error) {
	for n < len(p) {
		m := copy(p[n:], l.packet[l.at:])
		n += m
		l.at = (l.at + m) % len(l.packet)
	}
	return n, nil
}

func sample(payload int) *Publish {
	return &Publish{QoS: 1, Topic: []byte("realm/device-00777/iface/value"), ID: 7, Payload: make([]byte, payload)}
}

// The hot paths of broker and device: nothing per message goes to the garbage collector.
func TestPublishAllocatesNothing(t *testing.T) {
	for _, v := range []Version{V31, V311, V5} {
		for _, payload := range []int{0, 128, 100_000} { // the last does not fit the read buffer
			publishAllocates(t, sample(payload), v, 0)
		}
	}
	// What is set anew for each receiver costs nothing either.
	p := sample(128)
	p.TopicAlias, p.MessageExpiry = 7, Some[uint32](60)
	publishAllocates(t, p, V5, 0)
	ack, buf := Ack{Type: TypePubAck, ID: 1}, make([]byte, 0, 64)
	f := frame(t, ack.Append(nil, V311))
	for _, v := range []Version{V311, V5} {
		if n := testing.AllocsPerRun(100, func() {
			if err := ack.Decode(f, v); err != nil {
				t.Fatal(err)
			}
			buf = AppendPingResp(ack.Append(buf[:0], v))
		}); n != 0 {
			t.Errorf("acknowledgement in %v: got %v allocations, want 0", v, n)
		}
	}
}

// Properties are copied, so that they can travel with the message; how many there are hardly matters.
func TestPropertiesAllocateLittle(t *testing.T) {
	p := sample(128)
	p.Properties = &MessageProperties{
		PayloadFormat: Some[byte](PayloadUTF8), ContentType: Some("text/plain"), ResponseTopic: "re/ply", CorrelationData: []byte("77"),
		User: []UserProperty{{"a", "1"}, {"b", "2"}, {"c", "3"}, {"d", "4"}},
	}
	publishAllocates(t, p, V5, 4) // the struct, all texts, the correlation data, the list
	for range 1020 {
		p.Properties.User = append(p.Properties.User, UserProperty{"key", "value"})
	}
	publishAllocates(t, p, V5, 14) // the list grows
}

// publishAllocates decodes and encodes the packet and wants at most so many allocations in Decode, and none in Append.
func publishAllocates(t *testing.T, p *Publish, v Version, most float64) {
	t.Helper()
	payload := len(p.Payload)
	raw := p.Append(nil, v)
	r := NewFrameReader(bufio.NewReader(&loop{packet: raw}), len(raw))
	var got Publish
	if n := testing.AllocsPerRun(100, func() {
		f, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if err := got.Decode(f, v); err != nil {
			t.Fatal(err)
		}
	}); n > most {
		t.Errorf("decode %d bytes in %v: got %v allocations, want %v", payload, v, n, most)
	}
	if !bytes.Equal(got.Payload, p.Payload) {
		t.Errorf("decode %d bytes in %v: the payload differs", payload, v)
	}
	buf := make([]byte, 0, p.Size(v))
	if n := testing.AllocsPerRun(100, func() { buf = p.Append(buf[:0], v) }); n != 0 {
		t.Errorf("encode %d bytes in %v: got %v allocations, want 0", payload, v, n)
	}
}

func BenchmarkDecodePublish128(b *testing.B)   { benchmarkDecode(b, V311) }
func BenchmarkDecodePublish128V5(b *testing.B) { benchmarkDecode(b, V5) }

func benchmarkDecode(b *testing.B, v Version) {
	raw := sample(128).Append(nil, v)
	r := NewFrameReader(bufio.NewReaderSize(&loop{packet: raw}, 16<<10), len(raw))
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	var p Publish
	for b.Loop() {
		f, err := r.Next()
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Decode(f, v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendPublish128(b *testing.B)   { benchmarkAppend(b, V311) }
func BenchmarkAppendPublish128V5(b *testing.B) { benchmarkAppend(b, V5) }

func benchmarkAppend(b *testing.B, v Version) {
	p := sample(128)
	buf := make([]byte, 0, p.Size(v))
	b.SetBytes(int64(p.Size(v)))
	b.ReportAllocs()
	for b.Loop() {
		buf = p.Append(buf[:0], v)
	}
}

// Four properties, as a request has them.
func BenchmarkDecodePublishProperties(b *testing.B) {
	p := sample(128)
	p.Properties = &MessageProperties{
		ContentType: Some("text/plain"), ResponseTopic: "re/ply", CorrelationData: []byte("77"), User: []UserProperty{{"a", "1"}},
	}
	f := frame(b, p.Append(nil, V5))
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Decode(f, V5); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeConnect(b *testing.B) {
	c := Connect{ClientID: "realm/device-00777", CleanStart: true, KeepAlive: 60, Username: "u", HasUsername: true}
	f := frame(b, c.Append(nil, V311))
	b.ReportAllocs()
	var p Connect
	for b.Loop() {
		if err := p.Decode(f, V311); err != nil {
			b.Fatal(err)
		}
	}
}
