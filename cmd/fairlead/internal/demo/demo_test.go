package demo

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/hubtest"
	"github.com/fairlead-iot/fairlead/internal/sigv4"
)

// start runs the demo until stop is called, and returns its devices by name.
func start(t *testing.T, h *hubtest.Hub) (devices map[string]string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan []Device, 1), make(chan error, 1)
	go func() {
		done <- Run(ctx, Config{State: h.State(), Interval: 20 * time.Millisecond}, func(list []Device) { ready <- list })
	}()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	devices = map[string]string{}
	select {
	case list := <-ready:
		for _, d := range list {
			devices[d.Name] = d.Key.String()
		}
	case err := <-done:
		cancel()
		t.Fatalf("the demo has ended: %v", err)
	}
	return devices, stop
}

func TestDemo(t *testing.T) {
	h := hubtest.NewLoopback(t)
	devices, stop := start(t, h)
	for _, name := range []string{"kitchen", "living-room", "cellar"} {
		samples := h.AwaitSamples(t, devices[name], "org.example.demo.Room:1/temperature", int(past/pastStep)+3)
		if age := time.Since(samples[0].At.Time); age < past-pastStep {
			t.Errorf("%s: the past begins %v ago", name, age)
		}
	}
	h.AwaitSamples(t, devices["pump"], "org.example.demo.Pump:1/motor", 2)
	h.AwaitValue(t, devices["door"], "demo-door/online", true)
	h.AwaitValue(t, devices["door"], "demo-door/open", false)
	h.AwaitValue(t, devices["lamp"], "demo-lamp/brightness", int64(0))
	for h.MQTT(t).Publish(t, "demo-lamp/set", "70") == 0 { // it subscribes soon
		h.WaitConnected(t, devices["lamp"])
	}
	h.AwaitValue(t, devices["lamp"], "demo-lamp/brightness", int64(70))

	realm := h.Astarte(t)
	heating := h.Device(t, devices["heating"]).ID
	h.WaitConnected(t, devices["heating"])
	realm.Send(t, heating, "org.example.demo.HeatingWishes", "/target", 24)
	keeps := func(target float64) {
		t.Helper()
		realm.Await(t, "devices/"+heating+"/interfaces/org.example.demo.Heating", func(a hubtest.Answer) bool {
			var told struct{ Target, Valve float64 }
			return json.Unmarshal(a.Data, &told) == nil && told.Target == target
		})
	}
	keeps(24)
	if fan, ok := devices["fan"]; ok {
		h.AwaitSamples(t, fan, "dt/demo-fan/air", 2)
		follows(t, h)
		works(t, h)
	}
	stop()

	// The same devices again, with what they remember, and without another past.
	again, stop := start(t, h)
	defer stop()
	if len(again) != len(devices) || again["kitchen"] != devices["kitchen"] {
		t.Errorf("got %v, want %v", again, devices)
	}
	for _, id := range again {
		h.WaitConnected(t, id)
	}
	keeps(24)
	realm.Unset(t, heating, "org.example.demo.HeatingWishes", "/target")
	keeps(defaultTarget)
}

var fanKey = admin.DeviceKey{Dialect: "aws", Tenant: developTenant, ID: fanThing}

// follows checks that the fan does what an operator desires of it, as far as it can.
func follows(t *testing.T, h *hubtest.Hub) {
	t.Helper()
	for _, c := range []struct {
		desired string
		want    float64
	}{{`{"speed": 55}`, 55}, {`{"speed": 900, "colour": "red"}`, 100}, {`{"speed": 30}`, 30}} {
		if err := h.Admin(t).ChangeDesired(t.Context(), fanKey, admin.DesiredChange{Desired: json.RawMessage(c.desired)}); err != nil {
			t.Fatal(err)
		}
		await(t, c.desired, func() bool {
			page, err := h.Admin(t).Documents(t.Context(), fanKey, admin.EntryQuery{Side: "reported"})
			if err != nil || len(page.Items) != 1 {
				return false
			}
			speed, err := page.Items[0].Value.Decode()
			return err == nil && fmt.Sprint(speed) == fmt.Sprint(c.want)
		})
	}
}

// works checks that the fan does a job, and rejects another one.
func works(t *testing.T, h *hubtest.Hub) {
	t.Helper()
	env := h.Env(t, "aws")
	account := &awsAccount{
		http: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: h.Roots(), MinVersion: tls.VersionTLS12}}},
		url:  env["AWS_ENDPOINT_URL"], region: env["AWS_DEFAULT_REGION"],
		keys: sigv4.Credentials{AccessKeyID: env["AWS_ACCESS_KEY_ID"], SecretAccessKey: env["AWS_SECRET_ACCESS_KEY"]},
	}
	defer account.http.CloseIdleConnections()
	var thing struct {
		ARN string `json:"thingArn"`
	}
	if err := account.call(t.Context(), http.MethodGet, "/things/"+fanThing, "", nil, [2]string{}, &thing); err != nil {
		t.Fatal(err)
	}
	for operation, want := range map[string]string{"purge": "SUCCEEDED", "dance": "REJECTED"} {
		order := map[string]any{"targets": []string{thing.ARN}, "document": `{"operation": "` + operation + `"}`}
		if err := account.call(t.Context(), http.MethodPut, "/jobs/"+operation, "", order, [2]string{}, nil); err != nil {
			t.Fatal(err)
		}
		await(t, "job "+operation, func() bool {
			var now struct {
				Execution struct {
					Status string `json:"status"`
				} `json:"execution"`
			}
			err := account.call(t.Context(), http.MethodGet, "/things/"+fanThing+"/jobs/"+operation, "", nil, [2]string{}, &now)
			return err == nil && now.Execution.Status == want
		})
	}
}

// await asks until the answer is yes.
func await(t *testing.T, what string, ask func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ask(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: nothing came of it", what)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("the test has ended")
		}
	}
}

// TestHouse looks at a day in the house: nothing strange, and the afternoon is warmer than the night.
func TestHouse(t *testing.T) {
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	h := newHouse(at)
	var night, afternoon float64
	opened := false
	for ; at.Day() == 1; at = at.Add(10 * time.Second) {
		temperature, humidity := h.climate("kitchen", at)
		if math.Abs(temperature-21) > 5 || humidity < 20 || humidity > 80 {
			t.Fatalf("%v: %v degrees, %v per cent", at, temperature, humidity)
		}
		switch at.Hour() {
		case 3:
			night += temperature
		case 15:
			afternoon += temperature
		}
		if speed, vibration, bearing := h.pump(at); math.Abs(speed-1450) > 50 || vibration < 1 || vibration > 10 || bearing < 40 || bearing > 70 {
			t.Fatalf("%v: pump: %v, %v, %v", at, speed, vibration, bearing)
		}
		open, _ := h.door(at)
		opened = opened || open
	}
	if night >= afternoon {
		t.Errorf("night %v, afternoon %v", night/360, afternoon/360)
	}
	if !opened {
		t.Error("nobody has gone through the door all day")
	}
	h.heat(1000)
	for range 100 {
		at = at.Add(time.Minute)
		if _, valve := h.heating(at); valve < 0 || valve > 100 {
			t.Fatalf("the valve is %v %% open", valve)
		}
	}
	if temperature, _ := h.climate("living-room", at); temperature < 29 || temperature > 32 {
		t.Errorf("living room: %v degrees", temperature)
	}
	h.climate("kitchen", at.Add(-time.Hour)) // a clock that goes back does no harm
}

func TestBrightness(t *testing.T) {
	for text, want := range map[string]int{"on": 100, " OFF\n": 0, "40": 40} {
		if got, ok := brightness(text); !ok || got != want {
			t.Errorf("%q: got %d, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "dim", "1.5"} {
		if got, ok := brightness(text); ok {
			t.Errorf("%q: got %d", text, got)
		}
	}
}
