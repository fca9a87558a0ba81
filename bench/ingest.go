package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/fairlead-iot/fairlead/bench/internal/load"
)

// An ingestKind is one way to send, and who listens.
type ingestKind struct {
	name, text string
	unit       string
	pubs       int
	window     int
	subs       int // that hear everything
	subjects   []string
}

// lag is how many messages a subscriber may be behind: less than any server drops, and so many deliveries in all that
// they are not all on their way at once.
func (k ingestKind) lag() int { return max(1000/k.subs, 20) }

var ingests = []ingestKind{
	{
		"8x100", "QoS 1 in: 8 publishers, window 100", "msgs/s", 8, 100, 0,
		[]string{astarteTLS, plainTLS, mosquittoTLS, yardstickTLS, plainTCP, mosquittoPlain, yardstickPlain},
	},
	{
		"policies", "QoS 1 in: 8 publishers, window 100; AWS IoT's policies beside plain grants", "msgs/s", 8, 100, 0,
		[]string{awsTLS, plainTLS},
	},
	{
		"500x10", "QoS 1 in: 500 publishers, window 10", "msgs/s", 500, 10, 0,
		[]string{astarteTLS, plainTLS, mosquittoTLS, yardstickTLS, plainTCP, mosquittoPlain, yardstickPlain},
	},
	{
		"1x1", "QoS 1 in: 1 publisher, window 1", "msgs/s", 1, 1, 0,
		[]string{astarteTLS, mosquittoTLS, yardstickTLS, plainTCP, mosquittoPlain, yardstickPlain},
	},
	{
		"sub", "QoS 1 in and out: 8 publishers, window 100, one subscriber of everything", "msgs/s", 8, 100, 1,
		[]string{plainTLS, mosquittoTLS, yardstickTLS, plainTCP, mosquittoPlain, yardstickPlain},
	},
	{
		"fan-out", "QoS 1, each message to 1,000 subscribers: 1 publisher, window 10", "deliveries/s", 1, 10, 1000,
		[]string{plainTCP, mosquittoPlain, yardstickPlain},
	},
	{
		"fan-in", "QoS 1, 1,000 publishers with window 1, one subscriber of everything", "msgs/s", 1000, 1, 1,
		[]string{plainTCP, mosquittoPlain, yardstickPlain},
	},
}

// ingest measures one subject once.
func (b *bench) ingest(ctx context.Context, k ingestKind, s *subject) (*runResult, error) {
	clients, err := s.clients(ctx, k.pubs+k.subs)
	if err != nil {
		return nil, err
	}
	publishers, subscribers := clients[:k.pubs], clients[k.pubs:]
	var gate *load.Gate
	if k.subs > 0 {
		gate = load.NewGate(k.subs, k.lag())
		subs, err := b.subscribe(ctx, s, subscribers, gate)
		defer closeAll(subs)
		if err != nil {
			return nil, err
		}
	}
	pubs, err := dial(ctx, publishers, k.window)
	defer closeAll(pubs)
	if err != nil {
		return nil, err
	}
	whole := rand.IntN(len(publishers)) // whose values are all read back
	started, after := time.Now(), publishers[whole].seq
	m := &meter{pid: s.pid()}
	profiled := b.profile(k.name, s)
	lr, err := load.Run(ctx, load.Plan{Pubs: pubs, Gate: gate, Warm: b.warm, D: b.options.measure, Most: b.most, Begin: m.begin, End: m.end})
	profiled()
	if err := errors.Join(err, m.err); err != nil {
		return nil, err
	}
	for i, c := range publishers {
		c.seq = pubs[i].Seq()
		c.sent(lr.Acked[i])
	}
	if s.verify != nil {
		r := readBack{clients: publishers, whole: whole, after: after, since: started.Add(-time.Second)}
		if err := s.verify(ctx, r); err != nil {
			return nil, err
		}
	}
	done := lr.Messages * uint64(max(k.subs, 1))
	return m.result(done, lr.Elapsed, &lr.Latency, pubs[0].Suite()), nil
}

// dial connects the publishers.
func dial(ctx context.Context, clients []*client, window int) ([]*load.Publisher, error) {
	pubs := make([]*load.Publisher, len(clients))
	err := parallel(len(clients), registering, func(i int) (err error) {
		pubs[i], err = load.Dial(ctx, clients[i].Target, window, clients[i].seq)
		return err
	})
	if err != nil {
		err = fmt.Errorf("connect: %w", err)
	}
	return pubs, err
}

// subscribe connects the subscribers.
func (b *bench) subscribe(ctx context.Context, s *subject, clients []*client, gate *load.Gate) ([]*load.Subscriber, error) {
	subs := make([]*load.Subscriber, len(clients))
	err := parallel(len(clients), registering, func(i int) (err error) {
		subs[i], err = load.Subscribe(ctx, clients[i].Target, s.filter, 1, gate)
		return err
	})
	if err != nil {
		err = fmt.Errorf("subscribe: %w", err)
	}
	return subs, err
}

// closeAll closes connections, also where some could not be made.
func closeAll[C interface {
	comparable
	Close()
}](list []C) {
	var none C
	_ = parallel(len(list), registering, func(i int) error {
		if list[i] != none {
			list[i].Close()
		}
		return nil
	})
}
