package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// FrontConfig configures a [Front]. Listener and TLS are required.
type FrontConfig struct {
	Listener net.Listener
	// More are further ones for the same. Addr is that of Listener.
	More []net.Listener
	// TLS is for the handshakes. Its NextProtos are what is negotiated by ALPN (RFC 7301).
	TLS *tls.Config
	// MQTT are those protocols after which a connection is MQTT; all others, and none, are HTTP.
	MQTT []string
	// Timeout bounds the handshake. 0: 10 s.
	Timeout time.Duration
	// Gate counts the connections until they close or become MQTT.
	Gate *Gate
	// Pace slows down connections from where others have come to nothing. nil: none is.
	Pace *Pace
	// Quota says whose handshakes end in HTTP too often: such a one counts as failed. nil: nobody's.
	Quota *Quota[netip.Prefix]
	// Pending is the gate for MQTT connections that have not signed in yet: WebSockets are led through it.
	Pending *Gate
	Logger  *slog.Logger // nil: discard
}

// A Front is one TLS port, or several that are alike, for HTTP, MQTT by ALPN, and MQTT over WebSocket. It does the handshakes, each on a goroutine of
// its own so that a slow one holds up nobody, and hands the connections to two listeners: [Front.HTTP], for an
// http.Server, and [Front.MQTT].
type Front struct {
	cfg        FrontConfig
	http, mqtt *queue
}

// NewFront returns a Front that accepts nothing before [Front.Run].
func NewFront(cfg FrontConfig) *Front {
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	addr := cfg.Listener.Addr()
	return &Front{cfg: cfg, http: newQueue(addr), mqtt: newQueue(addr)}
}

// HTTP gives connections after their handshake, each a *tls.Conn. Closing it ends [Front.Run].
func (f *Front) HTTP() net.Listener { return f.http }

// MQTT gives connections after their handshake, each a *[Conn]. Closing it does not disturb HTTP: connections that are
// to be MQTT are closed from then on, and requests for WebSockets refused.
func (f *Front) MQTT() net.Listener { return f.mqtt }

// Run accepts connections until ctx ends, a listener fails or the HTTP side is closed, and returns when no handshake is
// going on any more. It closes the listeners. The error is nil unless a listener failed by itself.
func (f *Front) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		select {
		case <-f.http.closed:
			cancel()
		case <-ctx.Done():
		}
	})
	accepted := func(nc net.Conn) {
		c := NewConn(nc, f.cfg.TLS)
		wait, ok := c.Enter(f.cfg.Pace)
		if !ok || !c.Take(f.cfg.Gate) {
			c.Released()
			_ = c.Close()
			return
		}
		wg.Go(func() {
			if !Rest(ctx, wait) {
				c.Released()
				_ = c.Close()
				return
			}
			f.handshake(ctx, c)
		})
	}
	listeners := append([]net.Listener{f.cfg.Listener}, f.cfg.More...)
	errs := make([]error, len(listeners))
	var accepting sync.WaitGroup
	for i, l := range listeners {
		accepting.Go(func() {
			defer cancel() // the end of one is the end of all
			errs[i] = Accept(ctx, l, "HTTPS", f.cfg.Logger, accepted)
		})
	}
	accepting.Wait()
	f.http.close()
	f.mqtt.close()
	return errors.Join(errs...)
}

// handshake takes a connection to the side where it belongs.
func (f *Front) handshake(ctx context.Context, c *Conn) {
	t, _ := c.TLS()
	_ = c.SetDeadline(time.Now().Add(f.cfg.Timeout))
	if err := t.HandshakeContext(ctx); err != nil {
		f.cfg.Logger.Debug("TLS handshake", "remote", c.RemoteAddr().String(), "err", err)
		if ctx.Err() == nil {
			c.Failed()
		}
		c.Finish() // so that the alert arrives
		return
	}
	_ = c.SetDeadline(time.Time{})
	if slices.Contains(f.cfg.MQTT, t.ConnectionState().NegotiatedProtocol) {
		f.mqtt.put(c)
		return
	}
	if f.cfg.Quota.Keeps(c, core.Network(c.Remote().Addr())) {
		c.Released()
	} else {
		c.Failed()
	}
	f.http.put(t)
}

// State is for [http.Server.ConnState]: connections from [Front.HTTP] that wait for a request can be spared for others.
func State(nc net.Conn, s http.ConnState) {
	switch s {
	case http.StateActive:
		connOf(nc).Busy(true)
	case http.StateIdle:
		connOf(nc).Busy(false)
	}
}

func onceClose(c chan struct{}) func() { return sync.OnceFunc(func() { close(c) }) }
