package broker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
)

// withWill is a CONNECT with a will on "will" that has a delay in seconds.
func withWill(id string, expiry, delay uint32) mqtt.Connect {
	return mqtt.Connect{
		ClientID: id, SessionExpiry: expiry,
		Will: &mqtt.Will{Topic: "will", Payload: []byte(id), QoS: 1, Delay: delay},
	}
}

// watch returns a client that sees all wills, also later: its session stays.
func (h *testHub) watch() *mqtttest.Client {
	h.t.Helper()
	c, _ := h.connect("watcher", false)
	c.Subscribe("will/#", 1)
	return c
}

func expectWill(t *testing.T, c *mqtttest.Client, want string) {
	t.Helper()
	if m := c.ReceiveMessage(); string(m.Payload) != want {
		t.Errorf("got the will %q, want %q", m.Payload, want)
	}
}

// A will with a delay is published when the delay is over or the session ends, whichever comes first [MQTT-3.1.2-8],
// and not if the client is back before [MQTT-3.1.3-9].
func TestWillDelay(t *testing.T) {
	for name, c := range map[string]struct {
		expiry, delay uint32
		after         time.Duration // from the end of the connection to the will
	}{
		"delay": {3600, 60, time.Minute}, "session ends first": {60, 3600, time.Minute}, "no session": {0, 60, 0},
		"none": {3600, 0, 0}, "session stays": {mqtt.SessionNeverExpires, 1e6, 1e6 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := startHub(t, t.TempDir(), Config{})
				w := h.watch()
				connect := withWill("pump", c.expiry, c.delay)
				a, _ := h.connect5(connect)
				a.Close()
				synctest.Wait()
				if c.after > 0 {
					later(c.after - time.Second)
					w.ExpectNothing()
					a, _ = h.connect5(connect) // in time: the will is called off
					later(2 * time.Hour)
					w.ExpectNothing()
					a.Close()
					later(c.after - time.Second)
					w.ExpectNothing()
					later(2 * time.Second)
				}
				expectWill(t, w, "pump")
				later(24 * time.Hour)
				w.ExpectNothing()
				if got := len(h.received("pump")); got != 1 {
					t.Errorf("the dialect saw %d wills, want 1", got)
				}
				h.noWills()
			})
		})
	}
}

// A will on a topic that is the dialect's alone reaches nobody else, whoever publishes it.
func TestWithheldWill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHub(t, t.TempDir(), Config{})
		w := h.watch()
		w.Subscribe("withheld", 1)
		for _, delay := range []uint32{0, 60} { // by the connection, and by Run
			p := withWill("pump", 3600, delay)
			p.Will.Topic = "withheld"
			c, _ := h.connect5(p)
			c.Close()
			later(2 * time.Minute)
			w.ExpectNothing()
			h.noWills()
		}
	})
}

// noWills makes sure that nothing is left in storage.
func (h *testHub) noWills() {
	h.t.Helper()
	h.do(func(tx *commit.Tx) error {
		for w, err := range tx.Wills() {
			h.t.Errorf("left in storage: %+v, %v", w, err)
		}
		return nil
	})
}

// Whatever ends a connection, its will is published, but not after DISCONNECT with code 0 [MQTT-3.14.4-3].
// Statements of 5: [MQTT-3.1.2-10].
func TestWillOfEachEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHub(t, t.TempDir(), Config{})
		w := h.watch()
		for name, end := range map[string]func(*mqtttest.Client){
			"connection lost":    func(c *mqtttest.Client) { c.Close() },
			"malformed":          func(c *mqtttest.Client) { c.SendBytes([]byte{0xf3, 0}) },
			"with will":          func(c *mqtttest.Client) { c.Send(mqtt.Disconnect{Code: mqtt.ReasonDisconnectWithWill}) },
			"with another code":  func(c *mqtttest.Client) { c.Send(mqtt.Disconnect{Code: mqtt.ReasonUnspecified}) },
			"silent":             func(*mqtttest.Client) { later(16 * time.Second) }, // [MQTT-3.1.2-22]
			"taken over":         func(*mqtttest.Client) { c, _ := h.connect5(mqtt.Connect{ClientID: "pump"}); c.Disconnect() },
			"refused by dialect": func(c *mqtttest.Client) { c.Send(mqtt.Publish{Topic: []byte("close")}) },
			"operation failed":   func(c *mqtttest.Client) { c.Send(mqtt.Publish{Topic: []byte("fail")}) },
			"kicked":             func(c *mqtttest.Client) { c.Send(mqtt.Publish{Topic: []byte("kick")}) },
			"goodbye":            nil,
		} {
			p := withWill("pump", 0, 0)
			p.KeepAlive = 10
			c, _ := h.connect5(p)
			if end == nil {
				c.Disconnect()
				synctest.Wait()
				w.ExpectNothing()
			} else {
				end(c)
				synctest.Wait()
				t.Log(name)
				expectWill(t, w, "pump")
			}
			c.Close()
			synctest.Wait()
			h.noWills()
		}
	})
}

// A new connection without Clean Start calls a delayed will off, one with it ends the session and makes the will due.
// (MQTT 5.0 section 3.1.4, the comment on server actions.)
func TestWillAtTakeover(t *testing.T) {
	for _, clean := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h := startHub(t, t.TempDir(), Config{})
			w := h.watch()
			h.connect5(withWill("pump", 600, 60))
			p := withWill("pump", 600, 60)
			p.CleanStart, p.Will.Payload = clean, []byte("second")
			c, _ := h.connect5(p)
			synctest.Wait()
			if clean {
				expectWill(t, w, "pump")
			}
			later(10 * time.Minute)
			w.ExpectNothing()
			c.Close()
			later(61 * time.Second)
			expectWill(t, w, "second")
			h.noWills()
		})
	}
}

// A client that says goodbye and is back at once has said goodbye, whichever of the two is seen first.
func TestGoodbyeRightBeforeTheNextConnection(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	w := h.watch()
	for range 50 {
		c, _ := h.connect5(withWill("pump", 600, 0))
		c.Send(mqtt.Publish{Topic: []byte("a")})
		c.Send(mqtt.Disconnect{})
		next, _ := h.connect5(mqtt.Connect{ClientID: "pump"})
		next.Disconnect()
	}
	w.ExpectNothing()
}

// Wills survive the hub: whoever was connected when it was killed has left a will that counts from the start.
// Statements of 5: [MQTT-3.1.2-7].
func TestWillOverRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		h := startHub(t, dir, Config{})
		h.watch().Close()
		h.connect5(withWill("at once", 600, 0))
		h.connect5(withWill("back in time", 600, 60))
		h.connect5(withWill("too late", 600, 60))
		h.connect5(withWill("without a session", 0, 60))
		gone, _ := h.connect5(withWill("gone before", 600, 300))
		gone.Close()
		synctest.Wait()
		h.kill()
		h = startHub(t, dir, Config{})
		synctest.Wait()
		w := h.watch()
		got := map[string]bool{}
		for range 2 { // due at the same time, so in any order
			got[string(w.ReceiveMessage().Payload)] = true
		}
		if !got["at once"] || !got["without a session"] {
			t.Errorf("got the wills %v", got)
		}
		w.ExpectNothing()
		later(30 * time.Second)
		back, _ := h.connect5(withWill("back in time", 600, 60))
		later(31 * time.Second)
		expectWill(t, w, "too late")
		w.ExpectNothing()
		// An orderly stop ends connections as all else does.
		h.connect5(withWill("stopped", 600, 0))
		_ = back
		h.stop()
		time.Sleep(time.Hour)
		h = startHub(t, dir, Config{})
		synctest.Wait()
		w = h.watch()
		for _, want := range []string{"stopped", "back in time", "gone before"} {
			expectWill(t, w, want)
		}
		w.ExpectNothing()
		for _, id := range []string{"at once", "back in time", "too late", "without a session", "stopped", "gone before"} {
			if got := len(h.received(id)); got != 1 {
				t.Errorf("the dialect saw %d wills of %q, want 1", got, id)
			}
		}
		h.noWills()
	})
}

// A will that is due is published also if its client resumes the session before it is the will's turn: after a restart
// there may be many before it.
func TestDueWillIsNotCalledOff(t *testing.T) {
	for name, ago := range map[string]time.Duration{"just now": 0, "before the start": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := startHub(t, t.TempDir(), Config{})
				w := h.watch()
				h.do(func(tx *commit.Tx) error { // in one transaction, so that Run cannot be faster
					k := core.SessionKey{Tenant: "t", Dialect: "plain", ClientID: "pump"}
					x := newWill(core.Will{Session: k, Lasts: core.Forever, Message: core.Message{Topic: "will", Payload: []byte("pump"), QoS: 1}})
					if err := tx.InsertWill(&x.Will); err != nil {
						return err
					}
					h.broker.wills[k] = x
					if err := h.broker.postponeWill(tx, x, tx.Now().Add(-ago)); err != nil {
						return err
					}
					return h.broker.settleWill(tx, k, true)
				})
				synctest.Wait()
				expectWill(t, w, "pump")
				h.noWills()
			})
		})
	}
}

// A will that the disk refuses is published when it does not any more.
func TestWillWhileTheDiskRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHub(t, t.TempDir(), Config{})
		w := h.watch()
		now, _ := h.connect5(withWill("now", 600, 0))
		soon, _ := h.connect5(withWill("soon", 600, 10))
		soon.Close()
		synctest.Wait()
		h.store.refuse(core.ErrStorage)
		now.Close()
		later(time.Minute)
		h.store.refuse(nil)
		later(10 * time.Second)
		got := map[string]bool{}
		for range 2 {
			got[string(w.ReceiveMessage().Payload)] = true
		}
		if !got["now"] || !got["soon"] {
			t.Errorf("got %v", got)
		}
		w.ExpectNothing()
		h.noWills()
	})
}

// Executor implements dialect.Executor.
func (p *plain) Executor(_ context.Context, k core.SessionKey, _ core.DeviceNum) (dialect.Link, error) {
	return &plainLink{p: p, key: k}, nil
}

// A will has to keep the rules that messages have.
// Statements of 5: [MQTT-3.1.4-2].
func TestWillThatIsRefused(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	h.plain.grant = func(g *core.Grant) { g.Publish, g.Profile.QoS = []string{"up/#"}, core.UpToQoS1 }
	for name, c := range map[string]struct {
		will mqtt.Will
		want mqtt.ReasonCode
	}{
		"QoS [MQTT-3.2.2-12]":    {mqtt.Will{Topic: "up/x", QoS: 2}, mqtt.ReasonQoSNotSupported},
		"retain [MQTT-3.2.2-13]": {mqtt.Will{Topic: "up/x", Retain: true}, mqtt.ReasonRetainNotSupported},
		"topic":                  {mqtt.Will{Topic: "down"}, mqtt.ReasonNotAuthorized},
		"none of it":             {mqtt.Will{Topic: "up/x", QoS: 1}, mqtt.ReasonSuccess},
	} {
		if _, ack := h.try5(mqtt.Connect{ClientID: "pump", CleanStart: true, Will: &c.will}); mqtt.ReasonCode(ack.Code) != c.want {
			t.Errorf("%s: got %#x, want %v", name, ack.Code, c.want)
		}
	}
}

// What version 5 adds to a will goes with it, and its expiry counts from when it is published.
func TestWillProperties(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHub(t, t.TempDir(), Config{})
		h.plain.grant = func(g *core.Grant) { g.Retain = true }
		w, _ := h.connect5(mqtt.Connect{ClientID: "watcher", CleanStart: true})
		w.SubscribeWith(mqtt.Subscribe{Subscriptions: []mqtt.Subscription{{Filter: "will", QoS: 1, RetainAsPublished: true}}})
		for _, delay := range []uint32{0, 100} { // by the connection, and by Run
			p := withWill("pump", 600, delay)
			p.Will.Retain, p.Will.MessageExpiry = true, mqtt.Some(uint32(50))
			p.Will.Properties = &mqtt.MessageProperties{
				PayloadFormat: mqtt.Some(byte(1)), ContentType: mqtt.Some("text/plain"), ResponseTopic: "r", CorrelationData: []byte{1},
				User: []mqtt.UserProperty{{Key: "a", Value: "1"}, {Key: "b", Value: "2"}}, // [MQTT-3.1.3-10]
			}
			c, _ := h.connect5(p)
			c.Close()
			later(time.Duration(delay+1) * time.Second)
			m := w.ReceiveMessage()
			if d := cmp.Diff(p.Will.Properties, m.Properties); d != "" || !m.Retain || m.MessageExpiry.Value < 48 || m.MessageExpiry.Value > 50 {
				t.Errorf("delay %d: got %+v\n%s", delay, m, d)
			}
			later(10 * time.Second)
			late, _ := h.connect5(mqtt.Connect{ClientID: "late", CleanStart: true}) // [MQTT-3.1.2-15]
			late.Subscribe("will", 1)
			if m := late.ReceiveMessage(); !m.Retain || m.MessageExpiry.Value > 40 {
				t.Errorf("delay %d: retained: got %+v", delay, m)
			}
			late.Disconnect()
		}
	})
}

// A client that is silent for one and a half times its keep-alive is gone [MQTT-3.1.2-22], and is told so.
// Statements of 3.1.1:; of 5: [MQTT-3.2.2-22].
func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHub(t, t.TempDir(), Config{})
		h.plain.limits.KeepAlive = 100 * time.Second
		for asked, want := range map[uint16]time.Duration{10: 15 * time.Second, 0: 150 * time.Second, 1000: 150 * time.Second} {
			c, _ := h.connect5(mqtt.Connect{ClientID: "pump", CleanStart: true, KeepAlive: asked})
			later(want - time.Second)
			c.Ping()
			later(want - time.Second)
			c.Send(mqtt.Publish{Topic: []byte("a")}) // any packet will do
			later(want - time.Second)
			if got := h.broker.stats.Connections.Load(); got != 1 {
				t.Errorf("%d: %d connections after %v, want 1", asked, got, want-time.Second)
			}
			later(2 * time.Second)
			if got := h.broker.stats.Connections.Load(); got != 0 {
				t.Errorf("%d: %d connections after %v, want 0", asked, got, want+time.Second)
			}
			c.ExpectDisconnect(mqtt.ReasonKeepAliveTimeout)
		}
	})
}
