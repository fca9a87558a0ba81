package engine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/conformance/hubproc"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
)

// server is something to connect to, and the credentials for it.
type server struct {
	name    string
	dialer  mqttclient.Dialer
	connect mqtt.Connect
	prefix  string // of all topics
}

// as returns how to connect with a client id.
func (s *server) as(clientID string, clean bool) mqtt.Connect {
	c := s.connect
	c.ClientID, c.CleanStart, c.KeepAlive = clientID, clean, 60
	if !clean {
		c.SessionExpiry = 600
	}
	return c
}

// onServers runs a test on each server that is there.
func onServers(t *testing.T, test func(t *testing.T, s *server)) {
	t.Run("mosquitto", func(t *testing.T) { test(t, mosquitto(t)) })
	t.Run("hub", func(t *testing.T) { test(t, hub(t, "tls")) })
}

// mosquitto starts one.
func mosquitto(t testing.TB) *server {
	t.Helper()
	program := ""
	for _, p := range []string{"mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"} {
		if found, err := exec.LookPath(p); err == nil {
			program = found
			break
		}
	}
	if program == "" {
		t.Skip("there is no mosquitto")
	}
	ports, err := hubproc.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "mosquitto.conf")
	// Started by root, it would drop its rights; for anybody else "user" means nothing.
	config := fmt.Sprintf("allow_anonymous true\nlistener %d 127.0.0.1\nuser root\nmax_queued_messages 0\nlog_type error\n", ports[0])
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-c", file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	s := &server{name: "mosquitto", dialer: mqttclient.Dialer{Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))}}
	for deadline := time.Now().Add(30 * time.Second); ; {
		nc, err := s.dialer.Dial(t.Context())
		if err == nil {
			_ = nc.Close()
			return s
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		pause(t.Context(), 20*time.Millisecond)
	}
}

var theHub = sync.OnceValues(func() (*hubproc.Hub, error) {
	dir, err := os.MkdirTemp("", "fairlead-engine-")
	if err != nil {
		return nil, err
	}
	binary := os.Getenv("FAIRLEAD_BIN")
	if binary == "" {
		binary = filepath.Join(dir, "fairlead")
		if err := hubproc.Build(context.Background(), binary); err != nil {
			return nil, err
		}
	}
	h, err := hubproc.New(binary, dir)
	if err != nil {
		return nil, err
	}
	if err := h.Start(); err != nil {
		return nil, err
	}
	return h, h.AwaitReady(context.Background(), 30*time.Second)
})

// TestMain stops the hub, if a test has started it.
func TestMain(m *testing.M) {
	status := m.Run()
	if started.Load() {
		if h, err := theHub(); h != nil {
			if err == nil {
				err = h.Stop()
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				status = 1
			}
			_ = os.RemoveAll(filepath.Dir(h.DataDir))
		}
	}
	os.Exit(status)
}

var started atomic.Bool

// hub returns the built hub, which all tests share, over "tls" or "websocket".
func hub(t testing.TB, over string) *server {
	t.Helper()
	started.Store(true)
	h, err := theHub()
	if err != nil {
		t.Fatal(err)
	}
	env, err := h.Variables(t.Context(), "mqtt")
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(env["FAIRLEAD_CA"])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	s := &server{
		name:   "hub",
		dialer: mqttclient.Dialer{Address: h.MQTT(), TLS: &tls.Config{RootCAs: roots, ServerName: "localhost"}},
		connect: mqtt.Connect{
			Username: env["MQTT_USERNAME"], HasUsername: true, Password: []byte(env["MQTT_PASSWORD"]), HasPassword: true,
		},
		prefix: env["MQTT_TOPIC_PREFIX"],
	}
	if over == "websocket" {
		s.dialer.Address = net.JoinHostPort("127.0.0.1", strconv.Itoa(h.HTTPSPort))
		s.dialer.WebSocket = &mqttclient.WebSocket{Target: "/mqtt", Host: "localhost"}
	}
	return s
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// flaky makes connections that break after a random number of bytes.
type flaky struct {
	most  int
	cuts  int
	seed  *rand.Rand
	mu    sync.Mutex
	calls int
}

func (f *flaky) dial(ctx context.Context, network, address string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls++; f.calls > f.cuts {
		return nc, nil
	}
	c := &cut{Conn: nc}
	c.left.Store(int64(200 + f.seed.IntN(f.most)))
	return c, nil
}

func (f *flaky) broken() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// cut is a connection that breaks when so many bytes have gone through it, either way.
type cut struct {
	net.Conn
	left atomic.Int64
}

func (c *cut) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p[:min(len(p), int(max(1, c.left.Load())))])
	if c.left.Add(-int64(n)) <= 0 {
		_ = c.Conn.Close()
		return 0, net.ErrClosed
	}
	return n, err
}

func (c *cut) Write(p []byte) (int, error) {
	n := min(len(p), int(max(0, c.left.Load())))
	m, err := c.Conn.Write(p[:n])
	if c.left.Add(-int64(m)) <= 0 || n < len(p) {
		_ = c.Conn.Close()
		return m, net.ErrClosed
	}
	return m, err
}
