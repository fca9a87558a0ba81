package broker

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
)

// serverTLS returns a configuration for localhost and one for its clients.
func serverTLS(t *testing.T, most uint16) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := x509.ParseCertificate(der)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MaxVersion: most},
		&tls.Config{RootCAs: pool, ServerName: "localhost"}
}

// Whatever the sizes of records and of the pieces they arrive in, source gives the plain text, and never claims to be
// quiet while a part of it lies in memory.
func TestSourceOverTLS(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		server, client := serverTLS(t, version)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		var want bytes.Buffer
		for i := range 200 {
			want.Write(bytes.Repeat([]byte{byte(i)}, i*i))
		}
		go func() {
			nc, err := tls.Dial("tcp", l.Addr().String(), client)
			if err != nil {
				return
			}
			defer nc.Close()
			for i, b := 0, want.Bytes(); len(b) > 0; i++ {
				n := min(len(b), 1+i*37%20_000)
				nc.Write(b[:n])
				b = b[n:]
				if i%5 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		}()
		nc, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		s := newSource(nc, server)
		nc.SetDeadline(time.Now().Add(10 * time.Second))
		var got bytes.Buffer
		buf := make([]byte, readBuffer)
		for {
			if err := s.park(); err != nil {
				t.Fatal(err)
			}
			n, err := s.Read(buf)
			got.Write(buf[:n])
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Errorf("version %x: got %d bytes, want %d", version, got.Len(), want.Len())
		}
		nc.Close()
	}
}

// Two packets in one record, and a record that arrives together with the next one's beginning, must not wait for
// further bytes.
func TestPacketsInOneRecord(t *testing.T) {
	server, client := serverTLS(t, tls.VersionTLS13)
	h := startHub(t, t.TempDir(), Config{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- h.broker.Serve(t.Context(), l, server) }()
	nc, err := tls.Dial("tcp", l.Addr().String(), client)
	if err != nil {
		t.Fatal(err)
	}
	c := mqtttest.NewClient(t, nc)
	c.Connect(mqtt.Connect{Version: mqtt.V311, ClientID: "pump", CleanStart: true, Username: "t", HasUsername: true})
	var b []byte
	for id := uint16(1); id <= 50; id++ {
		b = (&mqtt.Publish{QoS: 1, ID: id, Topic: []byte("a"), Payload: make([]byte, 700)}).Append(b, mqtt.V311)
	}
	for len(b) > 0 {
		n := min(len(b), 1999)
		c.SendBytes(b[:n])
		b = b[n:]
	}
	for id := uint16(1); id <= 50; id++ {
		c.Expect(mqtt.Ack{Type: mqtt.TypePubAck, ID: id})
	}
	c.Ping()
}

func TestPlainBytesOnTheTLSPort(t *testing.T) {
	server, _ := serverTLS(t, tls.VersionTLS13)
	h := startHub(t, t.TempDir(), Config{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go h.broker.Serve(t.Context(), l, server)
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	// What the official Astarte SDK sends when Pairing has called its certificate invalid.
	nc.Write([]byte{0x10, 0x0c, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 0})
	nc.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.Copy(io.Discard, nc); err != nil {
		t.Errorf("the connection is not closed in order: %v", err)
	}
}
