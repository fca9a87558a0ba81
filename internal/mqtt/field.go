package mqtt

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// fields reads the fields of a body one after the other. The first failure sticks, so that a Decode checks once.
type fields struct {
	t   Type
	b   []byte
	err error
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

// id reads a packet identifier, which is never 0 [MQTT-2.3.1-1].
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

// text reads a string with its length, checks it and copies it.
func (d *fields) text(what string) string {
	p := d.binary(what)
	if !utf8.Valid(p) || bytes.IndexByte(p, 0) >= 0 {
		d.fail(malformed("%v with a %s that is not UTF-8 or has U+0000", d.t, what))
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
