package awsiot

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// A query is a search: terms with AND, OR and NOT between them (AWS IoT guide, "Query syntax"). AND binds tighter than OR;
// terms without an operator between them are ANDed.
type query struct {
	op   string // "and", "or", "not", "term", "all"
	args []query
	term queryTerm
}

// A queryTerm compares a field. Its value can have the wildcards * and ?.
type queryTerm struct{ field, value string }

func (t queryTerm) exact() bool { return !strings.ContainsAny(t.value, "*?") }

// prefix returns what values begin with that match, if that is all there is to it.
func (t queryTerm) prefix() string {
	p, ok := strings.CutSuffix(t.value, "*")
	if !ok || strings.ContainsAny(p, "*?") {
		return ""
	}
	return p
}

func (t queryTerm) matches(values []string) bool {
	return slices.ContainsFunc(values, func(v string) bool { return wildcard(t.value, v) })
}

// wildcard reports whether a text matches a pattern with * and ?.
func wildcard(pattern, text string) bool {
	star, mark, i := -1, 0, 0
	for j := 0; j < len(text); {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, mark = i, j
			i++
		case i < len(pattern) && (pattern[i] == '?' || pattern[i] == text[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[i:], "*") == ""
}

// required returns terms that everything matches that matches the query.
func (q *query) required() []queryTerm {
	switch q.op {
	case "term":
		return []queryTerm{q.term}
	case "and":
		var all []queryTerm
		for i := range q.args {
			all = append(all, q.args[i].required()...)
		}
		return all
	}
	return nil
}

// needles returns texts that the record of everything has that matches the query.
func (q *query) needles() (list [][]byte) {
	for _, t := range q.required() {
		name, ok := strings.CutPrefix(t.field, "attributes.")
		switch {
		case ok && t.exact():
			list = append(list, []byte(`"`+name+`":"`+t.value+`"`))
		case ok:
			value, _, _ := strings.Cut(strings.ReplaceAll(t.value, "?", "*"), "*")
			list = append(list, []byte(`"`+name+`":"`+value))
		case t.field == "thingId" && t.exact():
			list = append(list, []byte(`"`+t.value+`"`))
		}
	}
	return list
}

func (q *query) matches(values func(field string) []string) bool {
	switch q.op {
	case "term":
		return q.term.matches(values(q.term.field))
	case "not":
		return !q.args[0].matches(values)
	case "or":
		return slices.ContainsFunc(q.args, func(a query) bool { return a.matches(values) })
	case "and":
		return !slices.ContainsFunc(q.args, func(a query) bool { return !a.matches(values) })
	}
	return true
}

// Bounds of queries (AWS IoT guide, "Query syntax": 12 terms; length of the service model).
const (
	maxQueryChars = 1000
	maxQueryTerms = 12
	maxQueryDepth = 12
)

func badQuery(format string, args ...any) error {
	return refuse("InvalidQueryException", format, args...)
}

// parseQuery reads a query.
func parseQuery(text string) (query, error) {
	if text == "" || len(text) > maxQueryChars || !utf8.ValidString(text) {
		return query{}, badQuery("The query must have 1 to %d characters.", maxQueryChars)
	}
	p := &queryParser{rest: text}
	q, err := p.or(0)
	if err != nil {
		return q, err
	}
	if p.skip(); p.rest != "" {
		return q, badQuery("Unexpected %.20q.", p.rest)
	}
	return q, nil
}

type queryParser struct {
	rest  string
	terms int
}

func (p *queryParser) skip() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

// word takes an operator if it is next.
func (p *queryParser) word(w string) bool {
	p.skip()
	if len(p.rest) < len(w) || !strings.EqualFold(p.rest[:len(w)], w) {
		return false
	}
	after := p.rest[len(w):]
	if after != "" && !strings.ContainsAny(after[:1], " \t\r\n(") {
		return false
	}
	p.rest = after
	return true
}

func (p *queryParser) or(depth int) (query, error) {
	return p.list("or", depth, func() (query, error) {
		return p.list("and", depth, func() (query, error) { return p.factor(depth) }, func() bool {
			if p.word("AND") {
				return true
			}
			p.skip()
			if p.rest == "" || p.rest[0] == ')' {
				return false
			}
			save := p.rest
			isOr := p.word("OR")
			p.rest = save
			return !isOr
		})
	}, func() bool { return p.word("OR") })
}

func (p *queryParser) list(op string, _ int, item func() (query, error), more func() bool) (query, error) {
	q, err := item()
	if err != nil {
		return q, err
	}
	all := []query{q}
	for more() {
		if q, err = item(); err != nil {
			return q, err
		}
		all = append(all, q)
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return query{op: op, args: all}, nil
}

func (p *queryParser) factor(depth int) (query, error) {
	if depth > maxQueryDepth {
		return query{}, badQuery("The query is nested too deeply.")
	}
	p.skip()
	negated := p.word("NOT")
	if p.skip(); !negated && strings.HasPrefix(p.rest, "-") {
		negated, p.rest = true, p.rest[1:]
	}
	var q query
	var err error
	if rest, ok := strings.CutPrefix(p.rest, "("); ok {
		p.rest = rest
		if q, err = p.or(depth + 1); err != nil {
			return q, err
		}
		p.skip()
		if p.rest, ok = strings.CutPrefix(p.rest, ")"); !ok {
			return q, badQuery("A parenthesis is not closed.")
		}
	} else if q, err = p.term(); err != nil {
		return q, err
	}
	if negated {
		return query{op: "not", args: []query{q}}, nil
	}
	return q, nil
}

// searchable are the fields that a query can name, besides those of attributes.
var searchable = []string{
	"thingName", "thingId", "thingTypeName", "thingGroupNames", "connectivity.connected",
	"thingGroupName", "thingGroupId", "thingGroupDescription", "parentGroupNames",
}

func (p *queryParser) term() (query, error) {
	if p.terms++; p.terms > maxQueryTerms {
		return query{}, badQuery("The query has more than %d terms.", maxQueryTerms)
	}
	end := strings.IndexAny(p.rest, " \t\r\n()\"")
	head := p.rest
	if end >= 0 {
		head = p.rest[:end]
	}
	field, value, colon := strings.Cut(head, ":")
	if head == "" {
		return query{}, badQuery("A term is missing.")
	}
	p.rest = p.rest[len(head):]
	if colon && value == "" && strings.HasPrefix(p.rest, `"`) {
		text, rest, closed := strings.Cut(p.rest[1:], `"`)
		if !closed {
			return query{}, badQuery("A quotation mark is not closed.")
		}
		value, p.rest = text, rest
	}
	if head == "*" {
		return query{op: "all"}, nil
	}
	if !colon { // names of things can be searched for without their field
		field, value = "thingName", head
	}
	if value == "" {
		return query{}, badQuery("The term %.60q has no value.", head)
	}
	if !slices.Contains(searchable, field) && !strings.HasPrefix(field, "attributes.") {
		return query{}, badQuery("The field %.60q cannot be searched.", field)
	}
	if strings.ContainsAny(value[:1], "<>[{") {
		return query{}, badQuery("Ranges are not supported by this hub.")
	}
	return query{op: "term", term: queryTerm{field, value}}, nil
}
