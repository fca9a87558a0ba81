package astarte_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/hub/hubtest"
	"github.com/google/go-cmp/cmp"
)

// Interfaces of the tests.
const (
	sensors = `{"interface_name":"org.example.Sensors","version_major":1,"version_minor":0,"type":"datastream","ownership":"device","mappings":[
		{"endpoint":"/%{room}/temperature","type":"double","reliability":"guaranteed","explicit_timestamp":true},
		{"endpoint":"/%{room}/count","type":"longinteger","reliability":"unique"}]}`
	stored = `{"interface_name":"org.example.Stored","version_major":1,"version_minor":0,"type":"datastream","ownership":"device","mappings":[
		{"endpoint":"/stored","type":"integer","reliability":"unique","retention":"stored"},
		{"endpoint":"/guaranteed","type":"integer","reliability":"guaranteed","retention":"stored"},
		{"endpoint":"/volatile","type":"integer","reliability":"guaranteed","retention":"volatile"},
		{"endpoint":"/expiring","type":"integer","reliability":"guaranteed","retention":"volatile","expiry":1},
		{"endpoint":"/discard","type":"integer","reliability":"guaranteed"}]}`
	station = `{"interface_name":"org.example.Station","version_major":1,"version_minor":0,"type":"datastream","ownership":"device","aggregation":"object","mappings":[
		{"endpoint":"/%{room}/wind","type":"double","reliability":"unique"},{"endpoint":"/%{room}/name","type":"string","reliability":"unique"}]}`
	settings = `{"interface_name":"org.example.Settings","version_major":1,"version_minor":0,"type":"properties","ownership":"device","mappings":[
		{"endpoint":"/number","type":"integer","allow_unset":true},{"endpoint":"/on","type":"boolean","allow_unset":true},{"endpoint":"/text","type":"string","allow_unset":true},
		{"endpoint":"/fixed","type":"integer"}]}`
	wishes = `{"interface_name":"org.example.Wishes","version_major":1,"version_minor":0,"type":"properties","ownership":"server","mappings":[
		{"endpoint":"/number","type":"integer","allow_unset":true},{"endpoint":"/text","type":"string","allow_unset":true}]}`
	commands = `{"interface_name":"org.example.Commands","version_major":1,"version_minor":0,"type":"datastream","ownership":"server","mappings":[
		{"endpoint":"/%{p}/when","type":"datetime","reliability":"unique"},{"endpoint":"/%{p}/numbers","type":"longintegerarray","reliability":"guaranteed"}]}`
	recipe = `{"interface_name":"org.example.Recipe","version_major":1,"version_minor":0,"type":"datastream","ownership":"server","aggregation":"object","mappings":[
		{"endpoint":"/%{p}/a","type":"integer","reliability":"unique"},{"endpoint":"/%{p}/b","type":"string","reliability":"unique"}]}`
)

var definitions = []string{sensors, stored, station, settings, wishes, commands, recipe}

// rig is a hub with a registered device.
type rig struct {
	hub    *hubtest.Hub
	realm  *hubtest.Astarte
	cfg    astarte.Config
	data   chan astarte.Data
	states chan astarte.Connection
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{hub: hubtest.New(t), data: make(chan astarte.Data, 1000), states: make(chan astarte.Connection, 1000)}
	r.realm = r.hub.Astarte(t)
	r.realm.Install(t, definitions...)
	id := astarte.RandomDeviceID()
	r.cfg = astarte.Config{
		PairingURL: r.realm.PairingURL, Realm: r.realm.Name, DeviceID: id, CredentialsSecret: r.realm.Register(t, id), Dir: filepath.Join(t.TempDir(), "device"),
		RootCAs: r.hub.Roots(), HTTP: r.hub.HTTP(), Dial: r.hub.Dial, MinBackoff: 10 * time.Millisecond, MaxBackoff: 50 * time.Millisecond,
		OnData: func(d astarte.Data) { r.data <- d }, OnConnection: func(c astarte.Connection) { r.states <- c },
	}
	if os.Getenv("ASTARTE_LOG") != "" {
		r.cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	for _, text := range definitions {
		r.cfg.Interfaces = append(r.cfg.Interfaces, astarte.MustParseInterface(text))
	}
	return r
}

func (r *rig) device(t *testing.T) *astarte.Device {
	t.Helper()
	d, err := astarte.New(r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// run runs a device until the returned function is called.
func (r *rig) run(t *testing.T, d *astarte.Device) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- d.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-result; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// start makes a device, runs it and waits until it is connected.
func (r *rig) start(t *testing.T) (d *astarte.Device, stop func()) {
	t.Helper()
	d = r.device(t)
	runs := r.run(t, d)
	r.await(t, astarte.Connected)
	stop = sync.OnceFunc(func() {
		runs()
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	t.Cleanup(stop)
	return d, stop
}

const patience = 20 * time.Second

func (r *rig) await(t *testing.T, state astarte.ConnectionState) astarte.Connection {
	t.Helper()
	for {
		select {
		case c := <-r.states:
			if c.State == state {
				return c
			}
		case <-time.After(patience):
			t.Fatalf("not %v", state)
		}
	}
}

func (r *rig) received(t *testing.T) astarte.Data {
	t.Helper()
	select {
	case d := <-r.data:
		return d
	case <-time.After(patience):
		t.Fatal("nothing received")
	}
	return astarte.Data{}
}

func (r *rig) path(rest string) string {
	return "devices/" + r.cfg.DeviceID + "/interfaces/" + rest
}

// values waits until the hub has n values at a path, and returns them.
func (r *rig) values(t *testing.T, path string, n int) []any {
	t.Helper()
	var list []struct{ Value any }
	r.realm.Await(t, r.path(path), func(a hubtest.Answer) bool {
		list = nil
		return a.Status == http.StatusOK && json.Unmarshal(a.Data, &list) == nil && len(list) >= n
	})
	var values []any
	for _, v := range list {
		values = append(values, v.Value)
	}
	return values
}

// properties waits until the hub has these properties of an interface.
func (r *rig) properties(t *testing.T, name string, want map[string]any) {
	t.Helper()
	var got map[string]any
	r.realm.Await(t, r.path(name), func(a hubtest.Answer) bool {
		got = nil
		return a.Status == http.StatusOK && json.Unmarshal(a.Data, &got) == nil && cmp.Equal(got, want) || len(want) == 0 && len(got) == 0 && a.Status == http.StatusOK
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
