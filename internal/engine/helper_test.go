package engine_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/internal/engine"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
	. "github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
	"github.com/fairlead-iot/fairlead/outbox"
)

// rig is an engine that runs against a script, inside a bubble.
type rig struct {
	*engine.Engine
	t      *testing.T
	ctx    context.Context
	cancel context.CancelFunc
	box    *outbox.Outbox
	peer   *Peer
	done   chan error
	ended  chan struct{} // the script has

	mu  sync.Mutex
	log []string
}

// newRig makes an engine with an outbox in memory, whose messages go to the topic in their header with QoS 1.
func newRig(t *testing.T, cfg engine.Config, steps ...Step) *rig {
	t.Helper()
	r := &rig{t: t, done: make(chan error, 1), ended: make(chan struct{})}
	r.peer = Script(t, append(steps, Do("end", func() { close(r.ended) }))...)
	r.ctx, r.cancel = context.WithCancel(t.Context())
	box, err := outbox.Open(r.ctx, outbox.Config{
		Store: outbox.NewMemory(), MaxMessages: 1000, Policy: outbox.DropOldest, OnDrop: func(d outbox.Drop) { r.Dropped(d) },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.box = box
	if cfg.Prepare == nil {
		cfg.Prepare = r.prepare
	}
	if cfg.OnEvent == nil {
		cfg.OnEvent = func(ev engine.Event) { r.note("%v", ev.Kind) }
	}
	cfg.Outbox = box
	cfg.Decode = func(m *outbox.Entry) (mqtt.Publish, error) {
		return mqtt.Publish{Topic: m.Header, Payload: m.Payload, QoS: 1}, nil
	}
	cfg.OnUndeliverable = func(m *outbox.Entry, err error) { r.note("undeliverable %s", m.Header) }
	cfg.Backoff.NoJitter = true
	if r.Engine, err = engine.New(cfg); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) prepare(context.Context, engine.Attempt) (*engine.Connection, error) {
	return &engine.Connection{
		Dialer:  mqttclient.Dialer{Address: "script:1883", DialContext: r.peer.DialContext},
		Connect: mqtt.Connect{ClientID: "pump-7"},
	}, nil
}

func (r *rig) start() {
	go func() { r.done <- r.Run(r.ctx) }()
}

// finish waits for the end of the script and ends the engine.
func (r *rig) finish() error {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(24 * time.Hour):
		r.peer.Wait() // says where it hangs
	}
	wait()
	r.cancel()
	err := <-r.done
	_ = r.box.Close()
	return err
}

func (r *rig) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, fmt.Sprintf(format, args...))
}

func (r *rig) want(lines ...string) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.log, lines) {
		r.t.Errorf("got %q, want %q", r.log, lines)
	}
}

func (r *rig) append(topics ...string) {
	r.t.Helper()
	for _, topic := range topics {
		if _, err := r.box.Append(r.ctx, outbox.Message{Header: []byte(topic)}); err != nil {
			r.t.Error(err)
		}
	}
}

func (r *rig) left(want int) {
	r.t.Helper()
	if got := r.box.Stats().Messages; got != want {
		r.t.Errorf("outbox: got %d messages, want %d", got, want)
	}
}

func publish(topic string, qos byte) mqtt.Publish {
	return mqtt.Publish{Topic: []byte(topic), QoS: qos}
}

func puback() Step { return Send(mqtt.Ack{Type: mqtt.TypePubAck}) }

func connect() Step { return Expect(mqtt.Connect{ClientID: "pump-7"}) }

func connack(present bool) Step { return Send(mqtt.ConnAck{SessionPresent: present}) }

// wait lets everything happen that can: in a bubble time goes on only then. Unlike synctest.Wait, several may call it at the same time.
func wait() { time.Sleep(time.Microsecond) }

func settle() Step { return Do("settle", wait) }

func sleep(d time.Duration) Step { return Do("sleep", func() { time.Sleep(d) }) }
