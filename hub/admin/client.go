package admin

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
)

// Tenants returns tenants by id, one page; cursor "" is the first.
func (c *Client) Tenants(ctx context.Context, limit int, cursor string) (Page[Tenant], error) {
	return get[Page[Tenant]](ctx, c, "/v1/tenants", query{}.number("limit", limit).text("cursor", cursor))
}

// Tenant returns a tenant, and how many devices it has.
func (c *Client) Tenant(ctx context.Context, id string) (Tenant, error) {
	return get[Tenant](ctx, c, "/v1/tenants/"+url.PathEscape(id), nil)
}

// CreateTenant makes a tenant.
func (c *Client) CreateTenant(ctx context.Context, t NewTenant) (made Tenant, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/tenants", t, &made)
	return made, err
}

// DeleteTenant begins to delete a tenant with all that it has. Nobody gets in any more, and its tokens open nothing. It is
// gone when [Client.Tenant] does not find it any more, and its name is free then.
func (c *Client) DeleteTenant(ctx context.Context, id string) (now Tenant, err error) {
	err = c.call(ctx, http.MethodDelete, "/v1/tenants/"+url.PathEscape(id), nil, &now)
	return now, err
}

// A DeviceQuery selects devices; zero fields select all.
type DeviceQuery struct {
	Tenant, Dialect string
	ID              string // as it is: one device at most in each tenant and dialect
	Prefix          string // the beginning of their ids
	Connected       *bool
	Limit           int // of a page; 0: the hub's default
	Cursor          string
}

// Devices returns devices by tenant, dialect and id, one page.
func (c *Client) Devices(ctx context.Context, q DeviceQuery) (Page[Device], error) {
	v := query{}.text("tenant", q.Tenant).text("dialect", q.Dialect).text("id", q.ID).text("prefix", q.Prefix)
	if q.Connected != nil {
		v.text("connected", strconv.FormatBool(*q.Connected))
	}
	return get[Page[Device]](ctx, c, "/v1/devices", v.number("limit", q.Limit).text("cursor", q.Cursor))
}

// Device returns a device with its credentials and counters.
func (c *Client) Device(ctx context.Context, k DeviceKey) (Device, error) {
	return get[Device](ctx, c, k.path(""), nil)
}

// Credentials returns how a device comes to its certificates.
func (c *Client) Credentials(ctx context.Context, k DeviceKey) (Credentials, error) {
	return get[Credentials](ctx, c, k.path("/credentials"), nil)
}

// SetCredentials changes that.
func (c *Client) SetCredentials(ctx context.Context, k DeviceKey, s SetCredentials) (now Credentials, err error) {
	err = c.call(ctx, http.MethodPut, k.path("/credentials"), s, &now)
	return now, err
}

// Certificates returns the certificates of a device, the newest first, one page.
func (c *Client) Certificates(ctx context.Context, k DeviceKey, limit int, cursor string) (Page[Certificate], error) {
	return get[Page[Certificate]](ctx, c, k.path("/certificates"), query{}.number("limit", limit).text("cursor", cursor))
}

// Certificate returns a certificate by its serial number.
func (c *Client) Certificate(ctx context.Context, serial string) (Certificate, error) {
	return get[Certificate](ctx, c, "/v1/certificates/"+url.PathEscape(serial), nil)
}

// RevokeCertificate withdraws a certificate for good and disconnects its device.
func (c *Client) RevokeCertificate(ctx context.Context, serial string) (now Certificate, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/certificates/"+url.PathEscape(serial)+"/revoke", nil, &now)
	return now, err
}

// RootCA returns the certificate that clients of the hub must trust, in PEM.
func (c *Client) RootCA(ctx context.Context) ([]byte, error) {
	return c.raw(ctx, http.MethodGet, "/v1/ca/root.pem", nil)
}

// CRL returns the revocation list of an issuing certificate, in DER. issuer is its key identifier, as in
// [Certificate.Issuer]; "" is the one in use.
func (c *Client) CRL(ctx context.Context, issuer string) ([]byte, error) {
	return c.raw(ctx, http.MethodGet, "/v1/ca/crl"+query{}.text("issuer", issuer).String(), nil)
}

// Channels returns the channels of a device whose names begin with prefix, by name, each with its newest sample, one
// page.
func (c *Client) Channels(ctx context.Context, k DeviceKey, prefix string, limit int, cursor string) (Page[Channel], error) {
	return get[Page[Channel]](ctx, c, k.path("/channels"),
		query{}.text("prefix", prefix).number("limit", limit).text("cursor", cursor))
}

// A SampleQuery selects samples of one channel, which is required.
type SampleQuery struct {
	Channel   string
	Since     Time // inclusive; zero: from the beginning
	To        Time // exclusive; zero: to the end
	Backwards bool // newest first
	Limit     int  // of a page; 0: the hub's default
	Cursor    string
}

// Samples returns samples of a device by time, one page. A channel that it has never sent to has none.
func (c *Client) Samples(ctx context.Context, k DeviceKey, q SampleQuery) (Page[Sample], error) {
	v := query{"channel": {q.Channel}}.time("since", q.Since).time("to", q.To)
	if q.Backwards {
		v.text("backwards", "true")
	}
	return get[Page[Sample]](ctx, c, k.path("/samples"), v.number("limit", q.Limit).text("cursor", q.Cursor))
}

// An EntryQuery selects entries of documents; zero fields select all.
type EntryQuery struct {
	Document *string
	Side     string // "desired" or "reported"
	Limit    int    // of a page; 0: the hub's default
	Cursor   string
}

// Documents returns the entries of a device's documents by document, side and path, one page.
func (c *Client) Documents(ctx context.Context, k DeviceKey, q EntryQuery) (Page[Entry], error) {
	v := query{}.text("side", q.Side).number("limit", q.Limit).text("cursor", q.Cursor)
	if q.Document != nil {
		v["document"] = []string{*q.Document}
	}
	return get[Page[Entry]](ctx, c, k.path("/documents"), v)
}

// ChangeDesired says what is desired of a device, which is told of it.
func (c *Client) ChangeDesired(ctx context.Context, k DeviceKey, change DesiredChange) error {
	return c.call(ctx, http.MethodPatch, k.path("/documents"), change, nil)
}

// A SessionQuery selects connections, or sessions; zero fields select all.
type SessionQuery struct {
	Tenant  string
	Dialect string
	Client  string    // the client id as it is: one client at most in each tenant and dialect
	Prefix  string    // the beginning of their client ids
	Device  DeviceKey // only of this device
	Limit   int       // of a page; 0: the hub's default
	Cursor  string
}

func (q SessionQuery) query() query {
	v := query{}.text("tenant", q.Tenant).text("dialect", q.Dialect).text("client", q.Client).text("prefix", q.Prefix).number("limit", q.Limit).text("cursor", q.Cursor)
	if q.Device != (DeviceKey{}) {
		v.text("device", q.Device.String())
	}
	return v
}

// DeleteDevice deletes a device with all that it has stored, and revokes its certificates. Its id is free then.
func (c *Client) DeleteDevice(ctx context.Context, k DeviceKey) error {
	return c.call(ctx, http.MethodDelete, k.path(""), nil, nil)
}

// Connections returns the open MQTT connections by tenant, dialect and client id, one page.
func (c *Client) Connections(ctx context.Context, q SessionQuery) (Page[Connection], error) {
	return get[Page[Connection]](ctx, c, "/v1/connections", q.query())
}

// Connection returns the open connection of a session.
func (c *Client) Connection(ctx context.Context, k SessionKey) (Connection, error) {
	return get[Connection](ctx, c, k.path("/v1/connections"), nil)
}

// Disconnect ends the connection of a session. The session stays, and most clients connect again by themselves.
func (c *Client) Disconnect(ctx context.Context, k SessionKey) error {
	return c.call(ctx, http.MethodDelete, k.path("/v1/connections"), nil, nil)
}

// Sessions returns the MQTT sessions by tenant, dialect and client id, one page.
func (c *Client) Sessions(ctx context.Context, q SessionQuery) (Page[Session], error) {
	return get[Page[Session]](ctx, c, "/v1/sessions", q.query())
}

// Session returns one session, with the filters of its subscriptions.
func (c *Client) Session(ctx context.Context, k SessionKey) (Session, error) {
	return get[Session](ctx, c, k.path("/v1/sessions"), nil)
}

// ForgetSession ends a session for good: its subscriptions and the messages that wait in it are gone, and its connection
// ends.
func (c *Client) ForgetSession(ctx context.Context, k SessionKey) error {
	return c.call(ctx, http.MethodDelete, k.path("/v1/sessions"), nil, nil)
}

// A RefusalQuery selects refusals; zero fields select all.
type RefusalQuery struct {
	Tenant string
	// Name is what the client may have called itself: a part of its device id, client id, user name or certificate's subject.
	Name    string
	Address string // IP address
	Stage   string
	Since   Time
	Limit   int // of a page; 0: the hub's default
	Cursor  string
}

// Refusals returns the clients that were refused, the last one first, one page.
func (c *Client) Refusals(ctx context.Context, q RefusalQuery) (Page[Refusal], error) {
	return get[Page[Refusal]](ctx, c, "/v1/refusals", query{}.text("tenant", q.Tenant).text("name", q.Name).text("address", q.Address).
		text("stage", q.Stage).time("since", q.Since).number("limit", q.Limit).text("cursor", q.Cursor))
}

// Tokens returns the tokens that the caller may manage, by id, one page.
func (c *Client) Tokens(ctx context.Context, limit int, cursor string) (Page[Token], error) {
	return get[Page[Token]](ctx, c, "/v1/tokens", query{}.number("limit", limit).text("cursor", cursor))
}

// Self returns the token that the client uses.
func (c *Client) Self(ctx context.Context) (Token, error) {
	return get[Token](ctx, c, "/v1/tokens/self", nil)
}

// CreateToken makes a token. Its secret is in the answer and nowhere else.
func (c *Client) CreateToken(ctx context.Context, t NewToken) (made CreatedToken, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/tokens", t, &made)
	return made, err
}

// RevokeToken ends a token.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/v1/tokens/"+url.PathEscape(id), nil, nil)
}

// Backup has the hub make a backup of itself and writes it to w: a tar archive of its data folder, with its keys. It has
// everything that was acknowledged before. When there is an error, what was written is not whole.
func (c *Client) Backup(ctx context.Context, w io.Writer) error {
	req, err := c.request(ctx, http.MethodPost, "/v1/backup", nil)
	if err != nil {
		return err
	}
	res, err := c.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		answer, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10)) // without it the status has to do
		return refusal(res, answer)
	}
	if _, err := io.Copy(w, res.Body); err != nil {
		return fmt.Errorf("post /v1/backup: %w", err)
	}
	return nil
}

// All yields the items of all pages; page returns the one at a cursor. It ends with the first error.
func All[T any](page func(cursor string) (Page[T], error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for cursor := ""; ; {
			p, err := page(cursor)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range p.Items {
				if !yield(item, nil) {
					return
				}
			}
			if cursor = p.Next; cursor == "" {
				return
			}
		}
	}
}

// path returns where a device is in the API.
func (k DeviceKey) path(below string) string {
	return "/v1/devices/" + url.PathEscape(k.Dialect) + "/" + url.PathEscape(k.Tenant) + "/" + url.PathEscape(k.ID) + below
}

// path returns where a session is in the API, below where all are.
func (k SessionKey) path(all string) string {
	return all + "/" + url.PathEscape(k.Dialect) + "/" + url.PathEscape(k.Tenant) + "/" + url.PathEscape(k.ClientID)
}

// query are parameters; zero values are left out.
type query url.Values

func (q query) text(name, v string) query {
	if v != "" {
		q[name] = []string{v}
	}
	return q
}

func (q query) number(name string, v int) query {
	if v != 0 {
		q[name] = []string{strconv.Itoa(v)}
	}
	return q
}

func (q query) time(name string, v Time) query {
	if !v.IsZero() {
		q[name] = []string{v.String()}
	}
	return q
}

func (q query) String() string {
	if len(q) == 0 {
		return ""
	}
	return "?" + url.Values(q).Encode()
}

func get[T any](ctx context.Context, c *Client, path string, q query) (v T, err error) {
	err = c.get(ctx, path+q.String(), &v)
	return v, err
}
