// Package websocket is the framing of WebSocket (RFC 6455) for MQTT (MQTT 5.0 section 6): pure, without I/O, and shared
// by both ends. It keeps no buffers: a [Decoder] takes frames apart where they lie, in the slice that the bytes were
// read into, so that a connection that is silent costs a few dozen bytes more than one without WebSocket.
//
//	var d websocket.Decoder
//	n, err := conn.Read(buf)       // frames, or parts of some
//	n, err = d.Decode(buf[:n])     // buf[:n] now is what they carry
//
// No extension is offered or accepted, compression in particular: some MQTT clients offer it and cannot do it.
package websocket

import (
	"crypto/sha1" //nolint:gosec // RFC 6455 section 4.2.2 asks for it; nothing rests on its strength
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// An Opcode says what a frame is (RFC 6455 section 5.2).
type Opcode byte

// The kinds of frames.
const (
	Continuation Opcode = 0x0
	Text         Opcode = 0x1
	Binary       Opcode = 0x2
	Close        Opcode = 0x8
	Ping         Opcode = 0x9
	Pong         Opcode = 0xA
)

// Codes of Close frames (RFC 6455 section 7.4.1).
const (
	CloseNormal      = 1000
	CloseGoingAway   = 1001
	CloseProtocol    = 1002 // a frame that breaks the rules
	CloseUnsupported = 1003 // a kind of data that is not taken: text, for MQTT
	CloseNoCode      = 1005 // never on the wire: the Close frame had no code
	CloseBadText     = 1007
)

// maxControl is the most that a control frame can carry (RFC 6455 section 5.5).
const maxControl = 125

// AcceptKey returns the Sec-WebSocket-Accept for a Sec-WebSocket-Key. Any text is a key: AWSIoTPythonSDK 1.6.2 sends
// 172 characters where the RFC has 24.
func AcceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see the import
	return base64.StdEncoding.EncodeToString(sum[:])
}

// ErrClosed is what [Decoder.Decode] returns once the peer has sent a Close frame.
var ErrClosed = errors.New("websocket closed by the peer")

// An Error is a frame that breaks the rules. Code is what to close the connection with.
type Error struct {
	Code   int
	Reason string
}

func (e *Error) Error() string { return "websocket: " + e.Reason }

// A Decoder takes apart the frames that one peer sends. The zero value is for a server. It must not be used
// concurrently.
type Decoder struct {
	FromServer bool // the peer is a server, whose frames are not masked

	head       [14]byte // of the current frame, as far as it has come
	got        uint8    // bytes of head
	mask       [4]byte
	pos        uint8 // in mask
	inside     bool  // the payload of a frame is being read
	op         Opcode
	fin        bool
	fragmented bool   // a data message has begun and its last frame has not come
	left       uint64 // of the payload
	control    []byte // payload of the current control frame
	ping       []byte // of the last ping; see Pong
	pinged     bool
	closeCode  int
	err        error
}

// Decode replaces frames by what they carry: it returns how many bytes at the beginning of p are data now. A frame may
// be spread over any number of calls. The error is an *[Error] or [ErrClosed], stays, and can come together with data
// from before it.
func (d *Decoder) Decode(p []byte) (n int, err error) {
	for r := 0; r < len(p) && d.err == nil; {
		if !d.inside {
			k := copy(d.head[d.got:d.headLen()], p[r:])
			r += k
			if d.got += uint8(k); d.got >= 2 && d.got == d.headLen() {
				d.begin()
			}
			continue
		}
		chunk := p[r : r+int(min(uint64(len(p)-r), d.left))]
		r += len(chunk)
		d.left -= uint64(len(chunk))
		if !d.FromServer {
			d.pos = xor(chunk, d.mask, d.pos)
		}
		if d.op >= Close {
			d.control = append(d.control, chunk...)
		} else {
			n += copy(p[n:], chunk)
		}
		if d.left == 0 {
			d.end()
		}
	}
	return n, d.err
}

// headLen returns how long the frame's header is, as far as that is known.
func (d *Decoder) headLen() uint8 {
	if d.got < 2 {
		return 2
	}
	n := uint8(2)
	switch d.head[1] & 0x7F {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if d.head[1]&0x80 != 0 {
		n += 4
	}
	return n
}

// begin looks at a complete header.
func (d *Decoder) begin() {
	d.fin, d.op = d.head[0]&0x80 != 0, Opcode(d.head[0]&0x0F)
	masked := d.head[1]&0x80 != 0
	end := 2
	switch l := d.head[1] & 0x7F; l {
	case 126:
		d.left, end = uint64(binary.BigEndian.Uint16(d.head[2:])), 4
	case 127:
		d.left, end = binary.BigEndian.Uint64(d.head[2:]), 10
	default:
		d.left = uint64(l)
	}
	if masked {
		copy(d.mask[:], d.head[end:])
	}
	d.got, d.pos, d.inside = 0, 0, true
	switch {
	case d.head[0]&0x70 != 0:
		d.fail(CloseProtocol, "reserved bits are set, and no extension was negotiated")
	case masked == d.FromServer:
		d.fail(CloseProtocol, "clients must mask their frames, and servers must not")
	case d.left > 1<<63-1:
		d.fail(CloseProtocol, "a frame's length has its highest bit set")
	case d.op == Text:
		d.fail(CloseUnsupported, "a text frame, where MQTT needs binary ones")
	case d.op == Binary:
		if d.fragmented {
			d.fail(CloseProtocol, "a new message within a fragmented one")
		}
		d.fragmented = !d.fin
	case d.op == Continuation:
		if !d.fragmented {
			d.fail(CloseProtocol, "a continuation of nothing")
		}
		d.fragmented = !d.fin
	case d.op < Close || d.op > Pong:
		d.fail(CloseProtocol, fmt.Sprintf("opcode %#x is not defined", byte(d.op)))
	case !d.fin || d.left > maxControl:
		d.fail(CloseProtocol, "a control frame that is fragmented or too long")
	}
	if d.err == nil && d.left == 0 {
		d.end()
	}
}

// end looks at a complete frame.
func (d *Decoder) end() {
	d.inside = false
	switch d.op {
	case Ping:
		d.ping, d.pinged = d.control, true
	case Close:
		d.closed()
	}
	d.control = nil
}

func (d *Decoder) closed() {
	d.closeCode = CloseNoCode
	switch {
	case len(d.control) == 0:
	case len(d.control) == 1:
		d.fail(CloseProtocol, "a Close frame with half a code")
		return
	default:
		d.closeCode = int(binary.BigEndian.Uint16(d.control))
		if !validCode(d.closeCode) {
			d.fail(CloseProtocol, fmt.Sprintf("a Close frame with the code %d", d.closeCode))
			return
		}
		if !utf8.Valid(d.control[2:]) {
			d.fail(CloseBadText, "a Close frame whose reason is not UTF-8")
			return
		}
	}
	d.err = ErrClosed
}

// validCode says which codes may be on the wire (RFC 6455 section 7.4, and its registry).
func validCode(code int) bool {
	switch {
	case code >= 3000 && code < 5000:
		return true
	case code >= 1000 && code <= 1014:
		return code != 1004 && code != 1005 && code != 1006
	}
	return false
}

func (d *Decoder) fail(code int, reason string) {
	if d.err == nil {
		d.err = &Error{Code: code, Reason: reason}
	}
}

// Pong returns what a ping that has come carries, which a Pong frame must carry back, and forgets it. Of several pings
// only the last one counts, as RFC 6455 section 5.5.3 allows. The slice is the caller's.
func (d *Decoder) Pong() (payload []byte, ok bool) {
	payload, ok = d.ping, d.pinged
	d.ping, d.pinged = nil, false
	return payload, ok
}

// CloseCode returns the code of the Close frame after [ErrClosed]; [CloseNoCode] if it had none.
func (d *Decoder) CloseCode() int { return d.closeCode }

// AppendFrame appends a frame as servers send it: whole, and not masked.
func AppendFrame(dst []byte, op Opcode, payload []byte) []byte {
	return append(AppendHeader(dst, op, len(payload)), payload...)
}

// AppendHeader appends the beginning of such a frame; length bytes of payload have to follow it.
func AppendHeader(dst []byte, op Opcode, length int) []byte {
	return appendHeader(dst, op, length, 0)
}

// AppendMasked appends a frame as clients send it. The mask has to be new and unpredictable for each frame.
func AppendMasked(dst []byte, op Opcode, payload []byte, mask [4]byte) []byte {
	dst = append(appendHeader(dst, op, len(payload), 0x80), mask[:]...)
	start := len(dst)
	dst = append(dst, payload...)
	xor(dst[start:], mask, 0)
	return dst
}

func appendHeader(dst []byte, op Opcode, length int, masked byte) []byte {
	dst = append(dst, 0x80|byte(op))
	switch {
	case length < 126:
		return append(dst, masked|byte(length))
	case length <= 0xFFFF:
		return binary.BigEndian.AppendUint16(append(dst, masked|126), uint16(length))
	}
	return binary.BigEndian.AppendUint64(append(dst, masked|127), uint64(length))
}

// ClosePayload returns what a Close frame carries. The reason must be at most 123 bytes long.
func ClosePayload(code int, reason string) []byte {
	if code == CloseNoCode {
		return nil
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...)
}

// xor masks or unmasks b from a position in the mask on, and returns the position after it.
func xor(b []byte, mask [4]byte, pos uint8) uint8 {
	if len(b) >= 16 {
		var turned [8]byte
		for i := range turned {
			turned[i] = mask[(int(pos)+i)&3]
		}
		word := binary.LittleEndian.Uint64(turned[:])
		for len(b) >= 8 { // a multiple of the mask's length: pos stays
			binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^word)
			b = b[8:]
		}
	}
	for i := range b {
		b[i] ^= mask[(int(pos)+i)&3]
	}
	return uint8((int(pos) + len(b)) & 3)
}
