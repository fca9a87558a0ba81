package listen

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead/internal/memnet"
)

// frontRig is a front with an HTTP server behind it that upgrades what asks for MQTT.
type frontRig struct {
	t             *testing.T
	addr          string
	mem           *memnet.Listener // in a bubble, else nil
	client        *tls.Config
	front         *Front
	gate, pending *Gate
	mqtt          chan *Conn // what has become MQTT
	errs          chan error // of upgrades
}

func newFrontRig(t *testing.T, timeout time.Duration, change ...func(*FrontConfig)) *frontRig {
	t.Helper()
	server, client := serverTLS(t, 0)
	server.NextProtos = []string{"mqtt", "x-amzn-mqtt-ca", "h2", "http/1.1"}
	server.ClientAuth = tls.RequestClientCert
	var mem *memnet.Listener
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if time.Now().Year() == 2000 {
		l.Close()
		mem = memnet.Listen("127.0.0.1:443")
		l = mem
	}
	r := &frontRig{
		t: t, addr: l.Addr().String(), mem: mem, client: client, gate: NewGate(20, 20), pending: NewGate(20, 20),
		mqtt: make(chan *Conn, 8), errs: make(chan error, 8),
	}
	cfg := FrontConfig{
		Listener: l, TLS: server, MQTT: []string{"mqtt", "x-amzn-mqtt-ca"}, Timeout: timeout, Gate: r.gate, Pending: r.pending,
	}
	for _, f := range change {
		f(&cfg)
	}
	r.front = NewFront(cfg)
	web := &http.Server{TLSConfig: server.Clone(), ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		protocol, none := Offered(req)
		if !Asks(req) || protocol == "" && !none {
			fmt.Fprint(w, req.Proto)
			return
		}
		r.errs <- r.front.Upgrade(w, req, protocol)
	})}
	ran, served := make(chan error, 1), make(chan error, 1)
	go func() { ran <- r.front.Run(context.WithoutCancel(t.Context())) }()
	go func() { served <- web.Serve(r.front.HTTP()) }()
	go func() {
		for {
			c, err := r.front.MQTT().Accept()
			if err != nil {
				close(r.mqtt)
				return
			}
			r.mqtt <- c.(*Conn)
		}
	}()
	t.Cleanup(func() {
		web.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

// connect returns a connection before its handshake.
func (r *frontRig) connect() net.Conn {
	r.t.Helper()
	var nc net.Conn
	var err error
	if r.mem != nil {
		nc, err = r.mem.Dial(r.t.Context())
	} else {
		nc, err = net.Dial("tcp", r.addr)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { nc.Close() })
	return nc
}

// dial returns a connection after its handshake.
func (r *frontRig) dial(protos ...string) *tls.Conn {
	r.t.Helper()
	cfg := r.client.Clone()
	cfg.NextProtos = protos
	nc := tls.Client(r.connect(), cfg)
	if err := nc.HandshakeContext(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	return nc
}

// next returns the next connection that has become MQTT.
func (r *frontRig) next() *Conn {
	r.t.Helper()
	select {
	case c := <-r.mqtt:
		c.SetDeadline(time.Now().Add(30 * time.Second))
		r.t.Cleanup(func() { c.Close() })
		return c
	case <-time.After(30 * time.Second):
		r.t.Fatal("nothing has become MQTT")
		return nil
	}
}

// What clients offer, as observed with AWSIoTPythonSDK 1.6.2, awsiotsdk 1.31.0 and aws-iot-device-sdk-v2 1.28.0, and browsers.
func TestALPN(t *testing.T) {
	r := newFrontRig(t, 0)
	for _, tt := range []struct {
		name   string
		offers []string
		mqtt   bool
	}{
		{"v1-alpn-443", []string{"x-amzn-mqtt-ca"}, true},
		{"custom authorizer", []string{"mqtt"}, true},
		{"v1-wss-443", nil, false},
		{"v2-wss", []string{"http/1.1"}, false},
		{"browser", []string{"h2", "http/1.1"}, false},
		{"whoever offers MQTT speaks it", []string{"http/1.1", "mqtt"}, true},
	} {
		nc := r.dial(tt.offers...)
		if tt.mqtt {
			fmt.Fprint(nc, "MQTT!")
			c := r.next()
			b := make([]byte, 5)
			if _, err := io.ReadFull(c, b); err != nil || string(b) != "MQTT!" {
				t.Errorf("%s: got %q, %v", tt.name, b, err)
			}
			c.Close()
			continue
		}
		if nc.ConnectionState().NegotiatedProtocol == "h2" {
			continue // see TestHTTP2
		}
		fmt.Fprint(nc, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		if b, err := io.ReadAll(nc); err != nil || !bytes.HasSuffix(b, []byte("HTTP/1.1")) {
			t.Errorf("%s: got %q, %v, want HTTP", tt.name, b, err)
		}
	}
	cfg := r.client.Clone()
	cfg.NextProtos = []string{"gopher"}
	if nc, err := tls.Dial("tcp", r.addr, cfg); err == nil {
		nc.Close()
		t.Error("a protocol that nobody speaks was negotiated") // RFC 7301 section 3.2
	}
}

func TestHTTP2(t *testing.T) {
	r := newFrontRig(t, 0)
	tr := &http.Transport{TLSClientConfig: r.client, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr}).Get("https://" + r.addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || string(b) != "HTTP/2.0" {
		t.Errorf("got %q, %v", b, err)
	}
	if n := r.gate.Open(); n != 1 {
		t.Errorf("%d connections counted", n)
	}
}

// Somebody who says nothing holds up nobody, and is sent away.
func TestSilentHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = time.Minute
		r := newFrontRig(t, timeout)
		began := time.Now()
		var silent []net.Conn
		for range 5 {
			silent = append(silent, r.connect())
		}
		nc := r.dial("mqtt")
		fmt.Fprint(nc, "x")
		r.next()
		if took := time.Since(began); took >= timeout {
			t.Errorf("who shook hands waited %v for those who did not", took)
		}
		for _, nc := range silent {
			if _, err := io.Copy(io.Discard, nc); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		}
		if took := time.Since(began); took != timeout {
			t.Errorf("they were sent away after %v, want %v", took, timeout)
		}
		left(t, r.gate, 1) // the one that is MQTT: nobody has taken it further
	})
}

// left waits until so many count.
func left(t *testing.T, g *Gate, want int) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); g.Open() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d connections are counted, want %d", g.Open(), want)
		}
	}
}

func TestFrontIsFull(t *testing.T) {
	r := newFrontRig(t, 0)
	var all []net.Conn
	for range 20 {
		all = append(all, r.dial())
	}
	nc, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := nc.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("one too many: got %v, want the end of the connection", err)
	}
	if r.gate.Full() != 1 {
		t.Errorf("%d refused", r.gate.Full())
	}
	for _, nc := range all {
		nc.Close()
	}
	left(t, r.gate, 0)
}

// When MQTT stops, HTTP goes on.
func TestMQTTStopsFirst(t *testing.T) {
	r := newFrontRig(t, 0)
	r.front.MQTT().Close()
	nc := r.dial()
	fmt.Fprint(nc, upgradeRequest("/mqtt", shortKey))
	if res, err := http.ReadResponse(bufio.NewReader(nc), nil); err != nil || res.StatusCode != 503 {
		t.Errorf("got %v, %v, want 503", res, err)
	}
	if _, err := r.dial("mqtt").Read(make([]byte, 1)); err == nil {
		t.Error("MQTT is still accepted")
	}
	nc = r.dial()
	fmt.Fprint(nc, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if res, err := http.ReadResponse(bufio.NewReader(nc), nil); err != nil || res.StatusCode != 200 {
		t.Errorf("got %v, %v, want 200", res, err)
	}
}
