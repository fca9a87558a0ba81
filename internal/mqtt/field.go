package mqtt

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"

	"github.com/fairlead-iot/fairlead/internal/topic"
)

// fields reads the fields of a body one after the other. The first failure sticks, so that a Decode checks once.
type fields struct {
	t   Type
	b   []byte
	err error

	// Of the block of properties being read.
	block  []byte
	copied string     // of block, for the strings in it; empty until there is one
	seen   properties // so far
}

// fail remembers the first failure and empties the rest, so that loops over the rest end.
func (d *fields) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.b = nil
}

// take returns the next n bytes, or nil if there are not so many.
func (d *fields) take(n int, what string) []byte {
	if len(d.b) < n {
		d.fail(malformed("%v ends within its %s", d.t, what))
		return nil
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}

func (d *fields) byte(what string) byte {
	if p := d.take(1, what); p != nil {
		return p[0]
	}
	return 0
}

func (d *fields) uint16(what string) uint16 {
	if p := d.take(2, what); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

func (d *fields) uint32(what string) uint32 {
	if p := d.take(4, what); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

// varint reads a variable byte integer: up to four bytes, and no more than needed [MQTT-1.5.5-1].
func (d *fields) varint(what string) (n int) {
	for shift := 0; shift < 28; shift += 7 {
		c := d.byte(what)
		n |= int(c&0x7f) << shift
		if c >= 0x80 {
			continue
		}
		if c == 0 && shift > 0 {
			d.fail(malformed("%v with a %s longer than needed", d.t, what))
			return 0
		}
		return n
	}
	d.fail(malformed("%v with a %s of more than four bytes", d.t, what))
	return 0
}

// id reads a packet identifier, which is never 0: [MQTT-2.3.1-1] of version 3.1.1, [MQTT-2.2.1-3] of version 5.
func (d *fields) id() uint16 {
	n := d.uint16("packet identifier")
	if n == 0 && d.err == nil {
		d.fail(violation(ReasonProtocolError, "%v with packet identifier 0", d.t))
	}
	return n
}

// binary reads a byte string with its length; the result aliases the frame.
func (d *fields) binary(what string) []byte {
	return d.take(int(d.uint16(what)), what)
}

// checked reads a string with its length and checks it; the result aliases the frame.
func (d *fields) checked(what string) []byte {
	p := d.binary(what)
	if !utf8.Valid(p) || bytes.IndexByte(p, 0) >= 0 {
		d.fail(malformed("%v with a %s that is not UTF-8 or has U+0000", d.t, what))
		return nil
	}
	return p
}

// text reads a string with its length, checks it and copies it.
func (d *fields) text(what string) string { return string(d.checked(what)) }

// filter reads a topic filter; in version 5 it may be shared.
func (d *fields) filter(v Version) string {
	p := d.binary("topic filter")
	if d.err != nil {
		return ""
	}
	err := topic.ValidateFilter(p)
	if err == nil && v == V5 {
		_, _, err = topic.SplitShared(p)
	}
	if err != nil {
		d.fail(filterError(d.t, p, err))
		return ""
	}
	return string(p)
}

// end reports the first failure, or bytes that belong to no field.
func (d *fields) end() error {
	if d.err == nil && len(d.b) > 0 {
		return malformed("%v with %d bytes behind its last field", d.t, len(d.b))
	}
	return d.err
}

// appendBytes appends a string or byte string with its length.
func appendBytes[S string | []byte](b []byte, s S) []byte {
	if len(s) > MaxStringBytes {
		panic("mqtt: a field is longer than 65535 bytes")
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// appendVarint appends a variable byte integer.
func appendVarint(b []byte, n int) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

// varintSize returns how many bytes appendVarint appends.
func varintSize(n int) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	}
	return 4
}
