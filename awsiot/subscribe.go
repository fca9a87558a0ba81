package awsiot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/engine"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
	"github.com/fairlead-iot/fairlead/internal/topic"
)

// subscriptions are all that the client has asked for, or is about to: those of the program, of shadows, of jobs, and for the answers to
// requests. One filter is asked for once, whoever wants it.
type subscriptions struct {
	c *Client

	mu   sync.Mutex
	all  []*subscription // in the order in which they were made
	runs int             // how many times Run has returned
}

type subscription struct {
	filter string
	want   mqtt.Subscription // as it was asked for
	user   *userSubscription // of Subscribe; nil: none
	inner  []*hook
	holds  int  // of requests whose answers come this way
	kept   bool // for the answers to later requests, too

	granted QoS
	err     error
	known   bool          // AWS IoT has answered
	settled chan struct{} // closed when it does; nil if nobody waits
}

// userSubscription is one of the program.
type userSubscription struct {
	qos       QoS
	handler   func(*Message) // may be nil
	onSettled func(granted QoS, err error)

	noLocal, retainAsPublished, noRetained bool
}

// hook is one of those inside the package who want the messages of a subscription.
type hook struct {
	qos    QoS
	handle func(*Message)
}

func (s *subscriptions) init(c *Client) { s.c = c }

// find is called with mu held.
func (s *subscriptions) find(filter string) *subscription {
	i := slices.IndexFunc(s.all, func(sub *subscription) bool { return sub.filter == filter })
	if i < 0 {
		return nil
	}
	return s.all[i]
}

// change changes what is wanted of a filter, and tells the engine what follows.
func (s *subscriptions) change(filter string, change func(*subscription)) *subscription {
	return s.changeAll([]string{filter}, change)[0]
}

// changeAll is change for several filters, which go into one UNSUBSCRIBE.
func (s *subscriptions) changeAll(filters []string, change func(*subscription)) (changed []*subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.c.current()
	var unwanted []string
	for _, filter := range filters {
		sub := s.find(filter)
		made := sub == nil
		if made {
			sub = &subscription{filter: filter}
			s.all = append(s.all, sub)
		}
		change(sub)
		changed = append(changed, sub)
		want, wanted := sub.wants()
		switch {
		case !wanted:
			s.all = slices.DeleteFunc(s.all, func(other *subscription) bool { return other == sub })
			sub.settle(0, fmt.Errorf("subscribe to %.200q: %w: unsubscribed meanwhile", filter, fairlead.ErrClosed))
			unwanted = append(unwanted, filter)
		case made || want != sub.want || sub.err != nil:
			sub.want, sub.known, sub.err = want, false, nil
			// It cannot fail: the filter was checked.
			_ = e.Register(engine.Subscription{Subscription: want, Reply: s.c.requests.reply, Settled: func(granted byte, err error) {
				s.answered(sub, QoS(granted), err)
			}})
		}
	}
	e.Unsubscribe(unwanted...)
	return changed
}

// wants puts together what everybody wants of a filter.
func (sub *subscription) wants() (want mqtt.Subscription, wanted bool) {
	want.Filter = sub.filter
	if u := sub.user; u != nil {
		wanted = true
		want.QoS, want.NoLocal, want.RetainAsPublished = byte(u.qos), u.noLocal, u.retainAsPublished
		if u.noRetained {
			want.RetainHandling = mqtt.RetainDontSend
		}
	}
	if sub.holds > 0 || sub.kept {
		wanted, want.QoS = true, 1
	}
	for _, h := range sub.inner {
		wanted, want.QoS = true, max(want.QoS, byte(h.qos))
	}
	return want, wanted
}

// answered notes what AWS IoT has answered.
func (s *subscriptions) answered(sub *subscription, granted QoS, err error) {
	s.mu.Lock()
	var tell func(QoS, error)
	if s.find(sub.filter) == sub {
		sub.settle(granted, err)
		if sub.user != nil {
			tell = sub.user.onSettled
		}
	}
	s.mu.Unlock()
	if tell != nil {
		tell(granted, err)
	}
}

// settle is called with mu held.
func (sub *subscription) settle(granted QoS, err error) {
	sub.granted, sub.err, sub.known = granted, err, true
	if sub.settled != nil {
		close(sub.settled)
		sub.settled = nil
	}
}

// wait waits until AWS IoT has answered.
func (s *subscriptions) wait(ctx context.Context, sub *subscription) (QoS, error) {
	s.mu.Lock()
	runs := s.runs
	s.mu.Unlock()
	for {
		s.mu.Lock()
		if sub.known {
			defer s.mu.Unlock()
			return sub.granted, sub.err
		}
		if s.runs != runs {
			s.mu.Unlock()
			return 0, fmt.Errorf("subscribe to %.200q: %w: Run has returned", sub.filter, fairlead.ErrClosed)
		}
		if sub.settled == nil {
			sub.settled = make(chan struct{})
		}
		settled := sub.settled
		s.mu.Unlock()
		select {
		case <-settled:
		case <-ctx.Done():
			return 0, fmt.Errorf("subscribe to %.200q: %w: %w", sub.filter, fairlead.ErrUnavailable, context.Cause(ctx))
		}
	}
}

// stopped ends the waiting of those who have called Subscribe, when Run has returned. The subscriptions stay.
func (s *subscriptions) stopped() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs++
	for _, sub := range s.all {
		if !sub.known && sub.settled != nil {
			close(sub.settled)
			sub.settled = nil
		}
	}
}

// SubscribeOptions are the extras of [Client.Subscribe] and [Client.SubscribeAsync].
type SubscribeOptions struct {
	// OnSettled is told each time AWS IoT has answered, which is once for each session. It must be quick, and not use the client.
	OnSettled func(granted QoS, err error)

	// With MQTT 5 only.
	NoLocal           bool // not what this client has published itself
	RetainAsPublished bool // [Message.Retain] tells how the message was published
	NoRetained        bool // not the message that AWS IoT keeps for this topic
}

// Subscribe asks for the messages that match a filter, and returns the granted quality of service when AWS IoT has answered. While there
// is no connection it waits for one. A refusal is a [fairlead.PlatformError]; there is no subscription then. When ctx ends the
// subscription stays, and is made later: [Config.OnRefusedSubscription] tells if it is refused. The client sees to it that AWS IoT knows
// the subscription on every connection.
//
// handler is called for each message, like the callbacks of [Config]; nil leaves that to [Config.OnMessage]. Another call with the same
// filter replaces the handler. Shared subscriptions are filters that begin with "$share/GROUP/".
func (c *Client) Subscribe(ctx context.Context, filter string, qos QoS, handler func(*Message), opts *SubscribeOptions) (granted QoS, err error) {
	ctx, cancel := c.operation(ctx)
	defer cancel()
	sub, err := c.subscribe(filter, qos, handler, opts)
	if err != nil {
		return 0, err
	}
	granted, err = c.subs.wait(ctx, sub)
	var refusal *fairlead.PlatformError
	if errors.As(err, &refusal) {
		c.subs.change(filter, func(s *subscription) {
			if s == sub {
				s.user = nil
			}
		})
	}
	return granted, err
}

// SubscribeAsync is [Client.Subscribe] without waiting, for programs that subscribe before [Client.Run]: [SubscribeOptions.OnSettled]
// tells what AWS IoT has answered, and [Config.OnRefusedSubscription] if it has refused. The error is one of the arguments.
func (c *Client) SubscribeAsync(filter string, qos QoS, handler func(*Message), opts *SubscribeOptions) error {
	_, err := c.subscribe(filter, qos, handler, opts)
	return err
}

func (c *Client) subscribe(filter string, qos QoS, handler func(*Message), opts *SubscribeOptions) (*subscription, error) {
	err := checkFilter(filter)
	if err == nil {
		err = checkQoS(qos)
	}
	if err == nil && c.cfg.Protocol != MQTT5 && opts != nil && (opts.NoLocal || opts.RetainAsPublished || opts.NoRetained) {
		err = errors.New("these options need MQTT 5")
	}
	if err != nil {
		return nil, fmt.Errorf("subscribe to %.200q: %w: %w", filter, fairlead.ErrInvalid, err)
	}
	return c.subs.change(filter, func(s *subscription) {
		s.user = &userSubscription{qos: qos, handler: handler}
		if opts != nil {
			s.user.onSettled, s.user.noLocal, s.user.retainAsPublished, s.user.noRetained = opts.OnSettled, opts.NoLocal, opts.RetainAsPublished, opts.NoRetained
		}
	}), nil
}

// Unsubscribe ends subscriptions that [Client.Subscribe] has made, and waits until AWS IoT has answered: when it returns nil no more
// messages come that way. Filters that are not subscribed to are passed over. When ctx ends the subscriptions are gone for the program
// all the same, and AWS IoT is told on the next connection.
func (c *Client) Unsubscribe(ctx context.Context, filters ...string) error {
	ctx, cancel := c.operation(ctx)
	defer cancel()
	c.unsubscribe(filters...)
	return c.current().Unsubscribed(ctx, filters...)
}

// UnsubscribeAsync is [Client.Unsubscribe] without waiting.
func (c *Client) UnsubscribeAsync(filters ...string) { c.unsubscribe(filters...) }

func (c *Client) unsubscribe(filters ...string) {
	for _, f := range filters {
		c.subs.mu.Lock()
		known := c.subs.find(f) != nil
		c.subs.mu.Unlock()
		if known {
			c.subs.change(f, func(s *subscription) { s.user = nil })
		}
	}
}

// attach makes a handler inside the package, and waits until AWS IoT has answered. stop ends it.
func (c *Client) attach(ctx context.Context, filter string, qos QoS, handle func(*Message)) (stop func(), err error) {
	h := &hook{qos, handle}
	sub := c.subs.change(filter, func(s *subscription) { s.inner = append(s.inner, h) })
	var once sync.Once
	stop = func() {
		once.Do(func() {
			c.subs.change(filter, func(s *subscription) {
				s.inner = slices.DeleteFunc(slices.Clone(s.inner), func(other *hook) bool { return other == h })
			})
		})
	}
	if _, err := c.subs.wait(ctx, sub); err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

// receive hands a message out. It is called by the goroutine of the callbacks.
func (c *Client) receive(in *mqttclient.Message) {
	m := newMessage(in)
	var handlers []func(*Message)
	c.subs.mu.Lock()
	for _, s := range c.subs.all {
		if !matches(s.filter, m.Topic) {
			continue
		}
		if s.user != nil && s.user.handler != nil {
			handlers = append(handlers, s.user.handler)
		}
		for _, h := range s.inner {
			handlers = append(handlers, h.handle)
		}
	}
	c.subs.mu.Unlock()
	for _, handle := range handlers {
		handle(m)
	}
	if c.cfg.OnMessage != nil {
		c.cfg.OnMessage(m)
	}
	m.ack.release() // not if one of them panics: it comes again
}

// matches is topic.Match, also for shared subscriptions.
func matches(filter, name string) bool {
	if topic.IsShared(filter) {
		if _, rest, err := topic.SplitShared(filter); err == nil {
			filter = rest
		}
	}
	return topic.Match(filter, name)
}
