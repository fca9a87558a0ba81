package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// drain connects clients and waits until they have got all that they are owed.
func (f *fleet) drain(ctx context.Context, c *campaign, lf *life, present []*plain) {
	ctx, cancel := context.WithTimeout(ctx, drainPatience)
	defer cancel()
	var wg sync.WaitGroup
	for _, p := range f.pumps {
		for _, one := range p.clients() {
			if !slices.Contains(present, one) {
				continue
			}
			wg.Go(func() {
				err := one.connected(ctx, lf, func(ctx context.Context) error {
					return one.await(ctx, func() bool { return len(p.owed(one)) == 0 })
				})
				if err != nil {
					c.report(Refused, one.name, "the connection ended while the hub ran: %v", err)
				}
			})
		}
	}
	wg.Wait()
}

// owed returns what is wrong with what a client of the device has received. For a member of the group that is what is
// wrong with the group.
func (p *pump) owed(one *plain) (list []Violation) {
	switch {
	case one == p.publisher:
		return nil
	case slices.Contains(p.group.members, one):
		for _, o := range p.publisher.outlets {
			if strings.HasPrefix(o.topic, p.prefix+"g/") {
				list = append(list, p.group.check(o)...)
			}
		}
		return list
	}
	for _, o := range p.publisher.outlets {
		// The changes of a retained message are compared one by one, so they must come exactly once.
		if strings.HasPrefix(o.topic, p.prefix+"s/") || o.retained != nil && o.qos == 2 {
			list = append(list, one.missing(o)...)
		}
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	for _, m := range p.withWills() {
		got := one.received[m.topic]
		if m.qos == 1 {
			got = unique(got)
		}
		list = append(list, m.wills.Check(got, one.at)...)
	}
	return list
}

// unique returns values without those that were there before: at QoS 1 the hub may deliver again.
func unique(values []string) (out []string) {
	known := map[string]bool{}
	for _, v := range values {
		if !known[v] {
			known[v] = true
			out = append(out, v)
		}
	}
	return out
}

func (p *pump) withWills() []*mortal { return append(slices.Clone(p.mortals), &p.sleeper.mortal) }

// check compares what clients have received with the ledgers, and tells the sleeper.
func (p *pump) check(present []*plain) (list []Violation) {
	for _, one := range p.clients() {
		if slices.Contains(present, one) && one != p.group.members[0] { // with the other one both are checked
			list = append(list, p.owed(one)...)
		}
	}
	if t := p.sleeper.pending; t != nil {
		for _, s := range p.subs {
			if s.has(t.Value) {
				p.sleeper.published(t.Value)
			}
		}
	}
	return list
}

// checkRetained subscribes as a new client, and compares what it gets with what was retained last.
func (f *fleet) checkRetained(ctx context.Context, c *campaign, lf *life, p *pump) error {
	l, err := dialHub(ctx, lf, f.addr, f.config)
	if l == nil {
		return fmt.Errorf("retained messages of %s: %w", p.id, err)
	}
	defer l.close()
	hello := p.login([]mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5}[c.rng.IntN(3)], "newcomer")
	hello.CleanStart = true
	if _, err := l.connect(hello); err != nil {
		return fmt.Errorf("retained messages of %s: %w", p.id, err)
	}
	err = l.send(&mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: p.prefix + "r/#", QoS: 0}}})
	found := map[string]string{}
	for since := time.Now(); err == nil && found[p.prefix+"r/"+sentinel] == ""; { // the hub sends them in the order of topics
		if time.Since(since) > patience {
			c.report(Missing, p.id, "the retained message that is never replaced")
			break
		}
		var got mqtt.Packet
		got, err = l.next()
		if m, ok := got.(*mqtt.Publish); ok {
			if _, again := found[string(m.Topic)]; again || !m.Retain {
				c.report(Invented, p.id, "retained message %q: again is %v, the retain flag %v", m.Payload, again, m.Retain)
			}
			found[string(m.Topic)] = string(m.Payload)
		}
	}
	if err != nil {
		c.report(Missing, p.id, "no end of the retained messages: %v", err)
		return nil
	}
	for _, o := range p.publisher.outlets {
		if o.retained == nil {
			continue
		}
		var current *string
		if v, ok := found[o.topic]; ok {
			current = &v
		}
		at := *o.retained
		at.Where += " (retained)"
		c.add(at.Check(current))
	}
	return nil
}

// checkSamples compares the samples that the API has of a device with what its clients have published. Unless whole is
// set, it reads what has been added since the last time.
func (f *fleet) checkSamples(ctx context.Context, c *campaign, p *pump, whole bool) error {
	if whole {
		clear(p.tails)
	}
	read := func(topic string) ([]string, error) {
		t := p.tails[topic]
		if t == nil {
			t = &tail{}
			p.tails[topic] = t
		}
		err := t.advance(p.id+" "+topic, func(since time.Time) ([]reading, error) {
			got, err := f.admin.Samples(ctx, p.key, admin.SampleQuery{Channel: topic, Since: admin.NewTime(since), Limit: page})
			var list []reading
			for _, s := range got.Items {
				var value string
				if e := json.Unmarshal(s.Value.Value, &value); e != nil && err == nil {
					err = e
				}
				list = append(list, reading{s.At.Time, value})
			}
			return list, err
		})
		return t.values, err
	}
	for _, o := range p.publisher.outlets {
		if o.stream == nil {
			continue
		}
		values, err := read(o.topic)
		if err != nil {
			return err
		}
		at := *o.stream
		at.Where += " (samples)"
		c.add(at.Check(values, p.publisher.runs))
	}
	for _, m := range p.withWills() {
		values, err := read(m.topic)
		if err != nil {
			return err
		}
		c.add(p.stored(m, whole).Check(values, nil))
	}
	return nil
}

// stored returns the wills of a client as they have to be among the samples: those that a subscriber has got, or with whole
// set all that are due. Others may come later, or be just on their way.
func (p *pump) stored(m *mortal, whole bool) *Wills {
	m.wills.mu.Lock()
	defer m.wills.mu.Unlock()
	out := &Wills{Where: m.topic + " (samples)"}
	for _, t := range m.wills.list {
		one := *t
		if one.Fate == Due && !whole && !slices.ContainsFunc(p.subs, func(s *plain) bool { return s.has(t.Value) }) {
			one.Fate = Open
		}
		out.list = append(out.list, &one)
	}
	return out
}

// has tells whether a value has come.
func (c *plain) has(value string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.at[value]
	return ok
}

// checkSessions looks for the sessions and their subscriptions in the API.
func (f *fleet) checkSessions(ctx context.Context, c *campaign, p *pump) error {
	for _, one := range p.clients() {
		v := violations{where: one.name}
		s, err := f.admin.Session(ctx, admin.SessionKey{Dialect: "mqtt", Tenant: p.key.Tenant, ClientID: p.id + "/" + one.login.ClientID})
		switch {
		case admin.IsNotFound(err):
			v.add(Missing, "its session, in the API")
		case err != nil:
			return err
		default:
			var want []string
			for _, sub := range one.subs {
				want = append(want, sub.Subscriptions[0].Filter)
			}
			slices.Sort(want)
			slices.Sort(s.Filters)
			if !s.Stored || !slices.Equal(s.Filters, want) {
				v.add(Missing, "stored is %v, and its subscriptions are %q, want %q", s.Stored, s.Filters, want)
			}
		}
		c.add(v.done())
	}
	return nil
}

// acked counts what was acknowledged.
func (f *fleet) acked() (n int) {
	for _, p := range f.pumps {
		for _, o := range p.publisher.outlets {
			if o.stream != nil {
				n += o.stream.Acked()
			} else {
				n += o.retained.Acked()
			}
		}
		for _, m := range p.withWills() {
			n += m.wills.due()
		}
	}
	return n
}
