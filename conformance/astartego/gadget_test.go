package astartego

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/outbox"
	"github.com/fairlead-iot/fairlead/outbox/sqlitebox"
)

// gadget is a device of ours, in this process.
type gadget struct {
	*astarte.Device
	t      *testing.T
	p      *platform
	cfg    astarte.Config
	data   chan astarte.Data
	states chan astarte.Connection
	halt   func()
}

// pairing is the realm's Pairing API.
func (p *platform) pairing() *astarte.Pairing {
	return &astarte.Pairing{URL: p.realm.PairingURL(), Realm: p.realm.Name, HTTP: p.client()}
}

func (p *platform) token() identity.Secret { return identity.NewSecret(p.realm.Token()) }

// gadget registers a device, and does not run it.
func (p *platform) gadget(t *testing.T, shorts ...string) *gadget {
	t.Helper()
	g := &gadget{t: t, p: p, data: make(chan astarte.Data, 10_000), states: make(chan astarte.Connection, 10_000)}
	id := astarte.RandomDeviceID()
	secret, err := p.pairing().Register(t.Context(), id, p.token())
	must(t, err)
	g.cfg = astarte.Config{
		PairingURL: p.realm.PairingURL(), Realm: p.realm.Name, DeviceID: id, CredentialsSecret: secret, Dir: filepath.Join(t.TempDir(), "device"),
		RootCAs: p.realm.Roots(), MinBackoff: 10 * time.Millisecond, MaxBackoff: 200 * time.Millisecond,
		OnData: func(d astarte.Data) { g.data <- d }, OnConnection: func(c astarte.Connection) { g.states <- c },
	}
	if os.Getenv("ASTARTE_LOG") != "" {
		g.cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	for _, short := range shorts {
		g.cfg.Interfaces = append(g.cfg.Interfaces, iface(t, short))
	}
	return g
}

// connected registers a device, runs it and waits until it is connected.
func (p *platform) connected(t *testing.T, shorts ...string) *gadget {
	t.Helper()
	return p.gadget(t, shorts...).connect()
}

// connect makes the device, as a new process would, runs it and waits until it is connected.
func (g *gadget) connect() *gadget {
	g.t.Helper()
	g.make()
	g.run()
	g.await(astarte.Connected)
	return g
}

// make makes the device.
func (g *gadget) make() *gadget {
	g.t.Helper()
	var err error
	g.Device, err = astarte.New(g.cfg)
	must(g.t, err)
	g.halt = sync.OnceFunc(func() { must(g.t, g.Device.Close()) })
	g.t.Cleanup(g.halt)
	return g
}

// run runs the device that was made, until halt is called or the test ends.
func (g *gadget) run() {
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	d := g.Device
	go func() { result <- d.Run(ctx) }()
	g.halt = sync.OnceFunc(func() {
		cancel()
		if err := <-result; err != nil {
			g.t.Errorf("run: %v", err)
		}
		if err := d.Close(); err != nil {
			g.t.Errorf("close: %v", err)
		}
	})
	g.t.Cleanup(g.halt)
}

// restart ends the device in order, and starts another one on its folder.
func (g *gadget) restart() {
	g.t.Helper()
	g.halt()
	g.connect()
}

// await waits for a state, and returns how it came to it.
func (g *gadget) await(state astarte.ConnectionState) astarte.Connection {
	g.t.Helper()
	limit := time.After(patience)
	for {
		select {
		case c := <-g.states:
			if c.State == state {
				return c
			}
		case <-limit:
			g.t.Fatalf("not %v within %v", state, patience)
		}
	}
}

// received returns the next value that Astarte has sent.
func (g *gadget) received() astarte.Data {
	g.t.Helper()
	select {
	case d := <-g.data:
		return d
	case <-time.After(patience):
		g.t.Fatal("nothing was received")
	}
	return astarte.Data{}
}

// send sends a value.
func (g *gadget) send(short, path string, value any) {
	g.t.Helper()
	must(g.t, g.Send(g.t.Context(), prefix+short, path, value, nil))
}

// sendAt sends a value with its time.
func (g *gadget) sendAt(short, path string, value any, at time.Time) {
	g.t.Helper()
	must(g.t, g.Send(g.t.Context(), prefix+short, path, value, &astarte.SendOptions{Time: at}))
}

func (g *gadget) set(short, path string, value any) {
	g.t.Helper()
	must(g.t, g.SetProperty(g.t.Context(), prefix+short, path, value))
}

func (g *gadget) unset(short, path string) {
	g.t.Helper()
	must(g.t, g.UnsetProperty(g.t.Context(), prefix+short, path))
}

// settle waits until everything is acknowledged: then it is stored and visible, so that it can be read once.
func (g *gadget) settle() {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	must(g.t, g.Flush(ctx))
}

// read returns what the hub shows of the device.
func (g *gadget) read(short, path string, query ...string) any {
	g.t.Helper()
	return g.p.read(g.t, g.ID(), short, path, query...)
}

func (g *gadget) series(short, path string) []any {
	g.t.Helper()
	return g.p.series(g.t, g.ID(), short, path)
}

// kept returns the properties that the device has, by interface and path.
func (g *gadget) kept() map[string]any {
	g.t.Helper()
	all, err := g.Properties(g.t.Context())
	must(g.t, err)
	m := map[string]any{}
	for _, p := range all {
		m[p.Interface[len(prefix):]+p.Path] = p.Value
	}
	return m
}

// away waits until the hub has noticed that the device is not connected.
func (g *gadget) away() {
	g.t.Helper()
	eventually(g.t, "the hub to notice that the device is gone", func() bool {
		d, err := g.p.realm.Device(g.t.Context(), g.cfg.DeviceID)
		must(g.t, err)
		return !d.Connected
	})
}

// openOutbox opens the outbox in a file.
func openOutbox(ctx context.Context, file string, cfg outbox.Config) (*outbox.Outbox, error) {
	store, err := sqlitebox.Open(ctx, sqlitebox.Config{Path: file})
	if err != nil {
		return nil, err
	}
	cfg.Store = store
	return outbox.Open(ctx, cfg)
}
