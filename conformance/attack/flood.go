package attack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// A flood goes on until ctx ends. The hub may end its connections; that is no error.
type flood struct {
	name string
	run  func(ctx context.Context, a *attacker) error
}

// floods are attacks by clients that have signed in.
var floods = []flood{
	{"the same filter, very often in one packet", sameFilter},
	{"a thousand filters, on and off", onAndOff},
	{"deep filters that all match", deepFilters},
	{"a hundred thousand filters", manyFilters},
	{"thousands of groups that share a filter", manyGroups},
	{"sessions that stay", sessions},
	{"readers that do not read, QoS 0", func(ctx context.Context, a *attacker) error { return slowReaders(ctx, a, 0) }},
	{"readers that do not read, QoS 1", func(ctx context.Context, a *attacker) error { return slowReaders(ctx, a, 1) }},
	{"questions without reading the answers", questions},
	{"wills", wills},
	{"retained messages", retained},
	{"wildcards over retained messages", wildcards},
	{"user properties", properties},
	{"QoS 2 that is never released", neverReleased},
	{"more than the receive maximum", beyondWindow},
	{"topic aliases that are not allowed", aliases},
	{"one client id, fought over", takeovers},
}

// An attacker is one device that has signed in: what it may do is what any device may.
type attacker struct{ addr, user, password string }

// prefix is where the device may publish and subscribe.
const prefix = "demo/"

// within puts a filter, shared or not, below the prefix.
func within(filter string) string {
	if rest, ok := strings.CutPrefix(filter, "$share/"); ok {
		group, inner, _ := strings.Cut(rest, "/")
		return "$share/" + group + "/" + prefix + inner
	}
	return prefix + filter
}

func (a *attacker) join(ctx context.Context, c mqtt.Connect) (*peer, error) {
	return join(ctx, a.addr, a.with(c))
}

func (a *attacker) with(c mqtt.Connect) mqtt.Connect {
	c.Username, c.HasUsername, c.Password, c.HasPassword = a.user, true, []byte(a.password), true
	return c
}

// discard reads and throws away, so that the hub need not wait.
func (p *peer) discard() { go func() { _, _ = io.Copy(io.Discard, p.Conn) }() }

// each sends what next returns until ctx ends or the hub ends the connection.
func (p *peer) each(ctx context.Context, next func(n int) mqtt.Packet) {
	stop := context.AfterFunc(ctx, func() { p.Close() })
	defer stop()
	for n := 0; ctx.Err() == nil; n++ {
		if p.send(next(n)) != nil {
			return
		}
	}
}

// again does something over and over, at once on so many goroutines; an error ends it.
func again(ctx context.Context, workers int, do func(worker, n int) error) error {
	errs := make(chan error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if err := do(w, n); err != nil {
					select {
					case <-ctx.Done():
					case <-time.After(time.Second): // it did not fail because the time is over
						errs <- err
					}
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

func filters(n int, of func(i int) string) *mqtt.Subscribe {
	s := &mqtt.Subscribe{ID: 1}
	for i := range n {
		s.Subscriptions = append(s.Subscriptions, mqtt.Subscription{Filter: within(of(i)), QoS: 1})
	}
	return s
}

func publish(topic string, n int, qos byte, payload []byte) *mqtt.Publish {
	p := &mqtt.Publish{Topic: []byte(prefix + topic), QoS: qos, Payload: payload}
	if qos > 0 {
		p.ID = uint16(n%65_535 + 1)
	}
	return p
}

func hello(id string) mqtt.Connect { return mqtt.Connect{ClientID: id, CleanStart: true} }

// alone runs an attack of one client, which reads nothing but throws away what comes.
func alone(ctx context.Context, a *attacker, c mqtt.Connect, next func(n int) mqtt.Packet) error {
	p, err := a.join(ctx, c)
	if err != nil {
		return err
	}
	defer p.Close()
	p.discard()
	p.each(ctx, next)
	return nil
}

func sameFilter(ctx context.Context, a *attacker) error {
	s := filters(60_000, func(int) string { return "a" })
	return alone(ctx, a, mqtt.Connect{ClientID: "same"}, func(int) mqtt.Packet { return s })
}

func onAndOff(ctx context.Context, a *attacker) error {
	on, off := filters(1000, func(i int) string { return fmt.Sprintf("%d/+/%0100d", i, i) }), &mqtt.Unsubscribe{ID: 2}
	for _, s := range on.Subscriptions {
		off.Filters = append(off.Filters, s.Filter)
	}
	return alone(ctx, a, mqtt.Connect{ClientID: "on-and-off"}, func(n int) mqtt.Packet {
		if n%2 == 0 {
			return on
		}
		return off
	})
}

// group has clients subscribe, and then one of them publish.
func group(ctx context.Context, a *attacker, name string, clients int, of func(client int) *mqtt.Subscribe, topic string) error {
	for i := range clients {
		p, err := a.join(ctx, hello(fmt.Sprint(name, i)))
		if err != nil {
			return err
		}
		defer p.Close()
		if err := p.send(of(i)); err != nil {
			return err
		}
		if _, err := p.receive(); err != nil {
			return err
		}
		p.discard()
	}
	return alone(ctx, a, hello(name), func(n int) mqtt.Packet { return publish(topic, n, 1, nil) })
}

func deepFilters(ctx context.Context, a *attacker) error {
	rng := rand.New(rand.NewPCG(1, 2))
	return group(ctx, a, "deep", 100, func(int) *mqtt.Subscribe {
		return filters(110, func(int) string {
			levels := make([]string, 127)
			for i := range levels {
				levels[i] = []string{"+", "a"}[rng.IntN(2)]
			}
			levels[126] = "b" // so that nothing is found in the end
			return strings.Join(levels, "/")
		})
	}, strings.Repeat("a/", 126)+"a")
}

func manyFilters(ctx context.Context, a *attacker) error {
	return group(ctx, a, "many", 100, func(c int) *mqtt.Subscribe {
		return filters(1000, func(i int) string { return fmt.Sprintf("+/%d/%d/#", c, i) })
	}, "a/1/1")
}

func manyGroups(ctx context.Context, a *attacker) error {
	return group(ctx, a, "groups", 10, func(c int) *mqtt.Subscribe {
		return filters(1000, func(i int) string { return fmt.Sprintf("$share/g%d-%d/t/#", c, i) })
	}, "t/x")
}

func sessions(ctx context.Context, a *attacker) error {
	return again(ctx, 10, func(w, n int) error {
		p, err := a.join(ctx, mqtt.Connect{
			Version: mqtt.V5, ClientID: fmt.Sprintf("stays-%d-%d", w, n), SessionExpiry: mqtt.SessionNeverExpires,
		})
		var no *refusal
		if errors.As(err, &no) && no.code == byte(mqtt.ReasonQuotaExceeded) { // what is to happen, in the end
			return nil
		}
		if err != nil {
			return err
		}
		defer p.Close()
		_, err = p.subscribe(1, prefix+"stays/+", prefix+"stays/#")
		return err
	})
}

func slowReaders(ctx context.Context, a *attacker, qos byte) error {
	const readers = 200
	for i := range readers {
		p, err := a.join(ctx, hello(fmt.Sprintf("slow-%d-%d", qos, i)))
		if err != nil {
			return err
		}
		defer p.Close()
		_ = p.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		if _, err := p.subscribe(qos, fmt.Sprintf(prefix+"slow/%d", i)); err != nil {
			return err
		}
	}
	big := bytes.Repeat([]byte("x"), 100_000)
	return alone(ctx, a, hello("flooder"), func(n int) mqtt.Packet { return publish(fmt.Sprintf("slow/%d", n%readers), n, qos, big) })
}

func questions(ctx context.Context, a *attacker) error {
	pings := bytes.Repeat([]byte{0xc0, 0}, 8000)
	return again(ctx, 1, func(int, int) error {
		p, err := a.join(ctx, hello("questions"))
		if err != nil {
			return err
		}
		defer p.Close()
		for ctx.Err() == nil && p.write(pings) == nil {
		}
		return nil
	})
}

func wills(ctx context.Context, a *attacker) error {
	will := bytes.Repeat([]byte("x"), 50_000)
	return again(ctx, 10, func(w, n int) error {
		p, err := a.join(ctx, mqtt.Connect{
			Version: mqtt.V5, ClientID: fmt.Sprintf("will-%d-%d", w, n%100), SessionExpiry: 60,
			Will: &mqtt.Will{Topic: prefix + "will/x", Delay: uint32(n % 2 * 2), QoS: 1, Retain: n%3 == 0, Payload: will},
		})
		if err != nil {
			return err
		}
		_ = p.Conn.(*net.TCPConn).SetLinger(0) // so that it ends without a word
		return p.Close()
	})
}

func retained(ctx context.Context, a *attacker) error {
	return alone(ctx, a, hello("retained"), func(n int) mqtt.Packet {
		p := publish(fmt.Sprintf("r/%d/%d", n%1000, n%200_000), n, 1, []byte("x"))
		p.Retain = true
		return p
	})
}

func wildcards(ctx context.Context, a *attacker) error {
	return again(ctx, 10, func(w, n int) error {
		p, err := a.join(ctx, hello(fmt.Sprint("wild", w)))
		if err != nil {
			return err
		}
		defer p.Close()
		p.discard()
		p.each(ctx, func(n int) mqtt.Packet {
			return filters(500, func(i int) string { return fmt.Sprintf([]string{"+/+/%d", "r/+/%dx", "+/%d/+"}[i%3], i) })
		})
		return nil
	})
}

func properties(ctx context.Context, a *attacker) error {
	many := &mqtt.MessageProperties{User: make([]mqtt.UserProperty, 12_000)}
	c := mqtt.Connect{Version: mqtt.V5, ClientID: "properties", CleanStart: true}
	return alone(ctx, a, c, func(n int) mqtt.Packet {
		p := publish("properties", n, 0, nil)
		p.Properties = many
		return p
	})
}

// untilCut connects and sends, again and again: each time the hub has to end the connection.
func untilCut(ctx context.Context, a *attacker, c mqtt.Connect, next func(n int) mqtt.Packet) error {
	return again(ctx, 1, func(int, int) error {
		p, err := a.join(ctx, c)
		if err != nil {
			return err
		}
		defer p.Close()
		p.discard()
		for n, began := 0, time.Now(); time.Since(began) < patience; n++ {
			if ctx.Err() != nil || p.send(next(n)) != nil {
				return nil
			}
		}
		return fmt.Errorf("the hub took packets for %v and did not mind", patience)
	})
}

func neverReleased(ctx context.Context, a *attacker) error {
	return untilCut(ctx, a, mqtt.Connect{ClientID: "qos2"}, func(n int) mqtt.Packet { return publish("q", n, 2, nil) })
}

func beyondWindow(ctx context.Context, a *attacker) error {
	c := mqtt.Connect{Version: mqtt.V5, ClientID: "window", SessionExpiry: 60}
	return untilCut(ctx, a, c, func(n int) mqtt.Packet { return publish("q", n, 2, nil) })
}

func aliases(ctx context.Context, a *attacker) error {
	c := mqtt.Connect{Version: mqtt.V5, ClientID: "aliases", CleanStart: true}
	return untilCut(ctx, a, c, func(n int) mqtt.Packet {
		p := publish("a", n, 0, nil)
		p.TopicAlias = uint16(n + 1)
		return p
	})
}

func takeovers(ctx context.Context, a *attacker) error {
	return again(ctx, 20, func(int, int) error {
		p, err := dial(ctx, a.addr, "")
		if err != nil {
			return err
		}
		defer p.Close()
		if _, err := p.connect(a.with(mqtt.Connect{ClientID: "fought-over"})); err == nil {
			_, _ = p.subscribe(1, prefix+"fought/#")
			_ = p.send(publish("fought/x", 1, 1, nil))
		}
		return nil
	})
}
