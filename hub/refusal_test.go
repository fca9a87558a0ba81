package hub

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/admin"
)

// refusal waits for a refusal of another Seq than the ones before.
func (r *running) refusal(t *testing.T, after int64) admin.Refusal {
	t.Helper()
	c, err := r.State().Client(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.HTTP.CloseIdleConnections()
	for range 400 {
		page, err := c.Refusals(t.Context(), admin.RefusalQuery{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Items) > 0 && page.Items[0].Seq > after {
			return page.Items[0]
		}
		time.Sleep(5 * time.Millisecond) // there is nothing to wait on
	}
	t.Fatal("no refusal")
	return admin.Refusal{}
}

func (r *running) lastRefusal(t *testing.T) int64 {
	t.Helper()
	c, err := r.State().Client(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.HTTP.CloseIdleConnections()
	page, err := c.Refusals(t.Context(), admin.RefusalQuery{Limit: 1})
	if err != nil || len(page.Items) == 0 {
		return 0
	}
	return page.Items[0].Seq
}

// selfSigned makes a client certificate of nobody's CA.
func selfSigned(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(4711), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestRefusalsInPlainWords has real clients fail, and looks at what operators are told.
func TestRefusalsInPlainWords(t *testing.T) {
	r := start(t, Config{Development: true})
	dial := func(edit func(*tls.Config), send string) func(*testing.T) {
		return func(t *testing.T) {
			cfg := r.trust(t)
			if edit != nil {
				edit(cfg)
			}
			c, err := tls.Dial("tcp", r.mqtt(), cfg)
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = c.Write([]byte(send))
			_, _ = c.Read(make([]byte, 10))
		}
	}
	plain := func(send string) func(*testing.T) {
		return func(t *testing.T) {
			c, err := net.Dial("tcp", r.mqtt())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, _ = c.Write([]byte(send))
			if send != "" {
				_, _ = c.Read(make([]byte, 10))
			}
		}
	}
	program := func(name string, args ...string) func(*testing.T) {
		return func(t *testing.T) {
			path, err := exec.LookPath(name)
			if err != nil {
				t.Skip(err)
			}
			host, port, _ := net.SplitHostPort(r.mqtt())
			for i, a := range args {
				args[i] = strings.NewReplacer("HOST", host, "PORT", port, "ROOT", r.State().CA).Replace(a)
			}
			cmd := exec.CommandContext(t.Context(), path, args...)
			cmd.Stdin = bytes.NewReader(nil)
			_, _ = cmd.CombinedOutput() // it fails
		}
	}
	noRoots := func(c *tls.Config) { c.RootCAs = x509.NewCertPool() }
	twelve := func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }
	const connect = "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a"
	for _, c := range []struct {
		name          string
		do            func(*testing.T)
		stage, reason string
		text          string
	}{
		{"no roots, TLS 1.3", dial(noRoots, ""), "tls", "hub_certificate_rejected", "does not accept the hub's certificate"},
		{"no roots, TLS 1.2", dial(func(c *tls.Config) { noRoots(c); twelve(c) }, ""), "tls", "hub_certificate_rejected", "does not trust"},
		{"another name", dial(func(c *tls.Config) { c.ServerName = "elsewhere.example" }, ""), "tls", "hub_certificate_rejected", "a name that is not in the certificate"},
		{"another clock", dial(func(c *tls.Config) { c.Time = func() time.Time { return time.Unix(0, 0) } }, ""), "tls", "hub_certificate_", "certificate"},
		{"old TLS", dial(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, ""), "tls", "tls_version", "no version of TLS"},
		{"foreign certificate", dial(func(c *tls.Config) {
			c.Certificates = []tls.Certificate{selfSigned(t, "dev/2TBn-jNESuuHamE2Zo1anA")}
		}, connect), "tls", "certificate_unknown_issuer", "not issued by this hub"},
		{"key of another certificate", dial(func(c *tls.Config) {
			a, b := selfSigned(t, "x"), selfSigned(t, "x")
			c.Certificates = []tls.Certificate{{Certificate: a.Certificate, PrivateKey: b.PrivateKey}}
		}, connect), "tls", "certificate_", "certificate"},
		{"plain MQTT", plain(connect), "tls", "not_tls", "MQTT without TLS"},
		{"plain HTTP", plain("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "tls", "not_tls", "HTTP without TLS"},
		{"nothing", plain(""), "tls", "lost", "without saying why"},
		{"HTTP in TLS", dial(nil, "GET / HTTP/1.1\r\n\r\n"), "connect", "not_mqtt", "first byte is 0x47"},
		{"no credentials", dial(nil, connect), "sign-in", "unknown_client", "no platform of this hub knows"},
		{"malformed", dial(nil, "\x10\x02\x00\x00"), "connect", "mqtt_malformed", ""},
		{
			"mosquitto with the wrong roots", program("mosquitto_pub", "-h", "HOST", "-p", "PORT", "--cafile", "/etc/ssl/certs/ca-certificates.crt", "-t", "x", "-m", "y"),
			"tls", "hub_untrusted", "does not know the hub's certificate authority",
		},
		{
			"mosquitto without a certificate", program("mosquitto_pub", "-h", "HOST", "-p", "PORT", "--cafile", "ROOT", "-t", "x", "-m", "y", "-i", "lamp-9"),
			"sign-in", "unknown_client", "no platform of this hub knows",
		},
		{
			"openssl with the wrong roots", program("openssl", "s_client", "-connect", "HOST:PORT", "-verify_return_error", "-CAfile", "/etc/ssl/certs/ca-certificates.crt"),
			"tls", "hub_untrusted", "does not trust this hub",
		},
		{
			"openssl without a word", program("openssl", "s_client", "-connect", "HOST:PORT"), "connect", "lost", "before it had sent CONNECT",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := r.lastRefusal(t)
			c.do(t)
			got := r.refusal(t, before)
			if got.Stage != c.stage || !strings.HasPrefix(got.Reason, c.reason) || !strings.Contains(got.Text, c.text) || got.Address != "127.0.0.1" {
				t.Errorf("got %+v", got)
			}
			if got.Help == "" {
				t.Error("nobody is told what to do")
			}
			t.Logf("%s/%s: %s\n-> %s", got.Stage, got.Reason, got.Text, got.Help)
		})
	}
	if got := r.named(t, "2TBn-jNESuuHamE2Zo1anA"); len(got) != 1 || got[0].Tenant != "dev" || got[0].Proven || got[0].Certificate.Serial != "1267" {
		t.Errorf("the foreign certificate by its name: got %+v", got)
	}
}

// TestRefusedByPairing: a device whose secret is wrong is found too.
func TestRefusedByPairing(t *testing.T) {
	r := start(t, Config{Development: true})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.State().URL+"/pairing/v1/dev/devices/2TBn-jNESuuHamE2Zo1anA", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer not-the-secret")
	resp, err := r.client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	got := r.named(t, "2TBn-jNESuuHamE2Zo1anA")
	if len(got) != 1 || got[0].Stage != "http" || got[0].Code != "HTTP "+strings.Fields(resp.Status)[0] || strings.Contains(got[0].Text, "not-the-secret") {
		t.Errorf("answer %s, refusals %+v", resp.Status, got)
	}
}

func (r *running) named(t *testing.T, name string) []admin.Refusal {
	t.Helper()
	c, err := r.State().Client(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.HTTP.CloseIdleConnections()
	page, err := c.Refusals(t.Context(), admin.RefusalQuery{Name: name, Tenant: "dev"})
	if err != nil {
		t.Fatal(err)
	}
	return page.Items
}
