package broker

import (
	"fmt"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// forgetTenant closes the tenant of the rig, waits for its connections to end and forgets it in slices.
func (h *testHub) forgetTenant() (slices int) {
	h.t.Helper()
	h.do(func(tx *commit.Tx) error {
		h.broker.CloseTenant(tx, "t")
		return tx.CloseTenant("t")
	})
	eventually(h.t.(*testing.T), "the end of the connections", func() bool { return !h.broker.ServingTenant("t") })
	for n := -1; n != 0; slices++ {
		h.do(func(tx *commit.Tx) (err error) {
			n, err = h.broker.ForgetTenant(tx, "t", 3)
			return err
		})
		if n > 3 {
			h.t.Fatalf("a slice of %d", n)
		}
	}
	return slices
}

// TestDeletedTenant: connections end and nobody gets in, also after a restart; sessions, wills and retained messages go;
// and then a tenant of the same name begins with nothing.
func TestDeletedTenant(t *testing.T) {
	dir := t.TempDir()
	h := startHub(t, dir, Config{})
	for i := range 8 {
		c, _ := h.connect(fmt.Sprint("away", i), false)
		c.Subscribe("$share/g/x/#", 1)
		c.Send(mqtt.Publish{QoS: 1, ID: 5, Topic: []byte(fmt.Sprint("kept/", i)), Payload: []byte("p"), Retain: true})
		c.Expect(mqtt.Ack{Type: mqtt.TypePubAck, ID: 5})
		c.Disconnect()
	}
	for range 20 {
		h.publish("x/1", 1, "shared")
	}
	will := h.dial()
	with := withWill("will", 3600, 3600)
	with.Version, with.Username, with.HasUsername = mqtt.V5, "t", true
	will.Connect(with)
	will.Close()
	here, _ := h.connect("here", false)
	if slices := h.forgetTenant(); slices < 5 {
		t.Errorf("in %d slices", slices)
	}
	here.ExpectClosed()

	refused := func() {
		t.Helper()
		c := h.dial()
		if ack := c.TryConnect(mqtt.Connect{Version: mqtt.V5, ClientID: "here", Username: "t", HasUsername: true}); ack.Code != byte(mqtt.ReasonNotAuthorized) {
			t.Errorf("got %v", ack.Code)
		}
		c.ExpectClosed()
	}
	refused()
	h.kill()
	h = startHub(t, dir, Config{})
	refused()
	h.noWills()
	err := h.store.View(t.Context(), func(rd store.Reader) error {
		for s, err := range rd.Sessions() {
			t.Errorf("session %v is left (%v)", s.Key, err)
		}
		for s, err := range rd.RetainedSizes() {
			t.Errorf("%v is left (%v)", s, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	h.do(func(tx *commit.Tx) error {
		for n := -1; n != 0; {
			var err error
			if n, err = tx.SweepTenant("t", 100); err != nil {
				return err
			}
		}
		if err := tx.DeleteTenant("t"); err != nil {
			return err
		}
		h.broker.TenantDeleted(tx, "t")
		return nil
	})
	h.do(func(tx *commit.Tx) error { return tx.InsertTenant(core.Tenant{ID: "t"}) })
	c, present := h.connect("away1", false)
	if present {
		t.Error("a session of the tenant before is there")
	}
	c.Subscribe("#", 1)
	h.publish("news", 1, "the first")
	if m := c.ReceivePublish(); string(m.Topic) != "news" {
		t.Errorf("got %s", m.Topic)
	}
	if n := h.broker.Stats().Retained.Load(); n != 0 {
		t.Errorf("%d retained messages", n)
	}
}
