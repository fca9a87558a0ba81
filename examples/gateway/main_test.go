package main

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/hub/hubtest"
	"github.com/fairlead-iot/fairlead/identity"
)

// Two sensors become two devices, and are the same ones after a restart, which needs no right to register any more.
func TestGateway(t *testing.T) {
	hub := hubtest.New(t)
	realm := hub.Astarte(t)
	realm.Install(t, reading)
	dir := filepath.Join(t.TempDir(), "gateway")
	registered := 0
	start := func() (sensors string, stop func()) {
		g := &gateway{dir: dir, base: astarte.Config{
			PairingURL: realm.PairingURL, Realm: realm.Name, HTTP: hub.HTTP(), RootCAs: hub.Roots(), Dial: hub.Dial, MinBackoff: 10 * time.Millisecond, MaxBackoff: 100 * time.Millisecond,
		}}
		g.register = func(_ context.Context, _ *astarte.Pairing, id string) (identity.Secret, error) {
			registered++
			return realm.Register(t, id), nil
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- g.run(ctx, l) }()
		return l.Addr().String(), func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	send := func(to, text string) {
		c, err := net.Dial("tcp", to)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, text)
	}
	// values returns what has arrived when a value has; each does at least once.
	values := func(name string, last float64) string {
		id := astarte.NamedDeviceID(namespace, name)
		return fmt.Sprint(slices.Compact(hubtest.Decode(t, hub.AwaitValue(t, id, "org.example.Reading:1/value", last)...)))
	}

	sensors, stop := start()
	send(sensors, "cellar 12.5\nno line\n../etc 1\nattic NaN\ncellar 12.75\nattic 30\n")
	if got := values("cellar", 12.75); got != "[12.5 12.75]" {
		t.Errorf("cellar: got %s", got)
	}
	if got := values("attic", 30); got != "[30]" {
		t.Errorf("attic: got %s", got)
	}
	stop()
	sensors, stop = start()
	defer func() { stop() }()
	send(sensors, "cellar 13\n")
	if got := values("cellar", 13); got != "[12.5 12.75 13]" {
		t.Errorf("cellar: got %s", got)
	}
	if registered != 2 {
		t.Errorf("%d devices were registered", registered)
	}
}
