package awswire

import (
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Why [ParseJSON] refuses a text.
var (
	ErrJSON     = errors.New("not JSON")
	ErrEncoding = errors.New("not UTF-8")
	ErrNesting  = errors.New("JSON is nested too deeply")
)

// maxNesting bounds recursion. Each service's own limit is below it.
const maxNesting = 64

// ParseJSON reads one JSON value (RFC 8259). Of members with the same name the last one counts, as with most parsers. The
// result shares no memory with the text. Errors are [ErrJSON], [ErrEncoding] and [ErrNesting].
func ParseJSON(text []byte) (*Node, error) {
	if !utf8.Valid(text) {
		return nil, ErrEncoding
	}
	p := parser{s: string(text)}
	p.space()
	n, err := p.value(1)
	if err != nil {
		return nil, err
	}
	if p.space(); p.i != len(p.s) {
		return nil, ErrJSON
	}
	return n, nil
}

// parser reads JSON; i is the place in s. Texts and numbers are parts of s where that is possible.
type parser struct {
	s string
	i int
}

func (p *parser) space() {
	for p.i < len(p.s) && (p.s[p.i] == ' ' || p.s[p.i] == '\n' || p.s[p.i] == '\t' || p.s[p.i] == '\r') {
		p.i++
	}
}

// next reports whether c comes next, and passes over it then.
func (p *parser) next(c byte) bool {
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

func (p *parser) value(depth int) (*Node, error) {
	if p.i == len(p.s) {
		return nil, ErrJSON
	}
	switch c := p.s[p.i]; c {
	case '{', '[':
		if depth > maxNesting {
			return nil, ErrNesting
		}
		p.i++
		if c == '[' {
			return p.array(depth)
		}
		return p.object(depth)
	case '"':
		s, err := p.text()
		return &Node{Kind: KindString, Text: s}, err
	case 'n':
		return p.word("null", KindNull)
	case 't':
		return p.word("true", KindTrue)
	case 'f':
		return p.word("false", KindFalse)
	}
	return p.number()
}

func (p *parser) word(w string, k Kind) (*Node, error) {
	if !strings.HasPrefix(p.s[p.i:], w) {
		return nil, ErrJSON
	}
	p.i += len(w)
	return &Node{Kind: k}, nil
}

func (p *parser) array(depth int) (*Node, error) {
	n := &Node{Kind: KindArray}
	if p.space(); p.next(']') {
		return n, nil
	}
	for {
		p.space()
		e, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		n.Elems = append(n.Elems, e)
		p.space()
		switch {
		case p.next(','):
		case p.next(']'):
			return n, nil
		default:
			return nil, ErrJSON
		}
	}
}

func (p *parser) object(depth int) (*Node, error) {
	n := &Node{Kind: KindObject}
	if p.space(); p.next('}') {
		return n, nil
	}
	for {
		p.space()
		name, err := p.text()
		if err != nil {
			return nil, err
		}
		if p.space(); !p.next(':') {
			return nil, ErrJSON
		}
		p.space()
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		n.Put(name, v)
		p.space()
		switch {
		case p.next(','):
		case p.next('}'):
			return n, nil
		default:
			return nil, ErrJSON
		}
	}
}

func (p *parser) number() (*Node, error) {
	start := p.i
	p.next('-')
	if !p.next('0') && !p.digits() {
		return nil, ErrJSON
	}
	if p.next('.') && !p.digits() {
		return nil, ErrJSON
	}
	if p.next('e') || p.next('E') {
		if !p.next('+') {
			p.next('-')
		}
		if !p.digits() {
			return nil, ErrJSON
		}
	}
	return &Node{Kind: KindNumber, Text: p.s[start:p.i]}, nil
}

func (p *parser) digits() bool {
	start := p.i
	for p.i < len(p.s) && p.s[p.i] >= '0' && p.s[p.i] <= '9' {
		p.i++
	}
	return p.i > start
}

// text reads a string.
func (p *parser) text() (string, error) {
	if !p.next('"') {
		return "", ErrJSON
	}
	start := p.i
	for ; p.i < len(p.s); p.i++ {
		switch c := p.s[p.i]; {
		case c == '"':
			s := p.s[start:p.i]
			p.i++
			return s, nil
		case c == '\\':
			return p.escaped(start)
		case c < ' ':
			return "", ErrJSON
		}
	}
	return "", ErrJSON
}

// escaped reads the rest of a string that has escape sequences; p is at the first.
func (p *parser) escaped(start int) (string, error) {
	b := []byte(p.s[start:p.i])
	for p.i < len(p.s) {
		c := p.s[p.i]
		p.i++
		switch {
		case c == '"':
			return string(b), nil
		case c < ' ':
			return "", ErrJSON
		case c != '\\':
			b = append(b, c)
			continue
		}
		if p.i == len(p.s) {
			return "", ErrJSON
		}
		c = p.s[p.i]
		p.i++
		if c == 'u' {
			r, ok := p.rune()
			if !ok {
				return "", ErrJSON
			}
			b = utf8.AppendRune(b, r)
			continue
		}
		i := strings.IndexByte(`"\/bfnrt`, c)
		if i < 0 {
			return "", ErrJSON
		}
		b = append(b, "\"\\/\b\f\n\r\t"[i])
	}
	return "", ErrJSON
}

// rune reads the digits of \uXXXX, and a second escape sequence if the two are a pair. Half a pair is U+FFFD.
func (p *parser) rune() (rune, bool) {
	r, ok := p.hex()
	if !ok || !utf16.IsSurrogate(r) {
		return r, ok
	}
	if strings.HasPrefix(p.s[p.i:], `\u`) {
		before := p.i
		p.i += 2
		second, ok := p.hex()
		if !ok {
			return 0, false
		}
		if pair := utf16.DecodeRune(r, second); pair != utf8.RuneError {
			return pair, true
		}
		p.i = before
	}
	return utf8.RuneError, true
}

func (p *parser) hex() (rune, bool) {
	if len(p.s)-p.i < 4 {
		return 0, false
	}
	r := rune(0)
	for range 4 {
		c := p.s[p.i]
		p.i++
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
