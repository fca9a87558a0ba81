package hub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/listen"
)

// Protocols that clients of the HTTPS port can choose by ALPN. Those of MQTT come first: whoever offers one of them speaks
// it. "mqtt" is registered with IANA, "x-amzn-mqtt-ca" is AWS IoT's for client certificates, and httpWithCertificate its
// name for HTTP/1.1 with one (AWS IoT guide, "Device communication protocols").
var (
	mqttProtocols = []string{"mqtt", "x-amzn-mqtt-ca"}
	httpProtocols = []string{"h2", "http/1.1"}
)

const httpWithCertificate = "x-amzn-http-ca"

// barePath is where a WebSocket is MQTT although its request names no subprotocol; elsewhere it may be anything.
const barePath = "/mqtt"

// mqttTLS is the TLS side of the MQTT port. A client certificate is requested and not required, because some dialects
// sign in otherwise, and the dialects check whose it is. But one that none of them could accept ends the handshake
// here, as it does at the platforms' own brokers.
//
// It has no NextProtos: some clients offer a name here too (aws-iot-device-sdk-v2 for JavaScript does), and crypto/tls
// breaks the handshake off when it has names and none is the client's.
func (p *parts) mqttTLS() *tls.Config {
	return &tls.Config{
		MinVersion:       tls.VersionTLS12,
		GetCertificate:   p.certificate,
		ClientAuth:       tls.RequestClientCert,
		VerifyConnection: p.verify,
	}
}

// verify is called for resumed sessions too.
func (p *parts) verify(cs tls.ConnectionState) error {
	if len(cs.PeerCertificates) == 0 {
		return nil
	}
	return p.verifyClient(cs.PeerCertificates[0])
}

// verifyTimeout bounds the wait for the list of registered authorities, which is read when it has changed.
const verifyTimeout = 5 * time.Second

// verifyClient tells whether a certificate is one that a dialect may accept: of our CA, or of an authority that one of them
// knows.
func (p *parts) verifyClient(leaf *x509.Certificate) error {
	err := p.ca.Verify(leaf)
	if !errors.Is(err, ca.ErrUnknownIssuer) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), verifyTimeout)
	defer cancel()
	for _, d := range p.dialects {
		if v, ok := d.(dialect.Verifier); ok && errors.Is(err, ca.ErrUnknownIssuer) {
			err = v.VerifyForeign(ctx, leaf)
		}
	}
	return err
}

// httpsTLS is the TLS side of the HTTPS port. Certificates that nobody accepts are no reason to refuse HTTP; those of a
// WebSocket are looked at when it signs in.
func (p *parts) httpsTLS() *tls.Config {
	cfg := p.mqttTLS()
	// net/http closes connections with a protocol that it does not know, and clients that offer this one go on when none is
	// chosen (observed with AWSIoTPythonSDK 1.6.2 and awscrt 0.36.1).
	silent := p.mqttTLS()
	silent.VerifyConnection = nil
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Contains(hello.SupportedProtos, httpWithCertificate) {
			return silent, nil
		}
		return nil, nil //nolint:nilnil // crypto/tls asks for it: go on with cfg
	}
	cfg.NextProtos = slices.Concat(mqttProtocols, httpProtocols)
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		if !slices.Contains(mqttProtocols, cs.NegotiatedProtocol) {
			return nil
		}
		return p.verify(cs)
	}
	return cfg
}

// openFront makes the HTTPS port of its socket.
func (h *Hub) openFront(p *parts) {
	p.webGate = listen.NewGate(p.limits.HTTPSConnections, p.limits.HTTPSPerAddress)
	p.front = listen.NewFront(listen.FrontConfig{
		Listener: p.https,
		More:     p.more,
		TLS:      p.httpsTLS(),
		MQTT:     mqttProtocols,
		Timeout:  p.limits.ConnectTimeout,
		Gate:     p.webGate,
		Pace:     p.pace,
		Quota:    p.webQuota,
		Pending:  p.pending,
		Logger:   h.cfg.Logger.With("server", "https"),
	})
}

// webSockets makes requests for MQTT over WebSocket connections of the broker, whatever their path: the dialects look at
// it when the client signs in. Requests for other WebSockets go on to next.
func (h *Hub) webSockets(p *parts, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !listen.Asks(r) {
			next.ServeHTTP(w, r)
			return
		}
		protocol, none := listen.Offered(r)
		if protocol == "" && (!none || r.URL.Path != barePath) {
			next.ServeHTTP(w, r)
			return
		}
		for _, d := range p.dialects {
			if u, ok := d.(dialect.Upgrader); ok && !u.Upgrade(w, r) {
				return
			}
		}
		if err := p.front.Upgrade(w, r, protocol); err != nil {
			h.cfg.Logger.Info("WebSocket refused", "remote", r.RemoteAddr, "path", r.URL.Path, "err", err)
		}
	})
}

// serveMQTT serves all ways in for MQTT until ctx ends or one of them fails.
func (p *parts) serveMQTT(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ways := []func() error{
		func() error { return p.broker.Serve(ctx, p.mqtt, p.mqttTLS()) },
		func() error { return p.broker.Serve(ctx, p.front.MQTT(), nil) },
	}
	if p.plain != nil {
		ways = append(ways, func() error { return p.broker.ServePlain(ctx, p.plain) })
	}
	errs := make([]error, len(ways))
	var wg sync.WaitGroup
	for i, serve := range ways {
		wg.Go(func() {
			defer cancel() // the end of one is the end of all
			errs[i] = serve()
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// serveHTTPS serves the HTTPS port until web is shut down or the port fails.
func (p *parts) serveHTTPS(ctx context.Context, web *http.Server) error {
	var wg sync.WaitGroup
	var failed error
	wg.Go(func() { failed = p.front.Run(context.WithoutCancel(ctx)) })
	err := web.Serve(p.front.HTTP()) // closes it at the end, which ends Run
	wg.Wait()
	if failed != nil {
		return failed
	}
	return err
}
