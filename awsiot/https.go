package awsiot

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
)

// httpsGet is one request over mutual TLS.
type httpsGet struct {
	op       string // for errors
	identity *identity.Identity
	roots    *x509.CertPool
	tls      *tls.Config
	proxy    *url.URL
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
	alpn     string // on port 443
	maxBytes int64  // of the answer
	header   http.Header
}

const maxHTTPSErrBytes = 4 << 10

func (g *httpsGet) get(ctx context.Context, host string, port int, path string) ([]byte, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if g.tls != nil {
		t = g.tls.Clone()
	}
	t.GetClientCertificate = g.identity.GetClientCertificate
	if g.roots != nil {
		t.RootCAs = g.roots
	}
	if port == portHTTPS && len(t.NextProtos) == 0 && g.alpn != "" {
		t.NextProtos = []string{g.alpn}
	}
	if t.ServerName == "" {
		t.ServerName = host
	}
	transport := &http.Transport{TLSClientConfig: t, DialContext: g.dial, DisableKeepAlives: true, Proxy: http.ProxyURL(g.proxy)}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+hostHeader(host, port)+path, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", g.op, fairlead.ErrInvalid, err)
	}
	for name, values := range g.header {
		request.Header[name] = values
	}
	// A redirection would take the certificate elsewhere; it is a refusal like others.
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", g.op, fairlead.ErrUnavailable, err)
	}
	defer resp.Body.Close()
	limit := g.maxBytes
	if resp.StatusCode != http.StatusOK {
		limit = maxHTTPSErrBytes
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit))
	if resp.StatusCode != http.StatusOK {
		return nil, httpsRefusal(g.op, resp, body)
	}
	if err == nil && int64(len(body)) == limit {
		err = errors.New("the answer is too long")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", g.op, fairlead.ErrUnavailable, err)
	}
	return body, nil
}

func httpsRefusal(op string, resp *http.Response, body []byte) error {
	e := &fairlead.PlatformError{Op: op, Code: strconv.Itoa(resp.StatusCode), Detail: string(body), Kind: mqttclient.HTTPKind(resp.StatusCode)}
	var text struct{ Message, ErrorMessage string } // encoding/json does not mind their case
	if json.Unmarshal(body, &text) == nil {
		if e.Detail = text.ErrorMessage; e.Detail == "" {
			e.Detail = text.Message
		}
	}
	if s, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31); err == nil {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	return e
}
