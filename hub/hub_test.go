package hub

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
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
)

// running is a hub that a test has started.
type running struct {
	*Hub
	dir    string
	stop   context.CancelFunc
	result chan error
}

// start runs a hub on free ports and returns when it is ready.
func start(t *testing.T, cfg Config) *running {
	t.Helper()
	if cfg.DataDir == "" {
		cfg.DataDir = filepath.Join(t.TempDir(), "data")
	}
	cfg.MQTTPort, cfg.HTTPSPort = AnyPort, AnyPort
	if cfg.StopGrace == 0 {
		cfg.StopGrace = -1
	}
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{Hub: h, dir: cfg.DataDir, stop: stop, result: make(chan error, 1)}
	go func() { r.result <- h.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-r.result; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	select {
	case <-h.Ready():
	case err := <-r.result:
		r.result <- nil
		t.Fatalf("run: %v", err)
	}
	return r
}

// wait returns what Run returned.
func (r *running) wait() error {
	err := <-r.result
	r.result <- nil // for the clean-up
	return err
}

func (r *running) client(t *testing.T) *http.Client {
	t.Helper()
	c, err := r.State().Client(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.HTTP.CloseIdleConnections)
	return c.HTTP
}

func (r *running) mqtt() string { return strings.TrimPrefix(r.State().MQTT, "mqtts://") }

func (r *running) trust(t *testing.T) *tls.Config {
	t.Helper()
	root, err := os.ReadFile(r.State().CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(root)
	return &tls.Config{RootCAs: pool}
}

func TestStatus(t *testing.T) {
	r := start(t, Config{Development: true})
	c, err := r.State().Client(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.HTTP.CloseIdleConnections()
	st, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !st.Ready || st.Version != Version() || strings.Join(st.Dialects, " ") != "astarte aws mqtt" || st.Commit.Commits == 0 {
		t.Errorf("got %+v, want ready, with astarte, aws and mqtt and at least one commit", st)
	}
}

func TestHTTP2(t *testing.T) {
	r := start(t, Config{})
	res, err := r.client(t).Get(r.State().URL + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.ProtoMajor != 2 || res.StatusCode != http.StatusOK {
		t.Errorf("got %s %s, want HTTP/2.0 200", res.Proto, res.Status)
	}
}

// Development credentials are the same after a restart; other programs have them from the state file.
func TestDevelopment(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	env := func() map[string]string {
		r := start(t, Config{DataDir: dir, Development: true})
		defer r.wait()
		defer r.stop()
		s, err := ReadState(dir)
		if err != nil {
			t.Fatal(err)
		}
		env, err := s.Env(dir, "astarte")
		if err != nil {
			t.Fatal(err)
		}
		return env
	}
	first, second := env(), env()
	for _, name := range []string{
		"FAIRLEAD_CA", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "FAIRLEAD_URL", "FAIRLEAD_TOKEN",
		"ASTARTE_REALM", "ASTARTE_REALM_PRIVATE_KEY", "ASTARTE_HOUSEKEEPING_PRIVATE_KEY", "ASTARTE_BASE_URL",
		"ASTARTE_PAIRING_URL", "ASTARTE_APPENGINE_URL", "ASTARTE_REALM_MANAGEMENT_URL", "ASTARTE_HOUSEKEEPING_URL",
	} {
		if first[name] == "" {
			t.Errorf("%s is not set", name)
		}
		if strings.HasSuffix(name, "_KEY") || strings.HasSuffix(name, "_CA") {
			if !filepath.IsAbs(first[name]) {
				t.Errorf("%s is %q, want an absolute path", name, first[name])
			}
			if first[name] != second[name] {
				t.Errorf("%s was %q and is %q after a restart", name, first[name], second[name])
			}
		}
	}
	if first["ASTARTE_REALM"] != "dev" || first["FAIRLEAD_TOKEN"] != second["FAIRLEAD_TOKEN"] {
		t.Errorf("got realm %q, want dev, and the same token after a restart", first["ASTARTE_REALM"])
	}
	if _, err := ReadState(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after a stop: got %v, want ErrNotRunning", err)
	}
}

func TestNoDevelopmentInProduction(t *testing.T) {
	r := start(t, Config{})
	if _, err := r.Env("astarte"); err == nil {
		t.Error("got development credentials, want an error")
	}
	if _, err := os.Stat(filepath.Join(r.dir, "development")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want no folder for development credentials", err)
	}
}

// Devices ask over HTTP why they lost their MQTT connection, so HTTP goes on for a while after MQTT has ended.
func TestStopClosesMQTTFirst(t *testing.T) {
	r := start(t, Config{StopGrace: time.Hour})
	over := sync.OnceFunc(func() { close(r.graceOver) })
	t.Cleanup(over) // before the hub is waited for
	client := r.client(t)
	device, err := tls.Dial("tcp", r.mqtt(), r.trust(t))
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	r.stop()
	if _, err := device.Read(make([]byte, 1)); err == nil {
		t.Error("the device could read, want that its connection is closed")
	}
	for {
		c, err := net.Dial("tcp", r.mqtt())
		if err != nil {
			break
		}
		c.Close()
	}
	res, err := client.Get(r.State().URL + "/readyz")
	if err != nil {
		t.Fatalf("HTTP after MQTT is closed: %v", err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "stopping") {
		t.Errorf("got %s %s, want 503 because it is stopping", res.Status, body)
	}
	over()
	if err := r.wait(); err != nil {
		t.Errorf("run: got %v, want nil", err)
	}
	if _, err := client.Get(r.State().URL + "/readyz"); err == nil {
		t.Error("HTTP is answered after Run has returned")
	}
}

// A certificate that no dialect could accept ends the handshake; none at all is a matter of the dialects.
func TestForeignCertificateEndsTheHandshake(t *testing.T) {
	r := start(t, Config{})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cfg := r.trust(t)
	cfg.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	cfg.MaxVersion = tls.VersionTLS12 // where the client sees the refusal in its own handshake
	if c, err := tls.Dial("tcp", r.mqtt(), cfg); err == nil {
		c.Close()
		t.Error("a foreign certificate was accepted")
	} else if !strings.Contains(err.Error(), "bad certificate") {
		t.Errorf("got %v, want the alert for a bad certificate", err)
	}
	if c, err := tls.Dial("tcp", r.mqtt(), r.trust(t)); err != nil {
		t.Errorf("without a certificate: %v", err)
	} else {
		c.Close()
	}
}

func TestStartSaysWhatIsInTheWay(t *testing.T) {
	r := start(t, Config{})
	_, port, _ := net.SplitHostPort(r.mqtt())
	run := func(cfg Config) error {
		h, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return h.Run(t.Context())
	}
	var inUse *InUseError
	if err := run(Config{DataDir: r.dir, MQTTPort: AnyPort, HTTPSPort: AnyPort}); !errors.As(err, &inUse) {
		t.Errorf("same folder: got %v, want an InUseError", err)
	}
	var pe *PortError
	n, _ := net.LookupPort("tcp", port)
	if err := run(Config{DataDir: t.TempDir(), MQTTPort: n, HTTPSPort: AnyPort}); !errors.As(err, &pe) || !pe.InUse() {
		t.Errorf("same port: got %v, want a PortError that is InUse", err)
	}
}

func TestInheritedListeners(t *testing.T) {
	var ls [2]net.Listener
	for i := range ls {
		var err error
		if ls[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	r := start(t, Config{Listeners: Listeners{MQTT: ls[0], HTTPS: ls[1]}})
	for i, url := range []string{r.State().MQTT, r.State().URL} {
		_, port, _ := net.SplitHostPort(ls[i].Addr().String())
		if !strings.HasSuffix(url, ":"+port) {
			t.Errorf("got %s, want port %s", url, port)
		}
	}
}

func TestEnvOfOtherPlatforms(t *testing.T) {
	s := State{CA: "/ca.pem", Platforms: map[string]map[string]string{"astarte": {"ASTARTE_REALM": "dev"}}}
	for platform, want := range map[string]string{
		"aws":  "platform aws is not in this version of Fairlead; there is: astarte",
		"iota": `unknown platform "iota"; there is: astarte`,
	} {
		if _, err := s.env("token", platform); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", platform, err, want)
		}
	}
	if env, err := s.env("token", ""); err != nil || env["FAIRLEAD_TOKEN"] != "token" || env["ASTARTE_REALM"] != "" {
		t.Errorf("got %v, %v, want the variables for every client only", env, err)
	}
}

// A certificate of an authority that a tenant has registered passes the handshake, and opens its device.
func TestRegisteredAuthority(t *testing.T) {
	r := start(t, Config{Development: true})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(name string, isCA bool, edit func(*x509.Certificate)) []byte {
		tmpl := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IsCA: isCA, BasicConstraintsValid: true,
		}
		if edit != nil {
			edit(tmpl)
		}
		parent := &x509.Certificate{Subject: pkix.Name{CommonName: "Factory"}}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	c, err := r.State().Client(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.HTTP.CloseIdleConnections()
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: sign("Factory", true, nil)})
	made, err := c.RegisterAuthority(t.Context(), "dev", admin.NewAuthority{PEM: string(authority), AutoRegister: true})
	if err != nil {
		t.Fatal(err)
	}
	dial := func(der []byte) (*tls.Conn, error) {
		cfg := r.trust(t)
		cfg.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
		cfg.MaxVersion = tls.VersionTLS12 // where the client sees a refusal in its own handshake
		return tls.Dial("tcp", r.mqtt(), cfg)
	}
	if c, err := dial(sign("pump", false, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })); err == nil {
		c.Close()
		t.Error("an expired certificate passed the handshake")
	}
	conn, err := dial(sign("pump", false, nil))
	if err != nil {
		t.Fatal(err)
	}
	client := mqtttest.NewClient(t, conn)
	client.Connect(mqtt.Connect{ClientID: "c", CleanStart: true})
	client.Publish("pump/x", 1, []byte("1"))
	if d, err := c.Device(t.Context(), admin.DeviceKey{Dialect: "mqtt", Tenant: "dev", ID: "pump"}); err != nil || !d.Connected {
		t.Errorf("got %+v, %v", d, err)
	}
	env := r.State().Platforms["mqtt"]
	nc, err := tls.Dial("tcp", r.mqtt(), r.trust(t))
	if err != nil {
		t.Fatal(err)
	}
	other := mqtttest.NewClient(t, nc)
	other.Connect(mqtt.Connect{Username: env["MQTT_USERNAME"], HasUsername: true, Password: []byte(env["MQTT_PASSWORD"]), HasPassword: true, ClientID: "c", CleanStart: true})
	if err := c.RemoveAuthority(t.Context(), "dev", made.ID); err != nil {
		t.Fatal(err)
	}
	client.ExpectClosed()
	other.Ping()
	if conn, err := dial(sign("pump", false, nil)); err == nil {
		conn.Close()
		t.Error("a certificate of an authority that was removed passed the handshake")
	}
}
