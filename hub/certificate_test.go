package hub

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
)

// writeCertificate makes a server certificate of an authority of its own and returns its serial number.
func writeCertificate(t *testing.T, dir string) string {
	t.Helper()
	authority, err := ca.Open(ca.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	crt, err := authority.ServerCertificate([]string{"localhost", "hub.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	var chain bytes.Buffer
	for _, der := range crt.Certificate {
		if err := pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string][]byte{"c.pem": chain.Bytes(), "k.pem": keyPEM(t, crt.PrivateKey)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return crt.Leaf.SerialNumber.String()
}

// TestOwnCertificate: it is served, programs on the machine trust it, and it is read again when it changes.
func TestOwnCertificate(t *testing.T) {
	dir := t.TempDir()
	serial := writeCertificate(t, dir)
	file, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	r := start(t, Config{CertificateFile: file, KeyFile: key})
	c, err := r.State().Client(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.HTTP.CloseIdleConnections()
	if _, err := c.Status(context.Background()); err != nil {
		t.Error(err)
	}

	own, err := openCertificate(file, key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	own.now = func() time.Time { return now }
	get := func() string {
		now = now.Add(certificateCheck)
		crt, err := own.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return crt.Leaf.SerialNumber.String()
	}
	if got := get(); got != serial || own.name() != "hub.example.org" {
		t.Errorf("got %s for %s, want %s for hub.example.org", got, own.name(), serial)
	}
	if err := os.WriteFile(key, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := get(); got != serial {
		t.Errorf("with half a key: got %s, want the old one, %s", got, serial)
	}
	serial = writeCertificate(t, dir)
	if got := get(); got != serial {
		t.Errorf("after the renewal: got %s, want %s", got, serial)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got := get(); got != serial {
		t.Errorf("without the file: got %s, want %s", got, serial)
	}
	if _, err := New(Config{DataDir: dir, CertificateFile: file}); err == nil {
		t.Error("a certificate without a key is accepted")
	}
}

// TestInit: a folder that was prepared can be served, and preparing it again changes nothing.
func TestInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	h, err := New(Config{DataDir: dir, Prepared: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Run(t.Context()); err == nil {
		t.Error("a folder that is not there was served")
	}
	made, err := Init(t.Context(), Config{DataDir: dir})
	if err != nil || !made.New {
		t.Fatalf("got %+v, %v", made, err)
	}
	token, err := os.ReadFile(made.AdminToken)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Init(t.Context(), Config{DataDir: dir})
	if err != nil || again.New {
		t.Errorf("got %+v, %v", again, err)
	}
	if now, err := os.ReadFile(made.AdminToken); err != nil || !bytes.Equal(token, now) {
		t.Errorf("the token has changed, or: %v", err)
	}
	start(t, Config{DataDir: dir, Prepared: true})
}

func keyPEM(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
