package awsiot

import (
	"context"
	"crypto"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/identity"
)

// mosquitto starts one that wants certificates of the authority, and returns its address.
func mosquitto(t *testing.T, a *authority) string {
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
	dir := t.TempDir()
	write := func(name string, blocks ...*pem.Block) string {
		t.Helper()
		file := filepath.Join(dir, name)
		var b []byte
		for _, block := range blocks {
			b = append(b, pem.EncodeToMemory(block)...)
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	server := a.server(t, "127.0.0.1")
	secret, err := identity.EncodeKey(server.PrivateKey.(crypto.Signer))
	if err != nil {
		t.Fatal(err)
	}
	key, _ := pem.Decode([]byte(secret.Reveal()))
	ca, cert, keyFile := write("ca.pem", &pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), write("server.pem", &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate[0]}), write("server.key", key)
	for range 10 { // somebody may be quicker to take the port
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := l.Addr().String()
		_, port, _ := net.SplitHostPort(address)
		_ = l.Close()
		config := filepath.Join(dir, "mosquitto.conf")
		// Started by root, it would drop its rights; for anybody else "user" means nothing.
		text := fmt.Sprintf("allow_anonymous true\nuser root\nlog_type error\nlistener %s 127.0.0.1\ncafile %s\ncertfile %s\nkeyfile %s\nrequire_certificate true\n", port, ca, cert, keyFile)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if start(t, exec.Command(program, "-c", config), address) {
			return address
		}
	}
	t.Fatal("mosquitto does not start")
	return ""
}

// start starts a server, and waits until it accepts connections. It returns false if it ends instead.
func start(t *testing.T, cmd *exec.Cmd, address string) bool {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed, or tells us by ending
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	for ticker := time.NewTicker(10 * time.Millisecond); ; {
		if nc, err := net.Dial("tcp", address); err == nil {
			_ = nc.Close()
			select {
			case <-ended: // somebody else's server
				return false
			default:
				return true
			}
		}
		select {
		case <-ended:
			return false
		case <-ticker.C:
		case <-soon(t).Done():
			t.Fatal("mosquitto does not listen")
		}
	}
}

// run runs a client until the test ends.
func run(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return c
}

// soon bounds what happens at once.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func subscribeNow(t *testing.T, c *Client, filter string, handler func(*Message)) {
	t.Helper()
	if granted, err := c.Subscribe(soon(t), filter, AtLeastOnce, handler, nil); err != nil || granted != AtLeastOnce {
		t.Fatalf("subscribe to %s: granted %d, %v", filter, granted, err)
	}
}

func receive[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-soon(t).Done():
		t.Fatal("nothing has come")
	}
	return v
}

// cutter dials, and cuts the last connection that it has made.
type cutter struct {
	mu   sync.Mutex
	last net.Conn
}

func (c *cutter) dial(ctx context.Context, network, address string) (net.Conn, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, network, address)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = nc
	return nc, err
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.last.Close()
}

// The basics against a server that nobody here wrote: mutual TLS, every version, both qualities of service, subscriptions, retained
// messages, a will, a connection that is cut.
func TestMosquitto(t *testing.T) {
	a := newAuthority(t)
	address := mosquitto(t, a)
	for _, protocol := range []Protocol{MQTT31, MQTT311, MQTT5} {
		t.Run(protocol.String(), func(t *testing.T) {
			id := strconv.Itoa(int(protocol))
			base := "test/" + id
			wills := make(chan string, 1)
			watcher := run(t, Config{Endpoint: address, ClientID: "watcher-" + id, Identity: a.device(t, "watcher"), RootCAs: a.pool(), Protocol: protocol, Backoff: Backoff{Base: 10 * time.Millisecond}})
			subscribeNow(t, watcher, base+"/will", func(m *Message) { wills <- string(m.Payload) })

			got, connected, line := make(chan *Message, 100), make(chan struct{}, 10), &cutter{}
			c := run(t, Config{
				Endpoint: address, ClientID: "pump-" + id, Identity: a.device(t, "pump"), RootCAs: a.pool(), Protocol: protocol, Dial: line.dial,
				Backoff: Backoff{Base: 10 * time.Millisecond}, Will: &Will{Topic: base + "/will", Payload: []byte("gone"), QoS: AtLeastOnce},
				OnConnection: func(c Connection) {
					if c.State == Connected {
						connected <- struct{}{}
					}
				},
			})
			receive(t, connected)
			subscribeNow(t, c, base+"/data/#", func(m *Message) { got <- m })
			for i, qos := range []QoS{AtMostOnce, AtLeastOnce} {
				topic := base + "/data/" + strconv.Itoa(i)
				if err := c.Publish(soon(t), topic, qos, []byte{byte(i)}, &PublishOptions{Retain: true}); err != nil {
					t.Fatal(err)
				}
				if m := receive(t, got); m.Topic != topic || m.QoS != qos || m.Retain || len(m.Payload) != 1 {
					t.Errorf("got %+v", m)
				}
			}
			line.cut()
			if will := receive(t, wills); will != "gone" {
				t.Errorf("will %q", will)
			}
			receive(t, connected)
			if protocol == MQTT31 { // which cannot say that the session is there: subscribing again brings what is retained
				receive(t, got)
				receive(t, got)
			}
			results := make([]*Result, 50)
			for i := range results {
				var err error
				if results[i], err = c.PublishAsync(soon(t), base+"/data/burst", AtLeastOnce, []byte{byte(i)}, nil); err != nil {
					t.Fatal(err)
				}
			}
			for i, r := range results {
				if err := r.Wait(soon(t)); err != nil {
					t.Fatal(err)
				}
				if m := receive(t, got); m.Payload[0] != byte(i) {
					t.Fatalf("message %d has come as number %d", m.Payload[0], i)
				}
			}
			if err := c.Unsubscribe(soon(t), base+"/data/#"); err != nil {
				t.Error(err)
			}
			subscribeNow(t, c, base+"/data/1", func(m *Message) { got <- m })
			if m := receive(t, got); !m.Retain || m.Topic != base+"/data/1" {
				t.Errorf("retained: %+v", m)
			}
		})
	}
	// With a certificate of another authority nobody gets in. In TLS 1.3 the refusal comes after the handshake.
	stranger := run(t, Config{Endpoint: address, ClientID: "stranger", Identity: newAuthority(t).device(t, "stranger"), RootCAs: a.pool()})
	if err := stranger.Await(soon(t)); !errors.Is(err, fairlead.ErrUnauthenticated) {
		t.Errorf("a stranger: %v", err)
	}
}
