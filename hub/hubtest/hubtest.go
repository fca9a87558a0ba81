// Package hubtest runs a whole Fairlead hub inside a Go test, as net/http/httptest runs a web server: users of the device SDK test their devices with it,
// without a cloud, a container or a port.
//
//	func TestThermometer(t *testing.T) {
//		hub := hubtest.New(t)
//		realm := hub.Astarte(t)
//		realm.Install(t, climate) // the definition of an interface, in JSON
//		secret := realm.Register(t, deviceID)
//
//		device, err := astarte.New(astarte.Config{
//			PairingURL: realm.PairingURL, Realm: realm.Name, DeviceID: deviceID, CredentialsSecret: secret,
//			Dir: t.TempDir(), HTTP: hub.HTTP(), RootCAs: hub.Roots(), Dial: hub.Dial,
//		})
//		...
//		realm.Await(t, "devices/"+deviceID+"/interfaces/org.example.Climate/room1/temperature", func(answer hubtest.Answer) bool { ... })
//	}
//
// The hub is real: the one that "fairlead up" runs, with its database in a folder of the test. [New] puts it on a network in memory, which is reached through [Hub.Dial], so that any
// number of tests can run at once; [NewLoopback] puts it on free ports of the loopback interface, for clients that cannot be given a dialer. The hub ends with the test.
//
// Connections can be made to fail: [Hub.Cut], [Hub.SetOffline].
package hubtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/fairlead-iot/fairlead/hub"
	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/internal/memnet"
)

// A Hub is a hub in a test. Its methods may be called from any goroutine.
type Hub struct {
	hub     *hub.Hub
	dir     string
	network *memnet.Network // nil: loopback
	roots   *x509.CertPool
	http    *http.Client
	staff   *http.Client // of those who run the hub: it needs no network that the test could take away

	mu      sync.Mutex
	offline bool
	open    map[*conn]struct{}
}

// New runs a hub on a network in memory until the test ends. It serves all platforms with development credentials, as "fairlead up" does.
func New(tb testing.TB) *Hub {
	tb.Helper()
	network := &memnet.Network{}
	h := &Hub{network: network}
	h.start(tb, hub.Config{Listeners: hub.Listeners{MQTT: listen(tb, network, 8883), HTTPS: listen(tb, network, 443)}})
	return h
}

// NewLoopback runs a hub on free ports of the loopback interface until the test ends.
func NewLoopback(tb testing.TB) *Hub {
	tb.Helper()
	h := &Hub{}
	h.start(tb, hub.Config{MQTTPort: hub.AnyPort, HTTPSPort: hub.AnyPort})
	return h
}

func (h *Hub) start(tb testing.TB, cfg hub.Config) {
	tb.Helper()
	h.dir = filepath.Join(tb.TempDir(), "hub")
	h.open = map[*conn]struct{}{}
	cfg.DataDir, cfg.Development, cfg.StopGrace = h.dir, true, -1
	var err error
	if h.hub, err = hub.New(cfg); err != nil {
		tb.Fatalf("hubtest: %v", err)
	}
	h.http, h.staff = &http.Client{}, &http.Client{}
	ctx, stop := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- h.hub.Run(ctx) }()
	tb.Cleanup(func() {
		h.http.CloseIdleConnections() // a stopping hub waits a moment for those
		h.staff.CloseIdleConnections()
		stop()
		if err := <-result; err != nil {
			tb.Errorf("hubtest: %v", err)
		}
	})
	select {
	case <-h.hub.Ready():
	case err := <-result:
		result <- nil
		tb.Fatalf("hubtest: %v", err)
	}
	root, err := os.ReadFile(h.hub.State().CA)
	if err != nil {
		tb.Fatalf("hubtest: %v", err)
	}
	h.roots = x509.NewCertPool()
	h.roots.AppendCertsFromPEM(root)
	h.http.Transport = &http.Transport{DialContext: h.Dial, TLSClientConfig: &tls.Config{RootCAs: h.roots}, ForceAttemptHTTP2: true}
	h.staff.Transport = &http.Transport{DialContext: h.dial, TLSClientConfig: &tls.Config{RootCAs: h.roots}, ForceAttemptHTTP2: true}
}

// listener gives a listener in memory the address that the hub tells its clients.
type listener struct {
	*memnet.Listener
	port int
}

func (l listener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: l.port} }

func listen(tb testing.TB, n *memnet.Network, port int) net.Listener {
	tb.Helper()
	_, text, _ := net.SplitHostPort((&net.TCPAddr{Port: port}).String())
	l, err := n.Listen(":" + text)
	if err != nil {
		tb.Fatalf("hubtest: %v", err)
	}
	return listener{l, port}
}

// State says where the hub is reached, as "fairlead status" does.
func (h *Hub) State() hub.State { return h.hub.State() }

// Env returns the environment variables that point a platform's official SDK at the hub, as "fairlead env" does; "" stands for those of all platforms. They help only
// programs that have a way to it: see [NewLoopback].
func (h *Hub) Env(tb testing.TB, platform string) map[string]string {
	tb.Helper()
	env, err := h.hub.Env(platform)
	if err != nil {
		tb.Fatalf("hubtest: %v", err)
	}
	return env
}

// Roots returns the authority that signed the hub's own certificate.
func (h *Hub) Roots() *x509.CertPool { return h.roots }

// HTTP returns a client that reaches the hub and trusts it.
func (h *Hub) HTTP() *http.Client { return h.http }

// Admin returns a client of the hub's own API.
func (h *Hub) Admin(tb testing.TB) *admin.Client {
	tb.Helper()
	return &admin.Client{URL: h.State().URL, Token: h.Env(tb, "")["FAIRLEAD_TOKEN"], HTTP: h.staff}
}

// Dial connects to the hub. In memory the port alone decides, 8883 for MQTT and 443 for HTTPS; the host may be any.
func (h *Hub) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	h.mu.Lock()
	offline := h.offline
	h.mu.Unlock()
	if offline {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ENETUNREACH}
	}
	c, err := h.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	mine := &conn{Conn: c, h: h}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.offline {
		c.Close()
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ENETUNREACH}
	}
	h.open[mine] = struct{}{}
	return mine, nil
}

func (h *Hub) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if h.network != nil {
		return h.network.DialContext(ctx, network, address)
	}
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// conn is a connection that the test can cut.
type conn struct {
	net.Conn
	h *Hub
}

// Close closes the connection.
func (c *conn) Close() error {
	c.h.mu.Lock()
	delete(c.h.open, c)
	c.h.mu.Unlock()
	return c.Conn.Close()
}

// Cut ends all connections that were made with [Hub.Dial], without a word, and returns how many. New ones can be made.
func (h *Hub) Cut() int {
	h.mu.Lock()
	all := make([]*conn, 0, len(h.open))
	for c := range h.open {
		all = append(all, c)
	}
	clear(h.open)
	h.mu.Unlock()
	for _, c := range all {
		c.Conn.Close()
	}
	return len(all)
}

// SetOffline takes the network away: connections are cut, and new ones fail until it is given back.
func (h *Hub) SetOffline(offline bool) {
	h.mu.Lock()
	h.offline = offline
	h.mu.Unlock()
	if offline {
		h.Cut()
	}
}
