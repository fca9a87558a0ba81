package hubtest_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/hubtest"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
)

const (
	climate = `{"interface_name":"org.example.Climate","version_major":1,"version_minor":0,"type":"datastream","ownership":"device",
	"mappings":[{"endpoint":"/temperature","type":"double","reliability":"guaranteed","retention":"stored"}]}`
	wishes = `{"interface_name":"org.example.Wishes","version_major":1,"version_minor":0,"type":"datastream","ownership":"server",
	"mappings":[{"endpoint":"/temperature","type":"double","reliability":"guaranteed"}]}`
	channel = "org.example.Climate:1/temperature"
)

// thermostat is a device on our own SDK.
type thermostat struct {
	*astarte.Device
	line *hubtest.Line
	data chan astarte.Data
	stop func()
}

// newThermostat makes a device and runs it, on a line of its own.
func newThermostat(t *testing.T, h *hubtest.Hub) *thermostat {
	t.Helper()
	realm := h.Astarte(t)
	realm.Install(t, climate, wishes)
	id := astarte.RandomDeviceID()
	th := &thermostat{line: h.NewLine(t), data: make(chan astarte.Data, 100)}
	cfg := astarte.Config{
		PairingURL: realm.PairingURL, Realm: realm.Name, DeviceID: id, CredentialsSecret: realm.Register(t, id), Dir: t.TempDir(),
		HTTP: th.line.HTTP(), RootCAs: h.Roots(), Dial: th.line.Dial, MinBackoff: 10 * time.Millisecond, MaxBackoff: 100 * time.Millisecond,
		Interfaces: []*astarte.Interface{astarte.MustParseInterface(climate), astarte.MustParseInterface(wishes)},
		OnData:     func(d astarte.Data) { th.data <- d },
	}
	var err error
	if th.Device, err = astarte.New(cfg); err != nil {
		t.Fatal(err)
	}
	th.run(t)
	t.Cleanup(func() {
		th.stop()
		if err := th.Close(); err != nil {
			t.Error(err)
		}
	})
	return th
}

// run runs the device until stop is called.
func (th *thermostat) run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- th.Run(ctx) }()
	th.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func (th *thermostat) send(t *testing.T, v float64) {
	t.Helper()
	if err := th.Send(t.Context(), "org.example.Climate", "/temperature", v, nil); err != nil {
		t.Errorf("send: %v", err)
	}
}

func (th *thermostat) flush(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := th.Flush(ctx); err != nil {
		t.Errorf("flush: %v", err)
	}
}

// receive returns the next value from the server.
func (th *thermostat) receive(t *testing.T) any {
	t.Helper()
	select {
	case d := <-th.data:
		return d.Value
	case <-time.After(30 * time.Second):
		t.Error("nothing has come")
		return nil
	}
}

func values(t *testing.T, samples []admin.Sample) string {
	t.Helper()
	return fmt.Sprint(hubtest.Decode(t, samples...))
}

func TestRestart(t *testing.T) {
	for name, end := range map[string]func(*hubtest.Hub, testing.TB){"in order": (*hubtest.Hub).Stop, "killed": (*hubtest.Hub).Kill} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := hubtest.New(t)
			th := newThermostat(t, h)
			before := h.WaitConnected(t, th.ID())
			th.send(t, 20)
			th.flush(t) // acknowledged
			end(h, t)
			if _, err := th.line.Dial(t.Context(), "tcp", "hub:8883"); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("got %v", err)
			}
			th.send(t, 21) // into its outbox
			h.Start(t)
			after := h.WaitReconnected(t, th.ID(), before)
			if after.Address == before.Address {
				t.Errorf("the same connection: %+v", after)
			}
			if got := values(t, h.AwaitSamples(t, "astarte/dev/"+th.ID(), channel, 2)); got != "[20 21]" {
				t.Errorf("got %s", got)
			}
			h.Astarte(t).Send(t, th.ID(), "org.example.Wishes", "/temperature", 19.5)
			if got := th.receive(t); got != 19.5 {
				t.Errorf("got %v", got)
			}
			h.Restart(t)
			th.send(t, 22)
			h.AwaitSamples(t, th.ID(), channel, 3)
		})
	}
}

// Kill leaves what an orderly stop would not: devices that are connected, as far as the hub knew.
func TestKillIsNoStop(t *testing.T) {
	h := hubtest.New(t)
	c := newClient(t, h, "lamp", mqtt.Connect{Will: &mqtt.Will{Topic: "lamp/state", Payload: []byte("gone"), QoS: 1}})
	c.run(t)
	h.WaitConnected(t, "lamp")
	h.Kill(t)
	c.ended(t)
	h.Start(t)
	// The will of a client that a crash has cut off is published by the next start.
	if got := h.AwaitSample(t, "lamp", "lamp/state"); got != "gone" {
		t.Errorf("got %v", got)
	}
	if d := h.WaitDisconnected(t, "lamp"); d.LastConnected.IsZero() {
		t.Errorf("got %+v", d)
	}
}

func TestDuplicateMessages(t *testing.T) {
	h := hubtest.New(t)
	th := newThermostat(t, h)
	h.WaitConnected(t, th.ID())
	th.send(t, 1)
	th.flush(t)
	th.line.Duplicate(hubtest.ToHub, func() {
		th.send(t, 2)
		h.AwaitSamples(t, th.ID(), channel, 2)
	})
	th.send(t, 3)
	if got := values(t, h.AwaitSamples(t, th.ID(), channel, 4)); got != "[1 2 2 3]" {
		t.Errorf("to the hub: got %s", got)
	}
	th.flush(t)
	th.line.Duplicate(hubtest.ToDevice, func() {
		h.Astarte(t).Send(t, th.ID(), "org.example.Wishes", "/temperature", 19.5)
		th.receive(t)
	})
	if got := th.receive(t); got != 19.5 {
		t.Errorf("to the device: got %v", got)
	}
}

// A device is cut off after each number of bytes, one after the other, and loses nothing.
func TestCutAtEachMoment(t *testing.T) {
	h := hubtest.New(t)
	th := newThermostat(t, h)
	h.WaitConnected(t, th.ID())
	step := int64(331) // of about 4,000 for a connection
	if testing.Short() {
		step *= 5
	}
	n := 0
	for at := int64(0); at < 5000; at += step {
		cut := th.line.CutAfter(hubtest.BothWays, at)
		n++
		th.send(t, float64(n))
		for done := false; !done; {
			select {
			case <-cut:
				done = true
			case <-time.After(time.Millisecond): // a connection that was made already has fewer bytes left to carry
				n++
				th.send(t, float64(n))
			}
		}
		th.flush(t)
	}
	seen := map[any]bool{}
	for _, v := range hubtest.Decode(t, h.Samples(t, th.ID(), channel)...) {
		seen[v] = true
	}
	if len(seen) != n {
		t.Errorf("got %d values, want %d", len(seen), n)
	}
}

func TestLoopback(t *testing.T) {
	h := hubtest.NewLoopback(t)
	client := &http.Client{Transport: h.HTTP().Transport.(*http.Transport).Clone()}
	client.Transport.(*http.Transport).DialContext = nil // a client that knows only the address
	defer client.CloseIdleConnections()
	get := func() error {
		res, err := client.Get(h.State().URL + "/healthz")
		if err == nil {
			res.Body.Close()
		}
		return err
	}
	if err := get(); err != nil {
		t.Fatal(err)
	}
	if n := h.Cut(); n != 1 {
		t.Errorf("cut %d", n)
	}
	h.Refuse()
	if err := get(); err == nil {
		t.Error("the line refuses nothing")
	}
	h.Heal()
	h.Kill(t)
	if err := get(); err == nil {
		t.Error("the hub is still there")
	}
	h.Start(t)
	if err := get(); err != nil {
		t.Error(err)
	}
}

// client is a plain MQTT device.
type client struct {
	*mqttclient.Session
	dialer  mqttclient.Dialer
	connect mqtt.Connect
	stop    func()
	result  chan error
	got     chan *mqttclient.Message
}

func newClient(t *testing.T, h *hubtest.Hub, id string, p mqtt.Connect) *client {
	t.Helper()
	m := h.MQTT(t)
	login := m.Register(t, id)
	p.ClientID, p.KeepAlive = id, 60
	p.Username, p.HasUsername = login.Username, true
	p.Password, p.HasPassword = []byte(login.Password), true
	c := &client{connect: p, got: make(chan *mqttclient.Message, 100)}
	c.dialer = mqttclient.Dialer{Address: m.Address, TLS: &tls.Config{RootCAs: h.Roots()}, DialContext: h.Dial}
	var err error
	if c.Session, err = mqttclient.NewSession(mqttclient.Config{Version: mqtt.V5, Receive: func(m *mqttclient.Message) { c.got <- m; m.Ack() }}); err != nil {
		t.Fatal(err)
	}
	return c
}

// run connects, and returns what the server said.
func (c *client) run(t *testing.T) mqttclient.Connected {
	t.Helper()
	nc, err := c.dialer.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	connected := make(chan mqttclient.Connected, 1)
	c.result = make(chan error, 1)
	go func() {
		c.result <- c.Run(ctx, nc, c.connect, func(x mqttclient.Connected) { connected <- x })
	}()
	c.stop = cancel
	t.Cleanup(cancel)
	select {
	case x := <-connected:
		return x
	case err := <-c.result:
		t.Fatalf("connect: %v", err)
		return mqttclient.Connected{}
	}
}

func (c *client) ended(t *testing.T) {
	t.Helper()
	if err := <-c.result; err == nil {
		t.Error("the connection has ended in order")
	}
}

// Any number of hubs run at once, and know nothing of each other.
func TestManyHubs(t *testing.T) {
	for i := range 4 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			h := hubtest.New(t)
			th := newThermostat(t, h)
			th.send(t, float64(i))
			if got := h.AwaitSample(t, th.ID(), channel); got != float64(i) {
				t.Errorf("got %v, want %d", got, i)
			}
			if page, err := h.Admin(t).Devices(t.Context(), admin.DeviceQuery{Dialect: "astarte"}); err != nil || len(page.Items) != 1 {
				t.Errorf("got %+v, %v, want one device", page.Items, err)
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		hubtest.New(b).Stop(b)
	}
}
