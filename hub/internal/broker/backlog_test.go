package broker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
)

// unread returns what waits for a device.
func (h *testHub) unread(n core.DeviceNum) (bytes int64, users int) {
	h.broker.mu.Lock()
	defer h.broker.mu.Unlock()
	l := h.broker.backlogs[n]
	if l == nil {
		return 0, 0
	}
	for c := l.first; c != nil; c = c.sibling {
		users++
	}
	return l.bytes.Load(), users
}

// TestUnreadOfADevice: connections of one device that do not acknowledge hold no more together than one device may, whether
// their sessions are stored or not; one that does is not held up; and what was left in storage comes in order.
func TestUnreadOfADevice(t *testing.T) {
	const most, size, n = 1 << 20, 10_000, 20
	h := startHub(t, t.TempDir(), Config{Limits: core.Limits{DeviceUnread: most}})
	h.plain.grant = func(g *core.Grant) { g.Device = 7 }
	var deaf []*mqtttest.Client
	for i := range n {
		c, _ := h.connect(fmt.Sprint("deaf", i), i%2 == 0)
		c.Subscribe("x", 1)
		deaf = append(deaf, c)
	}
	reader, _ := h.connect("reader", true)
	reader.Subscribe("x", 1)
	payload := strings.Repeat("p", size-4)
	for i := range 60 { // 12 MB in all
		h.publish("x", 1, fmt.Sprintf("%04d", i)+payload)
		if m := reader.ReceiveMessage(); string(m.Payload[:4]) != fmt.Sprintf("%04d", i) {
			t.Fatalf("the reader got %s as message %d", m.Payload[:4], i)
		}
	}
	got, users := h.unread(7)
	if users != n+1 || got < most || got > most+(n+1)*(smallBacklog+2*size) {
		t.Errorf("%d bytes wait for %d connections, want about %d", got, users, most)
	}
	if h.broker.stats.Dropped.Load() == 0 {
		t.Error("nothing was dropped for sessions that are not stored")
	}
	stored := deaf[1] // has lost nothing
	for i := range 60 {
		if m := stored.ReceiveMessage(); string(m.Payload[:4]) != fmt.Sprintf("%04d", i) {
			t.Fatalf("got %s as message %d", m.Payload[:4], i)
		}
	}
	for _, c := range append(deaf, reader) {
		c.Close()
	}
	eventually(t, "the end", func() bool { _, users := h.unread(7); return users == 0 })
}

// TestRefillIsBounded: a client that comes back is given some of its queue at a time, and all of it in the end.
func TestRefillIsBounded(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	h.plain.grant = func(g *core.Grant) { g.Device = 7 }
	c, _ := h.connect("a", false)
	c.Subscribe("x", 1)
	c.Disconnect()
	eventually(t, "the end of the connection", func() bool { return !h.broker.Serving(7) })
	payload := strings.Repeat("p", 100_000)
	const n = 60
	for i := range n {
		h.publish("x", 1, fmt.Sprintf("%04d", i)+payload)
	}
	c = h.dial()
	c.Connect(mqtt.Connect{ClientID: "a", Username: "t", HasUsername: true})
	first := c.ReceivePublish()
	if got, _ := h.unread(7); got > 3*refillBytes {
		t.Errorf("%d bytes wait at once, of %d", got, n*100_000)
	}
	c.Acknowledge(first)
	for i := 1; i < n; i++ {
		if m := c.ReceiveMessage(); string(m.Payload[:4]) != fmt.Sprintf("%04d", i) {
			t.Fatalf("got %s as message %d", m.Payload[:4], i)
		}
	}
}

// TestUnreadOfAll: when too much waits for all together, connections of the device are closed for which most waits, and what
// is stored for them is not lost; others stay, whether they read or have little waiting.
func TestUnreadOfAll(t *testing.T) {
	const most, size = 4 << 20, 10_000
	h := startHub(t, t.TempDir(), Config{MaxUnreadBytes: most})
	var device core.DeviceNum
	h.plain.grant = func(g *core.Grant) { g.Device = device }
	connect := func(n core.DeviceNum, id, topic string) *mqtttest.Client {
		device = n
		c, _ := h.connect(id, false)
		c.Subscribe(topic, 1)
		return c
	}
	reader, slow := connect(1, "reader", "x"), connect(2, "slow", "y")
	deaf := []*mqtttest.Client{connect(3, "deaf0", "x"), connect(3, "deaf1", "x"), connect(3, "deaf2", "x")}
	payload := strings.Repeat("p", size-4)
	for i := range 10 {
		h.publish("y", 1, fmt.Sprintf("%04d", i)+payload)
	}
	const n = 250
	for i := range n { // 2.5 MB for each of the deaf ones
		h.publish("x", 1, fmt.Sprintf("%04d", i)+payload)
		if m := reader.ReceiveMessage(); string(m.Payload[:4]) != fmt.Sprintf("%04d", i) {
			t.Fatalf("the reader got %s as message %d", m.Payload[:4], i)
		}
	}
	eventually(t, "some are closed", func() bool { return h.broker.stats.Shed.Load() > 0 })
	eventually(t, "less waits", func() bool { return h.broker.unread.bytes.Load() <= most })
	reader.Ping()
	if got, users := h.unread(2); users != 1 || got < 10*size {
		t.Errorf("the slow one has %d connections, and %d bytes waiting", users, got)
	}
	for i := range 10 {
		if m := slow.ReceiveMessage(); string(m.Payload[:4]) != fmt.Sprintf("%04d", i) {
			t.Fatalf("the slow one got %s as message %d", m.Payload[:4], i)
		}
	}
	for _, c := range deaf {
		c.Close()
	}
	eventually(t, "the deaf ones have gone", func() bool { _, users := h.unread(3); return users == 0 })
	for i := range len(deaf) {
		device = 3
		c, _ := h.connect(fmt.Sprint("deaf", i), false)
		for k := range n {
			if m := c.ReceiveMessage(); string(m.Payload[:4]) != fmt.Sprintf("%04d", k) {
				t.Fatalf("client %d got %s as message %d", i, m.Payload[:4], k)
			}
		}
		c.Close()
	}
	reader.Close()
	slow.Close()
	eventually(t, "the end", func() bool { return h.broker.unread.bytes.Load() == 0 })
}
