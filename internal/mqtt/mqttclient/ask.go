package mqttclient

import (
	"context"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/topic"
)

// asks are SUBSCRIBE and UNSUBSCRIBE packets without an answer yet. Their identifiers lie behind those of messages.
type asks struct {
	from    int
	next    uint16
	pending map[uint16]*ask
}

type ask struct {
	subscribe bool
	filters   int
	at        time.Time
	answer    chan answer // with room for one
}

type answer struct {
	codes []mqtt.ReasonCode
	text  string
	err   error
}

// maxAsks bounds what one connection may have asked for without an answer.
const maxAsks = 1024

func (a *asks) init(window int) {
	a.from, a.next, a.pending = window+1, uint16(window+1), map[uint16]*ask{}
}

func (a *asks) takeAll() (all []*ask) {
	for _, one := range a.pending {
		all = append(all, one)
	}
	clear(a.pending)
	return all
}

// Subscribe sends SUBSCRIBE and waits for SUBACK: it returns one code for each filter, the granted QoS or a refusal
// ([mqtt.ReasonCode.Failed]; before version 5 always [mqtt.SubAckFailure]), and the server's text (version 5). The packet's identifier is filled in. Errors wrap
// fairlead.ErrUnavailable, or are the context's cause.
func (s *Session) Subscribe(ctx context.Context, p mqtt.Subscribe) (codes []mqtt.ReasonCode, text string, err error) {
	pending, err := s.SubscribeLater(ctx, p)
	if err != nil {
		return nil, "", err
	}
	return pending.Wait(ctx)
}

// Unsubscribe sends UNSUBSCRIBE and waits for UNSUBACK. Before version 5 the codes are all zero, there is no refusal.
func (s *Session) Unsubscribe(ctx context.Context, filters ...string) (codes []mqtt.ReasonCode, err error) {
	if err := checkFilters(filters...); err != nil {
		return nil, fmt.Errorf("unsubscribe: %w", err)
	}
	a, err := s.ask(ctx, len(filters), false, func(id uint16) mqtt.Packet { return &mqtt.Unsubscribe{ID: id, Filters: filters} })
	if err != nil {
		return nil, fmt.Errorf("unsubscribe: %w", err)
	}
	codes, _, err = (&Pending{a, "unsubscribe"}).Wait(ctx)
	return codes, err
}

// Pending is a request whose answer has not been waited for.
type Pending struct {
	a    *ask
	what string
}

// SubscribeLater is the first half of [Session.Subscribe]: what is sent after it returns comes to the server after the SUBSCRIBE.
func (s *Session) SubscribeLater(ctx context.Context, p mqtt.Subscribe) (*Pending, error) {
	var filters []string
	for _, sub := range p.Subscriptions {
		filters = append(filters, sub.Filter)
	}
	if err := checkFilters(filters...); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	a, err := s.ask(ctx, len(filters), true, func(id uint16) mqtt.Packet {
		p.ID = id
		return &p
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	return &Pending{a, "subscribe"}, nil
}

// Wait waits for the answer. It is called once.
func (p *Pending) Wait(ctx context.Context) (codes []mqtt.ReasonCode, text string, err error) {
	select {
	case ans := <-p.a.answer:
		if ans.err != nil {
			return nil, "", fmt.Errorf("%s: %w", p.what, ans.err)
		}
		return ans.codes, ans.text, nil
	case <-ctx.Done():
		return nil, "", fmt.Errorf("%s: %w", p.what, context.Cause(ctx))
	}
}

// checkFilters keeps what is no filter from the server, which would end the connection.
func checkFilters(filters ...string) error {
	if len(filters) == 0 {
		return fmt.Errorf("%w: there is no filter", fairlead.ErrInvalid)
	}
	for _, f := range filters {
		if err := topic.ValidateFilter(f); err != nil {
			return fmt.Errorf("%w: filter %.200q: %w", fairlead.ErrInvalid, f, err)
		}
	}
	return nil
}

func (s *Session) ask(ctx context.Context, filters int, subscribe bool, packet func(uint16) mqtt.Packet) (*ask, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.conn
	for {
		if s.conn == nil || s.conn != first {
			return nil, ErrNotConnected
		}
		if len(first.buffer) < maxBufferBytes && len(s.asks.pending) < maxAsks {
			break
		}
		if err := s.wait(ctx); err != nil {
			return nil, err
		}
	}
	a := &ask{subscribe: subscribe, filters: filters, at: time.Now(), answer: make(chan answer, 1)}
	id := s.asks.next
	for s.asks.pending[id] != nil || id == 0 || int(id) < s.asks.from {
		id++ // wraps around
	}
	s.asks.pending[id] = a
	s.asks.next = id + 1
	first.packet(packet(id))
	first.wakeWriter()
	return a, nil
}

// answered handles SUBACK and UNSUBACK.
func (s *Session) answered(id uint16, subscribe bool, ans answer) error {
	s.mu.Lock()
	a := s.asks.pending[id]
	delete(s.asks.pending, id)
	s.mu.Unlock()
	if a == nil {
		return nil
	}
	if a.subscribe != subscribe {
		return violation(mqtt.ReasonProtocolError, "SUBACK and UNSUBACK mixed up")
	}
	if !subscribe && ans.codes == nil {
		ans.codes = make([]mqtt.ReasonCode, a.filters)
	}
	if len(ans.codes) > a.filters {
		return violation(mqtt.ReasonProtocolError, "%d codes for %d filters", len(ans.codes), a.filters)
	}
	// VerneMQ leaves filters that its plugin refuses out of the answer. Which ones they were is not said then: who wants to know asks for
	// one filter at a time.
	for len(ans.codes) < a.filters {
		ans.codes = append(ans.codes, mqtt.ReasonUnspecified)
	}
	a.answer <- ans
	return nil
}
