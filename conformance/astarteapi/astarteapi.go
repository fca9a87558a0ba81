// Package astarteapi speaks the Astarte platform's REST APIs as programs and devices do: registration, certificates,
// interfaces, and the data that the platform has. It is a client written for tests: every unexpected status is a
// [*StatusError], and a failure of the transport is anything else, so that a test can tell "refused" from "unknown".
package astarteapi

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 20

// A StatusError is an answer with another status than the caller expects.
type StatusError struct {
	Op     string // "POST https://…"
	Status int
	Body   string // its beginning
}

func (e *StatusError) Error() string { return fmt.Sprintf("%s: status %d: %s", e.Op, e.Status, e.Body) }

// Status returns the status of a [*StatusError], 0 for any other error.
func Status(err error) int {
	var e *StatusError
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// A Realm is one realm of a platform, with the rights of its private key. It is safe for concurrent use.
type Realm struct {
	Name                                string
	pairing, appEngine, realmManagement string
	token                               string
	roots                               *x509.CertPool
	http                                *http.Client
}

// New returns the realm that the variables describe (those of `fairlead env astarte`).
func New(vars map[string]string) (*Realm, error) {
	text, err := os.ReadFile(vars["ASTARTE_REALM_PRIVATE_KEY"])
	if err != nil {
		return nil, fmt.Errorf("private key of the realm: %w", err)
	}
	key, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("private key of the realm: %w", err)
	}
	root, err := os.ReadFile(vars["FAIRLEAD_CA"])
	if err != nil {
		return nil, fmt.Errorf("root certificate: %w", err)
	}
	r := &Realm{
		Name: vars["ASTARTE_REALM"], pairing: vars["ASTARTE_PAIRING_URL"], appEngine: vars["ASTARTE_APPENGINE_URL"],
		realmManagement: vars["ASTARTE_REALM_MANAGEMENT_URL"], roots: x509.NewCertPool(),
	}
	if !r.roots.AppendCertsFromPEM(root) {
		return nil, errors.New("root certificate: no certificate in the file")
	}
	if r.token, err = mint(key, 24*time.Hour); err != nil {
		return nil, err
	}
	r.http = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: r.roots}, MaxIdleConnsPerHost: 16,
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
	}}
	return r, nil
}

// CloseIdle closes the connections that no request uses.
func (r *Realm) CloseIdle() { r.http.CloseIdleConnections() }

// do sends a request and reads the "data" of the answer into out, if that is not nil.
func (r *Realm) do(ctx context.Context, method, url, bearer string, body, out any, want ...int) error {
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(map[string]any{"data": body})
		if err != nil {
			return err
		}
		in = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, in)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := r.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if !slices.Contains(want, res.StatusCode) {
		return &StatusError{Op: method + " " + url, Status: res.StatusCode, Body: string(text[:min(len(text), 300)])}
	}
	// The status alone is the acknowledgement; a body cut off by a crash does not take it back.
	if out == nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	answer := struct{ Data any }{out}
	if err := json.Unmarshal(text, &answer); err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	return nil
}

// Credentials are what a device has to have to connect.
type Credentials struct {
	ID     string
	Secret string
	Broker string // host:port
	TLS    *tls.Config
}

// Register registers a device and returns its credentials secret. It can be repeated until the device has asked for its
// first certificate.
func (r *Realm) Register(ctx context.Context, id string) (secret string, err error) {
	var out struct {
		Secret string `json:"credentials_secret"`
	}
	err = r.do(ctx, "POST", r.pairing+"/v1/"+r.Name+"/agent/devices", r.token, map[string]string{"hw_id": id}, &out, 201)
	return out.Secret, err
}

// Info asks Pairing, as the device, for its status and the broker's address (host:port).
func (r *Realm) Info(ctx context.Context, id, secret string) (status, broker string, err error) {
	var out struct {
		Status    string
		Protocols struct {
			MQTT struct {
				Broker string `json:"broker_url"`
			} `json:"astarte_mqtt_v1"`
		}
	}
	if err := r.do(ctx, "GET", r.pairing+"/v1/"+r.Name+"/devices/"+id, secret, nil, &out, 200); err != nil {
		return "", "", err
	}
	u, err := url.Parse(out.Protocols.MQTT.Broker)
	if err != nil {
		return "", "", err
	}
	return out.Status, u.Host, nil
}

func csrTemplate(cn string) *x509.CertificateRequest {
	return &x509.CertificateRequest{Subject: pkix.Name{CommonName: cn, Organization: []string{"Devices"}}}
}

// Obtain obtains a certificate for a fresh key and the broker's address.
func (r *Realm) Obtain(ctx context.Context, id, secret string) (*Credentials, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	csr, err := request(r.Name+"/"+id, key)
	if err != nil {
		return nil, err
	}
	var out struct {
		Certificate string `json:"client_crt"`
	}
	at := r.pairing + "/v1/" + r.Name + "/devices/" + id + "/protocols/astarte_mqtt_v1/credentials"
	if err := r.do(ctx, "POST", at, secret, map[string]string{"csr": csr}, &out, 201); err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(out.Certificate))
	if block == nil {
		return nil, errors.New("client_crt: no PEM block")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("client_crt: %w", err)
	}
	if want := r.Name + "/" + id; leaf.Subject.CommonName != want {
		return nil, fmt.Errorf("client_crt: common name %q, want %q", leaf.Subject.CommonName, want)
	}
	_, broker, err := r.Info(ctx, id, secret)
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(broker)
	if err != nil {
		return nil, fmt.Errorf("broker_url: %w", err)
	}
	return &Credentials{ID: id, Secret: secret, Broker: broker, TLS: &tls.Config{
		RootCAs: r.roots, ServerName: host,
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}},
	}}, nil
}

// Unregister makes the realm forget a device's credentials secret.
func (r *Realm) Unregister(ctx context.Context, id string) error {
	return r.do(ctx, "DELETE", r.pairing+"/v1/"+r.Name+"/agent/devices/"+id, r.token, nil, nil, 204)
}

// PairingURL is the Pairing API's address, for devices.
func (r *Realm) PairingURL() string { return r.pairing }

// Token may do everything in the realm.
func (r *Realm) Token() string { return r.token }

// Roots has the authority of the platform's certificates.
func (r *Realm) Roots() *x509.CertPool { return r.roots }

// Install installs an interface. Status 409 means that it is there already.
func (r *Realm) Install(ctx context.Context, definition json.RawMessage) error {
	return r.do(ctx, "POST", r.realmManagement+"/v1/"+r.Name+"/interfaces?async_operation=false", r.token, definition, nil, 201)
}

// Interface returns an installed interface.
func (r *Realm) Interface(ctx context.Context, name string, major int) (*astartewire.Interface, error) {
	var out json.RawMessage
	at := fmt.Sprintf("%s/v1/%s/interfaces/%s/%d", r.realmManagement, r.Name, name, major)
	if err := r.do(ctx, "GET", at, r.token, nil, &out, 200); err != nil {
		return nil, err
	}
	return astartewire.ParseInterface(out)
}

// A Device is what AppEngine shows of a device, as far as tests look at it.
type Device struct {
	Connected     bool
	TotalMsgs     int64 `json:"total_received_msgs"`
	TotalBytes    int64 `json:"total_received_bytes"`
	Introspection map[string]struct {
		Major, Minor int
		Msgs         int64 `json:"exchanged_msgs"`
	}
}

func (r *Realm) device(id string) string { return r.appEngine + "/v1/" + r.Name + "/devices/" + id }

// Device returns a device.
func (r *Realm) Device(ctx context.Context, id string) (d Device, err error) {
	err = r.do(ctx, "GET", r.device(id), r.token, nil, &d, 200)
	return d, err
}

// path returns the URL of a path of a device's interface.
func (r *Realm) path(id, iface, path string) string {
	return r.device(id) + "/interfaces/" + iface + (&url.URL{Path: path}).EscapedPath()
}

// Read returns what AppEngine shows at a path of a device's interface, "" for the whole interface, and with a query.
func (r *Realm) Read(ctx context.Context, id, iface, path string, query url.Values) (json.RawMessage, error) {
	var raw json.RawMessage
	err := r.do(ctx, "GET", r.path(id, iface, path)+"?"+query.Encode(), r.token, nil, &raw, 200)
	return raw, err
}

// Write writes a value of any type to a path of a server-owned interface. A nil error is the platform's acknowledgement.
func (r *Realm) Write(ctx context.Context, method, id, iface, path string, value any) error {
	return r.do(ctx, method, r.path(id, iface, path), r.token, value, nil, 200)
}

// Property returns the value of a string property, nil if it is not set.
func (r *Realm) Property(ctx context.Context, id, iface, path string) (*string, error) {
	var raw json.RawMessage
	if err := r.do(ctx, "GET", r.path(id, iface, path), r.token, nil, &raw, 200); err != nil {
		return nil, err
	}
	if strings.TrimSpace(string(raw)) == "{}" {
		return nil, nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("property %s%s of %s: %w", iface, path, id, err)
	}
	return &s, nil
}

// Put sets a server-owned property. A nil error is the platform's acknowledgement.
func (r *Realm) Put(ctx context.Context, id, iface, path, value string) error {
	return r.do(ctx, "PUT", r.path(id, iface, path), r.token, value, nil, 200)
}

// Unset unsets a server-owned property. A nil error is the platform's acknowledgement.
func (r *Realm) Unset(ctx context.Context, id, iface, path string) error {
	return r.do(ctx, "DELETE", r.path(id, iface, path), r.token, nil, nil, 204)
}

// Send sends a value on a server-owned datastream. A nil error is the platform's acknowledgement.
func (r *Realm) Send(ctx context.Context, id, iface, path, value string) error {
	return r.do(ctx, "POST", r.path(id, iface, path), r.token, value, nil, 200)
}

// A Sample is one value of a datastream, as its JSON.
type Sample struct {
	Timestamp time.Time
	Value     json.RawMessage
}

// Samples returns up to limit values of an individual datastream, from since (inclusive, the zero Time for all) on, in
// the order of AppEngine. A path without values has none.
func (r *Realm) Samples(ctx context.Context, id, iface, path string, since time.Time, limit int) ([]Sample, error) {
	q := url.Values{"limit": {fmt.Sprint(limit)}}
	if since.IsZero() {
		since = time.Unix(0, 0)
	}
	q.Set("since", since.UTC().Format("2006-01-02T15:04:05.000Z"))
	var out []Sample
	err := r.do(ctx, "GET", r.path(id, iface, path)+"?"+q.Encode(), r.token, nil, &out, 200)
	var refused *StatusError
	if errors.As(err, &refused) && refused.Status == http.StatusNotFound && strings.Contains(refused.Body, "Path not found") {
		return nil, nil // and not an unknown device, which would be something else
	}
	return out, err
}
