package broker

import (
	"bytes"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
)

// settles returns the value of f when it has not changed for a while.
func settles(f func() int64) int64 {
	last, since := f(), time.Now()
	for time.Since(since) < 300*time.Millisecond {
		time.Sleep(5 * time.Millisecond)
		if v := f(); v != last {
			last, since = v, time.Now()
		}
	}
	return last
}

// old encodes a packet as before version 5.
func old[P any, T interface {
	*P
	mqtt.Packet
}](p P,
) []byte {
	return T(&p).Append(nil, mqtt.V311)
}

// What one connection has waiting for the disk is bounded by the work that it will be, not by the size of its packets.
func TestWorkInTheQueueIsBounded(t *testing.T) {
	flood := func(c *mqtttest.Client, b []byte) { // until the hub does not read on, or all is sent
		_ = c.Conn().SetWriteDeadline(time.Now().Add(10 * time.Second))
		for range 20 {
			if _, err := c.Conn().Write(b); err != nil {
				return
			}
		}
	}
	bomb := func(n int, prefix string) (s mqtt.Subscribe) {
		s.ID = 1
		for i := range n {
			s.Subscriptions = append(s.Subscriptions, mqtt.Subscription{Filter: fmt.Sprintf("%s%d/t", prefix, i)})
		}
		return s
	}
	for name, tt := range map[string]struct {
		prepare func(h *testHub, c *mqtttest.Client)
		packets []byte
		count   func(h *testHub) int64
		most    int64
	}{
		"subscriptions": {
			packets: bytes.Repeat(old(bomb(1000, "")), 10),
			count:   func(h *testHub) int64 { n, _ := h.com.Queued(); return int64(n) },
			most:    maxUnsettled/(1000*chargeSubscription) + 2,
		},
		"expensive messages": {
			prepare: func(_ *testHub, c *mqtttest.Client) {
				c.SubscribeWith(bomb(900, "$share/g"))
				c.Publish("t", 1, nil) // shows what it costs
			},
			packets: bytes.Repeat(old(mqtt.Publish{Topic: []byte("t")}), 1000),
			count:   func(h *testHub) int64 { return h.broker.stats.MessagesIn.Load() },
			most:    maxUnsettled/(800*chargeCopy) + 4,
		},
		"messages nobody knows": {
			packets: func() (b []byte) {
				for i := range 1000 {
					b = append(b, old(mqtt.Publish{Topic: fmt.Appendf(nil, "t/%d", i)})...)
				}
				return b
			}(),
			count: func(h *testHub) int64 { return h.broker.stats.MessagesIn.Load() },
			most:  maxUnsettled/chargeUnknown + 8,
		},
		"retained messages": {
			prepare: func(h *testHub, c *mqtttest.Client) { c.Publish("t", 1, nil) },
			packets: bytes.Repeat(old(mqtt.Publish{Topic: []byte("t"), Retain: true, Payload: []byte("x")}), 1000),
			count:   func(h *testHub) int64 { return h.broker.stats.MessagesIn.Load() },
			most:    maxUnsettled/chargeRetain + batchBytes/chargeRetain + 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := retaining(t, t.TempDir(), Config{})
			h.plain.sink = true
			c, _ := h.connect("hostile", true)
			if tt.prepare != nil {
				tt.prepare(h, c)
			}
			go func() { // what the hub answers
				b := make([]byte, 64<<10)
				for {
					if _, err := c.Conn().Read(b); err != nil {
						return
					}
				}
			}()
			before := tt.count(h)
			resume := h.pause()
			go flood(c, tt.packets)
			eventually(t, "something waits", func() bool { return tt.count(h) > before })
			got := settles(func() int64 { return tt.count(h) }) - before
			resume()
			if got > tt.most {
				t.Errorf("%d wait, want at most %d", got, tt.most)
			}
			c.Close()
		})
	}
}

func TestEffort(t *testing.T) {
	var e effort
	if e.known() || e.charge() != 0 {
		t.Error("something is known before the first message")
	}
	e.note(1, 3)
	if !e.known() || e.charge() != 0 {
		t.Errorf("a message to one costs %d", e.charge())
	}
	e.note(1000, 0)
	dear := e.charge()
	for range 30 {
		e.note(1, 1)
	}
	if got := e.charge(); dear < 900*chargeCopy || got < dear/2 {
		t.Errorf("got %d, after 30 cheap messages %d", dear, got)
	}
	for range 1000 {
		e.note(1, 1)
	}
	if got := e.charge(); got != 0 {
		t.Errorf("got %d after very many cheap messages", got)
	}
	e.note(0, 100_000) // few hear it, but they were hard to find
	if e.charge() < 1000*chargeCopy {
		t.Errorf("got %d for a message that was looked for in 100,000 places", e.charge())
	}
}

// A client that asks and asks and never reads the answers is given up soon, also while a write waits for it.
func TestAnswersThatNobodyReads(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{WriteTimeout: time.Hour})
	other, _ := h.connect("other", true)
	c, _ := h.connect("hostile", true)
	_ = c.Conn().(*net.TCPConn).SetReadBuffer(4 << 10)
	pings := bytes.Repeat(old(mqtt.PingReq{}), 32<<10)
	_ = c.Conn().SetWriteDeadline(time.Now().Add(20 * time.Second))
	sent := 0
	for sent < 256<<20 {
		n, err := c.Conn().Write(pings)
		if sent += n; err != nil {
			break
		}
	}
	if sent > 64<<20 {
		t.Errorf("the hub has taken %d MiB of questions", sent>>20)
	}
	eventually(t, "the client is gone", func() bool { return h.broker.stats.SlowClients.Load() == 1 })
	other.Ping()
}
