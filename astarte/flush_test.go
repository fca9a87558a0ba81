package astarte_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFlush: what Flush has waited for Astarte has, also of values that nobody keeps; without a connection those are not waited for, and
// the others are.
func TestFlush(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	d, _ := r.start(t)
	for i := range 50 {
		must(t, d.Send(ctx, "org.example.Sensors", "/room1/count", i, nil))
	}
	must(t, d.SetProperty(ctx, "org.example.Settings", "/number", 7))
	must(t, d.Send(ctx, "org.example.Stored", "/volatile", 8, nil))
	must(t, d.Flush(ctx))
	for path, want := range map[string]int{"org.example.Sensors/room1/count": 50, "org.example.Stored/volatile": 1} {
		var list []struct{ Value any }
		r.realm.Get(t, r.path(path)).Decode(t, &list) // once: it is there
		if len(list) != want {
			t.Errorf("%s: got %v", path, list)
		}
	}
	var properties map[string]any
	r.realm.Get(t, r.path("org.example.Settings")).Decode(t, &properties)
	if diff := cmp.Diff(map[string]any{"number": 7.0}, properties); diff != "" {
		t.Error(diff)
	}

	must(t, d.Flush(ctx)) // there is nothing
	r.hub.SetOffline(true)
	must(t, d.SetProperty(ctx, "org.example.Settings", "/number", 9))
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := d.Flush(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	r.hub.SetOffline(false)
	must(t, d.Flush(ctx))
}
