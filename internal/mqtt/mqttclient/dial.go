package mqttclient

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/fairlead-iot/fairlead"
)

// A Dialer makes connections to a server. Address is required. It may be used concurrently.
type Dialer struct {
	// Address is host and port.
	Address string
	// TLS turns TLS on. ServerName is filled in from Address if it is empty; NextProtos are the names for ALPN. nil: plain TCP.
	TLS *tls.Config
	// WebSocket, if it is not nil, carries MQTT in WebSocket frames.
	WebSocket *WebSocket
	// Proxy is "http://[user:password@]host:port", for a proxy that does CONNECT, or the same with socks5 (names are resolved by the proxy). nil: none.
	Proxy *url.URL
	// DialContext makes the connection below all that. nil: TCP.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// Timeout is for all of it. 0: 30 s.
	Timeout time.Duration
}

// Dial connects, and returns a connection that carries MQTT. Errors wrap fairlead.ErrUnavailable, or ErrUnauthenticated if the server refused our
// certificate, or ErrInvalid; a refusal by HTTP, of the server or of the proxy, is a [fairlead.PlatformError].
func (d *Dialer) Dial(ctx context.Context) (net.Conn, error) {
	timeout := d.Timeout
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%w: no connection within %v", fairlead.ErrUnavailable, timeout))
	defer cancel()
	doing := "connect to " + d.Address
	nc, err := d.dial(ctx)
	if err == nil {
		return nc, nil
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	return nil, err
}

func (d *Dialer) dial(ctx context.Context) (net.Conn, error) {
	doing := "connect to " + d.Address
	host, _, err := net.SplitHostPort(d.Address)
	if err != nil {
		return nil, fmt.Errorf("connect to %q: %w: %w", d.Address, fairlead.ErrInvalid, err)
	}
	dial := d.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	to := d.Address
	if d.Proxy != nil {
		to = d.Proxy.Host
	}
	nc, err := dial(ctx, "tcp", to)
	if err != nil {
		return nil, unavailable(doing, err)
	}
	// What follows knows no context.
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	done, err := d.layers(ctx, nc, host)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return done, nil
}

// layers puts on a connection what it has to go through.
func (d *Dialer) layers(ctx context.Context, nc net.Conn, host string) (net.Conn, error) {
	doing := "connect to " + d.Address
	var err error
	if d.Proxy != nil {
		if nc, err = tunnel(nc, d.Proxy, d.Address); err != nil {
			return nil, err
		}
	}
	if d.TLS != nil {
		cfg := d.TLS
		if cfg.ServerName == "" {
			cfg = cfg.Clone()
			cfg.ServerName = host
		}
		secure := tls.Client(nc, cfg)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, unavailable(doing+": TLS", err)
		}
		nc = secure
	}
	if d.WebSocket != nil {
		return d.WebSocket.upgrade(nc, d.Address)
	}
	return nc, nil
}
