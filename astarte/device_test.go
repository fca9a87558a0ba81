package astarte_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/hub/hubtest"
	"github.com/fairlead-iot/fairlead/outbox"
	"github.com/fairlead-iot/fairlead/outbox/sqlitebox"
	"github.com/google/go-cmp/cmp"
)

func TestSend(t *testing.T) {
	r := newRig(t)
	d, _ := r.start(t)
	ctx := t.Context()
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	must(t, d.Send(ctx, "org.example.Sensors", "/room1/temperature", 21.5, &astarte.SendOptions{Time: at}))
	must(t, d.Send(ctx, "org.example.Sensors", "/room1/count", int64(1<<40), nil))
	must(t, d.SendObject(ctx, "org.example.Station", "/room1", astarte.Object{"wind": 3.5, "name": "north"}, nil))
	must(t, d.Send(ctx, "org.example.Stored", "/stored", 7, nil))
	must(t, d.Send(ctx, "org.example.Stored", "/volatile", 8, nil))
	must(t, d.Flush(ctx))
	if got := r.values(t, "org.example.Sensors/room1/temperature", 1); !cmp.Equal(got, []any{21.5}) {
		t.Errorf("got %v", got)
	}
	var timed []struct{ Timestamp time.Time }
	r.realm.Get(t, r.path("org.example.Sensors/room1/temperature")).Decode(t, &timed)
	if len(timed) != 1 || !timed[0].Timestamp.Equal(at) {
		t.Errorf("got %v", timed)
	}
	r.values(t, "org.example.Sensors/room1/count", 1)
	var objects []map[string]any
	r.realm.Await(t, r.path("org.example.Station/room1"), func(a hubtest.Answer) bool { return json.Unmarshal(a.Data, &objects) == nil && len(objects) == 1 })
	if objects[0]["wind"] != 3.5 || objects[0]["name"] != "north" {
		t.Errorf("got %v", objects)
	}
	if got := r.values(t, "org.example.Stored/stored", 1); !cmp.Equal(got, []any{7.0}) {
		t.Errorf("got %v", got)
	}
	r.values(t, "org.example.Stored/volatile", 1)
	if d.State() != astarte.Connected || !d.Connected() || d.ID() != r.cfg.DeviceID || d.Realm() != r.cfg.Realm {
		t.Error("state")
	}
}

func TestReceive(t *testing.T) {
	r := newRig(t)
	d, _ := r.start(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
	r.realm.Send(t, d.ID(), "org.example.Commands", "/x/when", at)
	r.realm.Send(t, d.ID(), "org.example.Commands", "/x/numbers", []string{"1", "1099511627776"})
	r.realm.Send(t, d.ID(), "org.example.Recipe", "/cake", map[string]any{"a": 1, "b": "flour"})
	r.realm.Send(t, d.ID(), "org.example.Wishes", "/number", 0)
	r.realm.Unset(t, d.ID(), "org.example.Wishes", "/number")
	want := []astarte.Data{
		{Interface: "org.example.Commands", Path: "/x/when", Value: at},
		{Interface: "org.example.Commands", Path: "/x/numbers", Value: []int64{1, 1 << 40}},
		{Interface: "org.example.Recipe", Path: "/cake", Value: astarte.Object{"a": int32(1), "b": "flour"}},
		{Interface: "org.example.Wishes", Path: "/number", Value: int32(0)},
		{Interface: "org.example.Wishes", Path: "/number"},
	}
	for _, w := range want {
		if got := r.received(t); !cmp.Equal(got, w) {
			t.Errorf("got %#v, want %#v", got, w)
		}
	}
}

// TestServerProperties: what Astarte has set is there without a connection, and after a restart, and what it has unset meanwhile is gone
// after the next start.
func TestServerProperties(t *testing.T) {
	r := newRig(t)
	d, stop := r.start(t)
	ctx := t.Context()
	r.realm.Send(t, d.ID(), "org.example.Wishes", "/number", 0)
	r.realm.Send(t, d.ID(), "org.example.Wishes", "/text", "hi")
	r.received(t)
	r.received(t)
	stop()
	r.realm.Unset(t, d.ID(), "org.example.Wishes", "/text")

	d = r.device(t)
	if v, err := d.Property(ctx, "org.example.Wishes", "/number"); v != int32(0) || err != nil {
		t.Errorf("got %v, %v", v, err)
	}
	if v, err := d.Property(ctx, "org.example.Wishes", "/text"); v != "hi" || err != nil {
		t.Errorf("got %v, %v", v, err)
	}
	defer d.Close()
	defer r.run(t, d)()
	for range 2 { // the unset that waited in the session, and the number again
		r.received(t)
	}
	all, err := d.ServerProperties(ctx)
	want := []astarte.Property{{Interface: "org.example.Wishes", Major: 1, Path: "/number", Ownership: astarte.ServerOwned, Value: int32(0)}}
	if diff := cmp.Diff(want, all); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

// TestDeviceProperties: properties survive restarts and lost sessions, those that other SDKs take for nothing, too; changes without a
// connection arrive.
func TestDeviceProperties(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	d := r.device(t)
	must(t, d.SetProperty(ctx, "org.example.Settings", "/number", 0)) // before any connection
	must(t, d.SetProperty(ctx, "org.example.Settings", "/on", false))
	must(t, d.SetProperty(ctx, "org.example.Settings", "/text", ""))
	stop := r.run(t, d)
	r.await(t, astarte.Connected)
	must(t, d.Flush(ctx))
	r.properties(t, "org.example.Settings", map[string]any{"number": 0.0, "on": false, "text": ""})

	must(t, d.SetProperty(ctx, "org.example.Settings", "/number", 1))
	must(t, d.UnsetProperty(ctx, "org.example.Settings", "/text"))
	must(t, d.Flush(ctx))
	r.properties(t, "org.example.Settings", map[string]any{"number": 1.0, "on": false})
	stop()
	must(t, d.SetProperty(ctx, "org.example.Settings", "/fixed", 5)) // without a connection
	must(t, d.UnsetProperty(ctx, "org.example.Settings", "/on"))
	must(t, d.Close())

	d, stop = r.start(t)
	must(t, d.Flush(ctx))
	r.properties(t, "org.example.Settings", map[string]any{"number": 1.0, "fixed": 5.0})
	list, err := d.InterfaceProperties(ctx, "org.example.Settings")
	want := []astarte.Property{
		{Interface: "org.example.Settings", Major: 1, Path: "/fixed", Ownership: astarte.DeviceOwned, Value: int32(5)},
		{Interface: "org.example.Settings", Major: 1, Path: "/number", Ownership: astarte.DeviceOwned, Value: int32(1)},
	}
	if diff := cmp.Diff(want, list); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if all, err := d.Properties(ctx); err != nil || len(all) != 2 {
		t.Errorf("got %v, %v", all, err)
	}
	if own, err := d.DeviceProperties(ctx); err != nil || len(own) != 2 {
		t.Errorf("got %v, %v", own, err)
	}
	must(t, d.ClearProperties(ctx))
	r.properties(t, "org.example.Settings", nil)
	if _, err := d.Property(ctx, "org.example.Settings", "/number"); !errors.Is(err, fairlead.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	stop()
}

// TestRetention sends without a connection: what is to be discarded is refused, the rest arrives in order, unless it has expired.
func TestRetention(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	store, err := sqlitebox.Open(ctx, sqlitebox.Config{Path: filepath.Join(t.TempDir(), "outbox.db")})
	must(t, err)
	box, err := outbox.Open(ctx, outbox.Config{Store: store})
	must(t, err)
	t.Cleanup(func() { box.Close() })
	r.cfg.Outbox = box
	d, stop := r.start(t)
	r.hub.SetOffline(true)
	r.await(t, astarte.Connecting)
	if err := d.Send(ctx, "org.example.Stored", "/discard", 1, nil); !errors.Is(err, astarte.ErrDisconnected) || !errors.Is(err, fairlead.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	must(t, d.Send(ctx, "org.example.Stored", "/expiring", 1, nil))
	var want []any
	for i := range 300 {
		must(t, d.Send(ctx, "org.example.Stored", "/guaranteed", i, nil))
		must(t, d.Send(ctx, "org.example.Stored", "/volatile", i, nil))
		want = append(want, float64(i))
	}
	select {
	case <-time.After(1100 * time.Millisecond): // the expiry, in whole seconds as the platform has it
	case <-ctx.Done():
	}
	r.hub.SetOffline(false)
	must(t, d.Flush(ctx))
	for _, path := range []string{"/guaranteed", "/volatile"} {
		if got := r.values(t, "org.example.Stored"+path, 300); !cmp.Equal(got, want) {
			t.Errorf("%s: got %v", path, got)
		}
	}
	if a := r.realm.Get(t, r.path("org.example.Stored/expiring")); a.Status == http.StatusOK && string(a.Data) != "[]" {
		t.Errorf("expired value arrived: %s", a.Data)
	}
	r.await(t, astarte.Connected)
	must(t, d.Send(ctx, "org.example.Stored", "/discard", 2, nil))
	r.values(t, "org.example.Stored/discard", 1)
	stop()

	// What is stored survives the device.
	d = r.device(t)
	must(t, d.Send(ctx, "org.example.Stored", "/stored", 42, nil))
	if err := d.Send(ctx, "org.example.Stored", "/discard", 1, nil); !errors.Is(err, astarte.ErrDisconnected) {
		t.Errorf("got %v", err)
	}
	must(t, d.Close())
	d, _ = r.start(t)
	must(t, d.Flush(ctx))
	if got := r.values(t, "org.example.Stored/stored", 1); !cmp.Equal(got, []any{42.0}) {
		t.Errorf("got %v", got)
	}
}

// TestCuts sends while connections are cut again and again: nothing is lost, and everything is in order but for repetitions.
func TestCuts(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	d, _ := r.start(t)
	const n = 400
	for i := range n {
		must(t, d.Send(ctx, "org.example.Stored", "/guaranteed", i, nil))
		must(t, d.Send(ctx, "org.example.Stored", "/volatile", i, nil))
		must(t, d.SetProperty(ctx, "org.example.Settings", "/number", i))
		if i%20 == 10 {
			r.hub.Cut()
		}
	}
	must(t, d.Flush(ctx))
	r.properties(t, "org.example.Settings", map[string]any{"number": n - 1.0})
	for _, path := range []string{"/guaranteed", "/volatile"} {
		got := r.values(t, "org.example.Stored"+path, n)
		seen := map[any]bool{}
		var first []any
		for _, v := range got {
			if !seen[v] {
				seen[v] = true
				first = append(first, v)
			}
		}
		if len(first) != n || !slices.IsSortedFunc(first, func(a, b any) int { return int(a.(float64) - b.(float64)) }) {
			t.Errorf("%s: got %d of %d: %v", path, len(first), n, got)
		}
	}
}

func TestDeviceRefusals(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	d := r.device(t)
	defer d.Close()
	var e *astarte.ValidationError
	for name, err := range map[string]error{
		"unknown_interface":  d.Send(ctx, "org.example.Nope", "/a", 1, nil),
		"unknown_property":   d.SetProperty(ctx, "org.example.Nope", "/a", 1),
		"unknown_unset":      d.UnsetProperty(ctx, "org.example.Nope", "/a"),
		"remove_unknown":     d.RemoveInterface(ctx, "org.example.Nope"),
		"unknown_property_2": second(d.Property(ctx, "org.example.Nope", "/a")),
		"unknown_properties": second(d.InterfaceProperties(ctx, "org.example.Nope")),
	} {
		if !errors.Is(err, astarte.ErrInterfaceNotFound) || !errors.Is(err, fairlead.ErrNotFound) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"server_owned":         d.Send(ctx, "org.example.Commands", "/x/when", time.Now(), nil),
		"server_owned_object":  d.SendObject(ctx, "org.example.Recipe", "/x", astarte.Object{}, nil),
		"server_property":      d.SetProperty(ctx, "org.example.Wishes", "/number", 1),
		"unset_server":         d.UnsetProperty(ctx, "org.example.Wishes", "/number"),
		"unset_datastream":     d.UnsetProperty(ctx, "org.example.Stored", "/stored"),
		"unset_unknown_path":   d.UnsetProperty(ctx, "org.example.Settings", "/nope"),
		"unset_not_allowed":    d.UnsetProperty(ctx, "org.example.Settings", "/fixed"),
		"send_property":        d.Send(ctx, "org.example.Settings", "/number", 1, nil),
		"set_datastream":       d.SetProperty(ctx, "org.example.Stored", "/stored", 1),
		"object_to_individual": d.SendObject(ctx, "org.example.Stored", "/stored", nil, nil),
		"value_to_object":      d.Send(ctx, "org.example.Station", "/x", 1.0, nil),
		"no_timestamp":         d.Send(ctx, "org.example.Sensors", "/x/temperature", 1.0, nil),
		"wrong_type":           d.SetProperty(ctx, "org.example.Settings", "/number", "1"),
	} {
		if !errors.As(err, &e) || !errors.Is(err, fairlead.ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// Longer than the broker takes, though the value itself may be so long.
	if err := d.SetProperty(ctx, "org.example.Settings", "/text", string(make([]byte, 65_500))); !errors.Is(err, fairlead.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	if d.State() != astarte.Disconnected {
		t.Errorf("got %v", d.State())
	}
	if err := d.AddInterface(ctx, nil); !errors.Is(err, fairlead.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	_, err := astarte.New(astarte.Config{Realm: "X", DeviceID: "short", KeepAlive: -1, MaxVolatile: -1, Interfaces: []*astarte.Interface{nil}})
	if !errors.Is(err, fairlead.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

func second[T any](_ T, err error) error { return err }
