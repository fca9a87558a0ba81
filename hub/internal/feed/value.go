package feed

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// A form is how the payloads of a message are to be read.
type form uint8

const (
	formAny   form = iota // recognise it: JSON, text, else bytes
	formText              // the sender says that it is text
	formBytes             // the sender says that it is binary
)

// maxParsedBytes is the largest payload that is looked into; larger ones are kept as bytes. A document that large is no
// measured value, and reading it would hold up the connection that it came on.
const maxParsedBytes = 64 << 10

// maxJSONDepth is how deep arrays and objects may nest to be taken for JSON, within what core.Value can hold.
const maxJSONDepth = 24

// formOf reads the content type of MQTT 5 (section 3.3.2.3.9), a MIME type or whatever sender and receiver agreed on: a
// type that is not known here says nothing.
func formOf(contentType []byte) form {
	if len(contentType) == 0 {
		return formAny
	}
	media, _, _ := strings.Cut(string(contentType), ";")
	media = strings.ToLower(strings.TrimSpace(media))
	switch {
	case media == "application/json", strings.HasSuffix(media, "+json"):
		return formAny // and if it is none, it is kept as what it is
	case strings.HasPrefix(media, "text/"):
		return formText
	case media == "application/octet-stream", strings.HasPrefix(media, "image/"), strings.HasPrefix(media, "audio/"),
		strings.HasPrefix(media, "video/"), strings.HasPrefix(media, "font/"), media == "application/cbor", media == "application/protobuf":
		return formBytes
	}
	return formAny
}

// appendValue appends a payload in the form of the core. Without a hint that is
//
//	nothing at all                                  null
//	one JSON value, white space around it allowed   that value; numbers without fraction and exponent that fit into
//	                                                64 bits are integers, others floats
//	text, that is UTF-8 without control characters  a string
//	anything else                                   bytes
//
// It allocates nothing but what b must grow.
func appendValue(b, payload []byte, f form) []byte {
	if len(payload) > maxParsedBytes || f == formBytes {
		return core.AppendBytes(b, payload)
	}
	if len(payload) == 0 {
		return core.AppendNull(b)
	}
	if f == formAny {
		p := parser{in: payload}
		if out, ok := p.document(b); ok {
			return out
		}
	}
	if isText(payload) {
		return core.AppendString(b, payload)
	}
	return core.AppendBytes(b, payload)
}

func isText(p []byte) bool {
	for _, c := range p {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7f {
			return false
		}
	}
	return utf8.Valid(p)
}

// parser turns JSON (RFC 8259) into core.Value in one pass. What it has appended when it finds that the text is none is
// for the caller to drop.
type parser struct {
	in []byte
	at int
}

// document parses a text that is one value.
func (p *parser) document(b []byte) ([]byte, bool) {
	start := len(b)
	p.space()
	b, ok := p.value(b, 0)
	p.space()
	if !ok || p.at != len(p.in) {
		return b[:start], false
	}
	return b, true
}

func (p *parser) space() {
	for p.at < len(p.in) {
		switch p.in[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// next returns the next byte without taking it, 0 at the end: no byte that JSON has a meaning for is 0.
func (p *parser) next() byte {
	if p.at < len(p.in) {
		return p.in[p.at]
	}
	return 0
}

func (p *parser) value(b []byte, depth int) ([]byte, bool) {
	switch c := p.next(); {
	case c == '-' || c >= '0' && c <= '9':
		return p.number(b)
	case c == '"':
		return p.text(append(b, core.KindString))
	case c == '{' && depth < maxJSONDepth:
		return p.object(b, depth)
	case c == '[' && depth < maxJSONDepth:
		return p.array(b, depth)
	case p.word("true"):
		return core.AppendBool(b, true), true
	case p.word("false"):
		return core.AppendBool(b, false), true
	case p.word("null"):
		return core.AppendNull(b), true
	}
	return b, false
}

func (p *parser) word(w string) bool {
	if len(p.in)-p.at < len(w) || string(p.in[p.at:p.at+len(w)]) != w {
		return false
	}
	p.at += len(w)
	return true
}

func (p *parser) digits() (n int) {
	for p.at < len(p.in) && p.in[p.at] >= '0' && p.in[p.at] <= '9' {
		p.at++
		n++
	}
	return n
}

func (p *parser) number(b []byte) ([]byte, bool) {
	start := p.at
	if p.next() == '-' {
		p.at++
	}
	first := p.next()
	if n := p.digits(); n == 0 || n > 1 && first == '0' {
		return b, false
	}
	whole := true
	if p.next() == '.' {
		p.at++
		whole = false
		if p.digits() == 0 {
			return b, false
		}
	}
	if c := p.next(); c == 'e' || c == 'E' {
		p.at++
		whole = false
		if c := p.next(); c == '+' || c == '-' {
			p.at++
		}
		if p.digits() == 0 {
			return b, false
		}
	}
	text := p.in[start:p.at]
	if whole && len(text) <= len("-9223372036854775808") {
		// "-0" is a number that integers do not have.
		if n, err := strconv.ParseInt(string(text), 10, 64); err == nil && (n != 0 || text[0] != '-') {
			return core.AppendInt(b, n), true
		}
	}
	x, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.IsInf(x, 0) {
		return b, false
	}
	return core.AppendFloat(b, x), true
}

func (p *parser) array(b []byte, depth int) ([]byte, bool) {
	p.at++
	b, head := openList(b, core.KindArray)
	n := 0
	for p.space(); p.next() != ']'; p.space() {
		if n > 0 && !p.comma() {
			return b, false
		}
		var ok bool
		if b, ok = p.value(b, depth+1); !ok {
			return b, false
		}
		n++
	}
	p.at++
	return closeList(b, head, n), true
}

func (p *parser) object(b []byte, depth int) ([]byte, bool) {
	p.at++
	b, head := openList(b, core.KindMap)
	n := 0
	for p.space(); p.next() != '}'; p.space() {
		if n > 0 && !p.comma() || p.next() != '"' {
			return b, false
		}
		var ok bool
		if b, ok = p.text(b); !ok {
			return b, false
		}
		if p.space(); p.next() != ':' {
			return b, false
		}
		p.at++
		p.space()
		if b, ok = p.value(b, depth+1); !ok {
			return b, false
		}
		n++
	}
	p.at++
	return closeList(b, head, n), true
}

// comma takes the comma between two elements and the space behind it.
func (p *parser) comma() bool {
	if p.next() != ',' {
		return false
	}
	p.at++
	p.space()
	return true
}

// text appends a string of JSON as a length and its bytes.
func (p *parser) text(b []byte) ([]byte, bool) {
	p.at++
	// Nearly all strings have no escapes: then the length is known beforehand.
	for i := p.at; i < len(p.in); i++ {
		switch c := p.in[i]; {
		case c == '"':
			s := p.in[p.at:i]
			if !utf8.Valid(s) {
				return b, false
			}
			p.at = i + 1
			return core.AppendKey(b, s), true
		case c == '\\':
			return p.escaped(b)
		case c < ' ':
			return b, false
		}
	}
	return b, false
}

// escaped is text for a string with escapes.
func (p *parser) escaped(b []byte) ([]byte, bool) {
	head := len(b)
	b = append(b, 0)
	for p.at < len(p.in) {
		c := p.in[p.at]
		p.at++
		switch {
		case c == '"':
			if !utf8.Valid(b[head+1:]) {
				return b, false
			}
			return setLength(b, head, len(b)-head-1), true
		case c < ' ':
			return b, false
		case c != '\\':
			b = append(b, c)
		default:
			var ok bool
			if b, ok = p.escape(b); !ok {
				return b, false
			}
		}
	}
	return b, false
}

// escape appends what stands behind a backslash. Half of a surrogate pair is U+FFFD, as most readers of JSON have it.
func (p *parser) escape(b []byte) ([]byte, bool) {
	c := p.next()
	p.at++
	switch c {
	case '"', '\\', '/':
		return append(b, c), true
	case 'b':
		return append(b, '\b'), true
	case 'f':
		return append(b, '\f'), true
	case 'n':
		return append(b, '\n'), true
	case 'r':
		return append(b, '\r'), true
	case 't':
		return append(b, '\t'), true
	case 'u':
		r, ok := p.hex()
		if !ok {
			return b, false
		}
		if utf16.IsSurrogate(r) && p.word(`\u`) {
			after := p.at
			low, ok := p.hex()
			if !ok {
				return b, false
			}
			if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
				p.at = after - len(`\u`) // no pair: the second one stands for itself
			}
		}
		return utf8.AppendRune(b, r), true
	}
	return b, false
}

func (p *parser) hex() (r rune, ok bool) {
	if len(p.in)-p.at < 4 {
		return 0, false
	}
	for _, c := range p.in[p.at : p.at+4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	p.at += 4
	return r, true
}

// openList appends the head of an array or map whose length is not known yet; closeList fills it in.
func openList(b []byte, kind byte) (out []byte, head int) {
	return append(b, kind, 0), len(b) + 1
}

func closeList(b []byte, head, n int) []byte { return setLength(b, head, n) }

// setLength writes a length into the one byte left for it at head, and makes room if it needs more.
func setLength(b []byte, head, n int) []byte {
	if n < 0x80 {
		b[head] = byte(n)
		return b
	}
	var enc [binary.MaxVarintLen64]byte
	w := binary.PutUvarint(enc[:], uint64(n))
	size := len(b)
	b = append(b, enc[1:w]...) // any bytes: they are overwritten
	copy(b[head+w:], b[head+1:size])
	copy(b[head:], enc[:w])
	return b
}
