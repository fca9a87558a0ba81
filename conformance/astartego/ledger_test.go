package astartego

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// A ledger has what a device was promised, what it has sent, and what is wrong with that.
type ledger struct {
	window int

	mu       sync.Mutex
	channels map[string]*ledgerChannel
	property int64 // the last one accepted
	life     int
	newest   int // connection
	problems []string
	full     int // lives in which the outbox was full
	isFull   bool
	repeated int // sent again in a later life
}

// ledgerChannel is what is known of one channel, by number.
type ledgerChannel struct {
	accepted []int64
	deleted  map[int64]bool
	sent     map[int64]*sending
	latest   int64 // sent for the first time last

	connection int   // that the next two are about
	last       int64 // sent there last
	open       map[int64]bool
}

// sending is how often a number was sent.
type sending struct {
	connections, lives int
	inLife             int // the last one
}

func newLedger(window int) *ledger {
	l := &ledger{window: window, channels: map[string]*ledgerChannel{}, property: -1}
	for letter := range channelPaths {
		l.channels[letter] = &ledgerChannel{deleted: map[int64]bool{}, sent: map[int64]*sending{}, latest: -1, open: map[int64]bool{}}
	}
	return l
}

// maxProblems is enough: there is nothing more to learn.
const maxProblems = 10

// problem is called with mu held.
func (l *ledger) problem(kind, format string, args ...any) {
	if len(l.problems) < maxProblems {
		l.problems = append(l.problems, fmt.Sprintf("%s: life %d: %s", kind, l.life, fmt.Sprintf(format, args...)))
	}
}

// begin begins a life. Everything of the life before is known: what it has printed, and what it has sent.
func (l *ledger) begin(life int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.life, l.isFull = life, false
}

// line notes what the program has printed.
func (l *ledger) line(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var letter string
	var n int64
	switch {
	case text == "F":
		if !l.isFull {
			l.full++
		}
		l.isFull = true
	case text == "E":
	case scan(text, "P %d", &n):
		l.property = n
	case scan(text, "A %s %d", &letter, &n) && l.channels[letter] != nil:
		l.channels[letter].accepted = append(l.channels[letter].accepted, n)
	case scan(text, "D %s %d", &letter, &n) && l.channels[letter] != nil:
		l.channels[letter].deleted[n] = true
	default:
		l.problem("broken", "the program has printed %q", text)
	}
}

func scan(text, format string, into ...any) bool {
	n, err := fmt.Sscanf(text, format, into...)
	return err == nil && n == len(into)
}

// publish notes what goes over the wire.
func (l *ledger) publish(connection int, letter string, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.channels[letter]
	l.newest = max(l.newest, connection)
	if connection != l.newest {
		return // the rest of a connection that the device has given up: it says nothing about what it knows now
	}
	if c.connection != connection {
		c.connection, c.last = connection, -1
		clear(c.open)
	}
	if n <= c.last {
		l.problem("disorder", "%s %d is sent behind %d, on one connection", letter, n, c.last)
	}
	c.last = n
	if c.deleted[n] {
		l.problem("repeated", "%s %d is sent, which the outbox had deleted", letter, n)
	}
	s := c.sent[n]
	if s == nil {
		if n <= c.latest {
			l.problem("disorder", "%s %d is sent for the first time behind %d", letter, n, c.latest)
		}
		c.latest = n
		s = &sending{inLife: l.life, lives: 1}
		c.sent[n] = s
	}
	if s.inLife != l.life {
		s.inLife = l.life
		s.lives++
		l.repeated++
	}
	s.connections++
	c.open[n] = true
	open := 0
	for _, c := range l.channels {
		if c.connection == connection {
			open += len(c.open)
		}
	}
	if open > l.window {
		l.problem("repeated", "%d messages are in flight, %d may be", open, l.window)
	}
}

// acknowledge notes what goes back over the wire.
func (l *ledger) acknowledge(connection int, letter string, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.channels[letter]; c.connection == connection {
		delete(c.open, n)
	}
}

// settle compares with what the hub has, in its order, when everything was sent.
func (l *ledger) settle(stored map[string][]int64, property int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for letter, c := range l.channels {
		copies := map[int64]int{}
		latest := int64(-1)
		for _, n := range stored[letter] {
			copies[n]++
			if copies[n] > 1 {
				continue
			}
			if n < latest {
				l.problem("disorder", "%s %d is stored behind %d", letter, n, latest)
			}
			latest = n
		}
		missing := 0
		accepted := map[int64]bool{}
		for _, n := range c.accepted {
			accepted[n] = true
			if copies[n] == 0 {
				if missing++; missing <= 3 {
					l.problem("missing", "%s %d was accepted and is not there", letter, n)
				}
			}
		}
		if missing > 3 {
			l.problem("missing", "%s: %d of %d", letter, missing, len(c.accepted))
		}
		for n, count := range copies {
			// One may have been stored although the program could not say so any more; it is behind the last one that it has named.
			if !accepted[n] && n%numbersPerLife > 0 && !accepted[n-1] {
				l.problem("invented", "%s %d was not accepted", letter, n)
			}
			most := 0
			if s := c.sent[n]; s != nil {
				if most = s.connections; letter == "u" {
					most = s.lives // within a life its session knows better
				}
			}
			if count > most {
				l.problem("repeated", "%s %d is there %d times, and was sent %d times", letter, n, count, most)
			}
		}
	}
	if property < l.property || property > l.property+1 && property%numbersPerLife > 0 {
		l.problem("missing", "property %d was accepted, %d is there", l.property, property)
	}
}

// The ledger notices what it is for.
func TestLedger(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(l *ledger)
		want string // "" if all is well
	}{
		{"well", func(l *ledger) {
			l.line("A g 0")
			l.publish(1, "g", 0)
			l.publish(2, "g", 0)
			l.acknowledge(2, "g", 0)
			l.line("D g 0")
			l.line("A g 1")
			l.publish(2, "g", 1)
			l.begin(1)
			l.publish(3, "g", 1)
			l.settle(map[string][]int64{"g": {0, 0, 1, 1}}, -1)
		}, ""},
		{"lost", func(l *ledger) { l.line("A u 0"); l.settle(nil, -1) }, "missing"},
		{"lost property", func(l *ledger) { l.line("P 5"); l.settle(nil, 4) }, "missing"},
		{"invented", func(l *ledger) { l.publish(1, "g", 5); l.settle(map[string][]int64{"g": {5}}, -1) }, "invented"},
		{"disorder on the wire", func(l *ledger) { l.publish(1, "g", 5); l.publish(2, "g", 4) }, "disorder"},
		{"twice on a connection", func(l *ledger) { l.publish(1, "g", 5); l.publish(1, "g", 5) }, "disorder"},
		{"disorder in the hub", func(l *ledger) {
			l.line("A g 0")
			l.line("A g 1")
			l.publish(1, "g", 0)
			l.publish(1, "g", 1)
			l.settle(map[string][]int64{"g": {1, 0}}, -1)
		}, "disorder"},
		{"deleted and sent", func(l *ledger) { l.publish(1, "g", 5); l.line("D g 5"); l.begin(1); l.publish(2, "g", 5) }, "repeated"},
		{"too much in flight", func(l *ledger) {
			for n := range int64(3) {
				l.publish(1, "g", n)
			}
		}, "repeated"},
		{"once too often", func(l *ledger) {
			l.line("A u 0")
			l.publish(1, "u", 0)
			l.publish(2, "u", 0)
			l.settle(map[string][]int64{"u": {0, 0}}, -1)
		}, "repeated"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLedger(2)
			c.do(l)
			if all := strings.Join(l.problems, "; "); c.want == "" && all != "" || !strings.HasPrefix(all, c.want) {
				t.Errorf("got %q, want %q", all, c.want)
			}
		})
	}
}
