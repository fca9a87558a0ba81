package websocket

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// The first is RFC 6455 section 1.3's; the second was observed with AWSIoTPythonSDK 1.6.2, whose keys are longer than
// the RFC has them.
func TestAcceptKey(t *testing.T) {
	for _, tt := range []struct{ key, want string }{
		{"dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
		{
			"d4ADpcyGuKg+11EwKOqGJdW1jGbO4VAN5cziI4AfMHjeplVmN1R+ndi6silgNMPuiMEMCIEwSYvyIMAd88Uu7Mh5DoNYdudmIsTBKIkBSqTBmdAhCcBoqNywEETKqccpRbDX1zR6q16L4HI3nG/h7lYnYecCV043+s5zpIEQ2GM=",
			"q00F5xXBtmTyqKQdP4EL8RgmNxQ=",
		},
	} {
		if got := AcceptKey(tt.key); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.key, got, tt.want)
		}
	}
}

var mask = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// client returns a frame as a client sends it.
func client(first byte, payload string) []byte {
	b := AppendMasked(nil, Opcode(first&0x0F), []byte(payload), mask)
	b[0] = first
	return b
}

// RFC 6455 section 5.7.
func TestExamplesOfTheRFC(t *testing.T) {
	d := Decoder{FromServer: true}
	b := []byte{0x02, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f, 0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f}
	n, err := d.Decode(b)
	if string(b[:n]) != "Hello" || err != nil {
		t.Errorf("got %q, %v, want Hello from two fragments", b[:n], err)
	}
	if p, ok := d.Pong(); string(p) != "Hello" || !ok {
		t.Errorf("got ping %q, %v", p, ok)
	}
	if p, ok := d.Pong(); ok {
		t.Errorf("a second answer %q to one ping", p)
	}
	var s Decoder
	b = []byte{0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58}
	if n, err := s.Decode(b); n != 0 || err != nil {
		t.Errorf("a pong nobody asked for: got %d bytes, %v", n, err)
	}
}

// [MQTT-6.0.0-2]: packets and frames have nothing to do with each other. However the bytes are cut, the data is the
// same, and so is what comes of pings among them.
func TestAnyCut(t *testing.T) {
	var stream []byte
	var want bytes.Buffer
	for i, n := range []int{0, 1, 7, 125, 126, 127, 300, 65535, 65536, 70000} {
		part := strings.Repeat(string(rune('a'+i)), n)
		want.WriteString(part)
		stream = append(stream, client(0x02, part[:n/2])...)
		stream = append(stream, client(0x89, "p")...) // control frames may stand between fragments
		stream = append(stream, client(0x80, part[n/2:])...)
	}
	for _, size := range []int{1, 2, 3, 5, 13, 14, 15, 1000, len(stream)} {
		var d Decoder
		var got bytes.Buffer
		pings := 0
		for rest := bytes.Clone(stream); len(rest) > 0; {
			k := min(size, len(rest))
			n, err := d.Decode(rest[:k])
			if err != nil {
				t.Fatalf("pieces of %d: %v", size, err)
			}
			got.Write(rest[:n])
			rest = rest[k:]
			if p, ok := d.Pong(); ok {
				pings++
				if string(p) != "p" {
					t.Errorf("got ping %q", p)
				}
			}
		}
		if !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Errorf("pieces of %d: got %d bytes, want %d", size, got.Len(), want.Len())
		}
		if pings == 0 || size <= 6 && pings != 10 {
			t.Errorf("pieces of %d: got %d pings", size, pings)
		}
	}
}

func TestRefusals(t *testing.T) {
	long := strings.Repeat("x", 126)
	for _, tt := range []struct {
		name   string
		frames [][]byte
		code   int
		data   string // that comes before
	}{
		{"text [MQTT-6.0.0-1]", [][]byte{client(0x82, "ab"), client(0x81, "hello")}, CloseUnsupported, "ab"},
		{"not masked", [][]byte{AppendFrame(nil, Binary, []byte("ab"))}, CloseProtocol, ""},
		{"compressed", [][]byte{client(0xC2, "ab")}, CloseProtocol, ""},
		{"unknown opcode", [][]byte{client(0x83, "")}, CloseProtocol, ""},
		{"unknown control", [][]byte{client(0x8B, "")}, CloseProtocol, ""},
		{"continuation of nothing", [][]byte{client(0x80, "ab")}, CloseProtocol, ""},
		{"continuation of what has ended", [][]byte{client(0x82, "ab"), client(0x80, "ab")}, CloseProtocol, "ab"},
		{"message in a message", [][]byte{client(0x02, "ab"), client(0x82, "cd")}, CloseProtocol, "ab"},
		{"fragmented ping", [][]byte{client(0x09, "ab")}, CloseProtocol, ""},
		{"long ping", [][]byte{client(0x89, long)}, CloseProtocol, ""},
		{"absurd length", [][]byte{{0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}}, CloseProtocol, ""},
		{"half a code", [][]byte{client(0x88, "\x03")}, CloseProtocol, ""},
		{"code that is none", [][]byte{client(0x88, "\x03\xed")}, CloseProtocol, ""},
		{"reason that is no text", [][]byte{client(0x88, "\x03\xe8\xff")}, CloseBadText, ""},
	} {
		var d Decoder
		b := bytes.Join(tt.frames, nil)
		n, err := d.Decode(b)
		var e *Error
		if !errors.As(err, &e) || e.Code != tt.code || string(b[:n]) != tt.data {
			t.Errorf("%s: got %q, %v, want %q and code %d", tt.name, b[:n], err, tt.data, tt.code)
		}
		if n, again := d.Decode(client(0x82, "more")); n != 0 || !errors.Is(again, err) {
			t.Errorf("%s: after the end: got %d bytes and %v", tt.name, n, again)
		}
	}
}

func TestClose(t *testing.T) {
	for _, tt := range []struct {
		payload []byte
		want    int
	}{
		{nil, CloseNoCode}, {ClosePayload(CloseNormal, "bye"), CloseNormal}, {ClosePayload(4999, ""), 4999},
	} {
		var d Decoder
		b := bytes.Join([][]byte{client(0x82, "last"), client(0x88, string(tt.payload)), client(0x82, "later")}, nil)
		n, err := d.Decode(b)
		if string(b[:n]) != "last" || !errors.Is(err, ErrClosed) || d.CloseCode() != tt.want {
			t.Errorf("got %q, %v and code %d, want the data before and code %d", b[:n], err, d.CloseCode(), tt.want)
		}
	}
}

// Whatever comes, however it is cut, the result is the same, and is never more than came.
func FuzzDecode(f *testing.F) {
	f.Add(append(client(0x02, "ab"), client(0x80, "cd")...), uint8(1))
	f.Add(append(client(0x89, "ab"), client(0x88, "\x03\xe8")...), uint8(3))
	f.Add(client(0x82, strings.Repeat("x", 400)), uint8(100))
	f.Add([]byte{0x82, 0xFF, 0, 0, 0, 0, 0, 0, 1, 0, 1, 2, 3, 4, 5, 6}, uint8(2))
	f.Fuzz(func(t *testing.T, stream []byte, size uint8) {
		var whole, cut Decoder
		a := bytes.Clone(stream)
		n, err := whole.Decode(a)
		var got []byte
		var cutErr error
		b := bytes.Clone(stream)
		for step := int(size) + 1; len(b) > 0 && cutErr == nil; {
			k := min(step, len(b))
			var m int
			m, cutErr = cut.Decode(b[:k])
			got = append(got, b[:m]...)
			b = b[k:]
		}
		if !bytes.Equal(got, a[:n]) || (err == nil) != (cutErr == nil) || err != nil && err.Error() != cutErr.Error() {
			t.Errorf("whole %q, %v; cut %q, %v", a[:n], err, got, cutErr)
		}
		if len(whole.control) > maxControl || len(whole.ping) > maxControl {
			t.Errorf("%d bytes kept", len(whole.control))
		}
	})
}

// What one end encodes, the other one decodes.
func FuzzInverse(f *testing.F) {
	f.Add([]byte("hello"), []byte{1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, payload, key []byte) {
		var m [4]byte
		copy(m[:], key)
		for _, b := range [][]byte{AppendMasked(nil, Binary, payload, m), AppendFrame(nil, Binary, payload)} {
			d := Decoder{FromServer: b[1]&0x80 == 0}
			n, err := d.Decode(b)
			if err != nil || !bytes.Equal(b[:n], payload) {
				t.Errorf("got %q, %v, want %q", b[:n], err, payload)
			}
		}
	})
}
