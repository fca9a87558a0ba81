package hub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/datadir"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect/awsiot"
)

// A State is what a running hub tells other programs on its machine, in a file of its data folder: where it can be
// reached, and how to point clients at it.
type State struct {
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	URL     string    `json:"url"` // of all HTTP APIs: "https://localhost:8443"
	// MoreURLs are the same at [Config.HTTPSMorePorts].
	MoreURLs []string `json:"more_urls,omitempty"`
	MQTT     string   `json:"mqtt"`     // of the broker: "mqtts://localhost:8883"
	MQTTWeb  string   `json:"mqtt_web"` // the same over WebSocket: "wss://localhost:8443/mqtt"
	// MQTTPlain is where it is reached without TLS: "mqtt://127.0.0.1:1883"; "" if nowhere.
	MQTTPlain string `json:"mqtt_plain,omitempty"`
	Local     string `json:"local"`    // address and port of the HTTP APIs for programs on this machine
	CA        string `json:"ca"`       // file with what clients have to trust, absolute: the root, or Config.CertificateFile
	DataDir   string `json:"data_dir"` // absolute
	// Platforms holds, for each platform that development credentials were made for, the environment variables for
	// its official SDK.
	Platforms map[string]map[string]string `json:"platforms,omitempty"`
}

// AWSHost returns the host name of the development account in a region of AWS: the v1 device SDK reads the region out of it.
// It leads here where the machine's resolver, or its hosts file, says so.
func AWSHost(region string) string { return awsiot.Host(devTenant, region) }

// platforms are those that Fairlead is about; a version may have fewer.
var platforms = []string{"astarte", "aws", "azure", "mqtt", "spotflow"}

// An InUseError says that another process uses the data folder.
type InUseError = datadir.InUseError

// A NotPreparedError says that a data folder lacks what a hub needs, see [Config.Prepared].
type NotPreparedError = datadir.NotPreparedError

// A RestoreError says that a backup was not restored to its end into a data folder.
type RestoreError = datadir.RestoreError

// ErrNotRunning means that no hub runs in the data folder.
var ErrNotRunning = errors.New("no hub runs there")

// ReadState reads the state of the hub that runs in a data folder. The error wraps [ErrNotRunning] if there is none,
// or none yet. After a hub was killed its state stays until the next one starts, so a state is no proof of a hub: see
// [State.Client].
func ReadState(dataDir string) (State, error) {
	var s State
	err := datadir.ReadState(dataDir, &s)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNotRunning
	}
	if err != nil {
		return State{}, fmt.Errorf("data folder %s: %w", dataDir, err)
	}
	return s, nil
}

// Client returns a client for the admin API of the hub that runs in a data folder. It trusts that hub's certificate
// authority only, and goes through no proxy. It works on the hub's machine also where the hub's name leads nowhere.
func (s State) Client(dataDir string) (*admin.Client, error) {
	token, err := datadir.Token(dataDir)
	if err != nil {
		return nil, fmt.Errorf("admin token: %w", err)
	}
	root, err := os.ReadFile(s.CA)
	if err != nil {
		return nil, fmt.Errorf("root certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(root) {
		return nil, fmt.Errorf("root certificate: %s: no certificate in it", s.CA)
	}
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool},
		ForceAttemptHTTP2: true,
		DialContext:       s.dial,
	}
	return &admin.Client{URL: s.URL, Token: token, HTTP: &http.Client{Transport: transport}}, nil
}

// answerTimeout bounds the question whether somebody listens, on this machine or on one that shares its folder.
const answerTimeout = 3 * time.Second

// Answers reports, as [ErrNotRunning], that nobody listens where the hub has said that it does: it was killed, for instance,
// and could not take back what it had said. That somebody does is no proof that it is the hub, nor that it is ready.
func (s State) Answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	c, err := s.dial(ctx, "tcp", strings.TrimPrefix(s.URL, "https://"))
	if err != nil {
		return fmt.Errorf("data folder %s: %w: the last one (process %d) has ended without notice: %v", s.DataDir, ErrNotRunning, s.PID, err)
	}
	return c.Close()
}

// dial connects to the HTTP APIs: where they are for programs on the hub's machine, else at addr.
func (s State) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, network, s.Local)
	if err == nil {
		return c, nil
	}
	// Another machine may have mounted the data folder.
	if c, nerr := dialer.DialContext(ctx, network, addr); nerr == nil {
		return c, nil
	}
	return nil, err
}

// Env returns the environment variables that point clients at the hub that runs in a data folder: those for every
// client, and with a platform those for its official SDK. Files are absolute paths.
func (s State) Env(dataDir, platform string) (map[string]string, error) {
	token, err := datadir.Token(dataDir)
	if err != nil {
		return nil, fmt.Errorf("admin token: %w", err)
	}
	return s.env(token, platform)
}

// productionHint says how clients of a platform get what they sign in with where nobody is a developer.
func productionHint(platform string) string {
	if platform == "aws" {
		return "`fairlead aws key add NAME --tenant TENANT` makes an access key"
	}
	return "`fairlead device add` makes a plain MQTT device"
}

func (s State) env(token, platform string) (map[string]string, error) {
	env := map[string]string{
		"FAIRLEAD_CA":         s.CA,
		"SSL_CERT_FILE":       s.CA,
		"REQUESTS_CA_BUNDLE":  s.CA,
		"NODE_EXTRA_CA_CERTS": s.CA,
		"FAIRLEAD_URL":        s.URL,
		"FAIRLEAD_TOKEN":      token,
	}
	if platform == "" {
		return env, nil
	}
	vars, ok := s.Platforms[platform]
	if !ok {
		if len(s.Platforms) == 0 && slices.Contains(platforms, platform) {
			return nil, errors.New("this hub has no development credentials, because it was not started with `fairlead up`; " + productionHint(platform))
		}
		here := strings.Join(slices.Sorted(maps.Keys(s.Platforms)), ", ")
		if here == "" {
			here = "none, because the hub was not started for development"
		}
		if slices.Contains(platforms, platform) {
			return nil, fmt.Errorf("platform %s is not in this version of Fairlead; there is: %s", platform, here)
		}
		return nil, fmt.Errorf("unknown platform %q; there is: %s", platform, here)
	}
	maps.Copy(env, vars)
	return env, nil
}
