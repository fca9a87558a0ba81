package broker

import (
	"slices"
	"sync/atomic"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// A mistake of a dialect ends one connection, and nothing of what was not acknowledged is left of it.
func TestDialectPanics(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	var broken atomic.Bool
	h.plain.grant = func(*core.Grant) {
		if broken.Load() {
			panic("in SignIn")
		}
	}
	other, _ := h.connect("other", true)
	for _, expiry := range []uint32{0, 60} {
		c, _ := h.connect5(mqtt.Connect{ClientID: "pump", SessionExpiry: expiry, Will: &mqtt.Will{Topic: "panic"}})
		c.SendBytes(append(encode(mqtt.Publish{Topic: []byte("a"), QoS: 2, ID: 1}), encode(mqtt.Publish{Topic: []byte("panic"), QoS: 1, ID: 2})...))
		c.ExpectDisconnect(mqtt.ReasonUnspecified)
		eventually(t, "disconnection", func() bool { return h.broker.stats.Connections.Load() == 1 })
	}
	other.Publish("a", 1, nil)
	if !slices.Contains(h.plain.logged(), "disconnected pump: internal error") {
		t.Errorf("got %q", h.plain.logged())
	}
	h.noWills()
	broken.Store(true)
	c := h.dial()
	c.Send(mqtt.Connect{ClientID: "pump", CleanStart: true, Username: "t", HasUsername: true})
	c.ExpectClosed()
	broken.Store(false)
	h.plain.stumble = true
	c, _ = h.connect5(mqtt.Connect{ClientID: "pump", SessionExpiry: 60})
	c.Close()
	eventually(t, "disconnection", func() bool { return h.broker.stats.Connections.Load() == 1 })
	if _, ack := h.connect5(mqtt.Connect{ClientID: "pump"}); !ack.SessionPresent {
		t.Error("the session is gone")
	}
	other.Ping()
}
