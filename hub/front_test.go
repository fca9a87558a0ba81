package hub

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/websocket"
)

// webConn is a client's end of a WebSocket.
type webConn struct {
	net.Conn
	frames websocket.Decoder
}

func (c *webConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err != nil {
			return 0, err
		}
		if n, err = c.frames.Decode(p[:n]); n > 0 || err != nil {
			return n, err
		}
	}
}

func (c *webConn) Write(p []byte) (int, error) {
	_, err := c.Conn.Write(websocket.AppendMasked(nil, websocket.Binary, p, [4]byte{9, 8, 7, 6}))
	return len(p), err
}

// https returns a connection to the HTTPS port with ALPN.
func (r *running) https(t *testing.T, protos ...string) *tls.Conn {
	t.Helper()
	cfg := r.trust(t).Clone()
	cfg.NextProtos = protos
	nc, err := tls.Dial("tcp", strings.TrimPrefix(r.State().URL, "https://"), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	return nc
}

func upgrade(t *testing.T, nc net.Conn, target string) net.Conn {
	t.Helper()
	fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: x\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n", target)
	b := make([]byte, 1024)
	n, err := nc.Read(b)
	if err != nil || !bytes.HasPrefix(b[:n], []byte("HTTP/1.1 101 Switching Protocols\r\n")) {
		t.Fatalf("got %q, %v", b[:n], err)
	}
	return &webConn{Conn: nc, frames: websocket.Decoder{FromServer: true}}
}

// connack sends CONNECT and returns the code of the answer.
func connack(t *testing.T, nc net.Conn, user, password string) byte {
	t.Helper()
	p := mqtt.Connect{
		Version: mqtt.V311, ClientID: "front", CleanStart: true,
		Username: user, HasUsername: user != "", Password: []byte(password), HasPassword: user != "",
	}
	if _, err := nc.Write(p.Append(nil, mqtt.V311)); err != nil {
		t.Fatal(err)
	}
	var b [4]byte
	if _, err := io.ReadFull(nc, b[:]); err != nil {
		t.Fatal(err)
	}
	return b[3]
}

// One device comes in by every way there is.
func TestEveryWayIn(t *testing.T) {
	r := start(t, Config{Development: true, MQTTPlainPort: AnyPort})
	env, err := r.Env("mqtt")
	if err != nil {
		t.Fatal(err)
	}
	user, password := env["MQTT_USERNAME"], env["MQTT_PASSWORD"]
	for name, dial := range map[string]func() net.Conn{
		"MQTT over TLS": func() net.Conn {
			nc, err := tls.Dial("tcp", r.mqtt(), r.trust(t))
			if err != nil {
				t.Fatal(err)
			}
			return nc
		},
		"ALPN on the MQTT port": func() net.Conn { // aws-iot-device-sdk-v2 for JavaScript offers it there
			cfg := r.trust(t).Clone()
			cfg.NextProtos = []string{"x-amzn-mqtt-ca"}
			nc, err := tls.Dial("tcp", r.mqtt(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			return nc
		},
		"plain": func() net.Conn {
			nc, err := net.Dial("tcp", strings.TrimPrefix(r.State().MQTTPlain, "mqtt://"))
			if err != nil {
				t.Fatal(err)
			}
			return nc
		},
		"ALPN mqtt":      func() net.Conn { return r.https(t, "mqtt") },
		"ALPN amazon":    func() net.Conn { return r.https(t, "x-amzn-mqtt-ca", "http/1.1") },
		"WebSocket":      func() net.Conn { return upgrade(t, r.https(t, "http/1.1"), "/mqtt") },
		"any path":       func() net.Conn { return upgrade(t, r.https(t), "/$iothub/websocket?iothub-no-client-cert=true") },
		"the first page": func() net.Conn { return upgrade(t, r.https(t), "/") },
	} {
		nc := dial()
		if code := connack(t, nc, user, password); code != 0 {
			t.Errorf("%s: got CONNACK %d", name, code)
		}
		nc.Close()
		nc = dial()
		if code := connack(t, nc, user, "wrong"); code == 0 {
			t.Errorf("%s: a wrong password opens the door", name)
		}
		nc.Close()
	}
}

// Without credentials there is one way in, if it is asked for; the first client must find it open too.
// Each of the HTTPS ports takes all that the first one takes, and they end together.
func TestMorePorts(t *testing.T) {
	r := start(t, Config{HTTPSMorePorts: []int{AnyPort, AnyPort}})
	more := r.State().MoreURLs
	if len(more) != 2 || more[0] == more[1] || more[0] == r.State().URL {
		t.Fatalf("got %q besides %q", more, r.State().URL)
	}
	for _, url := range more {
		dial := func(protos ...string) net.Conn {
			cfg := r.trust(t).Clone()
			cfg.NextProtos = protos
			nc, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), cfg)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { nc.Close() })
			nc.SetDeadline(time.Now().Add(30 * time.Second))
			return nc
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: r.trust(t)}}
		resp, err := client.Get(url + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		client.CloseIdleConnections()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", url, resp.Status)
		}
		for _, nc := range []net.Conn{dial("x-amzn-mqtt-ca"), upgrade(t, dial(), "/mqtt")} {
			if code := connack(t, nc, "nobody", "x"); code == mqtt.ConnAckAccepted {
				t.Errorf("%s: nobody is let in", url)
			}
		}
	}
	r.stop()
	if err := r.wait(); err != nil {
		t.Error(err)
	}
	for _, url := range more {
		if nc, err := net.Dial("tcp", strings.TrimPrefix(url, "https://")); err == nil {
			nc.Close()
			t.Errorf("%s is still open", url)
		}
	}
}

func TestAnonymous(t *testing.T) {
	for _, anonymous := range []bool{true, false} {
		r := start(t, Config{Development: true, MQTTPlainPort: AnyPort, MQTTAnonymous: anonymous})
		for range 2 {
			nc, err := net.Dial("tcp", strings.TrimPrefix(r.State().MQTTPlain, "mqtt://"))
			if err != nil {
				t.Fatal(err)
			}
			if code := connack(t, nc, "", ""); (code == 0) != anonymous {
				t.Errorf("anonymous %v: got CONNACK %d", anonymous, code)
			}
			nc.Close()
		}
		if code := connack(t, r.https(t, "mqtt"), "", ""); code == 0 {
			t.Error("a client without credentials comes in over TLS")
		}
	}
}

// A name for HTTP that net/http does not know must not end the connection, nor a certificate that nobody knows.
func TestHTTPWithCertificate(t *testing.T) {
	r := start(t, Config{})
	cfg := r.trust(t).Clone()
	cfg.NextProtos, cfg.Certificates = []string{httpWithCertificate}, []tls.Certificate{selfSigned(t, "stranger")}
	nc, err := tls.Dial("tcp", strings.TrimPrefix(r.State().URL, "https://"), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	fmt.Fprint(nc, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if res, err := http.ReadResponse(bufio.NewReader(nc), nil); err != nil || res.StatusCode != 200 {
		t.Errorf("got %v, %v, want 200", res, err)
	}
	cfg.NextProtos = []string{"mqtt"}
	nc, err = tls.Dial("tcp", strings.TrimPrefix(r.State().URL, "https://"), cfg)
	if err == nil {
		defer nc.Close()
		_, err = nc.Read(make([]byte, 1)) // with TLS 1.3 the client learns of it afterwards
	}
	if err == nil || !strings.Contains(err.Error(), "tls:") {
		t.Errorf("MQTT with a stranger's certificate: got %v, want an alert", err)
	}
}

// Requests for WebSockets that are not MQTT are none of the broker's business.
func TestOtherWebSockets(t *testing.T) {
	r := start(t, Config{})
	for _, target := range []string{"/appengine/v1/socket/websocket", "/elsewhere"} {
		nc := r.https(t)
		fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
			"Sec-WebSocket-Key: x\r\n\r\n", target)
		if res, err := http.ReadResponse(bufio.NewReader(nc), nil); err != nil || res.StatusCode < 400 {
			t.Errorf("%s: got %v, %v, want an ordinary answer", target, res, err)
		}
	}
}

func TestWebSocketsEndWithTheHub(t *testing.T) {
	r := start(t, Config{Development: true})
	env, err := r.Env("mqtt")
	if err != nil {
		t.Fatal(err)
	}
	nc := upgrade(t, r.https(t), "/mqtt")
	if code := connack(t, nc, env["MQTT_USERNAME"], env["MQTT_PASSWORD"]); code != 0 {
		t.Fatalf("got CONNACK %d", code)
	}
	r.stop()
	if n, err := nc.Read(make([]byte, 100)); err == nil {
		t.Errorf("got %d bytes, want the end", n)
	}
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}

func TestLimitsFollowDescriptors(t *testing.T) {
	for _, tt := range []struct{ descriptors, mqtt, pending, https int }{
		{0, 100_000, 4096, 4096},
		{1 << 20, 100_000, 4096, 4096},
		{65536, 65536 - 256 - 2*4096, 4096, 4096},
		{1024, 384, 192, 192},
		{8, 4, 1, 1},
	} {
		l := Limits{}.effective(tt.descriptors)
		if l.MQTTConnections != tt.mqtt || l.MQTTPending != tt.pending || l.HTTPSConnections != tt.https {
			t.Errorf("%d descriptors: got %+v, want %+v", tt.descriptors, l, tt)
		}
		if tt.descriptors > 0 && l.MQTTConnections+l.MQTTPending+l.HTTPSConnections >= tt.descriptors {
			t.Errorf("%d descriptors: %+v leaves none", tt.descriptors, l)
		}
	}
	if l := (Limits{MQTTPending: 7, MQTTConnections: -1}).effective(1024); l.MQTTPending != 7 || l.MQTTConnections < 1<<30 {
		t.Errorf("what is set does not hold: %+v", l)
	}
}
