package crash

import (
	"fmt"
	"strings"
)

// A Violation is one way in which the hub broke its promise.
type Violation struct {
	Kind  string // one of the constants below
	Where string // device, interface and path
	Text  string
}

// The kinds of violations.
const (
	Missing  = "missing"  // acknowledged, but not there
	Doubled  = "doubled"  // there more often than it can have been sent
	Disorder = "disorder" // in another order than it was sent
	Invented = "invented" // nobody sent it
	Stale    = "stale"    // a state that was replaced before
	Refused  = "refused"  // an answer or a connection that the protocol does not allow here
	Broken   = "broken"   // the hub does not start, or its database is damaged
)

func (v Violation) String() string { return v.Kind + ": " + v.Where + ": " + v.Text }

// maxPerCheck bounds the violations that one check reports: when the last thousand messages are gone, three of them
// and their number tell it all.
const maxPerCheck = 3

// violations collects what one check finds.
type violations struct {
	where string
	list  []Violation
	more  map[string]int
}

func (v *violations) add(kind, format string, args ...any) {
	n := 0
	for _, one := range v.list {
		if one.Kind == kind {
			n++
		}
	}
	if n < maxPerCheck {
		v.list = append(v.list, Violation{kind, v.where, fmt.Sprintf(format, args...)})
		return
	}
	if v.more == nil {
		v.more = map[string]int{}
	}
	v.more[kind]++
}

func (v *violations) done() []Violation {
	for kind, n := range v.more {
		v.list = append(v.list, Violation{kind, v.where, fmt.Sprintf("and %d more", n)})
	}
	return v.list
}

// A Sent is one message of a Stream.
type Sent struct {
	Value string // unique
	Times int    // how often it was sent: more than once if a crash left open whether it had arrived
	Acked bool   // the hub has taken it over: PUBACK, PUBREC or a 2xx
}

// A Stream is what one writer has sent on one path of a datastream, in order. The writer adds the next message only
// when it does not have to repeat an earlier one any more, or repeats all unacknowledged ones in order.
type Stream struct {
	Where string
	// Once says that the protocol lets the hub know a repetition when it sees one (QoS 2 in a session that
	// survives), so that nothing may be stored twice.
	Once bool

	sent []*Sent
	at   map[string]int // index in sent by value
}

// Add notes a message before it is sent for the first time.
func (s *Stream) Add(value string) *Sent {
	if s.at == nil {
		s.at = map[string]int{}
	}
	m := &Sent{Value: value}
	s.at[value] = len(s.sent)
	s.sent = append(s.sent, m)
	return m
}

// Acked returns how many messages have been acknowledged.
func (s *Stream) Acked() int {
	n := 0
	for _, m := range s.sent {
		if m.Acked {
			n++
		}
	}
	return n
}

// Check compares what the hub has with what was sent. runs is how often the writer may have gone back to repeat.
func (s *Stream) Check(stored []string, runs int) []Violation {
	v := violations{where: s.Where}
	copies := make([]int, len(s.sent))
	last, first, back := -1, -1, 0
	for _, value := range stored {
		i, ok := s.at[value]
		if !ok {
			v.add(Invented, "%q was never sent", value)
			continue
		}
		copies[i]++
		if i < last {
			back++
		}
		if copies[i] == 1 {
			if i < first {
				v.add(Disorder, "%q comes behind %q", value, s.sent[first].Value)
			}
			first = i
		}
		last = i
	}
	if back > runs {
		v.add(Disorder, "goes back %d times; the writer repeated %d times at most", back, runs)
	}
	for i, m := range s.sent {
		most := m.Times
		if s.Once {
			most = 1
		}
		if copies[i] > most {
			v.add(Doubled, "%q is there %d times; sent %d times", m.Value, copies[i], m.Times)
		}
		if m.Acked && copies[i] == 0 {
			v.add(Missing, "%q was acknowledged (number %d of %d; stored are %d)", m.Value, i+1, len(s.sent), len(stored))
		}
	}
	return v.done()
}

// An Op is one change of a Property.
type Op struct {
	Value *string // unique; nil: unset
	Acked bool
}

func (o *Op) String() string { return show(o.Value) }

func show(value *string) string {
	if value == nil {
		return "unset"
	}
	return fmt.Sprintf("%q", *value)
}

// A Property is what one writer has done to one property, in order.
type Property struct {
	Where string
	ops   []*Op
}

// Add notes a change before it is sent for the first time.
func (p *Property) Add(value *string) *Op {
	op := &Op{Value: value}
	p.ops = append(p.ops, op)
	return op
}

// Current returns the state after all changes, sent or not.
func (p *Property) Current() *string {
	if len(p.ops) == 0 {
		return nil
	}
	return p.ops[len(p.ops)-1].Value
}

// Check compares the hub's state: it is that of the last acknowledged change or of one that was sent after it.
func (p *Property) Check(current *string) []Violation {
	v := violations{where: p.Where}
	last := p.lastAcked()
	if last < 0 && current == nil {
		return nil
	}
	for _, op := range p.ops[max(last, 0):] {
		if same(op.Value, current) {
			return nil
		}
	}
	for _, op := range p.ops[:max(last, 0)] {
		if same(op.Value, current) && current != nil {
			v.add(Stale, "is %s; acknowledged is %v", show(current), p.ops[last])
			return v.done()
		}
	}
	if current != nil {
		v.add(Invented, "%s was never sent", show(current))
	} else {
		v.add(Missing, "is unset; acknowledged is %v", p.ops[last])
	}
	return v.done()
}

func (p *Property) lastAcked() int {
	for i := len(p.ops) - 1; i >= 0; i-- {
		if p.ops[i].Acked {
			return i
		}
	}
	return -1
}

func same(a, b *string) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// CheckReceived compares the changes that a device received through its session with those that programs made. All
// acknowledged ones must be there, in order and exactly once (they have QoS 2), and those of which nobody knows may be.
func (p *Property) CheckReceived(received []*string) []Violation {
	v := violations{where: p.Where + " (at the device)"}
	i := 0
	for _, op := range p.ops {
		switch {
		case i < len(received) && same(received[i], op.Value):
			i++
		case op.Acked:
			v.add(Missing, "%v was acknowledged; the device got %s instead", op, around(received, i))
		}
	}
	if i < len(received) {
		v.add(Doubled, "the device got %d changes too many or out of order: %s", len(received)-i, around(received, i))
	}
	return v.done()
}

func around(received []*string, i int) string {
	var parts []string
	for _, r := range received[max(i-1, 0):min(i+2, len(received))] {
		parts = append(parts, show(r))
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// Drop forgets the last message added: it has certainly not been sent.
func (s *Stream) Drop() {
	n := len(s.sent) - 1
	delete(s.at, s.sent[n].Value)
	s.sent = s.sent[:n]
}

// Drop forgets the last change added: it has certainly not been sent.
func (p *Property) Drop() { p.ops = p.ops[:len(p.ops)-1] }

// Acked returns how many changes have been acknowledged.
func (p *Property) Acked() int {
	n := 0
	for _, op := range p.ops {
		if op.Acked {
			n++
		}
	}
	return n
}

// CheckReceived compares what a device received through its session with what was sent. All that was acknowledged must be
// there, in order, and if exactly is set (QoS 2) as often as the hub may have taken it, which is once if it knows
// repetitions; what was not acknowledged may be there.
func (s *Stream) CheckReceived(received []string, exactly bool) []Violation {
	at := *s
	at.Where += " (at the device)"
	if !exactly {
		at.Once = false
		at.sent = make([]*Sent, len(s.sent))
		for i, m := range s.sent {
			again := *m
			again.Times = len(received) // QoS 1: the hub may send it again and again
			at.sent[i] = &again
		}
	}
	return at.Check(received, len(received))
}

// CheckOrder looks at the order alone, for a member of a shared subscription, which receives only some of the messages.
// What the hub may have taken twice, for different members, can come to one of them behind what was sent after it.
func (s *Stream) CheckOrder(who string, received []string) []Violation {
	v := violations{where: s.Where + " (at " + who + ")"}
	known := map[string]bool{}
	last := -1
	for _, value := range received {
		i := s.place(value)
		if i < 0 || !s.Once && s.sent[i].Times > 1 {
			continue
		}
		if !known[value] {
			known[value] = true
			if i < last {
				v.add(Disorder, "%q comes behind %q", value, s.sent[last].Value)
			}
			last = i
		}
	}
	return v.done()
}

// place returns how many messages were sent before a value.
func (s *Stream) place(value string) int {
	if i, ok := s.at[value]; ok {
		return i
	}
	return -1
}
