package main

import (
	"context"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/hub/hubtest"
)

// The heating does what the server says, also after a restart without a network.
func TestActuator(t *testing.T) {
	hub := hubtest.New(t)
	realm := hub.Astarte(t)
	realm.Install(t, wishes, commands, state)
	line := hub.NewLine(t)
	id := astarte.RandomDeviceID()
	cfg := astarte.Config{
		PairingURL: realm.PairingURL, Realm: realm.Name, DeviceID: id, CredentialsSecret: realm.Register(t, id),
		Dir: filepath.Join(t.TempDir(), "heating"), HTTP: line.HTTP(), RootCAs: hub.Roots(), Dial: line.Dial, MinBackoff: 10 * time.Millisecond, MaxBackoff: 100 * time.Millisecond,
	}
	tick := make(chan time.Time)
	start := func() (stop func() *heating) {
		ctx, cancel := context.WithCancel(context.Background())
		h := &heating{room: "kitchen", temperature: 18}
		done := make(chan error, 1)
		go func() { done <- run(ctx, cfg, h, tick) }()
		return func() *heating {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			return h
		}
	}
	told := func(heating bool, target float64) func(hubtest.Answer) bool {
		return func(a hubtest.Answer) bool {
			var rooms map[string]struct {
				Heating bool
				Target  float64
			}
			return json.Unmarshal(a.Data, &rooms) == nil && rooms["kitchen"].Heating == heating && rooms["kitchen"].Target == target
		}
	}
	const reported = "/interfaces/org.example.HeatingState"

	stop := start()
	hub.WaitConnected(t, id)
	realm.Send(t, id, "org.example.HeatingWishes", "/kitchen/target", 21.5)
	realm.Await(t, "devices/"+id+reported, told(false, 21.5))
	tick <- time.Time{}
	realm.Await(t, "devices/"+id+reported, told(true, 21.5))
	stop()

	line.SetOffline(true)
	stop = start()
	tick <- time.Time{}
	tick <- time.Time{}
	if h := stop(); !h.on || h.target != 21.5 {
		t.Errorf("without a network: got %+v", h)
	}
	line.SetOffline(false)
	stop = start()
	realm.Unset(t, id, "org.example.HeatingWishes", "/kitchen/target")
	realm.Await(t, "devices/"+id+reported, told(false, 0))
	realm.Send(t, id, "org.example.HeatingCommands", "/kitchen/boost", 1_000_000)
	realm.Await(t, "devices/"+id+reported, func(a hubtest.Answer) bool {
		tick <- time.Time{}
		return told(true, 0)(a)
	})
	stop()
}
