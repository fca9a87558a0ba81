package load

import (
	"bufio"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

func TestTemplateIsAnAstarteMessage(t *testing.T) {
	tpl := newTemplate("dev/x/org.example.T/s/value")
	for seq := range uint64(1000) {
		packet := tpl.patch(uint16(seq+1), seq)
		f, err := mqtt.NewFrameReader(bufio.NewReader(strings.NewReader(string(packet))), 1<<16).Next()
		if err != nil {
			t.Fatal(err)
		}
		var p mqtt.Publish
		if err := p.Decode(f, mqtt.V311); err != nil {
			t.Fatal(err)
		}
		if p.QoS != 1 || p.ID != uint16(seq+1) || string(p.Topic) != "dev/x/org.example.T/s/value" || len(p.Payload) != PayloadBytes {
			t.Fatalf("got %+v with %d bytes", p, len(p.Payload))
		}
		m, err := astartewire.ParsePayload(p.Payload)
		if err != nil {
			t.Fatal(err)
		}
		if err := astartewire.TypeBinaryBlob.Check(m.Value); err != nil {
			t.Fatal(err)
		}
		if got, ok := Seq(m.Value.Bin()); !ok || got != seq {
			t.Fatalf("got message %d %v, want %d", got, ok, seq)
		}
		m.Value.Bin()[20] ^= 1
		if _, ok := Seq(m.Value.Bin()); ok {
			t.Fatal("a changed value counts as right")
		}
	}
}

func TestPatchDoesNotAllocate(t *testing.T) {
	tpl := newTemplate("a/b")
	if n := testing.AllocsPerRun(100, func() { tpl.patch(1, 2) }); n > 0 {
		t.Errorf("%v allocations per message", n)
	}
}

// serve answers as a broker would, with the acknowledgements that answer makes of a message's identifier.
func serve(t *testing.T, answer func(id uint16) []uint16) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				frames := mqtt.NewFrameReader(bufio.NewReader(c), 1<<16)
				for {
					f, err := frames.Next()
					if err != nil {
						return
					}
					var out []byte
					switch f.Type {
					case mqtt.TypeConnect:
						out = (&mqtt.ConnAck{}).Append(nil, mqtt.V311)
					case mqtt.TypePublish:
						var p mqtt.Publish
						if p.Decode(f, mqtt.V311) != nil {
							return
						}
						for _, id := range answer(p.ID) {
							out = (&mqtt.Ack{Type: mqtt.TypePubAck, ID: id}).Append(out, mqtt.V311)
						}
					}
					if _, err := c.Write(out); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

func plan(warm, d time.Duration, most int, pubs ...*Publisher) Plan {
	return Plan{Pubs: pubs, Warm: warm, D: d, Most: most, Begin: func() {}, End: func() {}}
}

func TestRunCountsWhatIsAcknowledged(t *testing.T) {
	addr := serve(t, func(id uint16) []uint16 { return []uint16{id} })
	var pubs []*Publisher
	for range 3 {
		p, err := Dial(t.Context(), Target{Addr: addr, Topic: "a/b"}, 10, 100)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		pubs = append(pubs, p)
	}
	r, err := Run(t.Context(), plan(20*time.Millisecond, time.Hour, 60_000, pubs...))
	if err != nil {
		t.Fatal(err)
	}
	if r.Messages != 30_000 { // half of the bound is for warming up
		t.Errorf("measured %d messages, want 30000", r.Messages)
	}
	for i, p := range pubs {
		if p.Seq()-100 != r.Acked[i] || r.Acked[i] < 10_000 {
			t.Errorf("publisher %d: sent up to %d, acknowledged %d", i, p.Seq(), r.Acked[i])
		}
	}
	if r.Latency.Quantile(.5) <= 0 {
		t.Error("no latencies")
	}
}

func TestRunNoticesWrongAcknowledgements(t *testing.T) {
	for name, answer := range map[string]func(id uint16) []uint16{
		"doubled": func(id uint16) []uint16 { return []uint16{id, id} },
		"another": func(id uint16) []uint16 { return []uint16{id + 1} },
		"skipped": func(id uint16) []uint16 {
			if id == 4 {
				return nil
			}
			return []uint16{id}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Dial(t.Context(), Target{Addr: serve(t, answer), Topic: "a/b"}, 10, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if _, err := Run(ctx, plan(0, time.Minute, 1000, p)); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestDialStaysOnThisMachine(t *testing.T) {
	for _, addr := range []string{"192.0.2.1:1883", "example.org:1883"} {
		if _, err := Dial(t.Context(), Target{Addr: addr}, 1, 0); err == nil || !strings.Contains(err.Error(), "not on this machine") {
			t.Errorf("%s: got %v", addr, err)
		}
	}
}
