package awsiot

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/identity"
)

// A Discovery asks AWS IoT Greengrass which cores a device can connect to, and how. Endpoint and Identity are required; every other field
// works at zero. It may be used concurrently.
type Discovery struct {
	// Endpoint is such as "greengrass-ats.iot.eu-west-1.amazonaws.com", or the account's device endpoint; with a port, if it is not 8443.
	Endpoint string
	// Identity is the device's certificate with its key.
	Identity *identity.Identity
	// RootCAs are the authorities that the server's certificate may come from. nil: the system's.
	RootCAs *x509.CertPool
	// TLS is for what else TLS is to be like, as in [Config].
	TLS *tls.Config
	// Proxy is the proxy to use. nil: none.
	Proxy *url.URL
	// Dial makes connections. nil: TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Timeout is for all of a request. 0: 120 s.
	Timeout time.Duration
}

const (
	portDiscovery     = 8443
	alpnDiscovery     = "x-amzn-http-ca"
	discoveryTimeout  = 120 * time.Second
	maxDiscoveryBytes = 4 << 20
)

// Discover asks which groups the thing is in, with their cores and authorities. Refusals are a [fairlead.PlatformError] with the HTTP
// status and the answer's text: of kind ErrInvalid for 400, ErrUnauthenticated for 401, ErrDenied for 403, ErrNotFound for 404, which
// also means that the thing is in no group, and ErrThrottled for 429. When time is up the error wraps [ErrTimeout].
func (d *Discovery) Discover(ctx context.Context, thing string) (*DiscoveryInfo, error) {
	op := fmt.Sprintf("discover cores for %.128q", thing)
	host, port, err := splitEndpoint(d.Endpoint, portDiscovery)
	if err == nil && d.Identity == nil {
		err = errors.New("there is no Identity")
	}
	if err == nil && thing == "" {
		err = errors.New("the thing's name is empty")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", op, fairlead.ErrInvalid, err)
	}
	timeout := d.Timeout
	if timeout == 0 {
		timeout = discoveryTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, ErrTimeout)
	defer cancel()
	g := httpsGet{op: op, identity: d.Identity, roots: d.RootCAs, tls: d.TLS, proxy: d.Proxy, dial: d.Dial, alpn: alpnDiscovery, maxBytes: maxDiscoveryBytes}
	body, err := g.get(ctx, host, port, "/greengrass/discover/thing/"+url.PathEscape(thing))
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%s: %w: %w", op, fairlead.ErrUnavailable, context.Cause(ctx))
		}
		return nil, err
	}
	info, err := ParseDiscoveryInfo(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: answer: %w", op, fairlead.ErrUnavailable, err)
	}
	return info, nil
}
