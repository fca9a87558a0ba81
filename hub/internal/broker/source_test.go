package broker

import (
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

// Two packets in one record, and a record that arrives together with the next one's beginning, must not wait for
// further bytes.
// Statements of 3.1.1: [MQTT-7.1.1-1]; of 5: [MQTT-4.2-1].
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
	nc.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.Copy(io.Discard, nc); err != nil {
		t.Errorf("the connection is not closed in order: %v", err)
	}
}
