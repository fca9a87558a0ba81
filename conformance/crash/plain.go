package crash

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// An outlet is a topic of a plain device with all that its publisher has sent to it.
type outlet struct {
	topic    string
	qos      byte
	stream   *Stream   // nil: the topic has a retained message
	retained *Property // nil: it has none
}

// A plain is a client of a plain MQTT device: a publisher, a subscriber, or a member of a shared subscription.
type plain struct {
	client
	login   mqtt.Connect // version, client id, user name, password
	outlets []*outlet    // that it publishes to
	subs    []*mqtt.Subscribe

	// With the client's lock.
	number   int // of the last value
	received map[string][]string
	at       map[string]time.Time // when a value came first
}

// sessionSeconds is the session expiry interval of those sessions that are not to end.
const sessionSeconds = 3600

func newPlain(f *fleet, p *pump, v mqtt.Version, role string, persistent bool) *plain {
	c := &plain{login: p.login(v, role), received: map[string][]string{}, at: map[string]time.Time{}}
	c.client = newClient(p.id+" "+role, f.addr, f.config, persistent)
	c.application, c.lazy, c.burst, c.pace = c, true, 6, 12*time.Millisecond
	c.login.CleanStart = !persistent
	if persistent && v == mqtt.V5 {
		c.login.SessionExpiry = sessionSeconds
	}
	return c
}

func (c *plain) v5() bool { return c.login.Version == mqtt.V5 }

// want subscribes at the beginning of the session. The identifier is for version 5; its subscriptions come alone, so that
// each message must have just that one.
func (c *plain) want(id uint32, s mqtt.Subscription) {
	sub := &mqtt.Subscribe{Subscriptions: []mqtt.Subscription{s}}
	if c.v5() {
		sub.SubscriptionID = id
	}
	c.subs = append(c.subs, sub)
}

func (c *plain) hello() mqtt.Connect { return c.login }

func (c *plain) introduction() (out []mqtt.Packet) {
	for _, s := range c.subs {
		s.ID = c.nextID()
		out = append(out, s)
	}
	return out
}

func (c *plain) granted(a *mqtt.SubAck) bool {
	for _, s := range c.subs {
		if s.ID == a.ID {
			return len(a.Codes) == 1 && a.Codes[0] == s.Subscriptions[0].QoS
		}
	}
	return false
}

// random publishes to one of the outlets.
func (c *plain) random(rng *rand.Rand) mqtt.Packet {
	if len(c.outlets) == 0 {
		return nil
	}
	o := c.outlets[rng.IntN(len(c.outlets))]
	c.number++
	value := fmt.Sprintf("%s-%d", c.name, c.number)
	if o.stream != nil {
		m := o.stream.Add(value)
		return c.begin(&exchange{
			p:       mqtt.Publish{QoS: o.qos, Topic: []byte(o.topic), Payload: []byte(value)},
			lasting: true, sends: &m.Times, acked: func() { m.Acked = true },
		})
	}
	next := &value
	if o.retained.Current() != nil && rng.IntN(4) == 0 {
		next, value = nil, ""
	}
	op := o.retained.Add(next)
	return c.begin(&exchange{
		p:       mqtt.Publish{QoS: o.qos, Retain: true, Topic: []byte(o.topic), Payload: []byte(value)},
		lasting: true, acked: func() { op.Acked = true },
	})
}

// deliver takes a message, which must come as the subscription says that it matches.
func (c *plain) deliver(m *mqtt.Publish) error {
	sub := c.subscription(string(m.Topic))
	if sub == nil {
		return fmt.Errorf("nothing was subscribed to that it matches")
	}
	if sub.Subscriptions[0].NoLocal {
		return fmt.Errorf("%q, its own message, in spite of the no local option", m.Payload)
	}
	if c.v5() && !slices.Equal(m.SubscriptionIDs, []uint32{sub.SubscriptionID}) {
		return fmt.Errorf("%q with the subscription identifiers %d, want %d", m.Payload, m.SubscriptionIDs, sub.SubscriptionID)
	}
	if want := sub.Subscriptions[0].RetainAsPublished; m.Retain != want {
		return fmt.Errorf("%q with the retain flag %v, want %v", m.Payload, m.Retain, want)
	}
	topic, value := string(m.Topic), string(m.Payload)
	if m.QoS == 2 && value != "" {
		for id, what := range c.open {
			if id != m.ID && what == topic+" "+value {
				return fmt.Errorf("%q under identifier %d, and again under %d", value, id, m.ID)
			}
		}
	}
	c.received[topic] = append(c.received[topic], value)
	if _, known := c.at[value]; !known {
		c.at[value] = time.Now()
	}
	return nil
}

// subscription returns the one that a topic belongs to. All filters end with "/#" and none of a client overlap.
func (c *plain) subscription(topic string) *mqtt.Subscribe {
	for _, s := range c.subs {
		filter := s.Subscriptions[0].Filter
		if rest, ok := strings.CutPrefix(filter, "$share/"); ok {
			_, filter, _ = strings.Cut(rest, "/")
		}
		if strings.HasPrefix(topic, strings.TrimSuffix(filter, "#")) {
			return s
		}
	}
	return nil
}

// states are the values of a topic with a retained message: the empty one says that it is cleared.
func states(values []string) []*string {
	out := make([]*string, len(values))
	for i := range values {
		if values[i] != "" {
			out[i] = &values[i]
		}
	}
	return out
}

// missing looks for what has not come of what was acknowledged.
func (c *plain) missing(o *outlet) []Violation {
	c.mu.Lock()
	defer c.mu.Unlock()
	got := c.received[o.topic]
	if o.retained != nil {
		at := *o.retained
		at.Where = c.name + " of " + at.Where
		return at.CheckReceived(states(got))
	}
	at := *o.stream
	at.Where = c.name + " of " + at.Where
	return at.CheckReceived(got, o.qos == 2)
}

// A group is the members of a shared subscription.
type group struct {
	name    string
	members []*plain
}

// check compares what the members have received together with what was sent, and the order at each of them.
func (g *group) check(o *outlet) []Violation {
	var all []string
	whole := *o.stream
	whole.Where = g.name + " of " + o.stream.Where
	var list []Violation
	for _, m := range g.members {
		m.mu.Lock()
		got := slices.Clone(m.received[o.topic])
		m.mu.Unlock()
		list = append(list, whole.CheckOrder(m.name, got)...)
		all = append(all, got...)
	}
	slices.SortStableFunc(all, func(a, b string) int { return cmp.Compare(whole.place(a), whole.place(b)) })
	return append(list, whole.CheckReceived(all, o.qos == 2)...)
}
