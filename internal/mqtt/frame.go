package mqtt

import (
	"bufio"
	"errors"
	"io"
)

// Frame is one packet as it lies in the read buffer.
type Frame struct {
	Type  Type
	Flags byte   // lower half of the first byte
	Body  []byte // what follows the length field; valid until the next call of FrameReader.Next or Reset, read-only
}

// scratchStep is what a FrameReader takes at once for a body that does not fit the read buffer. The rest is taken
// only as bytes arrive: announcing a large packet costs the announcer as much as it costs us.
const scratchStep = 64 << 10

// FrameReader cuts a byte stream into frames. A body that fits the read buffer is returned as a part of that
// buffer; a longer one is collected in a scratch buffer, which serves later long bodies again.
// It is not safe for concurrent use.
type FrameReader struct {
	br      *bufio.Reader
	max     int
	scratch []byte // body under way or last returned, if longer than the read buffer
	long    Frame  // header of the body under way in scratch; Type 0 if there is none
	want    int    // its length
}

// NewFrameReader returns a reader of frames with at most maxBytes behind the length field (the "remaining
// length"). r may be nil, then Reset has to come first.
func NewFrameReader(r *bufio.Reader, maxBytes int) *FrameReader {
	return &FrameReader{br: r, max: maxBytes}
}

// Reset makes the reader go on with br, or detaches it when br is nil, so that an idle connection needs no
// buffer. It must be called between packets, and with no bytes left in the old buffer ([FrameReader.Buffered]
// tells), for these would be lost. It invalidates the last frame and frees the scratch buffer.
func (r *FrameReader) Reset(br *bufio.Reader) {
	r.br, r.scratch, r.long, r.want = br, nil, Frame{}, 0
}

// SetMax changes the limit, for the packets after the last returned one.
func (r *FrameReader) SetMax(n int) { r.max = n }

// Buffered returns how many bytes can be read without I/O; 0 while detached.
func (r *FrameReader) Buffered() int {
	if r.br == nil {
		return 0
	}
	return r.br.Buffered()
}

// Next returns the next frame. The error is io.EOF if the stream ended between packets, io.ErrUnexpectedEOF if it
// ended within one, an *Error if the bytes cannot be a packet or the packet is over the limit (then no memory was
// taken for it), else the error of the underlying reader. After the latter, a deadline for instance, Next may be
// called again and goes on where it was.
func (r *FrameReader) Next() (Frame, error) {
	if r.long.Type != 0 {
		return r.nextLong()
	}
	head, err := r.br.Peek(2) // the shortest packet has two bytes, so this cannot wait for a packet not yet sent
	if err != nil {
		return Frame{}, within(err, len(head) > 0)
	}
	f := Frame{Type: Type(head[0] >> 4), Flags: head[0] & 0x0f}
	if f.Type == 0 {
		return Frame{}, malformed("packet type 0")
	}
	size, n := 2, int(head[1])
	if n >= 0x80 {
		if size, n, err = r.longLength(); err != nil {
			return Frame{}, err
		}
	}
	if n > r.max {
		return Frame{}, violation(ReasonPacketTooLarge, "%v with %d bytes, limit is %d", f.Type, n, r.max)
	}
	if size+n > r.br.Size() {
		_, _ = r.br.Discard(size) // cannot fail: these bytes were just seen
		r.long, r.want, r.scratch = f, n, r.scratch[:0]
		return r.nextLong()
	}
	b, err := r.br.Peek(size + n)
	if err != nil {
		return Frame{}, within(err, true)
	}
	_, _ = r.br.Discard(size + n)
	f.Body = b[size:]
	return f, nil
}

// longLength reads a length field of two to four bytes. It returns the size of the header and the length.
func (r *FrameReader) longLength() (size, n int, err error) {
	for size = 3; size <= 5; size++ {
		head, err := r.br.Peek(size)
		if err != nil {
			return 0, 0, within(err, true)
		}
		last := head[size-1]
		if last >= 0x80 {
			continue
		}
		if last == 0 {
			return 0, 0, malformed("%v with a length field longer than needed", Type(head[0]>>4))
		}
		for i := size - 1; i > 0; i-- {
			n = n<<7 | int(head[i]&0x7f)
		}
		return size, n, nil
	}
	return 0, 0, malformed("length field with more than four bytes")
}

// nextLong collects a body that does not fit the read buffer.
func (r *FrameReader) nextLong() (Frame, error) {
	for len(r.scratch) < r.want {
		have := len(r.scratch)
		if have == cap(r.scratch) {
			grown := make([]byte, have, min(r.want, max(scratchStep, 2*have)))
			copy(grown, r.scratch)
			r.scratch = grown
		}
		n, err := r.br.Read(r.scratch[have:min(cap(r.scratch), r.want)])
		r.scratch = r.scratch[:have+n]
		if err != nil && len(r.scratch) < r.want {
			return Frame{}, within(err, true)
		}
	}
	f := r.long
	f.Body, r.long = r.scratch, Frame{}
	return f, nil
}

// within turns a clean end of the stream into an unclean one if it came inside a packet.
func within(err error, inside bool) error {
	if inside && errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// check compares type and fixed flags of a frame with what a Decode expects. Version 3.1 marks what is sent again with
// DUP in these packets too.
func (f Frame) check(t Type, v Version) error {
	if f.Type != t {
		return violation(ReasonProtocolError, "%v where %v is due", f.Type, t)
	}
	flags := f.Flags
	if v == V31 && t.flags() != 0 {
		flags &^= flagDup
	}
	if flags != t.flags() {
		return malformed("%v with flags %#x, must be %#x", t, f.Flags, t.flags())
	}
	return nil
}

// appendHeader appends the first byte and the length field of a packet with n more bytes.
func appendHeader(b []byte, t Type, flags byte, n int) []byte {
	b = append(b, byte(t)<<4|flags)
	if n > MaxRemainingBytes {
		panic("mqtt: " + t.String() + " is longer than the protocol allows")
	}
	return appendVarint(b, n)
}
