package main

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/hub/hubtest"
)

// The sensor loses its network, then its power, and no reading.
func TestSensor(t *testing.T) {
	hub := hubtest.New(t)
	realm := hub.Astarte(t)
	realm.Install(t, climate)
	line := hub.NewLine(t)
	id := astarte.RandomDeviceID()
	cfg := astarte.Config{
		PairingURL: realm.PairingURL, Realm: realm.Name, DeviceID: id, CredentialsSecret: realm.Register(t, id),
		Dir: filepath.Join(t.TempDir(), "sensor"), HTTP: line.HTTP(), RootCAs: hub.Roots(), Dial: line.Dial, MinBackoff: 10 * time.Millisecond, MaxBackoff: 100 * time.Millisecond,
	}
	tick := make(chan time.Time)
	reading := 0.0 // taken by one run at a time
	start := func() (stop func()) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			done <- run(ctx, cfg, "kitchen", tick, func() float64 { reading++; return reading })
		}()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	stop := start()
	taken := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tick <- taken
	hub.WaitConnected(t, id)

	line.SetOffline(true)
	tick <- taken.Add(time.Second)
	tick <- taken.Add(2 * time.Second)
	tick <- taken.Add(3 * time.Second) // taken when the one before is in the outbox
	stop()
	stop = start()
	defer func() { stop() }()
	line.SetOffline(false)
	tick <- taken.Add(4 * time.Second)
	tick <- taken.Add(5 * time.Second)

	// Each at least once: twice if its acknowledgement was lost.
	got := map[time.Time]any{}
	for _, s := range hub.AwaitValue(t, id, "org.example.RoomClimate:1/kitchen/temperature", 6.0) {
		got[s.At.Time] = hubtest.Decode(t, s)[0]
	}
	for i := range 3 {
		if at := taken.Add(time.Duration(i) * time.Second); got[at] != float64(i+1) {
			t.Errorf("reading %d: got %v", i+1, got[at])
		}
	}
}
