package broker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
)

// ofDevice makes all clients those of one device.
func (h *testHub) ofDevice() {
	h.plain.grant = func(g *core.Grant) { g.Device = 7 }
}

// try connects and returns the client and the code of the answer.
func (h *testHub) try(v mqtt.Version, id string, expiry uint32) (*mqtttest.Client, byte) {
	h.t.Helper()
	c := h.dial()
	ack := c.TryConnect(mqtt.Connect{
		Version: v, ClientID: id, Username: "t", HasUsername: true, CleanStart: expiry == 0, SessionExpiry: expiry,
	})
	return c, ack.Code
}

func TestSessionsOfDeviceAreBounded(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Limits: core.Limits{Sessions: 3}}
	h := startHub(t, dir, cfg)
	h.ofDevice()
	grant := h.plain.grant
	for i := range 2 {
		c, _ := h.try(mqtt.V5, fmt.Sprint("kept", i), 1000)
		c.Close()
	}
	eventually(t, "the kept ones are away", func() bool { return h.broker.stats.Connections.Load() == 0 })
	c, _ := h.try(mqtt.V5, "third", 0)
	full := func() {
		t.Helper()
		if _, code := h.try(mqtt.V5, "fourth", 0); code != byte(mqtt.ReasonQuotaExceeded) {
			t.Errorf("got %#x", code)
		}
		if _, code := h.try(mqtt.V311, "fourth", 0); code != mqtt.ConnAckUnavailable {
			t.Errorf("got %#x", code)
		}
	}
	full()
	if n := h.broker.stats.DeviceFull.Load(); n != 2 {
		t.Errorf("%d were counted", n)
	}
	if _, code := h.try(mqtt.V5, "kept0", 1000); code != 0 { // its own session is there already
		t.Errorf("a session cannot be continued: %#x", code)
	}
	c.Disconnect()
	eventually(t, "a session is gone", func() bool { return h.broker.stats.Sessions.Load() == 2 })
	if _, code := h.try(mqtt.V5, "third again", 1000); code != 0 {
		t.Errorf("a place does not come back: %#x", code)
	}
	h.plain.grant = nil // of no device: not bounded
	for i := range 5 {
		if _, code := h.try(mqtt.V5, fmt.Sprint("free", i), 0); code != 0 {
			t.Errorf("got %#x", code)
		}
	}
	h.stop()
	h = startHub(t, dir, cfg)
	h.plain.grant = grant
	full()
}

func TestSessionsOfTenantAreBounded(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{MaxSessions: 1})
	if _, code := h.try(mqtt.V5, "a", 0); code != 0 {
		t.Fatalf("got %#x", code)
	}
	if _, code := h.try(mqtt.V5, "b", 0); code != byte(mqtt.ReasonQuotaExceeded) {
		t.Errorf("got %#x", code)
	}
	c := h.dial()
	c.Connect(mqtt.Connect{Version: mqtt.V5, ClientID: "b", CleanStart: true, Username: "another", HasUsername: true})
	if n := h.broker.stats.TenantFull.Load(); n != 1 {
		t.Errorf("%d were counted", n)
	}
}

// The device's limit is found inside the transaction, behind those of the session: the answer tells of both.
func TestFiltersOfDeviceAreBounded(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{Limits: core.Limits{MaxFilters: 3, DeviceFilters: 5}})
	h.ofDevice()
	a, _ := h.try(mqtt.V5, "a", 1000)
	b, _ := h.try(mqtt.V5, "b", 1000)
	ask := func(c *mqtttest.Client, want string, filters ...string) {
		t.Helper()
		var s mqtt.Subscribe
		for _, f := range filters {
			s.Subscriptions = append(s.Subscriptions, mqtt.Subscription{Filter: f, QoS: 1})
		}
		if got := fmt.Sprintf("%x", c.SubscribeWith(s).Codes); got != want {
			t.Errorf("%q: got %s, want %s", filters, got, want)
		}
	}
	ask(a, "01010197", "1", "2", "3", "4")
	ask(b, "010187970197", "1", "2", "$SYS/x", "3", "2", "3")
	ask(b, "01", "1")
	h.publish("3", 1, "x") // reaches a only
	a.ReceiveMessage()
	b.ExpectNothing()
	a.Unsubscribe("3")
	b.Unsubscribe("3") // that it has asked for it is known to its connection
	ask(b, "01", "$share/g/3")
	old, _ := h.try(mqtt.V311, "old", 0)
	ask(old, "80", "1")
	if n := h.broker.stats.FiltersRefused.Load(); n != 3 {
		t.Errorf("%d were counted", n)
	}
	a.Close()
	if _, code := h.try(mqtt.V5, "a", 0); code != 0 { // a new session: those of the old one are free
		t.Fatalf("got %#x", code)
	}
	ask(old, "010180", "1", "2", "3")
}

// A device's filters are bounded in size too, and their levels count: each is a node of the tree.
func TestDeepFiltersOfDeviceAreBounded(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{Limits: core.Limits{MaxFilters: 100, DeviceFilters: 20}})
	h.ofDevice()
	deep := strings.Repeat("+/", 100) // 1,800 of 5,120 each
	for i, want := range []byte{0, 0, byte(mqtt.ReasonQuotaExceeded)} {
		c, _ := h.try(mqtt.V5, fmt.Sprint(i), 0)
		if got := c.Subscribe(deep+fmt.Sprint(i), 0); got != want {
			t.Errorf("filter %d: got %#x, want %#x", i, got, want)
		}
	}
}
