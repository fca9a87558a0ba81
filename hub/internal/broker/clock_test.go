package broker

import (
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// Whoever sets the clock, nobody loses a connection, and what ends at a time ends once that time has come by the new clock.
func TestClockIsSet(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	set := func(d time.Duration) {
		h.skew.Store(int64(d))
		h.broker.attend(t.Context()) // Run comes by at least each minute: a timer does not notice
	}
	leave := func(id string, expiry, delay uint32) {
		c, _ := h.connect5(mqtt.Connect{ClientID: id, SessionExpiry: expiry, Will: &mqtt.Will{Topic: "will/" + id, Delay: delay}})
		c.Close()
	}
	watch, _ := h.connect5(mqtt.Connect{ClientID: "watch", CleanStart: true, KeepAlive: 10})
	watch.Subscribe("will/#", 0)
	leave("hour", 3600, 1800)
	leave("day", 86400, 86400)
	eventually(t, "they are away", func() bool { return h.broker.stats.Connections.Load() == 1 })

	set(-48 * time.Hour)
	watch.ExpectNothing()
	if got := h.broker.stats.Sessions.Load(); got != 3 {
		t.Errorf("with the clock two days back there are %d sessions", got)
	}
	leave("back", 3600, 1800) // by this clock
	eventually(t, "it is away", func() bool { return h.broker.stats.Connections.Load() == 1 })

	set(0) // forwards by two days
	if p := watch.ReceivePublish(); string(p.Topic) != "will/back" {
		t.Errorf("got %s", p.Topic)
	}
	eventually(t, "its session has ended", func() bool { return h.broker.stats.Sessions.Load() == 3 })

	set(2 * time.Hour)
	if p := watch.ReceivePublish(); string(p.Topic) != "will/hour" {
		t.Errorf("got %s", p.Topic)
	}
	set(2 * time.Hour)
	eventually(t, "that of an hour has ended", func() bool { return h.broker.stats.Sessions.Load() == 2 })
	set(1000 * 24 * time.Hour)
	if p := watch.ReceivePublish(); string(p.Topic) != "will/day" {
		t.Errorf("got %s", p.Topic)
	}
	watch.Ping() // its keep-alive knows no clock
}
