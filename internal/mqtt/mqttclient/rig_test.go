package mqttclient_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
	. "github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
)

// rig is a session under test, and what became of it.
type rig struct {
	t    *testing.T
	peer *Peer
	s    *mqttclient.Session

	mu       sync.Mutex
	outcomes []string // of Done: "tag" or "tag: error"
	messages []*mqttclient.Message
}

func newRig(t *testing.T, cfg mqttclient.Config, steps ...Step) *rig {
	t.Helper()
	r := &rig{t: t, peer: Script(t, steps...)}
	if cfg.Receive == nil {
		cfg.Receive = func(m *mqttclient.Message) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.messages = append(r.messages, m)
			m.Ack()
		}
	}
	s, err := mqttclient.NewSession(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.s = s
	return r
}

// run runs the session over one connection; do runs beside it, once connected.
func (r *rig) run(ctx context.Context, do func(mqttclient.Connected)) error {
	r.t.Helper()
	nc, err := r.peer.Dial(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	return r.s.Run(ctx, nc, mqtt.Connect{ClientID: "pump-7", KeepAlive: 60}, func(c mqttclient.Connected) {
		if do != nil {
			wg.Go(func() { do(c) })
		}
	})
}

func (r *rig) send(topic string, qos byte, tag uint64) {
	r.t.Helper()
	if err := r.s.Send(r.t.Context(), r.message(topic, qos, tag)); err != nil {
		r.t.Errorf("send %s: %v", topic, err)
	}
}

func (r *rig) message(topic string, qos byte, tag uint64) *mqttclient.Outgoing {
	return &mqttclient.Outgoing{Publish: mqtt.Publish{Topic: []byte(topic), QoS: qos}, Tag: tag, Done: r.done}
}

func (r *rig) done(tag uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := fmt.Sprint(tag)
	if err != nil {
		s += ": " + err.Error()
	}
	r.outcomes = append(r.outcomes, s)
}

func (r *rig) want(outcomes ...string) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	ok := len(outcomes) == len(r.outcomes)
	for i := range outcomes {
		ok = ok && strings.HasPrefix(r.outcomes[i], outcomes[i])
	}
	if !ok {
		r.t.Errorf("outcomes: got %q, want %q", r.outcomes, outcomes)
	}
}

func ack(t mqtt.Type, id uint16) mqtt.Ack { return mqtt.Ack{Type: t, ID: id} }

func publish(topic string, qos byte) mqtt.Publish {
	return mqtt.Publish{Topic: []byte(topic), QoS: qos}
}

func again(topic string, qos byte, id uint16) mqtt.Publish {
	return mqtt.Publish{Topic: []byte(topic), QoS: qos, ID: id, Dup: true}
}

// end is a step that ends the test's context, when all that was sent has been handled.
func end(cancel context.CancelFunc) Step {
	return Do("end", func() {
		synctest.Wait()
		cancel()
	})
}

var versions = []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5}
