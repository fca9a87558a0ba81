package broker

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

func TestRate(t *testing.T) {
	now := time.Now()
	none := rate{}
	none.charge(now, 1<<30)
	if got := none.until(now, 1<<30); got != 0 {
		t.Errorf("without a limit one waits for %v", got)
	}
	r := rate{most: 100}
	for i := range 100 {
		if got := r.until(now, 1); got != 0 {
			t.Fatalf("message %d waits for %v", i, got)
		}
		r.charge(now, 1)
	}
	if got := r.until(now, 1); got != 10*time.Millisecond {
		t.Errorf("one beyond waits for %v", got)
	}
	if got := r.until(now.Add(10*time.Millisecond), 1); got != 0 {
		t.Errorf("a hundredth of a second later it waits for %v", got)
	}
	now = now.Add(time.Hour) // one can save no more than a second's worth
	r.charge(now, 150)
	if got := r.until(now, 0); got != 500*time.Millisecond {
		t.Errorf("50 are owed for %v", got)
	}
}

// Beyond the rate messages are discarded: only version 5 can say so. The connection stays.
func TestMessageRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refused []core.Refusal
		var mu sync.Mutex
		h := startHub(t, t.TempDir(), Config{Limits: core.Limits{MessageRate: 10}, Refused: func(r core.Refusal) {
			mu.Lock()
			refused = append(refused, r)
			mu.Unlock()
		}})
		five, _ := h.connect5(mqtt.Connect{ClientID: "five", CleanStart: true})
		three, _ := h.connect("three", true)
		for i := range 10 {
			payload := []byte(fmt.Sprint(i))
			three.Publish("a", 1, payload)
			if ack := five.PublishWith(mqtt.Publish{Topic: []byte("a"), QoS: byte(1 + i%2), Payload: payload}); ack.Code.Failed() {
				t.Fatalf("message %d: %v", i, ack.Code)
			}
		}
		for _, qos := range []byte{1, 2} {
			if ack := five.PublishWith(mqtt.Publish{Topic: []byte("a"), QoS: qos, Payload: []byte("lost")}); ack.Code != mqtt.ReasonQuotaExceeded {
				t.Errorf("QoS %d: %v, want %v", qos, ack.Code, mqtt.ReasonQuotaExceeded)
			}
		}
		for _, c := range []interface{ Send(any) }{five, three} {
			c.Send(mqtt.Publish{Topic: []byte("a"), Payload: []byte("lost")})
		}
		three.Send(mqtt.Publish{Topic: []byte("a"), QoS: 1, ID: 1000, Payload: []byte("lost")})
		three.Send(mqtt.PingReq{})
		three.Expect(mqtt.PingResp{}) // and no PUBACK
		five.Ping()
		if got := h.broker.stats.ThrottledIn.Load(); got != 5 {
			t.Errorf("%d messages were counted, want 5", got)
		}
		time.Sleep(100 * time.Millisecond) // there is room for one
		three.Publish("a", 1, []byte("10"))
		five.Publish("a", 1, []byte("10"))
		if ack := five.PublishWith(mqtt.Publish{Topic: []byte("a"), QoS: 1, Payload: []byte("lost")}); ack.Code != mqtt.ReasonQuotaExceeded {
			t.Errorf("%v, want %v", ack.Code, mqtt.ReasonQuotaExceeded)
		}
		for _, id := range []string{"three", "five"} {
			got := h.received(id)
			if len(got) != 11 {
				t.Errorf("%s: %d messages were taken, want 11", id, len(got))
			}
			for i, e := range got {
				if e.Payload != fmt.Sprint(i) {
					t.Errorf("%s: message %d is %q", id, i, e.Payload)
				}
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if len(refused) != 2 || !errors.Is(refused[0].Err, core.ErrRate) || refused[0].Stage != core.StagePublish {
			t.Errorf("operators were told %v, want once for each connection", refused)
		} else if got, want := refused[0].Err.Error(), "more than 10 messages in a second"; got != want {
			t.Errorf("operators were told %q, want %q", got, want)
		}
	})
}

// Towards a client messages at QoS 1 and 2 wait for their turn, in order; those at QoS 0 are lost.
func TestMessageRateTowardsClient(t *testing.T) {
	for _, clean := range []bool{true, false} {
		t.Run(fmt.Sprint("clean ", clean), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := startHub(t, t.TempDir(), Config{Limits: core.Limits{MessageRate: 10}})
				c, _ := h.connect("pump", clean)
				c.Subscribe("q/#", 1)
				start := time.Now()
				for i := range 35 {
					h.publish("q/1", 1, fmt.Sprint(i))
				}
				for i := range 35 {
					if m := c.ReceiveMessage(); string(m.Payload) != fmt.Sprint(i) {
						t.Fatalf("message %d is %q", i, m.Payload)
					}
				}
				if took := time.Since(start); took < 2*time.Second || took > 5*time.Second {
					t.Errorf("35 messages took %v", took)
				}
				time.Sleep(time.Second)
				for range 15 {
					h.publish("q/0", 0, "x")
				}
				synctest.Wait() // the last one is given to the client after its transaction
				for range 10 {
					c.ReceivePublish()
				}
				c.ExpectNothing()
				if got := h.broker.stats.ThrottledOut.Load(); got != 5 {
					t.Errorf("%d messages were counted, want 5", got)
				}
			})
		})
	}
}

// A queue that was stored comes at the rate too, also the part of it that is not in memory at first.
func TestMessageRateOfStoredQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHub(t, t.TempDir(), Config{Limits: core.Limits{MessageRate: 200, Inflight: 5}})
		c, _ := h.connect("pump", false)
		c.Subscribe("q", 1)
		c.Close()
		synctest.Wait()
		const n = 3 * maxHeldAhead
		for i := range n {
			h.publish("q", 1, fmt.Sprint(i))
		}
		start := time.Now()
		c, _ = h.connect("pump", false)
		for i := range n {
			if m := c.ReceiveMessage(); string(m.Payload) != fmt.Sprint(i) {
				t.Fatalf("message %d is %q", i, m.Payload)
			}
		}
		if took := time.Since(start); took < 4*time.Second || took > 20*time.Second {
			t.Errorf("%d messages took %v", n, took)
		}
	})
}

// Bytes beyond the rate are read later, and none is lost.
func TestByteRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHub(t, t.TempDir(), Config{Limits: core.Limits{ByteRate: 10_000}})
		c, _ := h.connect("pump", true)
		payload := bytes.Repeat([]byte("x"), 1000)
		start := time.Now()
		for range 60 {
			c.Publish("a", 1, payload)
		}
		if took := time.Since(start); took < 4*time.Second || took > 10*time.Second {
			t.Errorf("60 kB took %v", took)
		}
		if got := len(h.received("pump")); got != 60 {
			t.Errorf("%d messages", got)
		}
		if got := h.broker.stats.ReadsDelayed.Load(); got == 0 || got > 60 {
			t.Errorf("was held up %d times", got)
		}
	})
}

// And so are they written later. What is owed holds nobody up who leaves.
func TestByteRateTowardsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHub(t, t.TempDir(), Config{Limits: core.Limits{ByteRate: 10_000}})
		c, _ := h.connect5(mqtt.Connect{ClientID: "pump", CleanStart: true})
		c.Subscribe("q", 1)
		payload := string(bytes.Repeat([]byte("x"), 20_000))
		start := time.Now()
		for range 4 {
			h.publish("q", 1, payload)
		}
		for range 4 {
			c.ReceiveMessage()
		}
		if took := time.Since(start); took < 4*time.Second || took > 12*time.Second {
			t.Errorf("80 kB took %v", took)
		}
		time.Sleep(time.Minute)
		for range 3 {
			h.publish("q", 1, payload)
		}
		c.ReceivePublish()
		start = time.Now()
		h.broker.DisconnectClient(core.SessionKey{Tenant: "t", Dialect: "plain", ClientID: "pump"}, "enough")
		for range 2 { // which were on their way
			c.ReceivePublish()
		}
		c.ExpectDisconnect(mqtt.ReasonAdministrativeAction)
		if took := time.Since(start); took > time.Second {
			t.Errorf("the end took %v", took)
		}
	})
}

// A reader that is held up ends at once when its connection shall end.
func TestByteRateAndTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHub(t, t.TempDir(), Config{Limits: core.Limits{ByteRate: 10}})
		c, _ := h.connect("pump", true)
		c.Publish("a", 1, bytes.Repeat([]byte("x"), 10_000)) // that is a quarter of an hour
		synctest.Wait()
		start := time.Now()
		h.stop()
		c.ExpectClosed()
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("the end took %v", took)
		}
	})
}

// Statements of the limit: a session may have one connection in each interval, and one that is refused does not count.
func TestConnectInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHub(t, t.TempDir(), Config{Limits: core.Limits{ConnectInterval: time.Second}})
		first, _ := h.connect("pump", true)
		for range 2 {
			time.Sleep(499 * time.Millisecond)
			p := mqtt.Connect{Version: mqtt.V311, ClientID: "pump", CleanStart: true, Username: "t", HasUsername: true}
			if got := h.dial().TryConnect(p).Code; got != mqtt.ConnAckUnavailable {
				t.Errorf("code %d, want %d", got, mqtt.ConnAckUnavailable)
			}
			p.Version = mqtt.V5
			if got := h.dial().TryConnect(p).Code; got != byte(mqtt.ReasonQuotaExceeded) {
				t.Errorf("code %#x, want %#x", got, byte(mqtt.ReasonQuotaExceeded))
			}
		}
		if got := h.broker.stats.TooSoon.Load(); got != 4 {
			t.Errorf("%d connections were counted, want 4", got)
		}
		first.Ping() // nobody has taken its session over
		h.connect("other", true)
		time.Sleep(2 * time.Millisecond)
		h.connect("pump", true)
		first.ExpectClosed()
	})
}

// What is remembered of arrivals is no more than what came lately.
func TestArrivalsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a arrivals
		for i := range 10_000 {
			if !a.admit(core.SessionKey{ClientID: fmt.Sprint(i)}, time.Second) {
				t.Fatal("a new client is refused")
			}
			time.Sleep(10 * time.Millisecond)
		}
		if got := len(a.until); got > 1200 {
			t.Errorf("%d are remembered", got)
		}
	})
}
