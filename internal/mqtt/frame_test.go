package mqtt

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"testing/iotest"
)

func TestFrameReaderCutsPackets(t *testing.T) {
	var stream []byte
	var want []string
	for _, n := range []int{0, 1, 127, 128, 200, 300, 16_383, 16_384, 70_000, 5, 2_097_152, 0} {
		body := bytes.Repeat([]byte{byte(n)}, n)
		stream = append(appendHeader(stream, TypePublish, 1, n), body...)
		want = append(want, fmt.Sprintf("PUBLISH 1 %d %x", n, sum(body)))
	}
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r },
		"bytes": iotest.OneByteReader, "halves": iotest.HalfReader, "data with EOF": iotest.DataErrReader,
	} {
		r := NewFrameReader(bufio.NewReaderSize(wrap(bytes.NewReader(stream)), 256), MaxRemainingBytes)
		for i, w := range want {
			f, err := r.Next()
			if err != nil {
				t.Fatalf("%s, packet %d: %v", name, i, err)
			}
			if got := fmt.Sprintf("%v %d %d %x", f.Type, f.Flags, len(f.Body), sum(f.Body)); got != w {
				t.Errorf("%s, packet %d: got %s, want %s", name, i, got, w)
			}
		}
		if _, err := r.Next(); err != io.EOF {
			t.Errorf("%s, end: got %v, want EOF", name, err)
		}
	}
}

// sum is a weak checksum that notices reordered and foreign bytes.
func sum(b []byte) (n uint64) {
	for i, c := range b {
		n = n*31 + uint64(c) + uint64(i)
	}
	return n
}

// Statements of 5: [MQTT-1.5.5-1].
func TestFrameReaderEnds(t *testing.T) {
	long := appendHeader(nil, TypePublish, 0, 5000)
	for _, c := range []struct {
		name string
		in   []byte
		want error
	}{
		{"nothing", nil, io.EOF},
		{"first byte", []byte{0x30}, io.ErrUnexpectedEOF},
		{"within the length", []byte{0x30, 0x80}, io.ErrUnexpectedEOF},
		{"no body", []byte{0x30, 1}, io.ErrUnexpectedEOF},
		{"part of the body", []byte{0x30, 3, 0}, io.ErrUnexpectedEOF},
		{"no long body", long, io.ErrUnexpectedEOF},
		{"part of a long body", append(bytes.Clone(long), make([]byte, 4999)...), io.ErrUnexpectedEOF},
		{"type 0", []byte{0, 0}, ErrMalformed},
		{"length with five bytes", []byte{0x30, 0x80, 0x80, 0x80, 0x80, 1}, ErrMalformed},
		{"length longer than needed", []byte{0xc0, 0x80, 0}, ErrMalformed},
		{"length longer than needed, four bytes", []byte{0xc0, 0xff, 0xff, 0x80, 0}, ErrMalformed},
		{"over the limit", appendHeader(nil, TypePublish, 0, 10_001), ErrTooLarge},
		{"largest length", []byte{0x30, 0xff, 0xff, 0xff, 0x7f}, ErrTooLarge},
	} {
		r := NewFrameReader(bufio.NewReaderSize(bytes.NewReader(c.in), 1024), 10_000)
		if _, err := r.Next(); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}

// flaky gives one byte, then a deadline error, in turn: as a connection does whose deadline is set short.
type flaky struct {
	r    io.Reader
	fail bool
}

func (f *flaky) Read(p []byte) (int, error) {
	if f.fail = !f.fail; f.fail {
		return 0, os.ErrDeadlineExceeded
	}
	return f.r.Read(p[:1])
}

func TestFrameReaderGoesOnAfterDeadline(t *testing.T) {
	want := append(bytes.Repeat([]byte{7}, 500), bytes.Repeat([]byte{8}, 500)...)
	stream := append(appendHeader(nil, TypePublish, 0, len(want)), want...)
	stream = AppendPingReq(append(appendHeader(stream, TypePubAck, 0, 2), 0, 1))
	for _, size := range []int{64, 4096} { // the body outside and inside the read buffer
		r := NewFrameReader(bufio.NewReaderSize(&flaky{r: bytes.NewReader(stream)}, size), 1000)
		var types []Type
		deadlines := 0
		for {
			f, err := r.Next()
			if errors.Is(err, os.ErrDeadlineExceeded) {
				deadlines++
				continue
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if f.Type == TypePublish && !bytes.Equal(f.Body, want) {
				t.Errorf("buffer %d: body differs", size)
			}
			types = append(types, f.Type)
		}
		if got, want := fmt.Sprint(types), "[PUBLISH PUBACK PINGREQ]"; got != want {
			t.Errorf("buffer %d: got %s, want %s", size, got, want)
		}
		if deadlines < 100 {
			t.Errorf("buffer %d: only %d deadlines", size, deadlines)
		}
	}
}

// A peer that announces much and sends nothing must not cost what it announces.
func TestFrameReaderTakesMemoryAsBytesArrive(t *testing.T) {
	stream := append(appendHeader(nil, TypePublish, 0, 200<<20), make([]byte, 100_000)...)
	r := NewFrameReader(bufio.NewReader(bytes.NewReader(stream)), MaxRemainingBytes)
	if _, err := r.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	if got := cap(r.scratch); got > 300_000 {
		t.Errorf("scratch: got %d bytes for 100,000 received", got)
	}
	r.Reset(nil)
	if r.scratch != nil || r.Buffered() != 0 {
		t.Errorf("a detached reader keeps %d bytes", cap(r.scratch))
	}
}

func TestFrameReaderReset(t *testing.T) {
	r := NewFrameReader(nil, 1)
	if got := r.Buffered(); got != 0 {
		t.Errorf("detached: got %d, want 0", got)
	}
	br := bufio.NewReader(bytes.NewReader([]byte{0xc0, 0, 0x40, 2, 0, 1}))
	r.Reset(br)
	if f, err := r.Next(); err != nil || f.Type != TypePingReq {
		t.Fatalf("got %v, %v", f.Type, err)
	}
	if got := r.Buffered(); got != 4 {
		t.Errorf("buffered: got %d, want 4", got)
	}
	if _, err := r.Next(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("limit 1: got %v, want too large", err)
	}
	r.SetMax(2) // nothing was consumed by the refusal
	if f, err := r.Next(); err != nil || f.Type != TypePubAck {
		t.Errorf("limit 2: got %v, %v", f.Type, err)
	}
}
