package awsiot

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/identity"
)

// RoleAliasCredentials is a [CredentialsProvider] that borrows an access key for the device's certificate: from AWS IoT's credentials
// provider ("Authorizing direct calls to AWS services using AWS IoT Core credential provider", read 2026-11). Endpoint, RoleAlias and
// Identity are required; every other field works at zero, and none must change after the first use. It may be used concurrently.
//
// A key is used for the first half of its life; then another one is asked for, and if there is none the first one is used until it ends.
type RoleAliasCredentials struct {
	// Endpoint is the account's, of the type iot:CredentialProvider, such as "a1b2c3.credentials.iot.eu-west-1.amazonaws.com"; with a
	// port, if it is not 443.
	Endpoint string
	// RoleAlias is the name of the alias of the role that the key is to have. A policy of the certificate has to allow
	// iot:AssumeRoleWithCertificate for it.
	RoleAlias string
	// ThingName is for policies with variables of the thing; the certificate must be attached to it. "": none.
	ThingName string
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
	// Timeout is for all of a request. 0: 30 s.
	Timeout time.Duration

	once sync.Once
	turn chan struct{} // held by who looks or asks
	kept Credentials
	half time.Time // when to ask for others
}

const (
	roleAliasTimeout  = 30 * time.Second
	roleAliasRetry    = time.Minute
	maxRoleAliasBytes = 64 << 10 // session tokens have no documented length
)

// Retrieve returns the access key. Refusals are a [fairlead.PlatformError] with the HTTP status and the answer's text: of kind ErrDenied
// for 403, when no policy allows it or the certificate is not attached to the thing, and ErrNotFound for 404, when there is no such
// alias. When time is up the error wraps [ErrTimeout].
func (p *RoleAliasCredentials) Retrieve(ctx context.Context) (Credentials, error) {
	p.once.Do(func() { p.turn = make(chan struct{}, 1) })
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return Credentials{}, fmt.Errorf("credentials of role alias %.128q: %w: %w", p.RoleAlias, fairlead.ErrUnavailable, context.Cause(ctx))
	}
	now := time.Now()
	if now.Before(p.half) && now.Before(p.kept.Expires) {
		return p.kept, nil
	}
	got, err := p.ask(ctx)
	if err != nil {
		// Also a refusal: the key is good for as long as it says, and whoever has taken the right away wants no new ones. It is asked
		// again soon.
		if now.Before(p.kept.Expires) {
			p.half = now.Add(roleAliasRetry)
			return p.kept, nil
		}
		return Credentials{}, err
	}
	p.kept, p.half = got, now.Add(got.Expires.Sub(now)/2)
	return got, nil
}

func (p *RoleAliasCredentials) ask(ctx context.Context) (Credentials, error) {
	op := fmt.Sprintf("credentials of role alias %.128q", p.RoleAlias)
	host, port, err := splitEndpoint(p.Endpoint, portHTTPS)
	switch {
	case err != nil:
	case p.Identity == nil:
		err = errors.New("there is no Identity")
	case p.RoleAlias == "":
		err = errors.New("the alias is empty")
	case !headerValue(p.ThingName):
		err = fmt.Errorf("ThingName is %.200q", p.ThingName)
	}
	if err != nil {
		return Credentials{}, fmt.Errorf("%s: %w: %w", op, fairlead.ErrInvalid, err)
	}
	timeout := p.Timeout
	if timeout == 0 {
		timeout = roleAliasTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, ErrTimeout)
	defer cancel()
	g := httpsGet{op: op, identity: p.Identity, roots: p.RootCAs, tls: p.TLS, proxy: p.Proxy, dial: p.Dial, maxBytes: maxRoleAliasBytes, header: http.Header{}}
	if p.ThingName != "" {
		g.header["x-amzn-iot-thingname"] = []string{p.ThingName} // as it is documented, in lower case
	}
	body, err := g.get(ctx, host, port, "/role-aliases/"+url.PathEscape(p.RoleAlias)+"/credentials")
	if err != nil {
		if ctx.Err() != nil {
			return Credentials{}, fmt.Errorf("%s: %w: %w", op, fairlead.ErrUnavailable, context.Cause(ctx))
		}
		return Credentials{}, err
	}
	c, err := parseLent(body)
	if err != nil {
		return Credentials{}, fmt.Errorf("%s: %w: answer: %w", op, fairlead.ErrUnavailable, err)
	}
	return c, nil
}

// parseLent reads an answer of the credentials provider. Its errors have nothing of the answer in them.
func parseLent(body []byte) (Credentials, error) {
	var in struct {
		Credentials struct {
			AccessKeyID, SecretAccessKey, SessionToken string // encoding/json does not mind their case
			Expiration                                 time.Time
		}
	}
	if json.Unmarshal(body, &in) != nil {
		return Credentials{}, errors.New("it is not JSON of the documented form")
	}
	c := in.Credentials
	if c.AccessKeyID == "" || c.SecretAccessKey == "" || c.SessionToken == "" || c.Expiration.IsZero() {
		return Credentials{}, errors.New("it has no access key, or says nothing of its end")
	}
	return Credentials{
		AccessKeyID: c.AccessKeyID, SecretAccessKey: identity.NewSecret(c.SecretAccessKey), SessionToken: identity.NewSecret(c.SessionToken), Expires: c.Expiration,
	}, nil
}
