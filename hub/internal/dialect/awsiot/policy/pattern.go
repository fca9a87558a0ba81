package policy

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// In a compiled pattern wildcards are bytes that no UTF-8 text has, so that what comes from variables and escapes is
// never one.
const (
	anyRun = '\xff' // "*": any number of characters, slashes included
	anyOne = '\xfe' // "?": one
)

// compile turns the wildcards of a text without variables into those bytes.
func compile(text string) string {
	if !strings.ContainsAny(text, "*?") {
		return text
	}
	return wildcards.Replace(text)
}

var wildcards = strings.NewReplacer("*", string([]byte{anyRun}), "?", string([]byte{anyOne}))

// match reports whether a text is one that the compiled pattern stands for. It takes at most the product of their lengths.
func match(pattern, text string) bool {
	p, t := 0, 0
	star, from := -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == anyRun:
			star, from = p, t
			p++
			continue
		case p < len(pattern) && pattern[p] == anyOne:
			_, n := utf8.DecodeRuneInString(text[t:])
			p, t = p+1, t+n
			continue
		case p < len(pattern) && pattern[p] == text[t]:
			p, t = p+1, t+1
			continue
		case star < 0:
			return false
		}
		_, n := utf8.DecodeRuneInString(text[from:])
		from += n
		p, t = star+1, from
	}
	for p < len(pattern) && pattern[p] == anyRun {
		p++
	}
	return p == len(pattern)
}

// A template is a text with wildcards and variables. It alternates: a compiled text, the name of a variable, a compiled text...
type template []string

// parseTemplate reads "a/${iot:ClientId}/*". With "${*}", "${?}" and "${$}" these characters are meant (IAM guide, "IAM
// policy elements: Variables and tags").
func parseTemplate(text string, variables bool) (template, error) {
	if !variables {
		return template{compile(text)}, nil
	}
	t := template{""}
	for {
		before, rest, found := strings.Cut(text, "${")
		t[len(t)-1] += compile(before)
		if !found {
			return t, nil
		}
		name, rest, closed := strings.Cut(rest, "}")
		switch {
		case !closed:
			return nil, errors.New("a variable does not end")
		case name == "*", name == "?", name == "$":
			t[len(t)-1] += name
		case !validVariable(name):
			return nil, errors.New("a variable's name is none")
		default:
			t = append(t, name, "")
		}
		text = rest
	}
}

func validVariable(name string) bool {
	prefix, rest, ok := strings.Cut(name, ":")
	return ok && prefix != "" && rest != "" && !strings.ContainsAny(name, "${")
}

// A Values is what the variables and condition keys of a connection stand for.
type Values interface {
	// Value returns the values of a variable or key: "iot:ClientId". nil: it has none. Most have one.
	Value(name string) []string
}

// bind puts the values of variables into a template. ok is false if one of them has none, or one that is not usable. With strange it
// is taken as the text that it is: nobody escapes what a policy denies by having a strange name.
func (t template) bind(v Values, strange bool) (pattern string, ok bool) {
	if len(t) == 1 {
		return t[0], true
	}
	var b strings.Builder
	for i, s := range t {
		if i%2 == 1 {
			list := v.Value(s)
			if len(list) != 1 || !strange && !usable(list[0]) {
				return "", false
			}
			s = plain(list[0])
		}
		b.WriteString(s)
	}
	return b.String(), true
}

// plain returns a value without bytes that would be wildcards in a pattern: no text that it is compared with has them either.
func plain(value string) string {
	if utf8.ValidString(value) {
		return value
	}
	return strings.ToValidUTF8(value, "\uFFFD")
}

// maxValue is the longest text that is put in the place of a variable.
const maxValue = 1024

// usable reports whether a value may be put in the place of a variable. One with characters that mean something in policies
// or topic filters may not: a client could choose it so that it stands for more than was meant. (AWS IoT guide, "X.509
// Certificate AWS IoT Core policy variables", says so of certificates.)
func usable(value string) bool {
	return len(value) <= maxValue && utf8.ValidString(value) && !strings.ContainsAny(value, "*$+?#")
}
