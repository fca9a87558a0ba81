package hubtest_test

import (
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/hub"
	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/hubtest"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/outbox"
	"github.com/fairlead-iot/fairlead/outbox/sqlitebox"
)

// TestTime shows that what the hub does by the clock it does by the bubble's.
func TestTime(t *testing.T) {
	t.Run("session and will", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := hubtest.New(t)
			c := newClient(t, h, "pump", mqtt.Connect{
				SessionExpiry: 2 * 3600,
				Will:          &mqtt.Will{Topic: "pump/state", Payload: []byte("lost"), QoS: 1, Delay: 3600},
			})
			if x := c.run(t); x.SessionPresent {
				t.Error("a session from nowhere")
			}
			h.Cut()
			c.ended(t)
			time.Sleep(59 * time.Minute)
			if got := h.Samples(t, "pump", "pump/state"); len(got) != 0 {
				t.Errorf("the will has come too soon: %v", got)
			}
			time.Sleep(2 * time.Minute)
			if got := h.AwaitSample(t, "pump", "pump/state"); got != "lost" {
				t.Errorf("will: got %v", got)
			}
			if x := c.run(t); !x.SessionPresent {
				t.Error("the session has gone too soon")
			}
			c.stop()
			<-c.result
			time.Sleep(2*time.Hour + time.Minute)
			if x := c.run(t); x.SessionPresent {
				t.Error("the session is still there")
			}
			c.stop()
			<-c.result
		})
	})
	t.Run("token", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := hubtest.New(t)
			c := h.Admin(t)
			made, err := c.CreateToken(t.Context(), admin.NewToken{Name: "an hour", Scope: "read", Expires: admin.NewTime(time.Now().Add(time.Hour))})
			if err != nil {
				t.Fatal(err)
			}
			c.Token = made.Secret
			for _, valid := range []bool{true, false} {
				if _, err := c.Status(t.Context()); valid != (err == nil) || !valid && !admin.IsUnauthenticated(err) {
					t.Errorf("valid %v: got %v", valid, err)
				}
				time.Sleep(time.Hour + time.Second)
			}
		})
	})
	t.Run("silence", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := hubtest.New(t)
			th := newThermostat(t, h)
			h.WaitConnected(t, th.ID())
			th.line.Drop(hubtest.BothWays)
			time.Sleep(5 * time.Minute) // keep-alive is a minute
			h.WaitDisconnected(t, th.ID())
			if th.Connected() {
				t.Error("the device has noticed nothing")
			}
		})
	})
	t.Run("retention", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := hubtest.Start(t, hubtest.Config{Hub: hub.Config{Retention: hub.Retention{SampleAge: time.Hour}}})
			th := newThermostat(t, h)
			th.send(t, 1)
			h.AwaitSample(t, th.ID(), channel)
			time.Sleep(61 * time.Minute)
			if got := h.Samples(t, th.ID(), channel); len(got) != 0 {
				t.Errorf("got %v", got)
			}
		})
	})
	t.Run("certificate", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := hubtest.New(t)
			th := newThermostat(t, h)
			h.WaitConnected(t, th.ID())
			first := certificates(t, h, th.ID())
			th.stop()
			h.Stop(t)
			time.Sleep(time.Until(first[0].NotAfter.Time) * 3 / 4) // months, in no time
			h.Start(t)
			th.run(t)
			for h.WaitConnected(t, th.ID()); len(certificates(t, h, th.ID())) == len(first); {
				time.Sleep(time.Second)
			}
		})
	})
}

// A value that may wait for an hour, in an outbox on disk, is not sent after two.
func TestExpiryInOutbox(t *testing.T) {
	const brief = `{"interface_name":"org.example.Brief","version_major":1,"version_minor":0,"type":"datastream","ownership":"device",
	"mappings":[{"endpoint":"/value","type":"integer","reliability":"guaranteed","retention":"stored","expiry":3600}]}`
	synctest.Test(t, func(t *testing.T) {
		h := hubtest.New(t)
		realm := h.Astarte(t)
		realm.Install(t, brief)
		store, err := sqlitebox.Open(t.Context(), sqlitebox.Config{Path: filepath.Join(t.TempDir(), "outbox.db")})
		if err != nil {
			t.Fatal(err)
		}
		box, err := outbox.Open(t.Context(), outbox.Config{Store: store})
		if err != nil {
			t.Fatal(err)
		}
		id := astarte.RandomDeviceID()
		th := &thermostat{}
		if th.Device, err = astarte.New(astarte.Config{
			PairingURL: realm.PairingURL, Realm: realm.Name, DeviceID: id, CredentialsSecret: realm.Register(t, id), Dir: t.TempDir(), Outbox: box,
			HTTP: h.HTTP(), RootCAs: h.Roots(), Dial: h.Dial, Interfaces: []*astarte.Interface{astarte.MustParseInterface(brief)},
		}); err != nil {
			t.Fatal(err)
		}
		for i, wait := range []time.Duration{2 * time.Hour, 30 * time.Minute} {
			if err := th.Send(t.Context(), "org.example.Brief", "/value", i, nil); err != nil {
				t.Error(err)
			}
			time.Sleep(wait)
		}
		th.run(t)
		th.flush(t)
		th.stop()
		if got := values(t, h.Samples(t, id, "org.example.Brief:1/value")); got != "[1]" {
			t.Errorf("got %s", got)
		}
		if err := errors.Join(th.Close(), box.Close()); err != nil {
			t.Error(err)
		}
	})
}

func certificates(t *testing.T, h *hubtest.Hub, id string) []admin.Certificate {
	t.Helper()
	page, err := h.Admin(t).Certificates(t.Context(), h.Device(t, id).DeviceKey, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	return page.Items
}
