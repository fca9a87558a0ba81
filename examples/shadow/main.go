// Shadow is a lamp on AWS IoT: what is desired of it, and what it reports, is its thing's shadow, which is there for both sides when the other one is not; and what it has used goes through an
// outbox on disk.
//
// ../README.md says how to run it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/awsiot"
	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/outbox"
	"github.com/fairlead-iot/fairlead/outbox/sqlitebox"
)

func main() {
	dir := flag.String("dir", "shadow-data", "folder for the outbox")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cfg, err := fromEnvironment(os.Getenv)
	if err == nil {
		err = run(ctx, cfg, *dir, time.Tick(2*time.Second))
	}
	if err != nil {
		slog.Error("stopped", "err", err)
		os.Exit(1)
	}
}

// fromEnvironment reads the variables that `fairlead env aws` prints.
func fromEnvironment(env func(string) string) (awsiot.Config, error) {
	id, err := identity.Load(env("AWS_IOT_PRIVATE_KEY"), env("AWS_IOT_CERTIFICATE"))
	if err != nil {
		return awsiot.Config{}, err
	}
	cfg := awsiot.Config{Endpoint: env("AWS_IOT_ENDPOINT"), ThingName: env("AWS_IOT_THING_NAME"), Identity: id, Logger: slog.Default()}
	if port := env("AWS_IOT_MQTT_PORT"); port != "" { // AWS' own is 8883
		cfg.Endpoint = net.JoinHostPort(cfg.Endpoint, port)
	}
	if ca := env("AWS_IOT_ROOT_CA"); ca != "" {
		cfg.RootCAs, err = identity.LoadRoots(ca)
	}
	return cfg, err
}

// lamp is the lamp's state, as it is in the shadow.
type lamp struct {
	On         bool `json:"on"`
	Brightness int  `json:"brightness"` // per cent
}

// run is the lamp until ctx ends. At each tick it tells what it uses.
func run(ctx context.Context, cfg awsiot.Config, dir string, tick <-chan time.Time) (err error) {
	store, err := sqlitebox.Open(ctx, sqlitebox.Config{Path: filepath.Join(dir, "outbox.db")})
	if err != nil {
		return err
	}
	cfg.Outbox, err = outbox.Open(ctx, outbox.Config{
		Store: store, Policy: outbox.DropOldest,
		OnDrop: func(d outbox.Drop) { slog.Warn("a message was dropped", "why", d.Reason) },
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cfg.Outbox.Close()) }()
	// What was desired while the lamp was away is in the shadow, so it looks there whenever it has connected.
	connected := make(chan struct{}, 1)
	cfg.OnConnection = func(c awsiot.Connection) {
		if c.State == awsiot.Connected {
			select {
			case connected <- struct{}{}:
			default:
			}
		}
	}
	client, err := awsiot.New(cfg)
	if err != nil {
		return err
	}
	var waiting sync.WaitGroup
	defer waiting.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- client.Run(ctx) }()

	changed := make(chan struct{}, 1)
	shadow := client.Shadow("")
	// It waits for a connection, so it has a goroutine; the outbox does not.
	waiting.Go(func() {
		_, err := shadow.OnDelta(ctx, func(*awsiot.ShadowDelta) {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
		if err != nil && ctx.Err() == nil {
			slog.Error("no news of the shadow", "err", err)
		}
	})
	var state lamp
	for {
		select {
		case err := <-ended:
			return err
		case <-connected:
			state = follow(ctx, shadow, state)
		case <-changed:
			state = follow(ctx, shadow, state)
		case <-tick:
			watts := 0.5
			if state.On {
				watts += 9.5 * float64(state.Brightness) / 100
			}
			payload, err := json.Marshal(map[string]float64{"watts": watts})
			if err == nil {
				err = client.Enqueue(ctx, "dt/"+cfg.ThingName+"/power", awsiot.AtLeastOnce, payload, nil)
			}
			if err != nil && ctx.Err() == nil {
				slog.Error("a message was not accepted", "err", err)
			}
		}
	}
}

// follow makes the lamp what is desired, and reports what it is then.
func follow(ctx context.Context, shadow *awsiot.Shadow, state lamp) lamp {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second) // a lamp without a network goes on measuring
	defer cancel()
	doc, err := shadow.Get(ctx)
	if err == nil && doc.Desired != nil {
		wish := state
		if err = json.Unmarshal(doc.Desired, &wish); err == nil {
			wish.Brightness = min(max(wish.Brightness, 0), 100)
			state = wish
		}
	}
	// What is reported already is not reported again: a delta follows each update for as long as something else is desired, and if that is what the lamp cannot do, such as a colour,
	// it would be asked for ever.
	if errors.Is(err, fairlead.ErrNotFound) || err == nil && !reported(doc, state) {
		_, err = shadow.Report(ctx, state, nil)
	}
	if err != nil && ctx.Err() == nil {
		slog.Warn("the shadow was not followed; the next connection tries again", "err", err)
	}
	return state
}

// reported tells whether the shadow says of the lamp what it is.
func reported(doc *awsiot.ShadowDocument, state lamp) bool {
	var told struct {
		On         *bool `json:"on"`
		Brightness *int  `json:"brightness"`
	}
	err := json.Unmarshal(doc.Reported, &told)
	return err == nil && told.On != nil && told.Brightness != nil && lamp{*told.On, *told.Brightness} == state
}
