package hubtest_test

import (
	"log"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/hub"
	"github.com/fairlead-iot/fairlead/hub/hubtest"
)

var (
	t      *testing.T // that of your test function
	device *astarte.Device
	id     string
)

// A device on this module's SDK, from its registration to its first value. The documentation of the package has it as a test.
func Example() {
	hub := hubtest.New(t)
	realm := hub.Astarte(t)
	realm.Install(t, climate)
	id := astarte.RandomDeviceID()

	device, err := astarte.New(astarte.Config{
		PairingURL: realm.PairingURL, Realm: realm.Name, DeviceID: id, CredentialsSecret: realm.Register(t, id),
		Dir: t.TempDir(), HTTP: hub.HTTP(), RootCAs: hub.Roots(), Dial: hub.Dial,
		Interfaces: []*astarte.Interface{astarte.MustParseInterface(climate)},
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if err := device.Run(t.Context()); err != nil {
			log.Print(err)
		}
	}()
	hub.WaitConnected(t, id)
	if err := device.Send(t.Context(), "org.example.Climate", "/temperature", 21.5, nil); err != nil {
		t.Fatal(err)
	}
	if got := hub.AwaitSample(t, id, "org.example.Climate:1/temperature"); got != 21.5 {
		t.Errorf("got %v", got)
	}
}

// A hub with limits of its own, that logs into the test.
func ExampleStart() {
	h := hubtest.Start(t, hubtest.Config{Hub: hub.Config{
		Retention: hub.Retention{SampleAge: time.Hour},
		Logger:    slog.New(slog.NewTextHandler(t.Output(), nil)),
	}})
	h.Admin(t)
}

// What a device does in a tunnel, and behind it.
func ExampleLine_SetOffline() {
	hub := hubtest.New(t)
	line := hub.NewLine(t) // HTTP: line.HTTP(), Dial: line.Dial
	before := hub.WaitConnected(t, id)

	line.SetOffline(true)
	if err := device.Send(t.Context(), "org.example.Climate", "/temperature", 21.5, nil); err != nil {
		t.Error(err) // retention is stored, so it is kept
	}
	line.SetOffline(false)

	hub.WaitReconnected(t, id, before)
	hub.AwaitSamples(t, id, "org.example.Climate:1/temperature", 1)
}

// A command that arrives twice, which MQTT allows with QoS 1: does the device do twice what it should do once?
func ExampleLine_Duplicate() {
	hub := hubtest.New(t)
	line := hub.NewLine(t)
	received := make(chan astarte.Data, 10) // filled by the device's OnData

	line.Duplicate(hubtest.ToDevice, func() {
		hub.Astarte(t).Send(t, id, "org.example.Commands", "/open", true)
		<-received
	})
	<-received // the same again
}

// A connection that ends at any moment of its life: after its first byte, in the middle of the handshake, behind the last message.
func ExampleLine_CutAfter() {
	hub := hubtest.New(t)
	line := hub.NewLine(t)
	for n := int64(0); n < 5000; n += 100 {
		cut := line.CutAfter(hubtest.BothWays, n)
		for done := false; !done; {
			if err := device.Send(t.Context(), "org.example.Climate", "/temperature", 21.5, nil); err != nil {
				t.Error(err)
			}
			select {
			case <-cut:
				done = true
			case <-time.After(time.Millisecond):
			}
		}
	}
}

// A hub that crashes loses nothing that it has acknowledged.
func ExampleHub_Kill() {
	hub := hubtest.New(t)
	if err := device.Flush(t.Context()); err != nil { // until everything is acknowledged
		t.Error(err)
	}
	hub.Kill(t)
	hub.Start(t)
	hub.AwaitSamples(t, id, "org.example.Climate:1/temperature", 1)
}

// Months pass while a device lies in a box; then it has to get itself another certificate.
func Example_time() {
	synctest.Test(t, func(t *testing.T) {
		hub := hubtest.New(t)
		// ... make a device, run it, and stop it
		hub.Stop(t)
		time.Sleep(200 * 24 * time.Hour)
		hub.Start(t)
		// ... run it again
		hub.WaitConnected(t, id)
	})
}

// A plain MQTT device, on any client library.
func ExampleHub_MQTT() {
	hub := hubtest.New(t)
	tenant := hub.MQTT(t)
	login := tenant.Register(t, "pump-7")
	// Connect to tenant.Address with TLS, over hub.Dial, with login.Username and login.Password; publish below login.TopicPrefix.
	tenant.Publish(t, login.TopicPrefix+"valve", "open")
	if got := hub.AwaitSample(t, "pump-7", login.TopicPrefix+"pressure"); got != 1.5 {
		t.Errorf("got %v", got)
	}
}
