package astarte

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/internal/memnet"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// peer plays Astarte: Pairing, and a broker that answers everything and writes down what it gets.
type peer struct {
	t         *testing.T
	authority *authority
	pairing   *httptest.Server
	listener  *memnet.Listener
	tls       *tls.Config

	mu       sync.Mutex
	life     time.Duration // of the next certificate; those after it live for an hour
	valid    bool          // what verify says
	present  bool          // what CONNACK says
	refuse   byte          // likewise, once
	requests []string
	conn     net.Conn
	serial   *big.Int // of the client's certificate

	turn    sync.Mutex // held by the connection that is served: what one has sent comes before what the next one sends
	packets chan mqtt.Packet
	acked   chan uint16 // PUBREL and PUBACK of the client
}

func newPeer(t *testing.T) *peer {
	t.Helper()
	p := &peer{t: t, authority: newAuthority(t), life: time.Hour, valid: true, packets: make(chan mqtt.Packet, 1000), acked: make(chan uint16, 1000)}
	p.listener = memnet.Listen("broker.test:8883")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{"broker.test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, p.authority.cert, key.Public(), p.authority.key)
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AddCert(p.authority.cert)
	p.tls = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, ClientAuth: tls.RequireAnyClientCert}
	p.pairing = httptest.NewServer(http.HandlerFunc(p.serveHTTP))
	var connections sync.WaitGroup
	connections.Go(func() {
		for {
			nc, err := p.listener.Accept()
			if err != nil {
				return
			}
			connections.Go(func() { p.serve(tls.Server(nc, p.tls)) })
		}
	})
	t.Cleanup(func() {
		p.pairing.Close()
		_ = p.listener.Close()
		p.hangUp()
		connections.Wait()
	})
	return p
}

func (p *peer) serveHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var in struct{ Data struct{ CSR string } }
	b, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(b, &in)
	what := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	p.requests = append(p.requests, what)
	var answer any
	switch what {
	case "credentials":
		p.valid = true
		w.WriteHeader(http.StatusCreated)
		answer = data("client_crt", p.authority.signCSR(p.t, in.Data.CSR, "test/"+device, p.life))
		p.life = time.Hour
	case "verify":
		answer = data("valid", p.valid, "cause", "EXPIRED")
	default:
		answer = data("version", "1", "status", "confirmed", "protocols", map[string]any{"astarte_mqtt_v1": map[string]any{"broker_url": "mqtts://broker.test:8883/"}})
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (p *peer) asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.requests
	p.requests = nil
	return all
}

func (p *peer) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		_ = p.conn.Close()
	}
}

// send sends a packet to the device.
func (p *peer) send(packet mqtt.Packet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = p.conn.Write(packet.Append(nil, mqtt.V311)) // the test may have hung up
}

func (p *peer) serve(nc *tls.Conn) {
	defer nc.Close()
	p.turn.Lock()
	defer p.turn.Unlock()
	if err := nc.Handshake(); err != nil {
		return
	}
	p.mu.Lock()
	p.conn, p.serial = nc, nc.ConnectionState().PeerCertificates[0].SerialNumber
	present, refuse := p.present, p.refuse
	p.refuse = 0
	p.mu.Unlock()
	frames := mqtt.NewFrameReader(bufio.NewReader(nc), 1<<20)
	for {
		f, err := frames.Next()
		if err != nil {
			return
		}
		var in mqtt.Packet
		var out mqtt.Packet
		switch f.Type {
		case mqtt.TypeConnect:
			in, out = &mqtt.Connect{}, &mqtt.ConnAck{SessionPresent: present, Code: refuse}
			if refuse != 0 {
				out = &mqtt.ConnAck{Code: refuse}
			}
		case mqtt.TypeSubscribe:
			in = &mqtt.Subscribe{}
		case mqtt.TypeUnsubscribe:
			in = &mqtt.Unsubscribe{}
		case mqtt.TypePublish:
			in = &mqtt.Publish{}
		case mqtt.TypeDisconnect:
			in = &mqtt.Disconnect{}
		case mqtt.TypePingReq:
			in, out = &mqtt.PingReq{}, &mqtt.PingResp{}
		default:
			in = &mqtt.Ack{}
		}
		if err := in.Decode(mqtt.Frame{Type: f.Type, Flags: f.Flags, Body: slices.Clone(f.Body)}, mqtt.V311); err != nil {
			p.t.Errorf("peer: %v: %v", f.Type, err)
			return
		}
		switch q := in.(type) {
		case *mqtt.Subscribe:
			out = &mqtt.SubAck{ID: q.ID, Codes: slices.Repeat([]byte{2}, len(q.Subscriptions))}
		case *mqtt.Unsubscribe:
			out = &mqtt.Ack{Type: mqtt.TypeUnsubAck, ID: q.ID}
		case *mqtt.Publish:
			switch q.QoS {
			case 1:
				out = &mqtt.Ack{Type: mqtt.TypePubAck, ID: q.ID}
			case 2:
				out = &mqtt.Ack{Type: mqtt.TypePubRec, ID: q.ID}
			}
		case *mqtt.Ack:
			switch q.Type {
			case mqtt.TypePubRel:
				out = &mqtt.Ack{Type: mqtt.TypePubComp, ID: q.ID}
			case mqtt.TypePubRec:
				out = &mqtt.Ack{Type: mqtt.TypePubRel, ID: q.ID}
			case mqtt.TypePubAck, mqtt.TypePubComp:
				p.acked <- q.ID
			}
		}
		if _, ok := in.(*mqtt.Ack); !ok {
			p.packets <- in
		}
		if out != nil {
			p.send(out)
		}
	}
}

// next returns the next packet of the device, acknowledgements and pings left out.
func (p *peer) next(t *testing.T) mqtt.Packet {
	t.Helper()
	for {
		select {
		case q := <-p.packets:
			if _, ok := q.(*mqtt.PingReq); !ok {
				return q
			}
		case <-time.After(30 * time.Second):
			t.Fatal("the device sends nothing")
		}
	}
}

// publish returns the next packet, which has to be a PUBLISH, and its topic behind the device's own.
func (p *peer) publish(t *testing.T) (string, *mqtt.Publish) {
	t.Helper()
	q := p.next(t)
	m, ok := q.(*mqtt.Publish)
	if !ok {
		t.Fatalf("got %#v, want a PUBLISH", q)
	}
	return strings.TrimPrefix(string(m.Topic), "test/"+device), m
}

// handshake expects a device to tell everything, and returns it by topic, and the filters.
func (p *peer) handshake(t *testing.T) (published map[string][]byte, order, filters []string, connect *mqtt.Connect) {
	t.Helper()
	first := p.next(t)
	connect, ok := first.(*mqtt.Connect)
	if !ok {
		t.Fatalf("got %#v, want CONNECT", first)
	}
	published = map[string][]byte{}
	for {
		switch q := p.next(t).(type) {
		case *mqtt.Subscribe:
			if len(order) > 0 {
				t.Error("SUBSCRIBE after PUBLISH")
			}
			for _, s := range q.Subscriptions {
				filters = append(filters, fmt.Sprintf("%s %d", s.Filter, s.QoS))
			}
		case *mqtt.Publish:
			topic := strings.TrimPrefix(string(q.Topic), "test/"+device)
			if q.QoS != 2 || q.Retain {
				t.Errorf("%s: QoS %d, retain %v", topic, q.QoS, q.Retain)
			}
			published[topic] = q.Payload
			order = append(order, topic)
			if topic == "/control/producer/properties" {
				slices.Sort(filters)
				return published, order, filters, connect
			}
		default:
			t.Fatalf("got %#v", q)
		}
	}
}

func (p *peer) config(t *testing.T, interfaces ...*Interface) Config {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(p.authority.cert)
	return Config{
		PairingURL: p.pairing.URL + "/pairing", Realm: "test", DeviceID: device, CredentialsSecret: secret, Dir: filepath.Join(t.TempDir(), "dir"), Interfaces: interfaces,
		RootCAs: roots, HTTP: p.pairing.Client(), MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond,
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { return p.listener.Dial(ctx) },
	}
}

func runDevice(t *testing.T, cfg Config) (*Device, func()) {
	t.Helper()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- d.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-result; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() {
		stop()
		_ = d.Close()
	})
	return d, stop
}
