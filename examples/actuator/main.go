// Actuator is a heating that does what the server says: a property that the server owns is the temperature to keep, and is there after a restart also without a network; a datastream that the
// server owns brings commands. What it does it tells in properties of its own.
//
// ../README.md says how to run it.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/identity"
)

//go:embed org.example.HeatingWishes.json
var wishes string

//go:embed org.example.HeatingCommands.json
var commands string

//go:embed org.example.HeatingState.json
var state string

func main() {
	dir := flag.String("dir", "actuator-data", "folder for the key, the certificate and the properties")
	room := flag.String("room", "kitchen", "where the heating is")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	cfg, err := fromEnvironment(*dir)
	if err == nil {
		h := &heating{room: *room, temperature: 18}
		err = run(ctx, cfg, h, time.Tick(time.Second))
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

// heating is the thing itself. One goroutine has it, that of run.
type heating struct {
	room        string
	temperature float64
	target      float64
	wanted      bool // there is a target
	boost       int  // seconds
	on          bool
}

// second lets a second pass.
func (h *heating) second() {
	h.on = h.boost > 0 || h.wanted && h.temperature < h.target
	h.boost = max(0, h.boost-1)
	if h.on {
		h.temperature += 0.1
	} else if h.temperature > 10 {
		h.temperature -= 0.02
	}
}

// run heats until ctx ends. A tick is a second.
func run(ctx context.Context, cfg astarte.Config, h *heating, tick <-chan time.Time) (err error) {
	received := make(chan astarte.Data)
	cfg.Interfaces = []*astarte.Interface{astarte.MustParseInterface(wishes), astarte.MustParseInterface(commands), astarte.MustParseInterface(state)}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cfg.OnData = func(d astarte.Data) {
		select {
		case received <- d: // acknowledged when the heating has it
		case <-ctx.Done():
		}
	}
	device, err := astarte.New(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, device.Close()) }()

	// What the server wanted last is on disk, so the heating works without it.
	switch target, err := device.Property(ctx, "org.example.HeatingWishes", "/"+h.room+"/target"); {
	case err == nil:
		h.target, h.wanted = target.(float64), true
	case !errors.Is(err, fairlead.ErrNotFound):
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- device.Run(ctx) }()
	for {
		select {
		case err := <-ended:
			return err
		case d := <-received:
			h.take(d)
			if err := h.report(ctx, device); err != nil && ctx.Err() == nil {
				slog.Error("the state was not stored", "err", err)
			}
		case <-tick:
			was := h.on
			if h.second(); h.on == was {
				continue
			}
			if err := h.report(ctx, device); err != nil && ctx.Err() == nil {
				slog.Error("the state was not stored", "err", err)
			}
		}
	}
}

// take does what the server says.
func (h *heating) take(d astarte.Data) {
	slog.Info("the server says", "interface", d.Interface, "path", d.Path, "value", d.Value)
	switch d.Path {
	case "/" + h.room + "/target":
		if h.wanted = !d.Unset(); h.wanted {
			h.target = d.Value.(float64) // the SDK has checked the type
		}
	case "/" + h.room + "/boost":
		h.boost = max(0, int(d.Value.(int32)))
	}
}

// report tells the server what the heating does. Properties are stored first, and sent when there is a network.
func (h *heating) report(ctx context.Context, device *astarte.Device) error {
	const name = "org.example.HeatingState"
	err := device.SetProperty(ctx, name, "/"+h.room+"/heating", h.on)
	if h.wanted {
		return errors.Join(err, device.SetProperty(ctx, name, "/"+h.room+"/target", h.target))
	}
	return errors.Join(err, device.UnsetProperty(ctx, name, "/"+h.room+"/target"))
}
