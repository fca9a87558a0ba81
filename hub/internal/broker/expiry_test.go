package broker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// later lets time pass, and what is due then happen.
func later(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// Statements of 5: [MQTT-4.1.0-1] [MQTT-4.1.0-2].
func TestSessionExpiry(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for name, c := range map[string]struct {
		expiry uint32
		after  time.Duration
		want   bool
	}{
		"in time [MQTT-3.1.2-23]": {60, 59 * time.Second, true},
		"too late":                {60, 61 * time.Second, false},
		"none":                    {0, time.Second, false},
		"never":                   {mqtt.SessionNeverExpires, 50 * year, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := startHub(t, t.TempDir(), Config{})
				p := mqtt.Connect{ClientID: "pump", SessionExpiry: c.expiry}
				a, ack := h.connect5(p)
				if ack.SessionPresent || ack.SessionExpiry.Present {
					t.Errorf("got %+v", ack)
				}
				a.Subscribe("x", 1)
				a.Close()
				later(c.after)
				if got, want := h.broker.stats.Sessions.Load(), int64(0); (got != want) != c.want {
					t.Errorf("%d sessions", got)
				}
				if got := h.publish("x", 1, "meanwhile"); (got == 1) != c.want {
					t.Errorf("a message reached %d", got)
				}
				b, ack := h.connect5(p)
				if ack.SessionPresent != c.want { // [MQTT-3.2.2-2] [MQTT-3.2.2-3]
					t.Errorf("session present: got %v, want %v", ack.SessionPresent, c.want)
				}
				if c.want {
					b.ReceiveMessage()
				}
				b.ExpectNothing()
				later(2 * time.Minute) // a connection keeps its session
				b.Ping()
				b.Disconnect()
			})
		})
	}
}

// Each end of a connection starts the time anew, also when the hub ends; what ended meanwhile is gone at the start.
// Statements of 5: [MQTT-4.1.0-2].
func TestSessionExpiryOverRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		h := startHub(t, dir, Config{})
		for id, expiry := range map[string]uint32{"short": 60, "long": 3600, "none": 0, "ever": mqtt.SessionNeverExpires} {
			h.connect5(mqtt.Connect{ClientID: id, SessionExpiry: expiry})
		}
		away, _ := h.connect5(mqtt.Connect{ClientID: "away", SessionExpiry: 600})
		away.Close()
		old, _ := h.connect("old", false)
		old.Subscribe("x", 1)
		later(time.Minute)
		h.kill()
		time.Sleep(2 * time.Minute)
		h = startHub(t, dir, Config{})
		if got := h.broker.stats.Sessions.Load(); got != 5 { // nobody knows how long "short" had been without a connection
			t.Errorf("%d sessions, want 5", got)
		}
		later(61 * time.Second)
		if got := h.broker.stats.Sessions.Load(); got != 4 {
			t.Errorf("%d sessions, want 4", got)
		}
		h.stop()
		time.Sleep(10 * time.Minute)
		h = startHub(t, dir, Config{})
		if got := h.broker.stats.Sessions.Load(); got != 3 {
			t.Errorf("%d sessions, want 3", got)
		}
		h.stop()
		time.Sleep(1000 * time.Hour)
		h = startHub(t, dir, Config{})
		if _, ack := h.connect5(mqtt.Connect{ClientID: "ever", SessionExpiry: 1}); !ack.SessionPresent {
			t.Error("a session that never expires is gone")
		}
		if _, present := h.connect("old", false); !present {
			t.Error("a session of version 3.1.1 is gone")
		}
		// A limit that is new applies to what is stored.
		h.stop()
		h = startHub(t, dir, Config{Limits: core.Limits{SessionExpiry: time.Hour}})
		later(61 * time.Minute)
		if got := h.broker.stats.Sessions.Load(); got != 0 {
			t.Errorf("%d sessions, want 0", got)
		}
	})
}

// A DISCONNECT can change the expiry, but not from none to some.
func TestSessionExpiryOfDisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHub(t, t.TempDir(), Config{Limits: core.Limits{SessionExpiry: time.Hour}})
		for _, c := range []struct {
			connect, disconnect uint32
			lives               time.Duration
		}{{60, 0, 0}, {60, 600, 10 * time.Minute}, {600, 60, time.Minute}, {60, 1e6, time.Hour}, {0, 0, 0}} {
			p := mqtt.Connect{ClientID: "pump", SessionExpiry: c.connect}
			a, _ := h.connect5(p)
			a.Send(mqtt.Disconnect{SessionExpiry: mqtt.Some(c.disconnect)})
			a.ExpectClosed()
			if c.lives > 0 {
				later(c.lives - time.Second)
				b, ack := h.connect5(mqtt.Connect{ClientID: "pump", SessionExpiry: c.connect})
				if !ack.SessionPresent {
					t.Errorf("%+v: the session is gone", c)
				}
				b.Send(mqtt.Disconnect{SessionExpiry: mqtt.Some(c.disconnect)})
				b.ExpectClosed()
			}
			later(c.lives + time.Second)
			if got := h.broker.stats.Sessions.Load(); got != 0 {
				t.Errorf("%+v: the session is still there", c)
			}
		}
		a, _ := h.connect5(mqtt.Connect{ClientID: "pump"})
		a.Send(mqtt.Disconnect{SessionExpiry: mqtt.Some(uint32(1))})
		a.ExpectDisconnect(mqtt.ReasonProtocolError)
	})
}

// Clean Start ends what was there [MQTT-3.1.2-4]; without it the session is taken up [MQTT-3.1.2-5], also by a connection
// that ends it.
// Statements of 5: [MQTT-3.1.2-6] [MQTT-3.1.3-2] [MQTT-3.1.4-4] [MQTT-3.2.2-2].
func TestCleanStart(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	connect := func(clean bool, expiry uint32, want bool) {
		t.Helper()
		c, ack := h.connect5(mqtt.Connect{ClientID: "pump", CleanStart: clean, SessionExpiry: expiry})
		if ack.SessionPresent != want {
			t.Errorf("session present: got %v, want %v", ack.SessionPresent, want)
		}
		c.Send(mqtt.Disconnect{})
		c.ExpectClosed()
	}
	connect(true, 100, false)
	connect(false, 100, true)
	connect(true, 100, false)
	connect(false, 0, true)
	connect(false, 100, false)
}

// Sessions of version 3.1.1 stay for as long as the limit says.
func TestSessionLimitOf311(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHub(t, t.TempDir(), Config{})
		h.plain.limits.SessionExpiry = time.Hour
		for _, wait := range []time.Duration{59 * time.Minute, 61 * time.Minute} {
			c, _ := h.connect("pump", false)
			c.Disconnect()
			later(wait)
			if _, present := h.connect("pump", false); present != (wait < time.Hour) {
				t.Errorf("after %v: present is %v", wait, present)
			}
		}
	})
}
