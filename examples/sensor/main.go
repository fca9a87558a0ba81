// Sensor is a thermometer that loses no reading: each goes into an outbox on disk, with the time at which it was taken, and leaves it when Astarte has acknowledged it. Pull the plug of the
// network, of the hub or of this program: after that the readings are there, in order.
//
// ../README.md says how to run it.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/outbox"
	"github.com/fairlead-iot/fairlead/outbox/sqlitebox"
)

//go:embed org.example.RoomClimate.json
var climate string

func main() {
	dir := flag.String("dir", "sensor-data", "folder for the key, the certificate and the outbox")
	room := flag.String("room", "kitchen", "where the sensor is")
	every := flag.Duration("every", 2*time.Second, "how often it measures")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	cfg, err := fromEnvironment(*dir)
	if err == nil {
		err = run(ctx, cfg, *room, time.Tick(*every), measure)
	}
	if err != nil {
		slog.Error("stopped", "err", err)
		os.Exit(1)
	}
}

// fromEnvironment reads the variables that `fairlead env astarte` and `fairlead astarte register` print.
func fromEnvironment(dir string) (astarte.Config, error) {
	cfg := astarte.Config{
		PairingURL: os.Getenv("ASTARTE_PAIRING_URL"), Realm: os.Getenv("ASTARTE_REALM"), DeviceID: os.Getenv("ASTARTE_DEVICE_ID"),
		CredentialsSecret: identity.NewSecret(os.Getenv("ASTARTE_CREDENTIALS_SECRET")),
		Dir:               dir,
		Logger:            slog.Default(),
	}
	var err error
	if ca := os.Getenv("FAIRLEAD_CA"); ca != "" { // else the system's authorities, as for a public Astarte
		cfg.RootCAs, err = identity.LoadRoots(ca)
	}
	return cfg, err
}

// run measures at each tick until ctx ends, and sends in between.
func run(ctx context.Context, cfg astarte.Config, room string, tick <-chan time.Time, measure func() float64) (err error) {
	store, err := sqlitebox.Open(ctx, sqlitebox.Config{Path: filepath.Join(cfg.Dir, "outbox.db")})
	if err != nil {
		return err
	}
	cfg.Outbox, err = outbox.Open(ctx, outbox.Config{
		Store:  store,
		Policy: outbox.DropOldest, // of a network that is away for too long the newest readings are left
		OnDrop: func(d outbox.Drop) { slog.Warn("a reading was dropped", "why", d.Reason) },
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cfg.Outbox.Close()) }()
	cfg.Interfaces = []*astarte.Interface{astarte.MustParseInterface(climate)}
	device, err := astarte.New(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, device.Close()) }()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- device.Run(ctx) }()
	for {
		select {
		case err := <-ended: // nil when ctx has ended; else its files are of no use
			return err
		case at := <-tick:
			err := device.Send(ctx, "org.example.RoomClimate", "/"+room+"/temperature", measure(), &astarte.SendOptions{Time: at})
			if err != nil && ctx.Err() == nil {
				slog.Error("a reading was not accepted", "err", err) // a full disk, for instance
			}
		}
	}
}

// measure is where the driver of a real sensor would be.
func measure() float64 { return 21 + rand.Float64() }
