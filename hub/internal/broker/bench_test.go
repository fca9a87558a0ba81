package broker

import (
	"bufio"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// benchClient is a connected client that costs little.
type benchClient struct {
	nc net.Conn
	r  *mqtt.FrameReader
	v  mqtt.Version

	got *atomic.Int64 // messages received, by the slowest that counts; nil: nobody cares
}

func (h *testHub) bench(v mqtt.Version, id string, clean bool, filter string, qos byte) *benchClient {
	h.t.Helper()
	nc, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { nc.Close() })
	c := &benchClient{nc: nc, r: mqtt.NewFrameReader(bufio.NewReaderSize(nc, 64<<10), 1<<20), v: v}
	hello := mqtt.Connect{Version: v, ClientID: id, CleanStart: clean, Username: "t", HasUsername: true}
	if v == mqtt.V5 && !clean {
		hello.SessionExpiry = 1000
	}
	b := hello.Append(nil, v)
	want := 1
	if filter != "" {
		b = (&mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: filter, QoS: qos}}}).Append(b, v)
		want = 2
	}
	if _, err := nc.Write(b); err != nil {
		h.t.Fatal(err)
	}
	for range want {
		if _, err := c.r.Next(); err != nil {
			h.t.Fatal(err)
		}
	}
	return c
}

// publishMany sends n messages with QoS 1, at most window of them unacknowledged, and not so many more than c.got that a
// queue could be full.
func (c *benchClient) publishMany(tb testing.TB, topic string, n, window int) {
	payload := make([]byte, 128)
	sent, acked := 0, 0
	var buf []byte
	for acked < n {
		buf = buf[:0]
		for c.got != nil && int64(sent)-c.got.Load() > 5000 {
			time.Sleep(50 * time.Microsecond)
		}
		for sent < n && sent-acked < window {
			sent++
			buf = (&mqtt.Publish{QoS: 1, ID: uint16(sent%65_535 + 1), Topic: []byte(topic), Payload: payload}).Append(buf, c.v)
		}
		if len(buf) > 0 {
			if _, err := c.nc.Write(buf); err != nil {
				tb.Error(err)
				return
			}
		}
		for acked < sent {
			if f, err := c.r.Next(); err != nil || f.Type != mqtt.TypePubAck {
				tb.Errorf("got %v, %v", f.Type, err)
				return
			}
			acked++
			if c.r.Buffered() == 0 && sent-acked <= window/2 {
				break
			}
		}
	}
}

// receive takes n messages and acknowledges them.
func (c *benchClient) receive(tb testing.TB, n int) {
	var acks []byte
	for i := 0; i < n; {
		f, err := c.r.Next()
		if err != nil {
			tb.Errorf("message %d: %v", i, err)
			return
		}
		var p mqtt.Publish
		if f.Type != mqtt.TypePublish || p.Decode(f, c.v) != nil {
			continue
		}
		i++
		if c.got != nil {
			c.got.Store(int64(i))
		}
		if p.QoS > 0 {
			acks = (&mqtt.Ack{Type: mqtt.TypePubAck, ID: p.ID}).Append(acks, c.v)
		}
		if len(acks) > 0 && (c.r.Buffered() == 0 || i == n) {
			if _, err := c.nc.Write(acks); err != nil {
				tb.Error(err)
				return
			}
			acks = acks[:0]
		}
	}
}

func benchHub(b *testing.B) *testHub {
	h := startHub(b, b.TempDir(), Config{Limits: core.Limits{Inflight: 1000}})
	h.plain.sink = true
	return h
}

// BenchmarkOneToOne is one publisher and one subscriber, QoS 1 on both ways.
func BenchmarkOneToOne(b *testing.B) {
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		for _, clean := range []bool{true, false} {
			b.Run(fmt.Sprintf("v=%d/clean=%v", v, clean), func(b *testing.B) {
				h := benchHub(b)
				sub, pub := h.bench(v, "sub", clean, "x/#", 1), h.bench(v, "pub", true, "", 0)
				sub.got = new(atomic.Int64)
				pub.got = sub.got
				b.ReportAllocs()
				b.ResetTimer()
				var wg sync.WaitGroup
				wg.Go(func() { sub.receive(b, b.N) })
				pub.publishMany(b, "x/y", b.N, 1000)
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			})
		}
	}
}

// BenchmarkFanOut is one publisher and a thousand subscribers. An operation is one copy.
func BenchmarkFanOut(b *testing.B) {
	const subscribers = 1000
	for qos := range byte(2) {
		for _, clean := range []bool{true, false} {
			b.Run(fmt.Sprintf("qos=%d/clean=%v", qos, clean), func(b *testing.B) {
				h := benchHub(b)
				var wg sync.WaitGroup
				n := max(b.N/subscribers, 1)
				var subs []*benchClient
				for i := range subscribers {
					subs = append(subs, h.bench(mqtt.V311, fmt.Sprint("s", i), clean, "x/#", qos))
				}
				pub := h.bench(mqtt.V311, "pub", true, "", 0)
				pub.got = new(atomic.Int64)
				subs[0].got = pub.got
				b.ReportAllocs()
				b.ResetTimer()
				for _, s := range subs {
					wg.Go(func() { s.receive(b, n) })
				}
				pub.publishMany(b, "x/y", n, 50)
				wg.Wait()
				b.ReportMetric(float64(n*subscribers)/b.Elapsed().Seconds(), "copies/s")
			})
		}
	}
}

// BenchmarkMatch is the cost of finding who gets a message: a thousand sessions, of which each has many filters that
// match.
func BenchmarkMatch(b *testing.B) {
	for _, filters := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("filters=%d", filters), func(b *testing.B) {
			br := New(Config{})
			k := core.SessionKey{Tenant: "t", Dialect: "plain"}
			for i := range 1000 {
				k.ClientID = fmt.Sprint(i)
				s := &session{Session: core.Session{Key: k}, filters: map[string]subscription{}}
				for f := range filters {
					br.subscribe(s, []string{"#", "a/#", "a/b/#", "+/b/c", "a/+/c", "a/b/+", "+/+/c", "+/b/+", "a/+/+", "+/+/+"}[f%10], subscription{qos: 1})
				}
			}
			a := br.audience(k)
			m := &core.Message{Topic: "a/b/c"}
			b.ReportAllocs()
			for b.Loop() {
				if got := len(br.targets(nil, a, m, nil)); got != 1000 {
					b.Fatal(got)
				}
			}
		})
	}
}
