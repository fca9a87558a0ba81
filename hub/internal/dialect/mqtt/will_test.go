package mqtt

import (
	"errors"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// A will that comes after its connection is a sample too, and nothing of a device that is deleted meanwhile.
func TestLateWill(t *testing.T) {
	g := newRig(t, nil)
	password := g.add("dev/pump")
	c := g.connect("dev/pump", password, mqtt.Connect{
		Version: mqtt.V5, ClientID: "c", SessionExpiry: 60, Will: &mqtt.Will{Topic: "pump/gone", Payload: []byte("late"), QoS: 1, Delay: 1},
	})
	c.Publish("pump/x", 1, []byte("1"))
	c.Close()
	g.eventually("the will", func() bool { return g.samples("dev/pump")["pump/gone"] == "late" })
	if _, err := g.d.Executor(t.Context(), core.SessionKey{}, 999); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("of no device: got %v, want %v", err, core.ErrNotFound)
	}
}
