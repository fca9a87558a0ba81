package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A condition compares the values of a key with those of the document.
type condition struct {
	key    string
	set    setRule
	exists bool // with "IfExists": true where the key has no value
	op     operator
	values []template
}

// A setRule says how many of a key's values have to fit.
type setRule uint8

const (
	anyValue  setRule = iota // as if there was one
	forAll                   // "ForAllValues:": each, and there may be none
	forAnyone                // "ForAnyValue:": at least one
)

// An operator compares one value of the connection with one of the document, which is a compiled pattern.
type operator struct {
	compare func(got, want string) bool
	negated bool              // true is that no value of the document fits
	null    bool              // "Null": about whether there are values at all
	valid   func(string) bool // of values in documents; nil: any
	literal bool              // wildcards in the document are just text
}

// operators are those that documents may use, by their names.
var operators = map[string]operator{
	"StringEquals":              {compare: equal, literal: true},
	"StringNotEquals":           {compare: equal, literal: true, negated: true},
	"StringEqualsIgnoreCase":    {compare: strings.EqualFold, literal: true},
	"StringNotEqualsIgnoreCase": {compare: strings.EqualFold, literal: true, negated: true},
	"StringLike":                {compare: like},
	"StringNotLike":             {compare: like, negated: true},
	"ArnEquals":                 {compare: like},
	"ArnLike":                   {compare: like},
	"ArnNotEquals":              {compare: like, negated: true},
	"ArnNotLike":                {compare: like, negated: true},
	"Bool":                      {compare: strings.EqualFold, literal: true, valid: isBool},
	"IpAddress":                 {compare: inNetwork, literal: true, valid: isNetwork},
	"NotIpAddress":              {compare: inNetwork, literal: true, valid: isNetwork, negated: true},
	"NumericEquals":             {compare: numeric(func(a, b float64) bool { return a == b }), literal: true, valid: isNumber},
	"NumericNotEquals":          {compare: numeric(func(a, b float64) bool { return a == b }), literal: true, valid: isNumber, negated: true},
	"NumericLessThan":           {compare: numeric(func(a, b float64) bool { return a < b }), literal: true, valid: isNumber},
	"NumericLessThanEquals":     {compare: numeric(func(a, b float64) bool { return a <= b }), literal: true, valid: isNumber},
	"NumericGreaterThan":        {compare: numeric(func(a, b float64) bool { return a > b }), literal: true, valid: isNumber},
	"NumericGreaterThanEquals":  {compare: numeric(func(a, b float64) bool { return a >= b }), literal: true, valid: isNumber},
	"Null":                      {null: true, literal: true, valid: isBool},
}

func equal(got, want string) bool { return got == want }

func like(got, want string) bool { return match(want, got) }

func numeric(f func(a, b float64) bool) func(got, want string) bool {
	return func(got, want string) bool {
		a, err1 := strconv.ParseFloat(got, 64)
		b, err2 := strconv.ParseFloat(want, 64)
		return err1 == nil && err2 == nil && f(a, b)
	}
}

func inNetwork(got, want string) bool {
	addr, err := netip.ParseAddr(got)
	net, ok := network(want)
	return err == nil && ok && net.Contains(addr.Unmap())
}

// network reads an address or a network in CIDR form.
func network(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p, true
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	p, err := a.Prefix(a.BitLen())
	return p, err == nil
}

func isNetwork(s string) bool { _, ok := network(s); return ok }

func isBool(s string) bool { return strings.EqualFold(s, "true") || strings.EqualFold(s, "false") }

func isNumber(s string) bool { _, err := strconv.ParseFloat(s, 64); return err == nil }

// parseConditions reads {"OPERATOR": {"KEY": VALUES}}.
func parseConditions(text json.RawMessage, variables bool) (list []condition, err error) {
	if text == nil {
		return nil, nil
	}
	var raw map[string]map[string]json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil || raw == nil {
		return nil, errors.New("the Condition is no object of operators")
	}
	for name, keys := range raw {
		c, err := parseOperator(name)
		if err != nil {
			return nil, err
		}
		if len(keys) == 0 {
			return nil, fmt.Errorf("condition %s has no key", name)
		}
		for key, values := range keys {
			if !validVariable(key) {
				return nil, fmt.Errorf("condition %s: %.80q is no key", name, key)
			}
			c.key = key
			if c.values, err = c.op.parseValues(values, variables); err != nil {
				return nil, fmt.Errorf("condition %s of %.80q: %w", name, key, err)
			}
			list = append(list, c)
		}
	}
	return list, nil
}

func parseOperator(name string) (c condition, err error) {
	base := name
	if rest, ok := strings.CutPrefix(base, "ForAllValues:"); ok {
		c.set, base = forAll, rest
	} else if rest, ok := strings.CutPrefix(base, "ForAnyValue:"); ok {
		c.set, base = forAnyone, rest
	}
	base, c.exists = strings.CutSuffix(base, "IfExists")
	op, ok := operators[base]
	if !ok || op.null && (c.exists || c.set != anyValue) {
		return c, fmt.Errorf("%.80q is no condition operator", name)
	}
	c.op = op
	return c, nil
}

func (op *operator) parseValues(text json.RawMessage, variables bool) (list []template, err error) {
	values, err := oneOrMany[any](text)
	if err != nil || len(values) == 0 {
		return nil, errors.New("want a value or a list of values")
	}
	for _, v := range values {
		var s string
		switch v := v.(type) {
		case string:
			s = v
		case bool:
			s = strconv.FormatBool(v)
		case float64:
			s = strconv.FormatFloat(v, 'f', -1, 64)
		default:
			return nil, errors.New("a value is no text, number or boolean")
		}
		var t template
		if op.literal {
			t, err = literalTemplate(s, variables)
		} else {
			t, err = parseTemplate(s, variables)
		}
		if err != nil {
			return nil, err
		}
		if op.valid != nil && len(t) == 1 && !op.valid(t[0]) {
			return nil, fmt.Errorf("%.80q is no value for it", s)
		}
		list = append(list, t)
	}
	return list, nil
}

// literalTemplate is parseTemplate where wildcards are just text.
func literalTemplate(text string, variables bool) (template, error) {
	t, err := parseTemplate(text, variables)
	for i := 0; i < len(t); i += 2 {
		t[i] = unwild.Replace(t[i])
	}
	return t, err
}

var unwild = strings.NewReplacer(string([]byte{anyRun}), "*", string([]byte{anyOne}), "?")

// holds reports whether the condition is met, of a statement that denies or allows. Where a value of the document is not to be
// known, what allows does not hold.
func (c *condition) holds(v Values, deny bool) bool {
	got := v.Value(c.key)
	var want []string
	unknown := false
	for _, t := range c.values {
		if s, ok := t.bind(v, deny && !c.op.negated); ok {
			want = append(want, s)
		} else {
			unknown = true
		}
	}
	fits := func(value string) bool {
		for _, w := range want {
			if c.op.compare(value, w) {
				return !c.op.negated
			}
		}
		return c.op.negated
	}
	switch {
	case c.op.null:
		for _, w := range want {
			if strings.EqualFold(w, strconv.FormatBool(len(got) == 0)) {
				return true
			}
		}
		return false
	case len(got) == 0:
		return c.exists || c.set == forAll || c.op.negated && c.set == anyValue
	case unknown && c.op.negated && !deny:
		return false
	}
	for _, value := range got {
		if ok := fits(value); ok != (c.set == forAll) {
			return ok
		}
	}
	return c.set == forAll
}
