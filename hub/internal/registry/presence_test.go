package registry_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
)

// Who has two connections is told of once, and their end is not undone by who was deleted meanwhile.
func TestPresence(t *testing.T) {
	w := newWorld(t)
	w.register("pump", nil)
	var d core.Device
	w.do(func(tx *commit.Tx) (err error) { d, err = tx.Device(key("pump")); return err })
	first := w.now
	for _, addr := range []string{"192.0.2.1", "192.0.2.2"} {
		w.do(func(tx *commit.Tx) error { return registry.Connected(tx, d.Num, addr) })
		w.now = w.now.Add(time.Hour)
	}
	w.do(func(tx *commit.Tx) error { return registry.Disconnected(tx, d.Num, "lost") })
	want := d
	want.LastConnected, want.LastDisconnected, want.LastAddr = first.Add(time.Hour), w.now, "192.0.2.2"
	var told []string
	w.do(func(tx *commit.Tx) error {
		got, err := tx.Device(key("pump"))
		if err != nil {
			return err
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the device, -want +got:\n%s", diff)
		}
		events, err := tx.TenantEvents("acme", 0, 10)
		for _, e := range events {
			if e.Kind == core.DeviceConnected || e.Kind == core.DeviceDisconnected {
				told = append(told, string(e.Kind)+string(e.Data))
			}
		}
		return err
	})
	if diff := cmp.Diff([]string{`device.connected{"addr":"192.0.2.1"}`, `device.disconnected{"reason":"lost"}`}, told); diff != "" {
		t.Errorf("the events, -want +got:\n%s", diff)
	}
	w.do(func(tx *commit.Tx) error { return registry.Delete(tx, d) })
	w.do(func(tx *commit.Tx) error { return registry.Disconnected(tx, d.Num, "deleted") })
	w.wantErr("connected after its deletion", w.try(func(tx *commit.Tx) error { return registry.Connected(tx, d.Num, "") }), core.ErrNotFound)
}
