// Package demo runs a house full of simulated devices against a hub, so that there is something to see: rooms with their daily curve, a pump that shakes, a door, a heating and a lamp that do
// what they are told. They are real devices in everything but their sensors: they connect by TLS, as clients of the platform whose language they speak, and
// are provisioned in that platform's own way.
//
// Each dialect is a file of this package and a row in fleets.
package demo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/hub"
	"github.com/fairlead-iot/fairlead/hub/admin"
)

// DefaultInterval is the time between two readings of a device.
const DefaultInterval = 2 * time.Second

// Config configures [Run]. State is required.
type Config struct {
	State    hub.State     // of a hub for development
	Interval time.Duration // between two readings. 0: DefaultInterval
	Logger   *slog.Logger  // nil: discard
}

// A Device is a simulated one.
type Device struct {
	Key  admin.DeviceKey
	Name string // "kitchen"
	What string // for people
}

// A member is a device that can be run until its context ends.
type member struct {
	Device
	run func(context.Context) error
}

// fleets make the devices of each dialect; those whose dialect the hub has no development credentials for are left out.
var fleets = []struct {
	dialect string
	build   func(context.Context, *site) ([]member, error)
}{
	{"astarte", astarteFleet},
	{"aws", awsFleet},
	{"mqtt", mqttFleet},
}

// site is what all fleets need.
type site struct {
	house    *house
	env      func(platform string) (map[string]string, error)
	admin    *admin.Client
	http     *http.Client
	roots    *x509.CertPool
	mqtt     string // host and port
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
	dir      string // for what devices keep
	interval time.Duration
}

// Run provisions the devices, calls ready with them and runs them until ctx ends. A device that fails is logged, and does not concern the others.
func Run(ctx context.Context, cfg Config, ready func([]Device)) error {
	if cfg.Interval <= 0 {
		cfg.Interval = DefaultInterval
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := newSite(cfg)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer s.http.CloseIdleConnections()
	var members []member
	for _, f := range fleets {
		if _, ok := cfg.State.Platforms[f.dialect]; !ok {
			continue
		}
		list, err := f.build(ctx, s)
		if err != nil {
			return fmt.Errorf("demo: devices of %s: %w", f.dialect, err)
		}
		members = append(members, list...)
	}
	var running sync.WaitGroup
	defer running.Wait()
	devices := make([]Device, len(members))
	for i, m := range members {
		devices[i] = m.Device
		running.Go(func() {
			if err := m.run(ctx); err != nil && ctx.Err() == nil {
				cfg.Logger.Warn("a device of the demo has ended", "device", m.Key.String(), "err", err)
			}
		})
	}
	ready(devices)
	<-ctx.Done()
	return nil
}

func newSite(cfg Config) (*site, error) {
	st := cfg.State
	root, err := os.ReadFile(st.CA)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(root) {
		return nil, fmt.Errorf("%s: no certificate in it", st.CA)
	}
	broker, err := brokerAddress(st)
	if err != nil {
		return nil, err
	}
	client, err := st.Client(st.DataDir)
	if err != nil {
		return nil, err
	}
	s := &site{
		house: newHouse(time.Now()), admin: client, roots: roots, mqtt: broker, dial: nearby(st.Local), interval: cfg.Interval,
		env: func(platform string) (map[string]string, error) { return st.Env(st.DataDir, platform) },
		dir: filepath.Join(st.DataDir, "demo"),
	}
	s.http = &http.Client{Transport: &http.Transport{DialContext: s.dial, TLSClientConfig: s.tls(), ForceAttemptHTTP2: true}}
	client.HTTP = s.http
	return s, nil
}

func (s *site) tls() *tls.Config { return &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS12} }

// nearby connects to the machine that the hub is on, whatever its name is and wherever that leads. Only ports count.
func nearby(local string) func(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(local)
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		var d net.Dialer
		_, port, perr := net.SplitHostPort(address)
		if err := errors.Join(err, perr); err != nil {
			return nil, err
		}
		return d.DialContext(ctx, network, net.JoinHostPort(host, port))
	}
}

// every calls f at each interval, with the time, until ctx ends or f fails. The first call is at once.
func every(ctx context.Context, interval time.Duration, f func(time.Time) error) error {
	t := time.NewTicker(interval)
	defer t.Stop()
	for at := time.Now(); ; {
		if err := f(at); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case at = <-t.C:
		}
	}
}
