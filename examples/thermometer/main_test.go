package main

import (
	"context"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/hub/hubtest"
)

func TestThermometer(t *testing.T) {
	hub := hubtest.New(t) // a whole hub, in memory
	realm := hub.Astarte(t)
	realm.Install(t, climate)
	id := astarte.RandomDeviceID()
	cfg := astarte.Config{
		PairingURL: realm.PairingURL, Realm: realm.Name, RootCAs: hub.Roots(), DeviceID: id, CredentialsSecret: realm.Register(t, id),
		Dir: t.TempDir(), HTTP: hub.HTTP(), Dial: hub.Dial,
	}
	ctx, stop := context.WithCancel(t.Context())
	tick, done := make(chan time.Time), make(chan error, 1)
	go func() { done <- run(ctx, tick, cfg) }()

	tick <- time.Now()
	before := hub.WaitConnected(t, id)
	hub.AwaitSamples(t, id, "org.example.Climate:1/kitchen/temperature", 1)

	hub.Cut() // the network fails
	tick <- time.Now()
	hub.WaitReconnected(t, id, before)
	hub.AwaitSamples(t, id, "org.example.Climate:1/kitchen/temperature", 2)

	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
