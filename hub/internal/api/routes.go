package api

import (
	"net/http"
	"reflect"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// Parameters that several routes have.
var (
	limitParam  = param{name: "limit", kind: aNumber, min: 1, max: 1000, def: 100, doc: "The most items that the page shall have."}
	cursorParam = param{name: "cursor", kind: aText, doc: "Where the page begins: next of the page before it."}
	tenantParam = param{name: "tenant", kind: aText, doc: "Only of this tenant."}
)

// tags are the parts of the API, in the order in which they are shown.
var tags = []struct{ name, doc string }{
	{"devices", "What there is, on all platforms. A device has a key of dialect, tenant and id."},
	{"credentials", "How a device signs in, and what it may do."},
	{"certificates", "Certificates that this hub has issued to devices."},
	{"authorities", "Certificate authorities of others whose certificates open plain MQTT devices."},
	{"aws", "What AWS has other consoles for: access keys, and groups of Greengrass discovery."},
	{"data", "What devices have sent, and what is known about them."},
	{"messages", "What is sent to devices."},
	{"events", "What has happened, as a list and as a stream."},
	{"refusals", "Why a device cannot connect."},
	{"connections", "Who is connected over MQTT now. The key's last part is the client id, with %2F for a slash."},
	{"sessions", "What the hub keeps for MQTT clients, connected or not."},
	{"tenants", "Who owns devices."},
	{"tokens", "Who may use this API."},
	{"hub", "The hub itself."},
}

const devicePath = "/v1/devices/{dialect}/{tenant}/{device}"

// routes is the API.
func (s *Server) routes() []route {
	var list []route
	for _, part := range [][]route{s.hubRoutes(), s.deviceRoutes(), s.dataRoutes(), s.mqttRoutes(), s.tokenRoutes(), s.plainRoutes(), s.awsRoutes()} {
		list = append(list, part...)
	}
	return list
}

func (s *Server) hubRoutes() []route {
	return []route{
		{
			method: http.MethodGet, path: "/v1/openapi.json", id: "describe", tag: "hub", summary: "This document", doc: "This document.",
			media: "application/json", do: func(*request) (any, error) { return openAPI, nil },
		},
		{
			method: http.MethodGet, path: "/v1/status", id: "status", tag: "hub", summary: "How the hub is", doc: "How the hub is, and what it has done since it started.",
			scope: core.ScopeRead, whole: true, answer: reflect.TypeFor[admin.Status](),
			do: func(r *request) (any, error) { return s.cfg.Status(r.Context()) },
		},
		{
			method: http.MethodGet, path: "/v1/addresses", id: "showAddresses", tag: "hub", summary: "Where the hub is", doc: "Where the hub is reached, for tokens of one tenant too.",
			scope: core.ScopeRead, answer: reflect.TypeFor[admin.Addresses](),
			do: func(r *request) (any, error) {
				st, err := s.cfg.Status(r.Context())
				return st.Addresses, err
			},
		},
		{
			method: http.MethodPost, path: "/v1/backup", id: "makeBackup", tag: "hub", summary: "Make a backup", media: "application/x-tar",
			doc: "Copy the database while it is in use, and send it with everything else in the data folder, keys included, as a tar archive that ends with " +
				"SHA256SUMS. It can take minutes until the answer begins. An archive without that end is not whole.",
			scope: core.ScopeAdmin, whole: true, stream: s.backup,
		},
		{
			method: http.MethodGet, path: "/v1/tenants", id: "listTenants", tag: "tenants", summary: "List tenants", doc: "Tenants by id.",
			scope: core.ScopeRead, params: []param{limitParam, cursorParam},
			answer: reflect.TypeFor[admin.Page[admin.Tenant]](), do: s.listTenants,
		},
		{
			method: http.MethodPost, path: "/v1/tenants", id: "createTenant", tag: "tenants", summary: "Make a tenant",
			example: `{"id": "acme"}`, doc: "Make a tenant.",
			scope: core.ScopeAdmin, whole: true, status: http.StatusCreated,
			body: reflect.TypeFor[admin.NewTenant](), answer: reflect.TypeFor[admin.Tenant](), do: s.createTenant,
		},
		{
			method: http.MethodGet, path: "/v1/tenants/{tenant}", id: "showTenant", tag: "tenants", summary: "Show a tenant", doc: "One tenant, and how many devices it has.",
			scope: core.ScopeRead, answer: reflect.TypeFor[admin.Tenant](), do: s.showTenant,
		},
		{
			method: http.MethodDelete, path: "/v1/tenants/{tenant}", id: "deleteTenant", tag: "tenants", summary: "Delete a tenant",
			doc: "Delete a tenant with all that it has: devices and what they have stored, sessions, retained messages, tokens, authorities, refusals, events. When " +
				"this is answered its connections end, nobody gets in any more and its tokens open nothing; certificates of its devices are revoked. The rest goes by and by: until " +
				"the tenant is not found any more, it is shown as deleting and its name is taken. What its devices have stored is gone for everybody then, and its space on disk is freed later.",
			scope: core.ScopeAdmin, whole: true, status: http.StatusAccepted, answer: reflect.TypeFor[admin.Tenant](), do: s.deleteTenant,
		},
		{
			method: http.MethodGet, path: "/v1/ca/root.pem", id: "rootCertificate", tag: "hub", summary: "Get the root certificate", media: "application/x-pem-file",
			doc: "The root certificate that clients must trust, in PEM. It is no secret; fetched without a check of the hub's certificate it is no proof of anything.",
			do:  func(*request) (any, error) { return s.cfg.CA.RootPEM(), nil },
		},
		{
			method: http.MethodGet, path: "/v1/ca/crl", id: "revocationList", tag: "certificates", summary: "Get a revocation list", media: "application/pkix-crl",
			doc:   "The revocation list of an issuing certificate, in DER (RFC 5280).",
			scope: core.ScopeRead, whole: true, do: s.revocationList,
			params: []param{{name: "issuer", doc: "The key identifier of the issuing certificate, as in certificates; absent: that of the one in use."}},
		},
		{
			method: http.MethodGet, path: "/v1/events", id: "listEvents", tag: "events", summary: "List events", doc: "Events in the order in which they happened.",
			scope: core.ScopeRead, answer: reflect.TypeFor[admin.EventPage](), do: s.listEvents,
			params: append([]param{limitParam, {
				name: "after", kind: aNumber, max: maxSeq, doc: "Begin behind the event of this number; 0: with the oldest that is kept.",
			}, {
				name: "backwards", kind: aFlag, doc: "true: the newest first; after is not used then.",
			}, {
				name: "before", kind: aNumber, max: maxSeq, doc: "With backwards, begin before the event of this number, with last of the page before; 0: with the newest.",
			}}, eventParams...),
		},
		{
			method: http.MethodGet, path: "/v1/events/stream", id: "streamEvents", tag: "events", summary: "Follow events", media: "text/event-stream",
			doc: "Events as they happen, as server-sent events. Each has its number as id, its kind as event, and as data what the list has as an item. " +
				"An event hub.position tells where the stream is; hub.gap tells that events were dropped before they could be sent. " +
				"It goes on where the header Last-Event-ID or the parameter after says, else it begins now.",
			scope: core.ScopeRead, stream: s.streamEvents,
			params: append([]param{{
				name: "after", kind: aNumber, min: -1, max: maxSeq, def: -1, doc: "Begin behind the event of this number; -1: now. The header Last-Event-ID goes before.",
			}}, eventParams...),
		},
	}
}

func (s *Server) deviceRoutes() []route {
	return []route{
		{
			method: http.MethodGet, path: "/v1/devices", id: "listDevices", tag: "devices", summary: "List devices", doc: "Devices by tenant, dialect and id.",
			scope: core.ScopeRead, answer: reflect.TypeFor[admin.Page[admin.Device]](), do: s.listDevices,
			params: []param{
				tenantParam,
				{name: "dialect", doc: "Only those that speak this platform's dialect."},
				{name: "id", doc: "Only those of this id: one at most in each tenant and dialect."},
				{name: "prefix", doc: "Only those whose ids begin with this."},
				{name: "connected", kind: aFlag, doc: "Only those that are connected (true), or not (false)."},
				limitParam, cursorParam,
			},
		},
		{
			method: http.MethodGet, path: devicePath, id: "showDevice", tag: "devices", summary: "Show a device", doc: "One device, with its credentials and counters.",
			scope: core.ScopeRead, answer: reflect.TypeFor[admin.Device](), do: s.showDevice,
		},
		{
			method: http.MethodDelete, path: devicePath, id: "deleteDevice", tag: "devices", summary: "Delete a device",
			doc: "Delete a device with all that it has stored: documents, samples, counters, credentials, sessions. Its certificates are revoked. " +
				"Its id is free when this is answered; a device that registers with it is a new one. What it has stored is gone for everybody then, and its space on disk is freed by and by.",
			scope: core.ScopeWrite, status: http.StatusNoContent, do: s.deleteDevice,
		},
		{
			method: http.MethodGet, path: devicePath + "/credentials", id: "showCredentials", tag: "credentials", summary: "Show credentials", doc: "How a device comes to its certificates.",
			scope: core.ScopeRead, answer: reflect.TypeFor[admin.Credentials](), do: s.showCredentials,
		},
		{
			method: http.MethodPut, path: devicePath + "/credentials", id: "setCredentials", tag: "credentials", summary: "Inhibit or allow a device",
			example: `{"inhibited": true}`,
			doc:     "Forbid a device further certificates, or allow them again. A plain MQTT device is disconnected and kept out altogether.",
			scope:   core.ScopeWrite, body: reflect.TypeFor[admin.SetCredentials](), answer: reflect.TypeFor[admin.Credentials](), do: s.setCredentials,
		},
		{
			method: http.MethodGet, path: devicePath + "/certificates", id: "listCertificates", tag: "certificates", summary: "List certificates of a device", doc: "The certificates of a device, the newest first.",
			scope: core.ScopeRead, params: []param{limitParam, cursorParam},
			answer: reflect.TypeFor[admin.Page[admin.Certificate]](), do: s.listCertificates,
		},
		{
			method: http.MethodGet, path: "/v1/certificates/{serial}", id: "showCertificate", tag: "certificates", summary: "Show a certificate", doc: "One certificate.",
			scope: core.ScopeRead, answer: reflect.TypeFor[admin.Certificate](), do: s.showCertificate,
		},
		{
			method: http.MethodPost, path: "/v1/certificates/{serial}/revoke", id: "revokeCertificate", tag: "certificates", summary: "Revoke a certificate",
			doc:   "Withdraw a certificate for good and disconnect its device. One that is revoked already stays as it is.",
			scope: core.ScopeWrite, answer: reflect.TypeFor[admin.Certificate](), do: s.revokeCertificate,
		},
	}
}

func (s *Server) dataRoutes() []route {
	samples := limitParam
	samples.max = 10_000
	return []route{
		{
			method: http.MethodGet, path: devicePath + "/channels", id: "listChannels", tag: "data", summary: "List channels",
			doc:   "The channels of a device by name, each with its newest sample. A page of large samples is shorter than asked for.",
			scope: core.ScopeRead, answer: reflect.TypeFor[admin.Page[admin.Channel]](), do: s.listChannels,
			params: []param{{name: "prefix", doc: "Only those whose names begin with this."}, limitParam, cursorParam},
		},
		{
			method: http.MethodGet, path: devicePath + "/samples", id: "listSamples", tag: "data", summary: "List samples",
			doc:   "The samples of a channel by time, those of one time in the order of their arrival. A page of large samples is shorter than asked for.",
			scope: core.ScopeRead, answer: reflect.TypeFor[admin.Page[admin.Sample]](), do: s.listSamples,
			params: []param{
				{name: "channel", required: true, doc: "The channel. One that the device has never sent to has no samples."},
				{name: "since", kind: aTime, doc: "Only those of this time and later."},
				{name: "to", kind: aTime, doc: "Only those before this time."},
				{name: "backwards", kind: aFlag, doc: "true: the newest first."},
				samples, cursorParam,
			},
		},
		{
			method: http.MethodPatch, path: devicePath + "/documents", id: "changeDesired", tag: "data", summary: "Say what is desired",
			doc: "Change what is desired of a device: a shadow's desired state, server-owned properties. The device is told as the " +
				"platform has it, now or when it returns.",
			example: `{"document": "", "desired": {"setpoint": 21.5, "pump": {"speed": null}}}`,
			scope:   core.ScopeWrite, status: http.StatusNoContent, body: reflect.TypeFor[admin.DesiredChange](), do: s.changeDesired,
		},
		{
			method: http.MethodGet, path: devicePath + "/documents", id: "listDocuments", tag: "data", summary: "List documents",
			doc: "What is known about a device: the entries of its documents by document, side and path. A page can be short, " +
				"or empty, although more follows.",
			scope: core.ScopeRead, answer: reflect.TypeFor[admin.Page[admin.Entry]](), do: s.listDocuments,
			params: []param{
				{name: "document", doc: "Only of this document. It may be empty: the name of a device's only one."},
				{name: "side", values: []string{"desired", "reported"}, doc: "Only of this side."},
				limitParam, cursorParam,
			},
		},
	}
}

func (s *Server) tokenRoutes() []route {
	return []route{
		{
			method: http.MethodGet, path: "/v1/tokens", id: "listTokens", tag: "tokens", summary: "List tokens", doc: "The tokens that the caller may manage, by id.",
			scope: core.ScopeAdmin, params: []param{limitParam, cursorParam},
			answer: reflect.TypeFor[admin.Page[admin.Token]](), do: s.listTokens,
		},
		{
			method: http.MethodPost, path: "/v1/tokens", id: "createToken", tag: "tokens", summary: "Make a token",
			example: `{"name": "dashboard", "scope": "read", "tenant": "dev"}`,
			doc:     "Make a token. It may do, open and last no more than the caller's own. The answer is the only place where it is told.",
			scope:   core.ScopeAdmin, status: http.StatusCreated,
			body: reflect.TypeFor[admin.NewToken](), answer: reflect.TypeFor[admin.CreatedToken](), do: s.createToken,
		},
		{
			method: http.MethodGet, path: "/v1/tokens/self", id: "showSelf", tag: "tokens", summary: "Show the token in use", doc: "The caller's own token.",
			scope: core.ScopeRead, answer: reflect.TypeFor[admin.Token](),
			do: func(r *request) (any, error) { return tokenOf(r.caller), nil },
		},
		{
			method: http.MethodGet, path: "/v1/tokens/{id}", id: "showToken", tag: "tokens", summary: "Show a token", doc: "One token.",
			scope: core.ScopeAdmin, answer: reflect.TypeFor[admin.Token](), do: s.showToken,
		},
		{
			method: http.MethodDelete, path: "/v1/tokens/{id}", id: "revokeToken", tag: "tokens", summary: "Revoke a token", doc: "End a token. Streams that it has opened end too.",
			scope: core.ScopeAdmin, status: http.StatusNoContent, do: s.revokeToken,
		},
	}
}
