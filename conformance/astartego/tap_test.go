package astartego

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// A tap sits between a device and the hub's broker, with the device's own certificate, and sees every packet. It may hold them up and break the connection.
type tap struct {
	client *tls.Config // towards the hub
	hub    string
	addr   string

	listener net.Listener
	loops    sync.WaitGroup
	ctx      context.Context
	cancel   context.CancelFunc

	mu     sync.Mutex
	server *tls.Config // towards the device; replaced, never changed
	count  int         // connections
	open   map[net.Conn]struct{}
	// packet is told of each packet before it is passed on, up from the device or down to it; numbers count connections. It may wait. An error ends the connection. It is
	// called by two goroutines for each connection.
	packet func(connection int, up bool, p mqtt.Packet) error
}

// on sets what is told of packets.
func (tp *tap) on(packet func(connection int, up bool, p mqtt.Packet) error) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.packet = packet
}

// versions sets which versions of TLS the device is offered.
func (tp *tap) versions(least, most uint16) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.server = tp.server.Clone()
	tp.server.MinVersion, tp.server.MaxVersion = least, most
}

// tapAuthority makes an authority and a certificate for localhost.
func tapAuthority() (*x509.Certificate, *tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	return leaf, &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

// openTap starts a tap for the device whose key and certificate are, or will be, in a folder.
func openTap(hub string, roots *x509.CertPool, cryptoDir string) (*tap, *x509.Certificate, error) {
	authority, cert, err := tapAuthority()
	if err != nil {
		return nil, nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	tp := &tap{
		hub: hub, addr: l.Addr().String(), listener: l, open: map[net.Conn]struct{}{},
		//nolint:gosec // tests lower it
		server: &tls.Config{Certificates: []tls.Certificate{*cert}, ClientAuth: tls.RequestClientCert},
		client: &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			id, err := identity.Load(filepath.Join(cryptoDir, "device.key"), filepath.Join(cryptoDir, "device.crt"))
			if err != nil {
				return nil, err
			}
			return id.TLS(), nil
		}},
	}
	tp.ctx, tp.cancel = context.WithCancel(context.Background())
	tp.loops.Go(tp.accept)
	return tp, authority, nil
}

// newTap puts a tap between a device that is not made yet and the hub.
func newTap(t *testing.T, g *gadget) *tap {
	t.Helper()
	tp, authority, err := openTap(g.p.hub.MQTT(), g.p.realm.Roots(), filepath.Join(g.cfg.Dir, "crypto"))
	must(t, err)
	t.Cleanup(tp.close)
	g.cfg.HTTP = g.p.client()
	g.cfg.RootCAs = x509.NewCertPool()
	g.cfg.RootCAs.AddCert(authority)
	g.cfg.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, tp.addr)
	}
	return tp
}

func (tp *tap) close() {
	tp.cancel()
	_ = tp.listener.Close()
	tp.cut()
	tp.loops.Wait()
}

// cut breaks all connections.
func (tp *tap) cut() {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	for c := range tp.open {
		_ = c.Close()
	}
}

func (tp *tap) accept() {
	for {
		c, err := tp.listener.Accept()
		if err != nil {
			return
		}
		tp.mu.Lock()
		tp.count++
		n := tp.count
		tp.open[c] = struct{}{}
		tp.mu.Unlock()
		tp.loops.Go(func() {
			tp.serve(n, c)
			tp.mu.Lock()
			delete(tp.open, c)
			tp.mu.Unlock()
			_ = c.Close()
		})
	}
}

// serve carries one connection.
func (tp *tap) serve(n int, c net.Conn) {
	tp.mu.Lock()
	server, packet := tp.server, tp.packet
	tp.mu.Unlock()
	if packet == nil {
		packet = func(int, bool, mqtt.Packet) error { return nil }
	}
	device := tls.Server(c, server)
	if device.HandshakeContext(tp.ctx) != nil {
		return
	}
	d := tls.Dialer{Config: tp.client}
	hub, err := d.DialContext(tp.ctx, "tcp", tp.hub)
	if err != nil {
		return // the device sees its connection end
	}
	defer hub.Close()
	stop := context.AfterFunc(tp.ctx, func() { _ = hub.Close() })
	defer stop()
	var down sync.WaitGroup
	down.Go(func() {
		_ = pump(hub, device, func(p mqtt.Packet) error { return packet(n, false, p) })
		_ = c.Close()
	})
	_ = pump(device, hub, func(p mqtt.Packet) error { return packet(n, true, p) })
	_ = hub.Close()
	down.Wait()
}

// pump passes packets on.
func pump(from io.Reader, to io.Writer, packet func(mqtt.Packet) error) error {
	frames := mqtt.NewFrameReader(bufio.NewReader(from), 1<<20)
	for {
		f, err := frames.Next()
		if err != nil {
			return err
		}
		p := mqtt.NewPacket(f.Type)
		if p == nil {
			return errors.New("a packet of no type")
		}
		if err := p.Decode(f, mqtt.V311); err != nil {
			return err
		}
		if err := packet(p); err != nil {
			return err
		}
		if _, err := to.Write(p.Append(nil, mqtt.V311)); err != nil {
			return err
		}
	}
}
