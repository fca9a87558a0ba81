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
	for _, payload := range []int{0, 128, 100_000} { // the last does not fit the read buffer
		p := sample(payload)
		raw := p.Append(nil, V311)
		r := NewFrameReader(bufio.NewReader(&loop{packet: raw}), len(raw))
		var got Publish
		if n := testing.AllocsPerRun(100, func() {
			f, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if err := got.Decode(f, V311); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("decode %d bytes: got %v allocations, want 0", payload, n)
		}
		if !bytes.Equal(got.Payload, p.Payload) {
			t.Errorf("decode %d bytes: the payload differs", payload)
		}
		buf := make([]byte, 0, p.Size(V311))
		if n := testing.AllocsPerRun(100, func() { buf = p.Append(buf[:0], V311) }); n != 0 {
			t.Errorf("encode %d bytes: got %v allocations, want 0", payload, n)
		}
	}
	ack, buf := Ack{Type: TypePubAck, ID: 1}, make([]byte, 0, 64)
	f := frame(t, ack.Append(nil, V311))
	if n := testing.AllocsPerRun(100, func() {
		if err := ack.Decode(f, V311); err != nil {
			t.Fatal(err)
		}
		buf = AppendPingResp(ack.Append(buf[:0], V311))
	}); n != 0 {
		t.Errorf("acknowledgement: got %v allocations, want 0", n)
	}
}

func BenchmarkDecodePublish128(b *testing.B) {
	raw := sample(128).Append(nil, V311)
	r := NewFrameReader(bufio.NewReaderSize(&loop{packet: raw}, 16<<10), len(raw))
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	var p Publish
	for b.Loop() {
		f, err := r.Next()
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Decode(f, V311); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendPublish128(b *testing.B) {
	p := sample(128)
	buf := make([]byte, 0, p.Size(V311))
	b.SetBytes(int64(p.Size(V311)))
	b.ReportAllocs()
	for b.Loop() {
		buf = p.Append(buf[:0], V311)
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
