package astartego

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
	"github.com/fairlead-iot/fairlead/outbox"
)

var outboxConfig = outbox.Config{MaxMessages: 100_000}

// The hub stops and starts again, in order and by kill -9, under load, and nothing is lost or out of order; nobody holds its sockets meanwhile.
func TestHubRestarts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		end   func(p *platform) error
		times int
	}{
		{"in order", func(p *platform) error { return p.hub.Stop() }, 1},
		{"kill -9", func(p *platform) error { return p.hub.Kill() }, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := own(t)
			g := p.gadget(t, "DeviceKept", "DeviceProperties", "ServerProperties", "ServerIndividualUnique")
			box, err := openOutbox(t.Context(), filepath.Join(t.TempDir(), "outbox.db"), outboxConfig)
			must(t, err)
			t.Cleanup(func() { must(t, box.Close()) })
			g.cfg.Outbox = box
			g.connect()
			t.Cleanup(g.halt)
			paths := []string{"/guaranteed", "/unique", "/volatile"}
			var sent atomic.Int64
			var quit atomic.Bool
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for i := 0; !quit.Load(); i++ {
					for _, path := range paths {
						if err := g.Send(t.Context(), prefix+"DeviceKept", path, i, nil); err != nil {
							t.Error(err)
							return
						}
					}
					if err := g.SetProperty(t.Context(), prefix+"DeviceProperties", "/integer_endpoint", i); err != nil {
						t.Error(err)
						return
					}
					sent.Store(int64(i) + 1)
					time.Sleep(2 * time.Millisecond) // load, not flood
				}
			}()
			atLeast := func(n int64) {
				t.Helper()
				eventually(t, "the load to go on", func() bool { return sent.Load() >= n })
			}
			atLeast(50)
			for i := range c.times {
				must(t, c.end(p))
				g.await(astarte.Connecting)
				must(t, p.start(t.Context()))
				g.await(astarte.Connected)
				p.write(t, g.ID(), "ServerIndividualUnique", "/integer_endpoint", i)
				want(t, g.received(), "ServerIndividualUnique", "/integer_endpoint", int32(i))
				atLeast(sent.Load() + 50)
			}
			quit.Store(true)
			<-ended
			g.settle()
			n := int(sent.Load())
			for _, path := range paths {
				inOrder(t, path, g.series("DeviceKept", path), n, path == "/unique")
			}
			equal(t, g.read("DeviceProperties", "/integer_endpoint"), shown(int32(n-1), true))
		})
	}
}

// inOrder checks a series of all numbers below n: nothing is missing, and what comes first comes first; values that come again may follow, unless each has to be there once.
func inOrder(t *testing.T, what string, series []any, n int, once bool) {
	t.Helper()
	next := 0
	for i, v := range series {
		var got int
		if _, err := fmt.Sscan(fmt.Sprint(v), &got); err != nil {
			t.Fatal(err)
		}
		switch {
		case got == next:
			next++
		case got > next:
			t.Fatalf("%s: value %d is %d, before %d", what, i, got, next)
		case once:
			t.Fatalf("%s: value %d is %d again", what, i, got)
		}
	}
	if next != n {
		t.Errorf("%s: got %d values, want %d", what, next, n)
	}
}

// A device that the hub has never seen connects while there is no hub, and waits for it.
func TestHubIsNotThereYet(t *testing.T) {
	t.Parallel()
	p := own(t)
	g := p.gadget(t, "DeviceKept", "DeviceProperties")
	must(t, p.hub.Kill())
	if err := g.failed(); err == nil {
		t.Error("no reason")
	}
	g.send("DeviceKept", "/volatile", 0)
	g.set("DeviceProperties", "/integer_endpoint", 0)
	must(t, p.start(t.Context()))
	g.await(astarte.Connected)
	g.settle()
	equal(t, g.series("DeviceKept", "/volatile"), numbers(0, 1))
	equal(t, g.read("DeviceProperties", ""), map[string]any{"integer_endpoint": shown(int32(0), true)})
}

// A will is data, also when the hub is killed before it can see the connection end.
func TestWillOfAKilledHub(t *testing.T) {
	t.Parallel()
	p := own(t)
	g := p.connected(t, "DeviceQos")
	g.send("DeviceQos", "/unique", 1)
	g.settle()
	g.halt()
	payload, inner := astartewire.BeginDocument(nil)
	payload = astartewire.EndDocument(astartewire.AppendInt(payload, "v", 2), inner)
	stay := g.visitor(mqtt.Connect{ClientID: "visitor", KeepAlive: 60, Will: &mqtt.Will{Topic: g.cfg.Realm + "/" + g.cfg.DeviceID + "/" + prefix + "DeviceQos/unique", Payload: payload, QoS: 1}})
	must(t, p.hub.Kill())
	stay()
	must(t, p.start(t.Context()))
	eventually(t, "the will", func() bool { return len(g.series("DeviceQos", "/unique")) == 2 })
	equal(t, g.series("DeviceQos", "/unique"), numbers(1, 3))
}
