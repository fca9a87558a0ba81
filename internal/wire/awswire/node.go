package awswire

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Kind says what a [Node] is.
type Kind uint8

// The kinds of JSON values.
const (
	KindNull Kind = iota
	KindFalse
	KindTrue
	KindNumber
	KindString
	KindArray
	KindObject
)

// A Node is a JSON value. Numbers keep the text that they were written with, because a device's 1.0 must not come back as
// 1, nor a 20-digit serial number rounded; objects keep the order of their members.
//
// A Node that was parsed, or has been handed on, is not changed any more: merged documents share what did not change.
type Node struct {
	Kind    Kind
	Text    string   // of a number as it was written, of a string what it says
	Elems   []*Node  // of an array
	Members []Member // of an object, each name once
	// At is when a leaf of a shadow was last written, in seconds since 1970. A leaf is what is no object, or an empty one;
	// an array is one leaf.
	At int64

	index map[string]int // of Members, made when there are many
}

// A Member is one member of an object.
type Member struct {
	Name  string
	Value *Node
}

// fewMembers are found without an index.
const fewMembers = 8

// find returns the place of a member, -1 if there is none.
func (n *Node) find(name string) int {
	if n == nil {
		return -1
	}
	if len(n.Members) <= fewMembers {
		return slices.IndexFunc(n.Members, func(m Member) bool { return m.Name == name })
	}
	if len(n.index) != len(n.Members) {
		n.index = make(map[string]int, len(n.Members))
		for i, m := range n.Members {
			n.index[m.Name] = i
		}
	}
	if i, ok := n.index[name]; ok {
		return i
	}
	return -1
}

// Member returns the member of an object, nil if there is none or n is no object. As long as n is not changed any more it
// may not be called concurrently: it may make an index.
func (n *Node) Member(name string) *Node {
	if i := n.find(name); i >= 0 {
		return n.Members[i].Value
	}
	return nil
}

// Put sets a member of an object that is still the caller's own: in the place of an earlier one of that name, or at the end.
func (n *Node) Put(name string, v *Node) {
	i := n.find(name)
	if i >= 0 {
		n.Members[i].Value = v
		return
	}
	if n.index != nil {
		n.index[name] = len(n.Members)
	}
	n.Members = append(n.Members, Member{name, v})
}

// IsObject reports whether n is there and an object.
func (n *Node) IsObject() bool { return n != nil && n.Kind == KindObject }

// IsNull reports whether n is not there, or null.
func (n *Node) IsNull() bool { return n == nil || n.Kind == KindNull }

// Int returns the value of a number that is written as an integer of 64 bits, without fraction or exponent.
func (n *Node) Int() (int64, bool) {
	if n == nil || n.Kind != KindNumber {
		return 0, false
	}
	i, err := strconv.ParseInt(n.Text, 10, 64)
	return i, err == nil
}

// NewString returns the Node of a text.
func NewString(s string) *Node { return &Node{Kind: KindString, Text: s} }

// NewInt returns the Node of a number.
func NewInt(i int64) *Node { return &Node{Kind: KindNumber, Text: strconv.FormatInt(i, 10)} }

// NewFloat returns the Node of a number, with a fraction or an exponent so that it cannot be taken for an integer. What JSON
// cannot say (NaN, infinities) is null.
func NewFloat(f float64) *Node {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return &Node{}
	}
	text := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return &Node{Kind: KindNumber, Text: text}
}

// NewBool returns the Node of a boolean.
func NewBool(b bool) *Node {
	if b {
		return &Node{Kind: KindTrue}
	}
	return &Node{Kind: KindFalse}
}

// NewObject returns an empty object, to be filled with [Node.Put].
func NewObject() *Node { return &Node{Kind: KindObject} }

// Append appends n as compact JSON to b; nil is null.
func (n *Node) Append(b []byte) []byte {
	if n == nil {
		return append(b, "null"...)
	}
	switch n.Kind {
	case KindFalse:
		return append(b, "false"...)
	case KindTrue:
		return append(b, "true"...)
	case KindNumber:
		return append(b, n.Text...)
	case KindString:
		return AppendText(b, n.Text)
	case KindArray:
		b = append(b, '[')
		for i, e := range n.Elems {
			if i > 0 {
				b = append(b, ',')
			}
			b = e.Append(b)
		}
		return append(b, ']')
	case KindObject:
		b = append(b, '{')
		for i, m := range n.Members {
			if i > 0 {
				b = append(b, ',')
			}
			b = m.Value.Append(append(AppendText(b, m.Name), ':'))
		}
		return append(b, '}')
	}
	return append(b, "null"...)
}

const hexDigits = "0123456789abcdef"

// AppendText appends s as a JSON string to b. What is not UTF-8 in it is replaced.
func AppendText(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, w := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && w == 1 {
				b = append(append(b, s[start:i]...), "\uFFFD"...)
				start = i + 1
			}
			i += w
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	return append(append(b, s[start:]...), '"')
}

// Equal reports whether two values are the same: numbers by value (1 and 1.0), objects without regard to the order of
// their members.
func (n *Node) Equal(o *Node) bool {
	if n == nil || o == nil {
		return n == o
	}
	if n == o {
		return true
	}
	if n.Kind != o.Kind {
		return false
	}
	switch n.Kind {
	case KindNumber:
		return n.Text == o.Text || sameNumber(n.Text, o.Text)
	case KindString:
		return n.Text == o.Text
	case KindArray:
		return slices.EqualFunc(n.Elems, o.Elems, (*Node).Equal)
	case KindObject:
		if len(n.Members) != len(o.Members) {
			return false
		}
		for _, m := range n.Members {
			if other := o.Member(m.Name); other == nil || !m.Value.Equal(other) {
				return false
			}
		}
	}
	return true
}

// sameNumber compares two JSON numbers by value, however large their exponents are.
func sameNumber(a, b string) bool {
	x, okX := parseDecimal(a)
	y, okY := parseDecimal(b)
	return okX && okY && x == y
}

// A decimal is a number in the one form that it has: 0.digits × 10^exponent, digits without zeros at either end. Zero has
// no digits.
type decimal struct {
	negative bool
	digits   string
	exponent int64
}

// parseDecimal takes a JSON number apart. Numbers whose exponent is beyond everything that is in use are compared as texts,
// so they are not ok.
func parseDecimal(s string) (d decimal, ok bool) {
	s, d.negative = strings.CutPrefix(s, "-")
	mantissa := s
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa = s[:i]
		exponent, err := strconv.ParseInt(s[i+1:], 10, 32)
		if err != nil {
			return d, false
		}
		d.exponent = exponent
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := whole + fraction
	d.exponent += int64(len(whole))
	trimmed := strings.TrimLeft(digits, "0")
	d.exponent -= int64(len(digits) - len(trimmed))
	if d.digits = strings.TrimRight(trimmed, "0"); d.digits == "" {
		return decimal{}, true
	}
	return d, true
}
