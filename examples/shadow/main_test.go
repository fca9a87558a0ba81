package main

import (
	"context"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/awsiot"
	"github.com/fairlead-iot/fairlead/hub/hubtest"
)

// An application says what it wants while the lamp is there, and while it is not.
func TestShadow(t *testing.T) {
	hub := hubtest.New(t)
	env := hub.Env(t, "aws")
	cfg, err := fromEnvironment(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	cfg.Logger = nil
	cfg.Backoff = awsiot.Backoff{Base: 10 * time.Millisecond, Max: 100 * time.Millisecond}

	other := cfg
	other.ClientID, other.Dial = "application", hub.NewLine(t).Dial
	app, err := awsiot.New(other)
	if err != nil {
		t.Fatal(err)
	}
	stopApp := start(t, app.Run)
	defer stopApp()
	reports := make(chan lamp, 100)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	shadow := app.Shadow("")
	if _, err := shadow.OnDocuments(ctx, func(d *awsiot.ShadowDocuments) {
		var l lamp
		if json.Unmarshal(d.Current.Reported, &l) == nil {
			reports <- l
		}
	}); err != nil {
		t.Fatal(err)
	}
	await := func(want lamp) {
		t.Helper()
		for {
			select {
			case got := <-reports:
				if got == want {
					return
				}
			case <-ctx.Done():
				t.Fatalf("the lamp has not reported %+v", want)
			}
		}
	}

	line := hub.NewLine(t)
	cfg.Dial = line.Dial
	tick := make(chan time.Time, 1) // the lamp may be asking for its shadow just when the network goes
	dir := filepath.Join(t.TempDir(), "lamp")
	stop := start(t, func(ctx context.Context) error { return run(ctx, cfg, dir, tick) })
	defer func() { stop() }()
	await(lamp{})
	if _, err := shadow.Desire(ctx, lamp{On: true, Brightness: 60}, nil); err != nil {
		t.Fatal(err)
	}
	await(lamp{On: true, Brightness: 60})

	// What it cannot do remains in the delta. It reports once for each change nevertheless: the shadow's version says so.
	doc, err := shadow.Desire(ctx, map[string]string{"colour": "red"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shadow.Desire(ctx, lamp{On: true, Brightness: 10}, nil); err != nil {
		t.Fatal(err)
	}
	await(lamp{On: true, Brightness: 10})
	now, err := shadow.Get(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if want := doc.Version + 2; now.Version != want {
		t.Errorf("the shadow has version %d, want %d", now.Version, want)
	}

	line.SetOffline(true)
	tick <- time.Now()
	if _, err := shadow.Desire(ctx, lamp{On: true, Brightness: 900}, nil); err != nil {
		t.Fatal(err)
	}
	line.SetOffline(false)
	await(lamp{On: true, Brightness: 100})
	hub.AwaitSamples(t, "aws/dev/"+cfg.ThingName, "dt/"+cfg.ThingName+"/power", 1)
}

// start runs something until stop is called.
func start(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
