package load

import (
	"bufio"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// relay is a broker for one publisher and one subscriber: what pass makes of each message goes to the subscriber.
func relay(t *testing.T, pass func(n int, packet mqtt.Publish) []mqtt.Publish) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	subscribers := make(chan net.Conn, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go relayOne(c, subscribers, pass)
		}
	}()
	return l.Addr().String()
}

func relayOne(c net.Conn, subscribers chan net.Conn, pass func(int, mqtt.Publish) []mqtt.Publish) {
	defer c.Close()
	frames := mqtt.NewFrameReader(bufio.NewReader(c), 1<<16)
	var subscriber net.Conn
	for n := 0; ; {
		f, err := frames.Next()
		if err != nil {
			return
		}
		var answer []byte
		switch f.Type {
		case mqtt.TypeConnect:
			answer = (&mqtt.ConnAck{}).Append(nil, mqtt.V311)
		case mqtt.TypeSubscribe:
			answer = (&mqtt.SubAck{ID: 1, Codes: []byte{1}}).Append(nil, mqtt.V311)
			subscribers <- c
		case mqtt.TypePublish:
			if subscriber == nil {
				subscriber = <-subscribers
			}
			var p mqtt.Publish
			if p.Decode(f, mqtt.V311) != nil {
				return
			}
			answer = (&mqtt.Ack{Type: mqtt.TypePubAck, ID: p.ID}).Append(nil, mqtt.V311)
			var out []byte
			for _, q := range pass(n, p) {
				out = q.Append(out, mqtt.V311)
			}
			n++
			if _, err := subscriber.Write(out); err != nil {
				return
			}
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

func TestSubscriberHearsAll(t *testing.T) {
	for name, c := range map[string]struct {
		pass func(n int, p mqtt.Publish) []mqtt.Publish
		want string // in the error; "": none
	}{
		"all": {func(_ int, p mqtt.Publish) []mqtt.Publish { return []mqtt.Publish{p} }, ""},
		"one is missing": {func(n int, p mqtt.Publish) []mqtt.Publish {
			if n == 50 {
				return nil
			}
			return []mqtt.Publish{p}
		}, "comes behind"},
		"one comes twice": {func(n int, p mqtt.Publish) []mqtt.Publish {
			if n == 50 {
				return []mqtt.Publish{p, p}
			}
			return []mqtt.Publish{p}
		}, "comes behind"},
		"another payload": {func(_ int, p mqtt.Publish) []mqtt.Publish {
			p.Payload = make([]byte, PayloadBytes)
			p.Payload[40] = 1
			return []mqtt.Publish{p}
		}, "never sent"},
	} {
		t.Run(name, func(t *testing.T) {
			addr := relay(t, c.pass)
			gate := NewGate(1, 20)
			s, err := Subscribe(t.Context(), Target{Addr: addr}, "#", 1, gate)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			p, err := Dial(t.Context(), Target{Addr: addr, Topic: "a/b"}, 10, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			pl := plan(0, time.Minute, 400, p)
			pl.Gate = gate
			r, err := Run(t.Context(), pl)
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want == "" && (r.Messages != 200 || gate.outstanding.Load() != 0):
				t.Errorf("%d messages, %d deliveries to come", r.Messages, gate.outstanding.Load())
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestStorm(t *testing.T) {
	addr := serve(t, nil)
	targets := []Target{{Addr: addr}, {Addr: addr}, {Addr: addr}}
	r, err := Storm(t.Context(), targets, 2, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if r.Connects < 2 || r.Latency.Quantile(.5) <= 0 {
		t.Errorf("got %+v", r.Connects)
	}
	if _, err := Storm(t.Context(), targets, 4, time.Millisecond); err == nil {
		t.Error("two workers would have to share a target")
	}
}
