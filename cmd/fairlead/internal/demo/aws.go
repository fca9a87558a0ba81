package demo

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/awsiot"
	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/internal/sigv4"
)

const (
	fanThing  = "demo-fan"
	fanPolicy = "fairlead-demo"
)

// fanDocument allows the thing what is its own: the name of the thing is that of the client.
const fanDocument = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:*:*:client/${iot:Connection.Thing.ThingName}"},
	{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":[
		"arn:aws:iot:*:*:topic/$aws/things/${iot:Connection.Thing.ThingName}/*","arn:aws:iot:*:*:topic/dt/${iot:Connection.Thing.ThingName}/*"]},
	{"Effect":"Allow","Action":"iot:Subscribe","Resource":"arn:aws:iot:*:*:topicfilter/$aws/things/${iot:Connection.Thing.ThingName}/*"}]}`

// awsFleet makes a fan.
func awsFleet(ctx context.Context, s *site) ([]member, error) {
	env, err := s.env("aws")
	if err != nil {
		return nil, err
	}
	account := &awsAccount{http: s.http, url: env["AWS_ENDPOINT_URL"], region: env["AWS_DEFAULT_REGION"], keys: sigv4.Credentials{
		AccessKeyID: env["AWS_ACCESS_KEY_ID"], SecretAccessKey: env["AWS_SECRET_ACCESS_KEY"],
	}}
	id, err := account.provision(ctx, filepath.Join(s.dir, "fan"))
	if err != nil {
		return nil, err
	}
	f := &fan{site: s, changed: make(chan struct{}, 1)}
	f.client, err = awsiot.New(awsiot.Config{
		Endpoint: net.JoinHostPort(env["AWS_IOT_ENDPOINT"], env["AWS_IOT_MQTT_PORT"]), ThingName: fanThing, Identity: id, RootCAs: s.roots, Dial: s.dial,
		OnConnection: func(c awsiot.Connection) {
			if c.State == awsiot.Connected {
				f.look()
			}
		},
	})
	if err != nil {
		return nil, err
	}
	return []member{{
		Device: Device{Key: admin.DeviceKey{Dialect: "aws", Tenant: developTenant, ID: fanThing}, Name: "fan", What: "tells of the air; does what its shadow desires, {\"speed\": 0 to 100}, and jobs, {\"operation\": \"purge\"}"},
		run:    f.run,
	}}, nil
}

// awsAccount is the control plane of AWS IoT, for those who run it.
type awsAccount struct {
	http        *http.Client
	url, region string
	keys        sigv4.Credentials
}

// provision makes the thing, with a policy and a certificate for a key that the device makes, as far as an earlier run has not done so.
func (a *awsAccount) provision(ctx context.Context, dir string) (*identity.Identity, error) {
	keyFile, certFile := filepath.Join(dir, "key.pem"), filepath.Join(dir, "certificate.pem")
	if id, err := identity.Load(keyFile, certFile); !errors.Is(err, fairlead.ErrNotFound) {
		return id, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	key, err := identity.LoadOrMakeKey(keyFile)
	if err != nil {
		return nil, err
	}
	arn, text, err := a.certificate(ctx, key)
	if err != nil {
		return nil, err
	}
	for _, r := range []struct {
		method, path string
		body         any
		header       [2]string
	}{
		{http.MethodPost, "/things/" + fanThing, struct{}{}, [2]string{}},
		{http.MethodPost, "/policies/" + fanPolicy, map[string]string{"policyDocument": fanDocument}, [2]string{}},
		{http.MethodPut, "/target-policies/" + fanPolicy, map[string]string{"target": arn}, [2]string{}},
		{http.MethodPut, "/things/" + fanThing + "/principals", nil, [2]string{"X-Amzn-Principal", arn}},
	} {
		err := a.call(ctx, r.method, r.path, "", r.body, r.header, nil)
		if err != nil && !errors.Is(err, fairlead.ErrConflict) { // an earlier run has made it
			return nil, err
		}
	}
	chain, err := identity.ParseChain([]byte(text))
	if err != nil {
		return nil, err
	}
	return identity.Save(keyFile, certFile, key, chain)
}

// certificate gets a certificate for a key.
func (a *awsAccount) certificate(ctx context.Context, key crypto.Signer) (arn, text string, err error) {
	csr, err := identity.CSR(key, identity.Request{Subject: pkix.Name{CommonName: fanThing}})
	if err != nil {
		return "", "", err
	}
	var made struct {
		ARN string `json:"certificateArn"`
		PEM string `json:"certificatePem"`
	}
	err = a.call(ctx, http.MethodPost, "/certificates", "setAsActive=true", map[string]string{"certificateSigningRequest": string(csr)}, [2]string{}, &made)
	return made.ARN, made.PEM, err
}

// call makes a signed request; body and into may be nil. A conflict is fairlead.ErrConflict.
func (a *awsAccount) call(ctx context.Context, method, path, query string, body any, header [2]string, into any) error {
	op := method + " " + path
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
	}
	u, err := url.Parse(a.url)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	u.Path, u.RawQuery = path, query
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	req.Header.Set("Content-Type", "application/json")
	if header[0] != "" {
		req.Header.Set(header[0], header[1])
	}
	signed := sigv4.Request{Method: method, Path: u.EscapedPath(), Query: u.RawQuery, Host: u.Host, Header: req.Header, Hash: sigv4.Hash(text)}
	for _, h := range sigv4.Sign(signed, a.keys, sigv4.Scope{Region: a.region, Service: "iot"}, time.Now()) {
		req.Header.Set(h.Name, h.Value)
	}
	res, err := a.http.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", op, err)
	case res.StatusCode == http.StatusConflict:
		return fmt.Errorf("%s: %w", op, fairlead.ErrConflict)
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: status %d: %s", op, res.StatusCode, answer)
	case into == nil:
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}
