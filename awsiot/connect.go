package awsiot

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/internal/engine"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
	"github.com/fairlead-iot/fairlead/internal/sigv4"
)

// Ports, names for ALPN and the rest of how to connect: "AWS IoT Core: Device communication protocols", read 2026-11.
const (
	portMQTT  = 8883
	portHTTPS = 443

	alpnCertificate = "x-amzn-mqtt-ca"
	alpnAuthorizer  = "mqtt"

	webSocketPath    = "/mqtt"
	webSocketService = "iotdevicegateway"
	// webSocketLife is after how long AWS IoT ends a connection whose URL was signed.
	webSocketLife = 24 * time.Hour
)

// address returns host and port to connect to.
func (c *Config) address() (host string, port int, err error) {
	port = portHTTPS
	if c.Identity != nil {
		port = portMQTT
	}
	return splitEndpoint(c.Endpoint, port)
}

// splitEndpoint returns the host and the port of an endpoint, which may have none.
func splitEndpoint(endpoint string, otherwise int) (host string, port int, err error) {
	switch {
	case endpoint == "":
		return "", 0, errors.New("endpoint is empty")
	case strings.ContainsAny(endpoint, "/ \r\n"):
		return "", 0, fmt.Errorf("endpoint is %.200q, want a host name without a scheme and a path", endpoint)
	}
	if !strings.Contains(endpoint, ":") || net.ParseIP(endpoint) != nil {
		return endpoint, otherwise, nil
	}
	host, text, err := net.SplitHostPort(endpoint)
	if err != nil {
		return "", 0, fmt.Errorf("endpoint is %.200q: %w", endpoint, err)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 || host == "" {
		return "", 0, fmt.Errorf("endpoint is %.200q, want host:port", endpoint)
	}
	return host, int(n), nil
}

// region returns what URLs are signed for.
func (c *Config) region() (string, error) {
	if c.Region != "" {
		return c.Region, nil
	}
	host, _, err := c.address()
	if err != nil {
		return "", err
	}
	// PREFIX[-ats].iot.REGION.amazonaws.com, and what partitions and test hubs make of it.
	if _, rest, ok := strings.Cut(strings.ToLower(host), ".iot."); ok {
		if region, _, ok := strings.Cut(rest, ".amazonaws."); ok && region != "" {
			return region, nil
		}
	}
	return "", fmt.Errorf("invalid endpoint pattern for wss: %.200q names no region, and Region is empty", host)
}

// username returns what goes into CONNECT: the user's name, and in the form of a query what AWS IoT wants to know besides.
func (c *Config) username() string {
	name := c.Username
	add := func(key, value string) {
		sep := "?"
		if strings.Contains(name, "?") {
			sep = "&"
		}
		name += sep + key + "=" + value
	}
	if a := c.Authorizer; a != nil && a.Place == InUsername {
		for _, f := range a.fields() {
			add(escape(f[0]), escape(f[1]))
		}
	}
	if !c.NoMetrics {
		add("SDK", metricsName)
		name += "&Version=" + version()
	}
	return name
}

const metricsName = "FairleadGo"

// version returns the module's version for the metrics.
func version() string {
	const module = "github.com/fairlead-iot/fairlead"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range append(info.Deps, &info.Main) {
			if m.Path == module && m.Version != "" && m.Version != "(devel)" {
				return m.Version
			}
		}
	}
	return "devel"
}

// defaultKeepAlive notices a dead connection within a minute or two. The official SDK's 600 s take up to twenty.
const defaultKeepAlive = time.Minute

func (c *Client) connectPacket() mqtt.Connect {
	p := mqtt.Connect{ClientID: c.clientID, CleanStart: c.cfg.CleanSession, Username: c.cfg.username(), Password: []byte(c.cfg.Password.Reveal())}
	p.HasPassword = !c.cfg.Password.IsZero()
	p.HasUsername = p.Username != "" || p.HasPassword && c.cfg.Protocol != MQTT5
	switch {
	case c.cfg.KeepAlive > 0:
		p.KeepAlive = uint16(c.cfg.KeepAlive / time.Second)
	case c.cfg.KeepAlive == 0:
		p.KeepAlive = uint16(defaultKeepAlive / time.Second)
	}
	if c.cfg.Protocol == MQTT5 && !c.cfg.CleanSession {
		p.SessionExpiry = uint32(time.Hour / time.Second)
		if c.cfg.SessionExpiry > 0 {
			p.SessionExpiry = uint32(c.cfg.SessionExpiry / time.Second)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.will; w != nil {
		p.Will = &mqtt.Will{
			Topic: w.Topic, Payload: w.Payload, QoS: byte(w.QoS), Retain: w.Retain, Delay: uint32(w.Delay / time.Second), Properties: w.Properties.encode(),
		}
	}
	return p
}

// prepare says how to connect. It asks for credentials each time.
func (c *Client) prepare(ctx context.Context, _ engine.Attempt) (*engine.Connection, error) {
	host, port, err := c.cfg.address()
	if err != nil {
		return nil, err // checked by New
	}
	address := net.JoinHostPort(host, strconv.Itoa(port))
	tlsConfig := c.cfg.tls(host)
	conn := &engine.Connection{
		Dialer:  mqttclient.Dialer{Address: address, TLS: tlsConfig, Proxy: c.cfg.Proxy, DialContext: c.cfg.Dial, Timeout: c.cfg.ConnectTimeout},
		Connect: c.connectPacket(),
	}
	// On 8443, too: hubs that may not bind 443 take it instead.
	shared := port == portHTTPS || port == 8443
	switch {
	case c.cfg.Credentials != nil:
		ws, renewAt, err := c.signed(ctx, host, port)
		if err != nil {
			return nil, err
		}
		conn.Dialer.WebSocket, conn.RenewAt = ws, renewAt
	case c.cfg.WebSocket:
		conn.Dialer.WebSocket = &mqttclient.WebSocket{Target: webSocketPath, Host: hostHeader(host, port)}
		if c.cfg.Authorizer != nil { // a WebSocket without one needs Credentials
			c.cfg.Authorizer.request(conn.Dialer.WebSocket)
		}
	case len(tlsConfig.NextProtos) > 0:
	case c.cfg.Authorizer != nil:
		tlsConfig.NextProtos = []string{alpnAuthorizer}
	case shared:
		tlsConfig.NextProtos = []string{alpnCertificate}
	}
	return conn, nil
}

func (c *Config) tls(host string) *tls.Config {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLS != nil {
		t = c.TLS.Clone()
	}
	if t.ServerName == "" {
		t.ServerName = host
	}
	if c.RootCAs != nil {
		t.RootCAs = c.RootCAs
	}
	if c.Identity != nil {
		t.GetClientCertificate = c.Identity.GetClientCertificate
	}
	return t
}

// signed returns a WebSocket whose URL is signed with the credentials of now, and when the connection has to be replaced.
func (c *Client) signed(ctx context.Context, host string, port int) (*mqttclient.WebSocket, time.Time, error) {
	region, err := c.cfg.region()
	if err != nil {
		return nil, time.Time{}, err // checked by New
	}
	cred, err := c.cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("retrieve AWS credentials: %w", err)
	}
	if cred.AccessKeyID == "" || cred.SecretAccessKey.IsZero() {
		return nil, time.Time{}, fmt.Errorf("retrieve AWS credentials: %w", ErrNoCredentials)
	}
	now := time.Now()
	header := hostHeader(host, port)
	query := sigv4.Presign(
		sigv4.Request{Method: "GET", Path: webSocketPath, Host: header},
		sigv4.Credentials{AccessKeyID: cred.AccessKeyID, SecretAccessKey: cred.SecretAccessKey.Reveal(), SessionToken: cred.SessionToken.Reveal()},
		sigv4.Scope{Region: region, Service: webSocketService}, now, sigv4.PresignOptions{Expires: webSocketLife},
	)
	return &mqttclient.WebSocket{Target: webSocketPath + "?" + query, Host: header}, renewAt(now, cred.Expires), nil
}

// renewAt returns when a signed connection is replaced: before AWS IoT ends it, and before temporary credentials end; not all of a fleet
// at once.
func renewAt(now, expires time.Time) time.Time {
	at := now.Add(webSocketLife - time.Hour + rand.N(30*time.Minute))
	if expires.IsZero() {
		return at
	}
	early := identity.RenewAt(now, expires)
	// A provider may hand out what is about to end; it must not be asked without end.
	if soonest := now.Add(time.Minute); early.Before(soonest) {
		early = soonest
	}
	if early.Before(at) {
		return early
	}
	return at
}

func hostHeader(host string, port int) string {
	if port == portHTTPS {
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}
