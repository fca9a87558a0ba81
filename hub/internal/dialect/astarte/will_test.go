package astarte

import (
	"errors"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/google/go-cmp/cmp"
)

// A will whose connection nobody saw end is data like any other; what is wrong with it is told, and disturbs no connection.
func TestLateWill(t *testing.T) {
	c := newRig(t).all()
	will := func(n core.DeviceNum, topic string, payload []byte) {
		t.Helper()
		l, err := c.d.Executor(t.Context(), c.key, n)
		if err != nil {
			t.Fatal(err)
		}
		w := &batchOwner{done: make(chan error, 1)}
		b := &commit.Batch{Owner: w}
		if err := l.Receive(&dialect.Topic{Name: c.base + topic}, dialect.Publish{Payload: payload, QoS: 1, Will: true}, b); err != nil {
			t.Fatal(err)
		}
		if err := c.c.Submit(b); err != nil {
			t.Fatal(err)
		}
		if err := <-w.done; err != nil {
			t.Fatal(err)
		}
	}
	will(c.dev.Num, "/org.example.Temps/kitchen/temp", five)
	will(c.dev.Num, "/org.example.Temps/kitchen/temp", nonsense)
	if _, err := c.d.Executor(t.Context(), c.key, c.dev.Num+1); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("deleted meanwhile: got %v, want %v", err, core.ErrNotFound)
	}
	if d := cmp.Diff([]any{5.0}, c.samples("org.example.Temps:1/kitchen/temp")); d != "" {
		t.Error(d)
	}
	wantList(t, "disconnections", c.broker.kicks())
	wantList(t, "faults", c.faults(), "undecodable_bson_payload")
}
