package awsiot

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/internal/memnet"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
	"github.com/fairlead-iot/fairlead/internal/websocket"
)

const (
	endpoint = "a1b2c3-ats.iot.eu-west-1.amazonaws.test"
	limit    = 30 * time.Second // for what happens at once
)

// A vector is one entry of testdata/vectors/aws.
type vector struct {
	Name, Source, What, Hex, Text string
	Decoded                       json.RawMessage
}

func loadVectors(tb testing.TB, file string) map[string]vector {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", "vectors", "aws", file))
	if err != nil {
		tb.Fatal(err)
	}
	var list []vector
	if err := json.Unmarshal(b, &list); err != nil {
		tb.Fatalf("%s: %v", file, err)
	}
	byName := map[string]vector{}
	for _, v := range list {
		byName[v.Name] = v
	}
	return byName
}

func (v vector) bytes(tb testing.TB) []byte {
	tb.Helper()
	b, err := hex.DecodeString(v.Hex)
	if err != nil || len(b) == 0 {
		tb.Fatalf("%s: %v", v.Name, err)
	}
	return b
}

// authority signs certificates.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(tb testing.TB) *authority {
	tb.Helper()
	a := &authority{}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		tb.Fatal(err)
	}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10 * 365 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, a.key.Public(), a.key)
	if err != nil {
		tb.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		tb.Fatal(err)
	}
	return a
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func (a *authority) sign(tb testing.TB, public crypto.PublicKey, name string, hosts ...string) *x509.Certificate {
	tb.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, public, a.key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

func (a *authority) server(tb testing.TB, hosts ...string) tls.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{a.sign(tb, key.Public(), "server", hosts...).Raw}, PrivateKey: key}
}

func (a *authority) device(tb testing.TB, name string) *identity.Identity {
	tb.Helper()
	key, err := identity.NewKey()
	if err != nil {
		tb.Fatal(err)
	}
	id, err := identity.New(key, []*x509.Certificate{a.sign(tb, key.Public(), name)})
	if err != nil {
		tb.Fatal(err)
	}
	return id
}

// gate is the TLS, and if the client wants it the WebSocket, in front of a script.
type gate struct {
	tb        testing.TB
	authority *authority
	tls       *tls.Config
	to        *mqtttest.Peer
	listener  *memnet.Listener
	wg        sync.WaitGroup

	mu       sync.Mutex
	dialed   []string // addresses
	states   []tls.ConnectionState
	requests []*http.Request
	status   int // of the answer to the next handshakes; 0: 101
}

func newGate(tb testing.TB, steps ...mqtttest.Step) *gate {
	tb.Helper()
	g := &gate{tb: tb, authority: newAuthority(tb), listener: memnet.Listen("gate:1")}
	g.to = mqtttest.Script(tb, steps...)
	g.tls = &tls.Config{
		Certificates: []tls.Certificate{g.authority.server(tb, endpoint)}, ClientAuth: tls.RequestClientCert, NextProtos: []string{alpnCertificate, alpnAuthorizer},
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			c := g.tls.Clone()
			c.GetConfigForClient = nil
			c.NextProtos = h.SupportedProtos // Go refuses others
			return c, nil
		},
	}
	g.wg.Go(func() {
		for {
			nc, err := g.listener.Accept()
			if err != nil {
				return
			}
			g.wg.Go(func() { g.serve(tls.Server(nc, g.tls)) })
		}
	})
	return g
}

// close is called by tests in a bubble before they end.
func (g *gate) close() {
	_ = g.listener.Close()
	g.wg.Wait()
}

func (g *gate) dial(ctx context.Context, _, address string) (net.Conn, error) {
	g.mu.Lock()
	g.dialed = append(g.dialed, address)
	g.mu.Unlock()
	return g.listener.Dial(ctx)
}

func (g *gate) serve(nc *tls.Conn) {
	defer nc.Close()
	if nc.Handshake() != nil {
		return
	}
	g.mu.Lock()
	g.states = append(g.states, nc.ConnectionState())
	status := g.status
	g.mu.Unlock()
	var client io.ReadWriteCloser = nc
	br := bufio.NewReader(nc)
	if first, err := br.Peek(1); err != nil {
		return
	} else if first[0] == 'G' { // no packet begins with this
		r, err := http.ReadRequest(br)
		if err != nil {
			g.tb.Errorf("handshake of WebSocket: %v", err)
			return
		}
		g.mu.Lock()
		g.requests = append(g.requests, r)
		g.mu.Unlock()
		if status != 0 {
			fmt.Fprintf(nc, "HTTP/1.1 %d Sorry\r\nContent-Length: 27\r\nx-amzn-ErrorType: ForbiddenException\r\n\r\n{\"message\":\"not this time\"}", status)
			return
		}
		fmt.Fprintf(nc, "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-protocol: %s\r\nsec-websocket-accept: %s\r\n\r\n",
			r.Header.Get("Sec-WebSocket-Protocol"), websocket.AcceptKey(r.Header.Get("Sec-WebSocket-Key")))
		client = &framed{nc: nc, br: br}
	} else {
		client = &plain{nc, br}
	}
	script, err := g.to.Dial(context.Background())
	if err != nil {
		return
	}
	defer script.Close()
	var copies sync.WaitGroup
	copies.Go(func() {
		_, _ = io.Copy(script, client)
		_ = script.Close() // what it has got stays readable
	})
	if _, err := io.Copy(client, script); err == nil {
		_ = nc.Close() // the script hangs up; otherwise the client has gone, and what it has sent is still to be read
	}
	copies.Wait()
}

type plain struct {
	*tls.Conn
	br *bufio.Reader
}

func (p *plain) Read(b []byte) (int, error) { return p.br.Read(b) }

// framed is the server's end of a WebSocket.
type framed struct {
	nc  net.Conn
	br  *bufio.Reader
	dec websocket.Decoder
}

func (f *framed) Read(b []byte) (int, error) {
	for {
		n, err := f.br.Read(b)
		k, e := f.dec.Decode(b[:n])
		if k > 0 || err != nil || e != nil {
			if err == nil {
				err = e
			}
			return k, err
		}
	}
}

func (f *framed) Write(b []byte) (int, error) {
	_, err := f.nc.Write(websocket.AppendFrame(nil, websocket.Binary, b))
	return len(b), err
}

func (f *framed) Close() error { return f.nc.Close() }

// rig is a client that runs against a script, inside a bubble.
type rig struct {
	*Client
	t      *testing.T
	gate   *gate
	cfg    Config
	ctx    context.Context
	cancel context.CancelFunc
	done   chan error
	ended  chan struct{} // the script has

	mu  sync.Mutex
	log []string
}

// newRig makes a client that speaks MQTT 3.1.1 unless change says otherwise.
func newRig(t *testing.T, change func(*Config), steps ...mqtttest.Step) *rig {
	t.Helper()
	r := &rig{t: t, done: make(chan error, 1), ended: make(chan struct{})}
	r.gate = newGate(t, append(steps, mqtttest.Do("end", func() { close(r.ended) }))...)
	r.ctx, r.cancel = context.WithCancel(t.Context())
	time.AfterFunc(48*time.Hour, r.cancel) // of a bubble; one whose script has failed would run until there is no memory left
	r.cfg = Config{
		Endpoint: endpoint, ThingName: "pump-7", Protocol: MQTT311, CleanSession: true, NoMetrics: true, KeepAlive: -1, RootCAs: r.gate.authority.pool(), Dial: r.gate.dial,
		OnConnection: func(c Connection) { r.note("%v", c.State) },
	}
	if change != nil {
		change(&r.cfg)
	}
	if r.cfg.Credentials == nil && r.cfg.Authorizer == nil {
		r.cfg.Identity = r.gate.authority.device(t, "pump-7")
	}
	c, err := New(r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Client = c
	return r
}

func (r *rig) start() {
	go func() { r.done <- r.Run(r.ctx) }()
}

// finish waits for the end of the script and ends the client.
func (r *rig) finish() error {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(36 * time.Hour):
		r.gate.to.Wait() // says where it hangs
	}
	wait()
	r.cancel()
	err := <-r.done
	r.gate.close()
	return err
}

func (r *rig) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, fmt.Sprintf(format, args...))
}

func (r *rig) want(lines ...string) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.log, lines) {
		r.t.Errorf("got %q, want %q", r.log, lines)
	}
}

func connect() mqtttest.Step { return mqtttest.Expect(mqtt.Connect{ClientID: "pump-7"}) }

func connack(present bool) mqtttest.Step { return mqtttest.Send(mqtt.ConnAck{SessionPresent: present}) }

// ping comes on a connection after one that the peer has ended with messages in flight, when subscriptions are in place: see
// Config.MaxHangUps.
func ping() mqtttest.Step {
	return mqtttest.Steps(mqtttest.Expect(mqtt.PingReq{}), mqtttest.Send(mqtt.PingResp{}))
}

func puback() mqtttest.Step { return mqtttest.Send(mqtt.Ack{Type: mqtt.TypePubAck}) }

func publish(topic string, qos byte) mqtt.Publish {
	return mqtt.Publish{Topic: []byte(topic), QoS: qos}
}

func subscribe(filter string, qos byte) mqtttest.Step {
	return mqtttest.Expect(mqtt.Subscribe{Subscriptions: []mqtt.Subscription{{Filter: filter, QoS: qos}}})
}

func suback() mqtttest.Step { return mqtttest.Send(mqtt.SubAck{}) }

func unsubscribe(filters ...string) mqtttest.Step {
	return mqtttest.Expect(mqtt.Unsubscribe{Filters: filters})
}

func unsuback() mqtttest.Step { return mqtttest.Send(mqtt.Ack{Type: mqtt.TypeUnsubAck}) }

// wait lets everything happen that can: in a bubble time goes on only then.
func wait() { time.Sleep(time.Microsecond) }

func settle() mqtttest.Step { return mqtttest.Do("settle", wait) }

// pipe copies in both directions until both have ended.
func pipe(a, b net.Conn) {
	var wg sync.WaitGroup
	one := func(from, to net.Conn) {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	}
	wg.Go(func() { one(a, b) })
	wg.Go(func() { one(b, a) })
	wg.Wait()
}
