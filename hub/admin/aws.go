package admin

import (
	"context"
	"net/http"
	"net/url"
)

// An AccessKey is what programs sign requests to AWS IoT's API with. It may do everything there, in its tenant.
type AccessKey struct {
	// "AKIA...", or "ASIA..." if it expires.
	ID     string `json:"id"`
	Tenant string `json:"tenant"`
	// What it is for, in its maker's words.
	Name    string `json:"name,omitempty"`
	Created Time   `json:"created,omitzero"`
	// When it ends; absent: never.
	Expires Time `json:"expires,omitzero"`
}

// NewAccessKey makes an access key: POST /v1/tenants/{tenant}/access-keys.
type NewAccessKey struct {
	// What it is for.
	Name string `json:"name,omitempty"`
	// When it ends; absent: never. One that ends comes with a session token.
	Expires Time `json:"expires,omitzero"`
}

// CreatedAccessKey is a new access key with what is told this once.
type CreatedAccessKey struct {
	AccessKey
	Secret string `json:"secret"`
	// Has to come with each request; absent where the key does not end.
	SessionToken string `json:"session_token,omitempty"`
}

// A GreengrassGroup says which devices find which cores by Greengrass discovery.
type GreengrassGroup struct {
	ID     string           `json:"id"`
	Tenant string           `json:"tenant"`
	Cores  []GreengrassCore `json:"cores"`
	// Certificates in PEM that those of the cores come from. None: the root certificate of this hub.
	CAs []string `json:"cas"`
	// Names of things.
	Devices []string `json:"devices"`
}

// A GreengrassCore is a core and where it can be reached.
type GreengrassCore struct {
	// The name of its thing.
	Thing string          `json:"thing"`
	Ways  []GreengrassWay `json:"ways"`
}

// A GreengrassWay is one address of a core.
type GreengrassWay struct {
	ID       string `json:"id"`
	Host     string `json:"host"`
	Port     int    `json:"port"`
	Metadata string `json:"metadata,omitempty"`
}

// SetGreengrassGroup makes or replaces a group: PUT /v1/tenants/{tenant}/greengrass/{id}.
type SetGreengrassGroup struct {
	Cores []GreengrassCore `json:"cores"`
	// Certificates in PEM that those of the cores come from. None: the root certificate of this hub.
	CAs []string `json:"cas,omitempty"`
	// Names of things.
	Devices []string `json:"devices,omitempty"`
}

func tenantURL(tenant, rest string) string { return "/v1/tenants/" + url.PathEscape(tenant) + rest }

// AccessKeys returns the access keys of a tenant, one page.
func (c *Client) AccessKeys(ctx context.Context, tenant string, limit int, cursor string) (Page[AccessKey], error) {
	return get[Page[AccessKey]](ctx, c, tenantURL(tenant, "/access-keys"), query{}.number("limit", limit).text("cursor", cursor))
}

// CreateAccessKey makes an access key. The secret is told this once.
func (c *Client) CreateAccessKey(ctx context.Context, tenant string, n NewAccessKey) (made CreatedAccessKey, err error) {
	err = c.call(ctx, http.MethodPost, tenantURL(tenant, "/access-keys"), n, &made)
	return made, err
}

// DeleteAccessKey ends an access key, and the connections that were opened with it.
func (c *Client) DeleteAccessKey(ctx context.Context, tenant, id string) error {
	return c.call(ctx, http.MethodDelete, tenantURL(tenant, "/access-keys/"+url.PathEscape(id)), nil, nil)
}

// GreengrassGroups returns the groups of Greengrass discovery of a tenant, one page.
func (c *Client) GreengrassGroups(ctx context.Context, tenant string, limit int, cursor string) (Page[GreengrassGroup], error) {
	return get[Page[GreengrassGroup]](ctx, c, tenantURL(tenant, "/greengrass"), query{}.number("limit", limit).text("cursor", cursor))
}

// GreengrassGroup returns one of them.
func (c *Client) GreengrassGroup(ctx context.Context, tenant, id string) (GreengrassGroup, error) {
	return get[GreengrassGroup](ctx, c, tenantURL(tenant, "/greengrass/"+url.PathEscape(id)), nil)
}

// SetGreengrassGroup makes or replaces a group.
func (c *Client) SetGreengrassGroup(ctx context.Context, tenant, id string, g SetGreengrassGroup) (now GreengrassGroup, err error) {
	err = c.call(ctx, http.MethodPut, tenantURL(tenant, "/greengrass/"+url.PathEscape(id)), g, &now)
	return now, err
}

// DeleteGreengrassGroup deletes a group.
func (c *Client) DeleteGreengrassGroup(ctx context.Context, tenant, id string) error {
	return c.call(ctx, http.MethodDelete, tenantURL(tenant, "/greengrass/"+url.PathEscape(id)), nil, nil)
}
