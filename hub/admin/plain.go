package admin

import (
	"context"
	"net/http"
	"net/url"
)

// NewDevice asks for a plain MQTT device: POST /v1/devices. Devices of other dialects come into being as their platforms
// have it.
type NewDevice struct {
	Dialect string `json:"dialect" enum:"mqtt"`
	Tenant  string `json:"tenant"`
	// 1 to 128 characters of A-Z, a-z, 0-9, and _ . : -
	ID string `json:"id"`
	// 8 to 256 bytes; absent: the hub makes one, which nobody can guess.
	Password string `json:"password,omitempty"`
	// true: it has no password, and signs in with a token or a certificate.
	NoPassword bool `json:"no_password,omitempty"`
}

// Login is what a plain MQTT device signs in with.
type Login struct {
	// The user name: TENANT/DEVICE, which is right on every hub.
	Username string `json:"username"`
	// The password that the hub has made. It is told this once; absent if the caller has chosen it, or there is none.
	Password string `json:"password,omitempty"`
	// What the topics begin with that the device may use unless it was granted others. It ends with a slash.
	TopicPrefix string `json:"topic_prefix"`
}

// A CreatedDevice is a new device and its credentials.
type CreatedDevice struct {
	Device
	Login
}

// SetPassword gives a device another password: PUT .../password.
type SetPassword struct {
	// 8 to 256 bytes; absent: the hub makes one, which nobody can guess.
	Password string `json:"password,omitempty"`
}

// A DeviceToken is what the hub keeps of a token that a device uses in place of its password.
type DeviceToken struct {
	ID      string `json:"id"`
	Created Time   `json:"created,omitzero"`
	Expires Time   `json:"expires,omitzero"`
}

// NewDeviceToken asks for a token of a device: POST .../tokens.
type NewDeviceToken struct {
	// How long it is good for, in seconds: up to ten years.
	LifetimeSeconds int64 `json:"lifetime_seconds"`
}

// A CreatedDeviceToken is a new token of a device.
type CreatedDeviceToken struct {
	DeviceToken
	// The token itself, for use as password with the user name of the device. It is told this once.
	Secret string `json:"token"`
}

// Grants say what a device may do. In a filter ${device} stands for the device's id and ${tenant} for its tenant.
type Grants struct {
	// Topic filters: what the device publishes, its will too, must match one of them.
	Publish []string `json:"publish"`
	// Topic filters: what the device subscribes to, shared or not, must lie within one of them.
	Subscribe []string `json:"subscribe"`
	// true: what it publishes is passed on to subscribers and not stored.
	NoSamples bool `json:"no_samples,omitempty"`
}

// NewCertificate asks for a certificate for a plain MQTT device: POST .../certificates.
type NewCertificate struct {
	// A certificate signing request in PEM, of which the key counts; absent: the hub makes a key.
	CSR string `json:"csr,omitempty"`
}

// An IssuedCertificate is a new certificate.
type IssuedCertificate struct {
	Certificate
	// The certificate in PEM.
	PEM string `json:"pem"`
	// The private key in PEM, if the hub has made it. It is told this once.
	Key string `json:"key,omitempty"`
}

// An Authority is a certificate authority, not the hub's own, whose certificates open plain MQTT devices of one tenant: the
// common name is the id of the device.
type Authority struct {
	// The SHA-256 of its certificate, lower-case hexadecimal.
	ID      string `json:"id"`
	Tenant  string `json:"tenant"`
	Subject string `json:"subject"`
	// When its certificate ends.
	NotAfter Time `json:"not_after,omitzero"`
	// Whether a device is made when it first shows a certificate of this authority; else it has to be there.
	AutoRegister bool   `json:"auto_register"`
	Created      Time   `json:"created,omitzero"`
	PEM          string `json:"pem"`
}

// NewAuthority registers an authority: POST /v1/tenants/{tenant}/authorities.
type NewAuthority struct {
	// Its certificate: the one that signs the devices' itself.
	PEM string `json:"pem"`
	// true: a device that shows a certificate of this authority, and is not there, is made.
	AutoRegister bool `json:"auto_register,omitempty"`
}

// NewMessage is published to the plain MQTT devices of a tenant: POST /v1/tenants/{tenant}/publish.
type NewMessage struct {
	Topic string `json:"topic"`
	// The payload as text; this or base64, or neither for none.
	Text string `json:"text,omitempty"`
	// The payload in padded base64.
	Base64 string `json:"base64,omitempty"`
	// 0, 1 or 2; absent: 0, which only those get who are connected.
	QoS int `json:"qos,omitempty"`
	// true: it is also kept for those who subscribe later.
	Retain bool `json:"retain,omitempty"`
}

// A PublishedMessage tells what became of a message.
type PublishedMessage struct {
	// How many sessions took it; it waits for those that are not connected.
	Reached int `json:"reached"`
}

// AddDevice makes a plain MQTT device.
func (c *Client) AddDevice(ctx context.Context, d NewDevice) (made CreatedDevice, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/devices", d, &made)
	return made, err
}

// SetPassword gives a plain MQTT device another password and ends its connections.
func (c *Client) SetPassword(ctx context.Context, k DeviceKey, p SetPassword) (now Login, err error) {
	err = c.call(ctx, http.MethodPut, k.path("/password"), p, &now)
	return now, err
}

// DeviceTokens returns the tokens of a plain MQTT device, one page.
func (c *Client) DeviceTokens(ctx context.Context, k DeviceKey, limit int, cursor string) (Page[DeviceToken], error) {
	return get[Page[DeviceToken]](ctx, c, k.path("/tokens"), query{}.number("limit", limit).text("cursor", cursor))
}

// AddDeviceToken gives a plain MQTT device a token.
func (c *Client) AddDeviceToken(ctx context.Context, k DeviceKey, t NewDeviceToken) (made CreatedDeviceToken, err error) {
	err = c.call(ctx, http.MethodPost, k.path("/tokens"), t, &made)
	return made, err
}

// RevokeDeviceToken ends a token of a plain MQTT device, and its connections.
func (c *Client) RevokeDeviceToken(ctx context.Context, k DeviceKey, id string) error {
	return c.call(ctx, http.MethodDelete, k.path("/tokens/"+url.PathEscape(id)), nil, nil)
}

// Grants returns what a plain MQTT device may do.
func (c *Client) Grants(ctx context.Context, k DeviceKey) (Grants, error) {
	return get[Grants](ctx, c, k.path("/grants"), nil)
}

// SetGrants says what a plain MQTT device may do, and ends its connections, so that it signs in anew.
func (c *Client) SetGrants(ctx context.Context, k DeviceKey, g Grants) (now Grants, err error) {
	err = c.call(ctx, http.MethodPut, k.path("/grants"), g, &now)
	return now, err
}

// IssueCertificate makes a certificate for a plain MQTT device.
func (c *Client) IssueCertificate(ctx context.Context, k DeviceKey, n NewCertificate) (made IssuedCertificate, err error) {
	err = c.call(ctx, http.MethodPost, k.path("/certificates"), n, &made)
	return made, err
}

// Authorities returns the authorities that are registered for a tenant, one page.
func (c *Client) Authorities(ctx context.Context, tenant string, limit int, cursor string) (Page[Authority], error) {
	return get[Page[Authority]](ctx, c, "/v1/tenants/"+url.PathEscape(tenant)+"/authorities",
		query{}.number("limit", limit).text("cursor", cursor))
}

// RegisterAuthority lets certificates of an authority open devices of a tenant.
func (c *Client) RegisterAuthority(ctx context.Context, tenant string, a NewAuthority) (made Authority, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/tenants/"+url.PathEscape(tenant)+"/authorities", a, &made)
	return made, err
}

// RemoveAuthority ends that.
func (c *Client) RemoveAuthority(ctx context.Context, tenant, id string) error {
	return c.call(ctx, http.MethodDelete, "/v1/tenants/"+url.PathEscape(tenant)+"/authorities/"+url.PathEscape(id), nil, nil)
}

// Publish sends a message to the plain MQTT devices of a tenant that subscribe to its topic.
func (c *Client) Publish(ctx context.Context, tenant string, m NewMessage) (done PublishedMessage, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/tenants/"+url.PathEscape(tenant)+"/publish", m, &done)
	return done, err
}
