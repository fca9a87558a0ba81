package policy

import "strings"

// A Decision is what policies say to a request.
type Decision uint8

// The decisions.
const (
	Unmentioned Decision = iota // nothing allows it, which is as good as a refusal
	Allowed
	Denied // a statement forbids it, whatever others allow
)

// A Bound is a document with the values of one connection. It does not change, and may be used by any goroutine.
type Bound struct {
	statements []boundStatement
}

type boundStatement struct {
	deny         bool
	actions      []string
	notActions   bool
	resources    []string
	notResources bool
}

// Bind puts the values of a connection into the document. Statements whose conditions do not hold are left out, and so are
// resources with a variable that has no value: they match nothing. An Allow for all but such a resource allows nothing. Where a
// value has characters that a client could have chosen to get more than was meant, what allows matches nothing, and what denies
// matches the value as it is.
func (d *Document) Bind(v Values) *Bound {
	b := &Bound{}
next:
	for i := range d.statements {
		st := &d.statements[i]
		for j := range st.conditions {
			if !st.conditions[j].holds(v, st.deny) {
				continue next
			}
		}
		s := boundStatement{deny: st.deny, actions: st.actions, notActions: st.notActions, notResources: st.notResources}
		for _, t := range st.resources {
			pattern, ok := t.bind(v, st.deny && !st.notResources)
			switch {
			case ok:
				s.resources = append(s.resources, pattern)
			case st.notResources && !st.deny:
				continue next
			}
		}
		if len(s.resources) > 0 || s.notResources {
			b.statements = append(b.statements, s)
		}
	}
	return b
}

// Decide says what the document has to say to an action ("iot:Publish") on a resource (an ARN).
func (b *Bound) Decide(action, resource string) Decision {
	action = strings.ToLower(action)
	d := Unmentioned
	for i := range b.statements {
		s := &b.statements[i]
		if d == Allowed && !s.deny || !s.covers(action, resource) {
			continue
		}
		if s.deny {
			return Denied
		}
		d = Allowed
	}
	return d
}

func (s *boundStatement) covers(action, resource string) bool {
	return matchAny(s.actions, action) != s.notActions && matchAny(s.resources, resource) != s.notResources
}

func matchAny(patterns []string, text string) bool {
	for _, p := range patterns {
		if match(p, text) {
			return true
		}
	}
	return false
}

// Decide says what several documents say together: what one of them denies is denied, and else what one of them allows is
// allowed.
func Decide(all []*Bound, action, resource string) Decision {
	d := Unmentioned
	for _, b := range all {
		switch b.Decide(action, resource) {
		case Denied:
			return Denied
		case Allowed:
			d = Allowed
		}
	}
	return d
}
