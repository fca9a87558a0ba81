// Package hubtest runs a whole Fairlead hub inside a Go test, as net/http/httptest runs a web server: you test devices with it, those on the SDK of this
// module and any others, without a cloud, a container or a port.
//
//	func TestThermometer(t *testing.T) {
//		hub := hubtest.New(t)
//		realm := hub.Astarte(t)
//		realm.Install(t, climate) // the definition of an interface, in JSON
//		id := astarte.RandomDeviceID()
//
//		device, err := astarte.New(astarte.Config{
//			PairingURL: realm.PairingURL, Realm: realm.Name, DeviceID: id, CredentialsSecret: realm.Register(t, id),
//			Dir: t.TempDir(), HTTP: hub.HTTP(), RootCAs: hub.Roots(), Dial: hub.Dial,
//		})
//		...
//		sample := hub.AwaitSample(t, id, "org.example.Climate:1/kitchen/temperature")
//	}
//
// The hub is real: the one that "fairlead up" runs, with its database in a folder of the test; that it has acknowledged something means here, too, that it is on disk. It
// is ready in some 30 milliseconds. [New] puts it on a network in memory, which is reached through Dial, so that any number of tests can run at once;
// [NewLoopback] puts it on free ports of the loopback interface, for clients that cannot be given a dialer, such as other processes. The hub ends with the test.
//
// # What goes wrong in the field
//
// Every connection goes over a [Line], which can be cut, stalled, delayed, and more. The hub has one for everybody; [Hub.NewLine] makes one for a device alone.
//
//	line := hub.NewLine(t)
//	... Dial: line.Dial ...
//	line.SetOffline(true) // a tunnel
//	device.Send(...)
//	line.SetOffline(false)
//
// And the hub can go: [Hub.Restart] stops it in order and starts it with the same data; [Hub.Kill] ends it as kill -9 does.
//
// # Time
//
// In a bubble of testing/synctest the hub goes by the bubble's clock, all of it: a session's expiry, a will's delay, retention, keep-alive and the ends of certificates and tokens come
// when the test's time.Sleep has come there, and cost no real time, except that a hub at rest looks at its limits each second: a day takes
// a second, or none if it is stopped meanwhile. The clock of a bubble begins in the year 2000, so make the hub, and the device, inside.
//
//	synctest.Test(t, func(t *testing.T) {
//		hub := hubtest.New(t) // not NewLoopback: who waits for a real socket holds up the clock
//		...
//		time.Sleep(24 * time.Hour)
//	})
package hubtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/fairlead-iot/fairlead/hub"
	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/internal/memnet"
)

// Config configures [Start]. Every field works at zero.
type Config struct {
	// Hub is the hub's own configuration, for limits, retention or a logger. The folder is one of the test unless DataDir names one. Addresses, Listeners and Development are hubtest's
	// business, and there is no port without TLS. A StopGrace of 0 means none.
	Hub hub.Config
	// Loopback puts the hub on free ports of the loopback interface, and in memory as well.
	Loopback bool
}

// A Hub is a hub in a test. Its methods may be called from any goroutine, except for those that start or end it, which are called one at a time.
type Hub struct {
	// Line is the network between the hub and all devices that have no line of their own, and those of the loopback interface.
	*Line

	cfg     hub.Config
	network *memnet.Network
	address [2]*net.TCPAddr // of MQTT and HTTPS, as the hub sees them
	roots   *x509.CertPool
	staff   *http.Client // of those who run the hub: it needs no line that the test could take away

	mu    sync.Mutex
	now   *process // nil: the hub does not run
	last  *hub.Hub
	lines []*Line
}

// New runs a hub on a network in memory until the test ends. It serves all platforms with development credentials, as "fairlead up" does.
func New(tb testing.TB) *Hub {
	tb.Helper()
	return Start(tb, Config{})
}

// NewLoopback runs a hub on free ports of the loopback interface until the test ends.
func NewLoopback(tb testing.TB) *Hub {
	tb.Helper()
	return Start(tb, Config{Loopback: true})
}

// Start runs a hub until the test ends.
func Start(tb testing.TB, cfg Config) *Hub {
	tb.Helper()
	h := &Hub{cfg: cfg.Hub, network: &memnet.Network{}, roots: x509.NewCertPool()}
	if h.cfg.DataDir == "" {
		h.cfg.DataDir = filepath.Join(tb.TempDir(), "hub")
	}
	if h.cfg.StopGrace == 0 {
		h.cfg.StopGrace = -1
	}
	h.cfg.Development = true
	h.address = [2]*net.TCPAddr{{IP: loopback, Port: hub.DefaultMQTTPort}, {IP: loopback, Port: hub.DefaultHTTPSPort}}
	h.staff = &http.Client{Transport: &http.Transport{DialContext: h.network.DialContext, TLSClientConfig: &tls.Config{RootCAs: h.roots}, ForceAttemptHTTP2: true}}
	h.Line = h.NewLine(tb)
	if cfg.Loopback {
		h.openPorts(tb)
	}
	tb.Cleanup(func() {
		for _, l := range h.all() {
			l.Cut() // what a fault holds up would hold up the stop
		}
		h.Stop(tb)
	})
	h.Start(tb)
	root, err := os.ReadFile(h.State().CA)
	if err != nil {
		tb.Fatalf("hubtest: %v", err)
	}
	h.roots.AppendCertsFromPEM(root)
	return h
}

// NewLine makes another network between devices and the hub, whose faults do not concern those on other lines.
func (h *Hub) NewLine(tb testing.TB) *Line {
	l := newLine(h.network, h.roots)
	h.mu.Lock()
	h.lines = append(h.lines, l)
	h.mu.Unlock()
	tb.Cleanup(l.close)
	return l
}

// all returns the lines.
func (h *Hub) all() []*Line {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.lines)
}

// State says where the hub is reached, as "fairlead status" does, or where it was.
func (h *Hub) State() hub.State { return h.hub().State() }

// hub returns the hub that runs, or did last.
func (h *Hub) hub() *hub.Hub {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// Env returns the environment variables that point a platform's official SDK at the hub, as "fairlead env" does; "" stands for those of all platforms. They help only
// programs that have a way to it: see [NewLoopback].
func (h *Hub) Env(tb testing.TB, platform string) map[string]string {
	tb.Helper()
	env, err := h.hub().Env(platform)
	if err != nil {
		tb.Fatalf("hubtest: %v", err)
	}
	return env
}

// Roots returns the authority that signed the hub's own certificate.
func (h *Hub) Roots() *x509.CertPool { return h.roots }

// Admin returns a client of the hub's own API. It does not go over a line.
func (h *Hub) Admin(tb testing.TB) *admin.Client {
	tb.Helper()
	return &admin.Client{URL: h.State().URL, Token: h.Env(tb, "")["FAIRLEAD_TOKEN"], HTTP: h.staff}
}

var loopback = net.IPv4(127, 0, 0, 1)

// listener gives a listener in memory the address that the hub tells its clients.
type listener struct {
	*memnet.Listener
	addr *net.TCPAddr
}

// Addr returns that address.
func (l listener) Addr() net.Addr { return l.addr }

func (h *Hub) listen(tb testing.TB, at *net.TCPAddr) net.Listener {
	tb.Helper()
	l, err := h.network.Listen(":" + strconv.Itoa(at.Port))
	if err != nil {
		tb.Fatalf("hubtest: %v", err)
	}
	return listener{l, at}
}

// openPorts opens ports of the loopback interface. They are hubtest's, not the hub's, so that they stay when that restarts, and what comes there goes over the line.
func (h *Hub) openPorts(tb testing.TB) {
	tb.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	var open []*net.TCPListener
	tb.Cleanup(func() {
		stop()
		for _, l := range open {
			_ = l.Close()
		}
		serving.Wait()
	})
	for i := range h.address {
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: loopback})
		if err != nil {
			tb.Fatalf("hubtest: %v", err)
		}
		open = append(open, l)
		at, ok := l.Addr().(*net.TCPAddr)
		if !ok {
			tb.Fatalf("hubtest: listening at %v", l.Addr())
		}
		h.address[i] = at
		serving.Go(func() {
			for {
				c, err := l.AcceptTCP()
				if err != nil {
					return // closed
				}
				serving.Go(func() { h.Line.carry(ctx, socket{c}, at.String()) })
			}
		})
	}
}
