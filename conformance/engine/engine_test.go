package engine

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/engine"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
	"github.com/fairlead-iot/fairlead/outbox"
	"github.com/fairlead-iot/fairlead/outbox/sqlitebox"
)

var versions = []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5}

// run runs an engine until the test ends.
func run(t testing.TB, cfg engine.Config) *engine.Engine {
	t.Helper()
	e, err := engine.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the engine ended with %v", err)
		}
	})
	return e
}

func prepare(s *server, clientID string, clean bool) func(context.Context, engine.Attempt) (*engine.Connection, error) {
	return func(context.Context, engine.Attempt) (*engine.Connection, error) {
		return &engine.Connection{Dialer: s.dialer, Connect: s.as(clientID, clean)}, nil
	}
}

// numbers collects the numbers that have come, in order.
type numbers struct {
	mu   sync.Mutex
	got  []uint32
	next chan struct{}
}

func (n *numbers) add(m *mqttclient.Message) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.got = append(n.got, binary.BigEndian.Uint32(m.Payload))
	if n.next != nil {
		close(n.next)
		n.next = nil
	}
}

// await waits until all numbers below want have come.
func (n *numbers) await(t *testing.T, want int, limit time.Duration) []uint32 {
	t.Helper()
	deadline := time.After(limit)
	for {
		n.mu.Lock()
		seen := map[uint32]bool{}
		for _, v := range n.got {
			seen[v] = true
		}
		if len(seen) >= want {
			defer n.mu.Unlock()
			return n.got
		}
		n.next = make(chan struct{})
		next := n.next
		n.mu.Unlock()
		select {
		case <-next:
		case <-deadline:
			t.Fatalf("%d of %d have come after %v", len(seen), want, limit)
		}
	}
}

func fill(t testing.TB, box *outbox.Outbox, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if _, err := box.Append(t.Context(), outbox.Message{Payload: binary.BigEndian.AppendUint32(nil, uint32(i))}); err != nil {
			t.Fatal(err)
		}
	}
}

func memory(t testing.TB) *outbox.Outbox { return open(t, outbox.NewMemory()) }

func open(t testing.TB, store outbox.Store) *outbox.Outbox {
	t.Helper()
	box, err := outbox.Open(t.Context(), outbox.Config{Store: store, MaxMessages: 10_000_000, MaxBytes: 1 << 32})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = box.Close() })
	return box
}

// All versions and levels of service, from an outbox through a server to a handler.
func TestThereAndBack(t *testing.T) {
	onServers(t, func(t *testing.T, s *server) {
		for _, v := range versions {
			for qos := range byte(3) {
				t.Run(fmt.Sprintf("%v, QoS %d", v, qos), func(t *testing.T) { thereAndBack(t, s, v, qos) })
			}
		}
	})
	t.Run("hub by WebSocket", func(t *testing.T) { thereAndBack(t, hub(t, "websocket"), mqtt.V5, 2) })
}

func thereAndBack(t *testing.T, s *server, v mqtt.Version, qos byte) {
	const count = 500
	topic := fmt.Sprintf("%sthere/%d-%d", s.prefix, v, qos)
	box := memory(t)
	var got numbers
	e := run(t, engine.Config{
		Session: mqttclient.Config{Version: v, TopicAliasMaximum: 10},
		Prepare: prepare(s, fmt.Sprintf("t%d-%d", v, qos), true),
		Outbox:  box,
		Decode: func(m *outbox.Entry) (mqtt.Publish, error) {
			return mqtt.Publish{Topic: []byte(topic), QoS: qos, Payload: m.Payload}, nil
		},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	granted, err := e.Subscribe(ctx, engine.Subscription{Subscription: mqtt.Subscription{Filter: topic, QoS: qos}, Handler: got.add})
	if err != nil || granted != qos {
		t.Fatalf("subscribe: got QoS %d, %v", granted, err)
	}
	fill(t, box, 0, count)
	for i, n := range got.await(t, count, 60*time.Second) {
		if int(n) != i {
			t.Fatalf("message %d: got %d", i, n)
		}
	}
	for deadline := time.Now().Add(30 * time.Second); box.Stats().Messages > 0; pause(ctx, 5*time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d messages are left in the outbox", box.Stats().Messages)
		}
	}
}

// A network that breaks all the time loses nothing, keeps the order, and with QoS 2 and a session that stays, repeats nothing.
func TestFlapping(t *testing.T) {
	onServers(t, func(t *testing.T, s *server) {
		for _, c := range []struct {
			v   mqtt.Version
			qos byte
		}{{mqtt.V311, 1}, {mqtt.V311, 2}, {mqtt.V5, 1}, {mqtt.V5, 2}} {
			t.Run(fmt.Sprintf("%v, QoS %d", c.v, c.qos), func(t *testing.T) { flapping(t, s, c.v, c.qos) })
		}
	})
}

func flapping(t *testing.T, s *server, v mqtt.Version, qos byte) {
	cuts, count := 150, 6000
	if testing.Short() {
		cuts, count = 40, 2000
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	network := &flaky{most: 20_000, cuts: cuts, seed: rand.New(rand.NewPCG(seed, 0))}
	topic := fmt.Sprintf("%sflap/%d-%d", s.prefix, v, qos)
	id := fmt.Sprintf("f%d-%d-%d", v, qos, seed%1000)
	var got numbers
	receiver := run(t, engine.Config{Session: mqttclient.Config{Version: v}, Prepare: prepare(s, id+"-r", true), OnEvent: func(ev engine.Event) {
		if ev.Kind == engine.Disconnected && !errors.Is(ev.Err, context.Canceled) {
			t.Errorf("the receiver, whose network is well, has lost its connection: %v", ev.Err)
		}
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	_, err := receiver.Subscribe(ctx, engine.Subscription{Subscription: mqtt.Subscription{Filter: topic, QoS: qos}, Handler: got.add})
	if err != nil {
		t.Fatal(err)
	}
	box := memory(t)
	broken := *s
	broken.dialer.DialContext = network.dial
	sender := run(t, engine.Config{
		Session: mqttclient.Config{Version: v}, Prepare: prepare(&broken, id+"-s", false), Outbox: box,
		Decode: func(m *outbox.Entry) (mqtt.Publish, error) {
			return mqtt.Publish{Topic: []byte(topic), QoS: qos, Payload: m.Payload}, nil
		},
		Backoff: engine.Backoff{Base: time.Millisecond, Max: 5 * time.Millisecond},
	})
	sent := 0
	for network.broken() <= cuts && ctx.Err() == nil {
		if sent < count || box.Stats().Messages < 50 {
			fill(t, box, sent, sent+50)
			sent += 50
		}
		pause(ctx, time.Millisecond)
	}
	all := got.await(t, sent, time.Minute)
	order(t, all, sent, qos == 2)
	t.Logf("%d messages, %d connections, %+v", sent, network.broken(), sender.Stats())
}

// order checks that nothing is missing, and that what comes first comes first: repetitions may follow.
func order(t *testing.T, got []uint32, count int, once bool) {
	t.Helper()
	next := uint32(0)
	for i, n := range got {
		switch {
		case n == next:
			next++
		case n > next:
			t.Fatalf("message %d: got %d, before %d", i, n, next)
		case once:
			t.Fatalf("message %d: got %d again", i, n)
		}
	}
	if int(next) != count {
		t.Errorf("got %d messages, want %d", next, count)
	}
}

// A new process must not lose a message to an exchange that its predecessor left half done under the same packet identifier.
func TestPredecessor(t *testing.T) {
	onServers(t, func(t *testing.T, s *server) {
		topic := s.prefix + "predecessor"
		var got numbers
		receiver := run(t, engine.Config{Prepare: prepare(s, "p-r", true)})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		_, err := receiver.Subscribe(ctx, engine.Subscription{Subscription: mqtt.Subscription{Filter: topic, QoS: 2}, Handler: got.add})
		if err != nil {
			t.Fatal(err)
		}
		halfDone(ctx, t, s, topic)
		sender := run(t, engine.Config{Prepare: prepare(s, "p-s", false)})
		for i := range 3 {
			if err := sender.Publish(ctx, mqtt.Publish{Topic: []byte(topic), QoS: 2, Payload: binary.BigEndian.AppendUint32(nil, uint32(i))}); err != nil {
				t.Fatal(err)
			}
		}
		got.await(t, 4, 60*time.Second) // three, and the one half done: its PUBREC promised it
	})
}

// halfDone sends messages with identifiers 1 and 2 and leaves before PUBREL.
func halfDone(ctx context.Context, t *testing.T, s *server, topic string) {
	t.Helper()
	nc, err := s.dialer.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c := s.as("p-s", false)
	b := c.Append(nil, mqtt.V311)
	b = (&mqtt.Publish{Topic: []byte(topic), QoS: 2, ID: 1, Payload: []byte{0, 0, 0, 99}}).Append(b, mqtt.V311)
	if _, err := nc.Write(b); err != nil {
		t.Fatal(err)
	}
	frames := mqtt.NewFrameReader(bufio.NewReader(nc), 1000)
	for {
		f, err := frames.Next()
		if err != nil {
			t.Fatal(err)
		}
		if f.Type == mqtt.TypePubRec {
			return
		}
	}
}

// What a server refuses is an error of the right kind, and no reason to hurry.
func TestRefused(t *testing.T) {
	s := *hub(t, "tls")
	s.connect.Password = []byte("wrong")
	s.connect.HasPassword = true
	failed := make(chan error, 10)
	run(t, engine.Config{Prepare: prepare(&s, "refused", true), OnEvent: func(ev engine.Event) {
		if ev.Kind == engine.Failed {
			failed <- ev.Err
		}
	}})
	select {
	case err := <-failed:
		if !errors.Is(err, fairlead.ErrUnauthenticated) && !errors.Is(err, fairlead.ErrDenied) {
			t.Errorf("got %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("no answer")
	}
}

// BenchmarkDrain is how fast an outbox empties into the hub over TLS, with everything synced there before it is acknowledged.
func BenchmarkDrain(b *testing.B) {
	for _, qos := range []byte{1, 2} {
		b.Run(fmt.Sprintf("memory, QoS %d", qos), func(b *testing.B) { drain(b, memory(b), qos) })
	}
	b.Run("file, QoS 1", func(b *testing.B) {
		store, err := sqlitebox.Open(b.Context(), sqlitebox.Config{Path: filepath.Join(b.TempDir(), "outbox.db")})
		if err != nil {
			b.Fatal(err)
		}
		drain(b, open(b, store), 1)
	})
}

func drain(b *testing.B, box *outbox.Outbox, qos byte) {
	s := hub(b, "tls")
	payload := make([]byte, 128)
	var producers sync.WaitGroup
	for i := range 64 { // together, so that they share syncs
		producers.Go(func() {
			for range (b.N + i) / 64 {
				if _, err := box.Append(b.Context(), outbox.Message{Payload: payload}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	producers.Wait()
	b.ResetTimer()
	run(b, engine.Config{
		Session: mqttclient.Config{MaxInFlight: 1000},
		Prepare: prepare(s, "drain", true), Outbox: box,
		Decode: func(m *outbox.Entry) (mqtt.Publish, error) {
			return mqtt.Publish{Topic: []byte(s.prefix + "drain"), QoS: qos, Payload: m.Payload}, nil
		},
	})
	for box.Stats().Messages > 0 {
		pause(b.Context(), time.Millisecond)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// What waits in the session of a device when its process is started anew arrives, if the program adopts the session. With version 5 it is given up otherwise.
func TestRestartedProcess(t *testing.T) {
	onServers(t, func(t *testing.T, s *server) {
		for _, c := range []struct {
			name  string
			v     mqtt.Version
			adopt bool
		}{{"3.1.1", mqtt.V311, false}, {"5, adopted", mqtt.V5, true}, {"5, not adopted", mqtt.V5, false}} {
			t.Run(c.name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				id := fmt.Sprintf("restarted-%d-%v", c.v, c.adopt)
				topic := s.prefix + id
				cfg := engine.Config{Session: mqttclient.Config{Version: c.v, AdoptSession: c.adopt}, Prepare: prepare(s, id, false)}
				sub := mqtt.Subscription{Filter: topic, QoS: 1}
				t.Run("before", func(t *testing.T) { // ends with it
					if _, err := run(t, cfg).Subscribe(ctx, engine.Subscription{Subscription: sub}); err != nil {
						t.Fatal(err)
					}
				})
				sender := run(t, engine.Config{Prepare: prepare(s, id+"-s", true)})
				send := func(n uint32) {
					if err := sender.Publish(ctx, mqtt.Publish{Topic: []byte(topic), QoS: 1, Payload: binary.BigEndian.AppendUint32(nil, n)}); err != nil {
						t.Fatal(err)
					}
				}
				send(0)
				var got numbers
				after, err := engine.New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				if err := after.Register(engine.Subscription{Subscription: sub, Handler: got.add}); err != nil {
					t.Fatal(err)
				}
				ended := make(chan error, 1)
				inner, stop := context.WithCancel(ctx)
				go func() { ended <- after.Run(inner) }()
				defer func() { stop(); <-ended }()
				if err := after.Await(ctx); err != nil {
					t.Fatal(err)
				}
				send(1)
				want := []uint32{0, 1}
				if c.v == mqtt.V5 && !c.adopt {
					want = want[1:]
				}
				if all := got.await(t, len(want), 20*time.Second); !slices.Equal(all, want) {
					t.Errorf("got %v, want %v", all, want)
				}
			})
		}
	})
}
