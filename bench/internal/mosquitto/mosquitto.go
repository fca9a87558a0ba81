// Package mosquitto runs a mosquitto to compare with, configured to be as fast as it can: nothing is persisted, no
// queue is short, nothing is logged but errors, nobody is asked for a password.
package mosquitto

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// ErrNotFound means that mosquitto is not installed.
var ErrNotFound = errors.New("mosquitto is not installed (Debian: apt-get install mosquitto)")

// Path returns where mosquitto is.
func Path() (string, error) {
	for _, p := range []string{"mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"} {
		if found, err := exec.LookPath(p); err == nil {
			return found, nil
		}
	}
	return "", ErrNotFound
}

// Version returns what the program calls itself: "mosquitto version 2.0.11".
func Version(path string) string {
	text, _ := exec.Command(path, "-h").Output() // its exit status is not 0
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(line)
}

// A Server is a running mosquitto.
type Server struct {
	TLSAddr, PlainAddr string
	Client             *tls.Config // with a device's certificate

	cmd *exec.Cmd
}

// config is for one listener without and one with TLS, in a folder. Started by root, mosquitto would drop its rights for
// a user who cannot read the keys; for anybody else "user" means nothing.
const config = `allow_anonymous true
persistence false
set_tcp_nodelay true
max_inflight_messages 0
max_inflight_bytes 0
max_queued_messages 0
max_queued_bytes 0
log_dest stderr
log_type error
connection_messages false
user root
listener %[1]s 127.0.0.1
listener %[2]s 127.0.0.1
cafile %[3]s/ca.pem
certfile %[3]s/server.pem
keyfile %[3]s/server.key
require_certificate true
`

// Start starts a mosquitto with its files in dir, on the two ports.
func Start(ctx context.Context, path, dir, plainPort, tlsPort string) (*Server, error) {
	client, err := makePKI(dir)
	if err != nil {
		return nil, fmt.Errorf("certificates for mosquitto: %w", err)
	}
	text := fmt.Sprintf(config, plainPort, tlsPort, dir)
	file := filepath.Join(dir, "mosquitto.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	s := &Server{
		TLSAddr: net.JoinHostPort("127.0.0.1", tlsPort), PlainAddr: net.JoinHostPort("127.0.0.1", plainPort),
		Client: client, cmd: exec.Command(path, "-c", file),
	}
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for _, addr := range []string{s.PlainAddr, s.TLSAddr} {
		if err := await(ctx, addr); err != nil {
			s.Stop()
			return nil, fmt.Errorf("mosquitto does not listen: %w", err)
		}
	}
	return s, nil
}

func await(ctx context.Context, addr string) (err error) {
	for range 200 {
		var c net.Conn
		if c, err = net.DialTimeout("tcp", addr, time.Second); err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(25 * time.Millisecond):
		}
	}
	return err
}

// PID returns the process id.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stop ends the process.
func (s *Server) Stop() {
	_ = s.cmd.Process.Kill() // it has nothing to save
	_ = s.cmd.Wait()
}

// makePKI writes a throw-away authority and the server's certificate to dir, and returns a device's configuration.
// The keys are of the kind that the hub uses: ECDSA on P-256.
func makePKI(dir string) (*tls.Config, error) {
	now := time.Now().Add(-time.Hour)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench root"}, NotBefore: now, NotAfter: now.AddDate(0, 1, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	if err != nil {
		return nil, err
	}
	if root, err = x509.ParseCertificate(rootDER); err != nil {
		return nil, err
	}
	issue := func(serial int64, name string, usage x509.ExtKeyUsage) (tls.Certificate, error) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return tls.Certificate{}, err
		}
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: now, NotAfter: now.AddDate(0, 1, 0),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage}, DNSNames: []string{"localhost"},
		}
		der, err := x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), rootKey)
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
	}
	server, err := issue(2, "localhost", x509.ExtKeyUsageServerAuth)
	if err != nil {
		return nil, err
	}
	device, err := issue(3, "device", x509.ExtKeyUsageClientAuth)
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(server.PrivateKey)
	if err != nil {
		return nil, err
	}
	for name, block := range map[string]*pem.Block{
		"ca.pem":     {Type: "CERTIFICATE", Bytes: rootDER},
		"server.pem": {Type: "CERTIFICATE", Bytes: server.Certificate[0]},
		"server.key": {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return nil, err
		}
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return &tls.Config{RootCAs: pool, ServerName: "localhost", Certificates: []tls.Certificate{device}}, nil
}
