package hubtest

import (
	"net/url"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/admin"
)

// MQTT is a tenant of the hub, for plain MQTT devices: those that speak no platform's language, only MQTT.
type MQTT struct {
	Tenant  string
	Address string // host and port of MQTT over TLS

	hub *Hub
}

// MQTT returns the tenant for development.
func (h *Hub) MQTT(tb testing.TB) *MQTT {
	tb.Helper()
	u, err := url.Parse(h.State().MQTT)
	if err != nil {
		tb.Fatalf("hubtest: %v", err)
	}
	return &MQTT{Tenant: "dev", Address: u.Host, hub: h}
}

// Register makes a device, and returns what it signs in with. It may use the topics below Login.TopicPrefix.
func (m *MQTT) Register(tb testing.TB, id string) admin.Login {
	tb.Helper()
	made, err := m.hub.Admin(tb).AddDevice(tb.Context(), admin.NewDevice{Dialect: "mqtt", Tenant: m.Tenant, ID: id})
	if err != nil {
		tb.Fatalf("hubtest: %v", err)
	}
	return made.Login
}

// Publish sends a message with QoS 1 to the devices that subscribe to a topic, and returns how many sessions it has reached.
func (m *MQTT) Publish(tb testing.TB, topic, text string) int {
	tb.Helper()
	done, err := m.hub.Admin(tb).Publish(tb.Context(), m.Tenant, admin.NewMessage{Topic: topic, Text: text, QoS: 1})
	if err != nil {
		tb.Fatalf("hubtest: %v", err)
	}
	return done.Reached
}
