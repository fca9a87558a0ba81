package astartego

import (
	"context"
	"math"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/astarte"
)

// flapping makes connections that break after a random number of bytes, from begin on until there were enough of those.
type flapping struct {
	cuts int

	mu     sync.Mutex
	rng    *rand.Rand
	begun  bool
	broken int // connections that have broken
	open   []*fragile
}

// begin lets connections break, also those that there are.
func (f *flapping) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begun = true
	for _, c := range f.open {
		c.left.Store(100)
	}
	f.open = nil
}

func (f *flapping) dial(ctx context.Context, network, address string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken >= f.cuts {
		return nc, nil
	}
	c := &fragile{Conn: nc, f: f}
	if !f.begun {
		c.left.Store(math.MaxInt64)
		f.open = append(f.open, c)
		return c, nil
	}
	c.left.Store(int64(200 + f.rng.IntN(12_000))) // a handshake takes some 3,000: it breaks, too
	return c, nil
}

func (f *flapping) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.broken
}

// fragile is a connection that breaks when so many bytes have gone through it, either way.
type fragile struct {
	net.Conn
	f    *flapping
	left atomic.Int64
	once sync.Once
}

func (c *fragile) spend(n int) error {
	if c.left.Add(-int64(n)) > 0 {
		return nil
	}
	_ = c.Conn.Close()
	c.once.Do(func() {
		c.f.mu.Lock()
		defer c.f.mu.Unlock()
		c.f.broken++
	})
	return net.ErrClosed
}

// Read implements net.Conn.
func (c *fragile) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p[:min(int64(len(p)), max(1, c.left.Load()))])
	if broken := c.spend(n); broken != nil {
		return 0, broken
	}
	return n, err
}

// Write implements net.Conn.
func (c *fragile) Write(p []byte) (int, error) {
	n := int(min(int64(len(p)), max(0, c.left.Load())))
	m, err := c.Conn.Write(p[:n])
	if broken := c.spend(m); broken != nil {
		return m, broken
	}
	return m, err
}

// A device whose network breaks a thousand times loses nothing in either direction, keeps the order, and repeats nothing where the reliability is "unique".
func TestFlapping(t *testing.T) {
	t.Parallel()
	cuts := int(setting(t, "FAIRLEAD_DEVICE_CUTS", 1000)) // also with -short
	seed := setting(t, "FAIRLEAD_DEVICE_SEED", rand.Uint64N(1_000_000))
	t.Logf("%d cuts, seed %d (repeat with FAIRLEAD_DEVICE_SEED=%d)", cuts, seed, seed)
	begun := time.Now()
	p := shared(t)
	network := &flapping{cuts: cuts, rng: rand.New(rand.NewPCG(seed, 0))}
	g := p.gadget(t, "DeviceKept", "DeviceProperties", "ServerIndividualUnique", "ServerIndividualGuaranteed", "ServerProperties")
	box, err := openOutbox(t.Context(), filepath.Join(t.TempDir(), "outbox.db"), outboxConfig)
	must(t, err)
	t.Cleanup(func() { must(t, box.Close()) })
	g.cfg.Outbox, g.cfg.HTTP = box, p.client()
	g.cfg.MinBackoff, g.cfg.MaxBackoff = time.Millisecond, 5*time.Millisecond
	g.cfg.Dial = network.dial
	var down downlink
	g.cfg.OnData, g.cfg.OnConnection = down.add, nil
	g.make()
	g.run()
	t.Cleanup(g.halt)
	eventually(t, "the first connection", g.Connected)
	network.begin()

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute+time.Duration(cuts)*time.Second)
	defer cancel()
	var writer sync.WaitGroup
	var quit atomic.Bool
	written := 0
	writer.Go(func() { // a program, on a network that is well
		for ; !quit.Load() && ctx.Err() == nil; written++ {
			for _, short := range []string{"ServerIndividualUnique", "ServerIndividualGuaranteed"} {
				if err := p.realm.Write(ctx, "POST", g.ID(), prefix+short, "/integer_endpoint", written); err != nil {
					t.Error(err)
					return
				}
			}
			if err := p.realm.Write(ctx, "PUT", g.ID(), prefix+"ServerProperties", "/integer_endpoint", written); err != nil {
				t.Error(err)
				return
			}
			pauseFor(ctx, 50*time.Millisecond)
		}
	})
	sent := 0
	for ; network.count() < cuts && ctx.Err() == nil; sent++ {
		for _, path := range []string{"/guaranteed", "/unique", "/volatile"} {
			g.send("DeviceKept", path, sent)
		}
		g.set("DeviceProperties", "/integer_endpoint", sent)
		if box.Stats().Messages > 500 {
			pauseFor(ctx, 20*time.Millisecond)
		}
	}
	quit.Store(true)
	writer.Wait()
	must(t, g.Flush(ctx))
	for _, path := range []string{"/guaranteed", "/unique", "/volatile"} {
		all, err := p.everything(ctx, g.ID(), path)
		must(t, err)
		series := make([]any, len(all))
		for i, n := range all {
			series[i] = n
		}
		inOrder(t, path, series, sent, path == "/unique")
	}
	equal(t, g.read("DeviceProperties", "/integer_endpoint"), shown(int32(sent-1), true))
	down.check(t, "ServerIndividualUnique", written, true)
	down.check(t, "ServerIndividualGuaranteed", written, false)
	eventually(t, "the server's last property", func() bool { return g.kept()["ServerProperties/integer_endpoint"] == int32(written-1) })
	t.Logf("%d cuts in %v: %d values on each of three channels up, %d on each of two down", network.count(), time.Since(begun).Round(time.Millisecond), sent, written)
}

func pauseFor(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// downlink collects what has come.
type downlink struct {
	mu  sync.Mutex
	got map[string][]any
}

func (d *downlink) add(data astarte.Data) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.got == nil {
		d.got = map[string][]any{}
	}
	short := data.Interface[len(prefix):]
	d.got[short] = append(d.got[short], data.Value)
}

func (d *downlink) check(t *testing.T, short string, n int, once bool) {
	t.Helper()
	eventually(t, short, func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		seen := map[any]bool{}
		for _, v := range d.got[short] {
			seen[v] = true
		}
		return len(seen) >= n
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	inOrder(t, short, d.got[short], n, once)
}
