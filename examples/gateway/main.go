// Gateway makes devices of things that know no platform: sensors in its neighbourhood connect by TCP and write lines, "NAME VALUE". Each name becomes a device of its own, registered when it
// is first heard of, with its own key, certificate and outbox, all in this one process.
//
// ../README.md says how to run it.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/outbox"
	"github.com/fairlead-iot/fairlead/outbox/sqlitebox"
)

//go:embed org.example.Reading.json
var reading string

func main() {
	dir := flag.String("dir", "gateway-data", "folder, with one for each device below it")
	listen := flag.String("listen", "127.0.0.1:4242", "where sensors connect")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	g, err := fromEnvironment(*dir)
	if err == nil {
		var l net.Listener
		if l, err = net.Listen("tcp", *listen); err == nil {
			err = g.run(ctx, l)
		}
	}
	if err != nil {
		slog.Error("stopped", "err", err)
		os.Exit(1)
	}
}

// fromEnvironment reads the variables that `fairlead env astarte` prints. A gateway that registers devices needs the right to do so: here it has the realm's key, which is for experiments. A
// real one has a token that allows no more than that.
func fromEnvironment(dir string) (*gateway, error) {
	g := &gateway{dir: dir, base: astarte.Config{
		PairingURL: os.Getenv("ASTARTE_PAIRING_URL"), Realm: os.Getenv("ASTARTE_REALM"), HTTP: http.DefaultClient, Logger: slog.Default(),
	}}
	if ca := os.Getenv("FAIRLEAD_CA"); ca != "" { // else the system's authorities, as for a public Astarte
		var err error
		if g.base.RootCAs, err = identity.LoadRoots(ca); err != nil {
			return nil, err
		}
		g.base.HTTP = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: g.base.RootCAs}}}
	}
	key, err := identity.LoadKey(os.Getenv("ASTARTE_REALM_PRIVATE_KEY"))
	if err != nil {
		return nil, err
	}
	g.register = func(ctx context.Context, p *astarte.Pairing, id string) (identity.Secret, error) {
		return p.RegisterWithKey(ctx, id, key)
	}
	return g, nil
}

// namespace makes device ids of names; a gateway somewhere else has another one, or the same names would be the same devices.
var namespace = [16]byte{0x9c, 0x1f, 0x2e, 0x60, 0x7d, 0x54, 0x4b, 0x0a, 0x8f, 0x33, 0x5a, 0x91, 0x0c, 0x27, 0x6e, 0xd8}

// maxSensors bounds what neighbours can take of this machine: devices, lines, and time without a word.
const (
	maxSensors = 100
	maxLine    = 200
	maxSilence = 10 * time.Minute
)

var validName = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

// gateway runs a device for each sensor.
type gateway struct {
	base     astarte.Config // what all devices have in common
	dir      string
	register func(ctx context.Context, p *astarte.Pairing, id string) (identity.Secret, error)

	running sync.WaitGroup

	mu      sync.Mutex
	devices map[string]*astarte.Device // nil: is being made
}

// run serves sensors until ctx ends, and then waits for all devices.
func (g *gateway) run(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer g.running.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	g.devices = map[string]*astarte.Device{}
	room := make(chan struct{}, maxSensors)
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case room <- struct{}{}:
			g.running.Go(func() {
				defer func() { <-room }()
				g.serve(ctx, c)
			})
		default:
			slog.Warn("too many sensors")
			_ = c.Close()
		}
	}
}

// serve reads the lines of one connection.
func (g *gateway) serve(ctx context.Context, c net.Conn) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	lines := bufio.NewScanner(c)
	lines.Buffer(make([]byte, maxLine), maxLine)
	for {
		_ = c.SetReadDeadline(time.Now().Add(maxSilence))
		if !lines.Scan() {
			return
		}
		if err := g.take(ctx, lines.Text()); err != nil && ctx.Err() == nil {
			slog.Warn("a reading was not accepted", "from", c.RemoteAddr(), "err", err)
		}
	}
}

// take sends one reading.
func (g *gateway) take(ctx context.Context, line string) error {
	name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
	value, err := strconv.ParseFloat(text, 64)
	if !validName.MatchString(name) || err != nil || math.IsNaN(value) || math.IsInf(value, 0) {
		return fmt.Errorf("line %q: want NAME VALUE", line)
	}
	device, err := g.device(ctx, name)
	if err != nil {
		return err
	}
	return device.Send(ctx, "org.example.Reading", "/value", value, &astarte.SendOptions{Time: time.Now()})
}

// device returns the device of a sensor, and makes it if there is none yet.
func (g *gateway) device(ctx context.Context, name string) (*astarte.Device, error) {
	g.mu.Lock()
	device, ok := g.devices[name]
	full := len(g.devices) >= maxSensors
	if !ok && !full {
		g.devices[name] = nil
	}
	g.mu.Unlock()
	switch {
	case device != nil:
		return device, nil
	case ok:
		return nil, fmt.Errorf("sensor %s: its device is being made", name)
	case full:
		return nil, fmt.Errorf("sensor %s: there are %d already", name, maxSensors)
	}
	device, err := g.start(ctx, name)
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		delete(g.devices, name) // the next reading tries again
		return nil, fmt.Errorf("sensor %s: %w", name, err)
	}
	g.devices[name] = device
	return device, nil
}

// start makes a device and runs it until ctx ends.
func (g *gateway) start(ctx context.Context, name string) (*astarte.Device, error) {
	cfg := g.base
	cfg.Dir = filepath.Join(g.dir, name)
	cfg.DeviceID = astarte.NamedDeviceID(namespace, name)
	cfg.Interfaces = []*astarte.Interface{astarte.MustParseInterface(reading)}
	var err error
	if cfg.CredentialsSecret, err = g.secret(ctx, cfg); err != nil {
		return nil, err
	}
	store, err := sqlitebox.Open(ctx, sqlitebox.Config{Path: filepath.Join(cfg.Dir, "outbox.db")})
	if err != nil {
		return nil, err
	}
	if cfg.Outbox, err = outbox.Open(ctx, outbox.Config{Store: store, Policy: outbox.DropOldest}); err != nil {
		return nil, err
	}
	device, err := astarte.New(cfg)
	if err != nil {
		return nil, errors.Join(err, cfg.Outbox.Close())
	}
	g.running.Go(func() {
		err := device.Run(ctx)
		if err = errors.Join(err, device.Close(), cfg.Outbox.Close()); err != nil {
			slog.Error("a device has ended", "sensor", name, "err", err)
		}
	})
	slog.Info("device", "sensor", name, "id", cfg.DeviceID)
	return device, nil
}

// secret returns what registering a device has given, now or at an earlier start.
func (g *gateway) secret(ctx context.Context, cfg astarte.Config) (identity.Secret, error) {
	file := filepath.Join(cfg.Dir, "secret")
	secret, err := identity.LoadSecret(file)
	if !errors.Is(err, fairlead.ErrNotFound) {
		return secret, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return identity.Secret{}, err
	}
	secret, err = g.register(ctx, &astarte.Pairing{URL: cfg.PairingURL, Realm: cfg.Realm, HTTP: cfg.HTTP}, cfg.DeviceID)
	if err != nil {
		return identity.Secret{}, err
	}
	return secret, identity.SaveSecret(file, secret)
}
