package engine

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
	"github.com/fairlead-iot/fairlead/internal/topic"
)

// Subscription is what to receive, and who gets it. The engine sees to it that the server knows it: it subscribes on each new session,
// and only then.
type Subscription struct {
	// Subscription is what the server is asked for.
	mqtt.Subscription
	// Handler is called for messages that match, like the hooks of Config. Several matching subscriptions get the message one after
	// the other. nil: nobody, see Reply.
	Handler func(*mqttclient.Message)
	// Reply recognises the answers to requests: it returns the key of [Engine.Request]. A message for which a request with this key waits
	// goes to that, and not to Handler. It is called by the goroutine that reads, must be quick and must not call the engine.
	Reply func(*mqttclient.Message) (key string, ok bool)
	// ManualAck leaves it to Handler to call Ack. Otherwise that is done when all handlers have returned.
	ManualAck bool
	// Settled is told each time the server has answered: the granted QoS, or the refusal, which is a [fairlead.PlatformError]. It is
	// called by the engine's goroutines, must not wait and must not call the engine. A subscription that replaces one that the server
	// knows already is not asked for. nil: nobody.
	Settled func(granted byte, err error)
}

type subscriptions struct {
	mu     sync.Mutex
	wanted []*subscription // replaced, never changed: receive reads it without the lock
	stale  []string        // filters that the server may still have, and does not know that it should not
	gone   []string        // likewise, and it was told
	left   chan struct{}   // closed when it has forgotten some; nil if nobody waits
	kick   chan struct{}   // something is to be done; has room for one
}

type subscription struct {
	Subscription
	known   bool // by the server, in this session; or refused by it
	granted byte
	err     error         // the refusal
	settled chan struct{} // closed when known; nil if nobody waits
	removed bool
}

func (s *subscriptions) init() { s.kick = make(chan struct{}, 1) }

// forget notes that the server has a new session.
func (s *subscriptions) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stale = nil
	s.wakeLeavers()
	for _, sub := range s.wanted {
		sub.known, sub.err = false, nil
	}
}

// wakeLeavers is called with mu held.
func (s *subscriptions) wakeLeavers() {
	if s.left != nil {
		close(s.left)
		s.left = nil
	}
}

// Register adds subscriptions, and does not wait for the server. One with the same filter is replaced: the server is asked anew only if
// its options changed. Errors wrap fairlead.ErrInvalid. A refusal is reported as an event.
func (e *Engine) Register(subs ...Subscription) error {
	_, err := e.register(subs)
	return err
}

func (e *Engine) register(subs []Subscription) ([]*subscription, error) {
	for i := range subs {
		if err := topic.ValidateFilter(subs[i].Filter); err != nil || subs[i].QoS > 2 {
			return nil, fmt.Errorf("subscribe to %.200q with QoS %d: %w", subs[i].Filter, subs[i].QoS, fairlead.ErrInvalid)
		}
	}
	e.subs.mu.Lock()
	defer e.subs.mu.Unlock()
	added := make([]*subscription, 0, len(subs))
	e.subs.wanted = slices.Clone(e.subs.wanted)
	for _, s := range subs {
		sub := &subscription{Subscription: s}
		i := slices.IndexFunc(e.subs.wanted, func(w *subscription) bool { return w.Filter == s.Filter })
		if i < 0 {
			e.subs.wanted = append(e.subs.wanted, sub)
		} else {
			old := e.subs.wanted[i]
			old.removed = true
			if old.Subscription.Subscription == s.Subscription && old.err == nil {
				sub.known, sub.granted = old.known, old.granted
			}
			e.subs.wanted[i] = sub
			old.settle()
		}
		e.subs.stale = slices.DeleteFunc(e.subs.stale, func(f string) bool { return f == s.Filter })
		added = append(added, sub)
	}
	e.subs.wake()
	return added, nil
}

func (s *subscriptions) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// settle is called with the mu of subscriptions held.
func (s *subscription) settle() {
	if s.settled != nil {
		close(s.settled)
		s.settled = nil
	}
}

// Subscribe is Register for one subscription, and waits until the server has granted it; it returns the QoS. While there is no connection it
// waits for one. A refusal is a [fairlead.PlatformError]; the subscription is gone then. When ctx ends it stays.
func (e *Engine) Subscribe(ctx context.Context, s Subscription) (granted byte, err error) {
	added, err := e.register([]Subscription{s})
	if err != nil {
		return 0, err
	}
	sub := added[0]
	for {
		e.subs.mu.Lock()
		if sub.known || sub.removed {
			granted, err = sub.granted, sub.err
			e.subs.mu.Unlock()
			break
		}
		if sub.settled == nil {
			sub.settled = make(chan struct{})
		}
		settled := sub.settled
		e.subs.mu.Unlock()
		select {
		case <-settled:
		case <-e.stop:
			return 0, fmt.Errorf("subscribe to %.200q: %w: Run has returned", s.Filter, fairlead.ErrClosed)
		case <-ctx.Done():
			return 0, fmt.Errorf("subscribe to %.200q: %w: %w", s.Filter, fairlead.ErrUnavailable, context.Cause(ctx))
		}
	}
	if err != nil {
		e.subs.mu.Lock()
		e.subs.wanted = slices.DeleteFunc(slices.Clone(e.subs.wanted), func(w *subscription) bool { return w == sub })
		e.subs.mu.Unlock()
	}
	return granted, err
}

// Unsubscribe removes subscriptions. It does not wait for the server, which is told now or on the next connection.
func (e *Engine) Unsubscribe(filters ...string) {
	e.subs.mu.Lock()
	defer e.subs.mu.Unlock()
	for _, f := range filters {
		i := slices.IndexFunc(e.subs.wanted, func(w *subscription) bool { return w.Filter == f })
		if i < 0 {
			continue
		}
		sub := e.subs.wanted[i]
		sub.removed = true
		sub.settle()
		e.subs.wanted = slices.Delete(slices.Clone(e.subs.wanted), i, i+1)
		if sub.err == nil { // one that was refused the server does not have
			e.subs.stale = append(e.subs.stale, f)
		}
	}
	e.subs.wake()
}

// Unsubscribed waits until the server has none of the filters any more that were removed by [Engine.Unsubscribe]. While there is no
// connection it waits for one.
func (e *Engine) Unsubscribed(ctx context.Context, filters ...string) error {
	for {
		e.subs.mu.Lock()
		waits := slices.ContainsFunc(filters, func(f string) bool {
			return slices.Contains(e.subs.stale, f) || slices.Contains(e.subs.gone, f)
		})
		if !waits {
			e.subs.mu.Unlock()
			return nil
		}
		if e.subs.left == nil {
			e.subs.left = make(chan struct{})
		}
		left := e.subs.left
		e.subs.mu.Unlock()
		select {
		case <-left:
		case <-e.stop:
			return fmt.Errorf("unsubscribe from %.200q: %w: Run has returned", filters, fairlead.ErrClosed)
		case <-ctx.Done():
			return fmt.Errorf("unsubscribe from %.200q: %w: %w", filters, fairlead.ErrUnavailable, context.Cause(ctx))
		}
	}
}

// subscribing is a SUBSCRIBE under way.
type subscribing struct {
	sub     *subscription
	pending *mqttclient.Pending
}

// subscribeMissing tells the server what it does not know: one packet for each filter, all at once, so that each answer belongs to one. The
// answers are waited for by settle.
func (e *Engine) subscribeMissing(ctx context.Context) (settle func(context.Context), err error) {
	e.subs.mu.Lock()
	stale := e.subs.stale
	e.subs.stale, e.subs.gone = nil, stale
	var missing []*subscription
	for _, sub := range e.subs.wanted {
		if !sub.known {
			missing = append(missing, sub)
		}
	}
	e.subs.mu.Unlock()
	if len(stale) > 0 {
		err := e.unsubscribe(ctx, stale)
		e.subs.mu.Lock()
		e.subs.gone = nil
		if err != nil {
			e.subs.stale = append(stale, e.subs.stale...)
		}
		e.subs.wakeLeavers()
		e.subs.mu.Unlock()
		if err != nil {
			return nil, err
		}
	}
	var all []subscribing
	for _, sub := range missing {
		p, err := e.session.SubscribeLater(ctx, mqtt.Subscribe{Subscriptions: []mqtt.Subscription{sub.Subscription.Subscription}})
		if err != nil {
			return nil, err
		}
		all = append(all, subscribing{sub, p})
	}
	return func(ctx context.Context) {
		for _, s := range all {
			codes, text, err := s.pending.Wait(ctx)
			if err != nil {
				return // the connection has ended; the next one begins anew
			}
			e.subscribed(s.sub, codes[0], text)
		}
	}, nil
}

// maxFilters is how many filters go into one packet: AWS IoT takes 8 ("AWS IoT Core message broker quotas").
const maxFilters = 8

func (e *Engine) unsubscribe(ctx context.Context, filters []string) error {
	for some := range slices.Chunk(filters, maxFilters) {
		if _, err := e.session.Unsubscribe(ctx, some...); err != nil {
			return err
		}
	}
	return nil
}

// subscribed notes the server's answer.
func (e *Engine) subscribed(sub *subscription, code mqtt.ReasonCode, text string) {
	e.subs.mu.Lock()
	sub.known, sub.granted, sub.err = true, byte(code), nil
	if code.Failed() {
		kind := mqttclient.KindOf(code)
		if code == mqtt.SubAckFailure {
			kind = fairlead.ErrDenied // all that versions before 5 can say
		}
		sub.granted = 0
		sub.err = &fairlead.PlatformError{
			Op: fmt.Sprintf("subscribe to %.200q", sub.Filter), Code: strconv.Itoa(int(code)), Detail: text, Kind: kind,
		}
	}
	err, granted := sub.err, sub.granted
	tell := sub.Settled
	if sub.removed {
		tell = nil
	}
	sub.settle()
	e.subs.mu.Unlock()
	if tell != nil {
		tell(granted, err)
	}
	if err != nil {
		e.cfg.Logger.Warn("subscription refused", "filter", sub.Filter, "err", err)
		e.event(Event{Kind: Unsubscribed, Filter: sub.Filter, Err: err})
	}
}

// keepSubscribed tells the server of changes while connected.
func (e *Engine) keepSubscribed(ctx context.Context) {
	for {
		select {
		case <-e.subs.kick:
		case <-ctx.Done():
			return
		}
		settle, err := e.subscribeMissing(ctx)
		if err != nil {
			e.subs.wake() // for the next connection
			return
		}
		settle(ctx)
	}
}
