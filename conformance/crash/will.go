package crash

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// A Fate is what has to become of a will.
type Fate int

// The fates.
const (
	Open      Fate = iota // nobody can know: the hub died before it answered CONNECT, or just after DISCONNECT was sent
	Due                   // the connection ended without DISCONNECT
	CalledOff             // the client has said goodbye, or was back in time
)

// A Testament is the will of one connection.
type Testament struct {
	Value string // unique
	Fate  Fate
	// NotBefore is the earliest time at which it may be published, zero for any.
	NotBefore time.Time
}

// Wills are the wills of one client, in the order of its connections.
type Wills struct {
	Where string

	mu   sync.Mutex
	list []*Testament
}

func (w *Wills) add(value string) *Testament {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := &Testament{Value: value}
	w.list = append(w.list, t)
	return t
}

func (w *Wills) decide(t *Testament, f Fate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t.Fate = f
}

// Check compares the wills with what has been published: each that is due once, none that was called off, none before its
// time. at says when a value was first seen; nil if that is not known.
func (w *Wills) Check(published []string, at map[string]time.Time) []Violation {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := violations{where: w.Where}
	copies := map[string]int{}
	for _, value := range published {
		if copies[value]++; !slices.ContainsFunc(w.list, func(t *Testament) bool { return t.Value == value }) {
			v.add(Invented, "%q is no will", value)
		}
	}
	for _, t := range w.list {
		n := copies[t.Value]
		switch {
		case n > 1:
			v.add(Doubled, "%q was published %d times", t.Value, n)
		case n == 1 && t.Fate == CalledOff:
			v.add(Invented, "%q was published; it had been called off", t.Value)
		case n == 0 && t.Fate == Due:
			v.add(Missing, "%q was not published", t.Value)
		case n == 1 && at[t.Value].Before(t.NotBefore) && at != nil:
			v.add(Disorder, "%q was published %v too early", t.Value, t.NotBefore.Sub(at[t.Value]).Round(time.Millisecond))
		}
	}
	return v.done()
}

// due counts those that have to be published, by now or later.
func (w *Wills) due() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.list {
		if t.Fate == Due {
			n++
		}
	}
	return n
}

// A mortal is a client with a will that comes and goes: it says goodbye, or hangs up, or is there when the hub dies.
type mortal struct {
	addr   string
	config *tls.Config
	name   string
	login  mqtt.Connect
	topic  string
	qos    byte
	wills  *Wills
	number int
	known  bool // it was connected before, and so has a session unless it wants clean ones
}

// next makes the will of the next connection.
func (m *mortal) next(delay uint32) (mqtt.Connect, *Testament) {
	m.number++
	t := m.wills.add(fmt.Sprintf("%s-%d", m.name, m.number))
	hello := m.login
	hello.Will = &mqtt.Will{Topic: m.topic, Payload: []byte(t.Value), QoS: m.qos, Delay: delay}
	return hello, t
}

// open connects with a will. It returns nothing if the hub was not there, or died.
func (m *mortal) open(ctx context.Context, lf *life, delay uint32) (l *link, t *Testament, present bool) {
	l, err := dialHub(ctx, lf, m.addr, m.config)
	if l == nil {
		if err != nil {
			lf.report(Refused, m.name, "%v", err)
		}
		return nil, nil, false
	}
	hello, t := m.next(delay)
	if present, err = l.connect(hello); err != nil {
		l.close()
		if !lf.ended.Load() && ctx.Err() == nil {
			lf.report(Refused, m.name, "connect: %v", err)
		}
		return nil, nil, false
	}
	m.wills.decide(t, Due) // unless it says goodbye
	return l, t, present
}

// goodbye leaves. The hub closes the connection when that is on disk; if it dies before, the will may come.
func (m *mortal) goodbye(l *link, lf *life, t *Testament, code mqtt.ReasonCode) {
	if code == mqtt.ReasonSuccess {
		m.wills.decide(t, Open)
	}
	err := l.send(&mqtt.Disconnect{Code: code})
	for err == nil {
		_, err = l.next()
	}
	if !lf.ended.Load() && code == mqtt.ReasonSuccess { // so it was an answer to us
		m.wills.decide(t, CalledOff)
	}
	l.close()
}

// live has the client come and go.
func (m *mortal) live(ctx context.Context, lf *life, rng *rand.Rand) {
	for ctx.Err() == nil && !lf.ended.Load() {
		l, t, present := m.open(ctx, lf, 0)
		if l == nil {
			return
		}
		if want := m.known && !m.login.CleanStart; present != want {
			lf.report(Missing, m.name, "session present is %v, want %v", present, want)
		}
		m.known = true
		pause(ctx, time.Duration(rng.IntN(150))*time.Millisecond)
		switch n := rng.IntN(8); {
		case n < 3:
			m.goodbye(l, lf, t, mqtt.ReasonSuccess)
		case n < 4 && m.login.Version == mqtt.V5:
			m.goodbye(l, lf, t, mqtt.ReasonDisconnectWithWill)
		case n < 6:
			l.close() // the next connection may even be there before the hub has noticed
		default:
			linger(ctx, lf, l)
		}
	}
}

// linger keeps a connection until the process at its other end is gone.
func linger(ctx context.Context, lf *life, l *link) {
	for ctx.Err() == nil && !lf.ended.Load() {
		pause(ctx, time.Millisecond)
	}
	for err := error(nil); err == nil; {
		_, err = l.next()
	}
	l.close()
}

// A plan is what a sleeper does when the hub has died.
type plan int

const (
	returns  plan = iota // before the will's delay is over: it is not published
	waits                // until it is published, which its session outlives
	outlived             // its session ends long before the delay is over: then it is published, and the session is gone
	plans
)

// The times of the plans, in seconds.
var (
	planDelay  = [plans]uint32{returns: 8, waits: 1, outlived: sessionSeconds}
	planExpiry = [plans]uint32{returns: sessionSeconds, waits: sessionSeconds, outlived: 1}
)

// A sleeper is a version 5 client whose will has a delay. It is there when the hub dies.
type sleeper struct {
	mortal
	plan    plan
	pending *Testament // of the connection that the hub's death has cut
	gone    bool       // its session has to be gone at the next connection
}

func (s *sleeper) live(ctx context.Context, lf *life, rng *rand.Rand) {
	if s.pending != nil && s.plan != returns {
		return // it waits
	}
	if s.plan = plan(rng.IntN(int(plans))); s.number == 0 {
		s.plan = waits // so that a campaign of one kill has that
	}
	l, t := s.connect(ctx, lf)
	if l == nil {
		return
	}
	linger(ctx, lf, l)
	s.wills.mu.Lock()
	t.NotBefore = lf.at.Add(time.Duration(min(planDelay[s.plan], planExpiry[s.plan])) * time.Second)
	if s.plan == returns {
		t.Fate = Open // until it is back
	}
	s.wills.mu.Unlock()
	s.pending = t
}

// connect opens the next connection, and decides what has become of the will of the last one.
func (s *sleeper) connect(ctx context.Context, lf *life) (*link, *Testament) {
	s.login.SessionExpiry = planExpiry[s.plan]
	l, t, present := s.open(ctx, lf, planDelay[s.plan])
	if l == nil {
		s.known = false // the hub may have noted the new expiry, and that time may be over
		return nil, nil
	}
	switch {
	case s.gone && present:
		lf.report(Invented, s.name, "its session, which has expired")
	case s.known && !s.gone && !present:
		lf.report(Missing, s.name, "its session, which has not expired")
	}
	if p := s.pending; p != nil && time.Now().Before(p.NotBefore) {
		s.wills.decide(p, CalledOff)
	}
	s.pending, s.gone, s.known = nil, false, true
	return l, t
}

// comeBack is what a sleeper does after the restart that planned so.
func (s *sleeper) comeBack(ctx context.Context, lf *life) {
	if s.pending == nil || s.plan != returns {
		return
	}
	if l, t := s.connect(ctx, lf); l != nil {
		s.goodbye(l, lf, t, mqtt.ReasonSuccess)
	}
}

// published tells a sleeper that its will was.
func (s *sleeper) published(value string) {
	if s.pending != nil && s.pending.Value == value {
		s.gone = s.plan == outlived
		s.pending = nil
	}
}
