// Thermometer sends a temperature every second.
package main

import (
	"context"
	_ "embed"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"time"

	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/identity"
)

//go:embed climate.json
var climate string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	roots, err := identity.LoadRoots(os.Getenv("FAIRLEAD_CA"))
	if err == nil {
		err = run(ctx, time.Tick(time.Second), astarte.Config{
			PairingURL: os.Getenv("ASTARTE_PAIRING_URL"), Realm: os.Getenv("ASTARTE_REALM"), RootCAs: roots,
			DeviceID: os.Getenv("ASTARTE_DEVICE_ID"), CredentialsSecret: identity.NewSecret(os.Getenv("ASTARTE_CREDENTIALS_SECRET")),
			Dir: "state", Logger: slog.Default(),
		})
	}
	if err != nil {
		slog.Error("stopped", "err", err)
		os.Exit(1)
	}
}

// run sends a temperature at each tick, until ctx ends.
func run(ctx context.Context, tick <-chan time.Time, cfg astarte.Config) (err error) {
	cfg.Interfaces = []*astarte.Interface{astarte.MustParseInterface(climate)}
	device, err := astarte.New(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	ended := make(chan error, 1)
	go func() { ended <- device.Run(ctx) }() // connects, and stays connected until ctx ends
	for {
		select {
		case err := <-ended:
			return err
		case <-tick:
			if err := device.Send(ctx, "org.example.Climate", "/kitchen/temperature", 20+5*rand.Float64(), nil); err != nil {
				slog.Warn("not sent", "err", err)
			}
		}
	}
}
