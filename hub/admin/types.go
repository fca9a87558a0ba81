package admin

import (
	"encoding/json"
	"fmt"
	"strings"
)

// A Page is a part of a list.
type Page[T any] struct {
	// The part itself.
	Items []T `json:"items"`
	// What to give as cursor for the part behind it; absent if this is the end. It is opaque, and good only together with
	// the other parameters that it came from.
	Next string `json:"next,omitempty"`
}

// A DeviceKey says which device is meant: the same id in two tenants or two dialects are two devices.
type DeviceKey struct {
	// A name of the platform that the device speaks: "astarte".
	Dialect string `json:"dialect"`
	// Its tenant: the realm, account or workspace in the words of its platform.
	Tenant string `json:"tenant"`
	// Its id on that platform.
	ID string `json:"id"`
}

// String returns the key in the form dialect/tenant/id.
func (k DeviceKey) String() string { return k.Dialect + "/" + k.Tenant + "/" + k.ID }

// ParseDeviceKey reads what String writes.
func ParseDeviceKey(s string) (DeviceKey, error) {
	p := strings.Split(s, "/")
	if len(p) != 3 || p[0] == "" || p[1] == "" || p[2] == "" {
		return DeviceKey{}, fmt.Errorf("device %q: want dialect/tenant/id", s)
	}
	return DeviceKey{Dialect: p[0], Tenant: p[1], ID: p[2]}, nil
}

// A Tenant is a separate world of devices.
type Tenant struct {
	ID      string `json:"id"`
	Created Time   `json:"created,omitzero"`
	// Whether it is being deleted: nobody gets in, and it is gone when all that it has is.
	Deleting bool `json:"deleting,omitempty"`
	// How many devices it has; absent in lists.
	Devices *Devices `json:"devices,omitempty"`
}

// NewTenant asks for a tenant: POST /v1/tenants.
type NewTenant struct {
	// 1 to 64 characters of a-z, 0-9, _ and -, beginning with a letter or digit. A platform may allow less: a realm of
	// Astarte has only a-z and 0-9, and begins with a letter.
	ID string `json:"id"`
}

// A Device is one device as the hub knows it.
type Device struct {
	DeviceKey
	Created   Time `json:"created,omitzero"`
	Connected bool `json:"connected"`
	// When it connected last; absent if it never has.
	LastConnected    Time `json:"last_connected,omitzero"`
	LastDisconnected Time `json:"last_disconnected,omitzero"`
	// The IP address that it connected from last.
	LastAddress string `json:"last_address,omitempty"`
	// Absent in lists, and where the device has none.
	Credentials *Credentials `json:"credentials,omitempty"`
	// What it has sent, in all and for each of the platform's own units; absent in lists.
	Sent []Count `json:"sent,omitempty"`
	// What its platform knows of it; absent in lists, and where the hub tells everything by other means.
	Details []Detail `json:"details,omitempty"`
}

// A Detail is one of the things that a device's platform knows of it. The same name may come several times.
type Detail struct {
	// What it is: "certificate", "group".
	Name string `json:"name"`
	// What it says, for people, in the platform's words.
	Value string `json:"value"`
}

// Credentials say how a device comes to its certificates. The secret itself is not kept.
type Credentials struct {
	// Whether it has a secret that opens it.
	Registered bool `json:"registered"`
	// Whether an operator has forbidden it further certificates.
	Inhibited       bool `json:"inhibited"`
	FirstRegistered Time `json:"first_registered,omitzero"`
	// When it fetched its first certificate since it registered.
	FirstCertificate Time `json:"first_certificate,omitzero"`
	// The IP address that asked for the newest certificate.
	LastAddress string `json:"last_address,omitempty"`
}

// SetCredentials changes the credentials of a device: PUT .../credentials.
type SetCredentials struct {
	// true forbids the device further certificates, false allows them again. Those that it has stay usable; but a plain MQTT
	// device is disconnected and kept out altogether.
	Inhibited bool `json:"inhibited"`
}

// A Count is how much a device has sent.
type Count struct {
	// The platform's unit, such as the name of an interface; empty for everything together.
	Scope    string `json:"scope"`
	Messages int64  `json:"messages"`
	Bytes    int64  `json:"bytes"`
}

// A Certificate is what the hub keeps of a certificate that its CA has issued.
type Certificate struct {
	// Lower-case hexadecimal.
	Serial string    `json:"serial"`
	Device DeviceKey `json:"device"`
	// Of the certificate's DER form, lower-case hexadecimal.
	SHA256 string `json:"sha256"`
	// The key identifier of the certificate that signed it, lower-case hexadecimal.
	Issuer    string `json:"issuer"`
	NotBefore Time   `json:"not_before,omitzero"`
	NotAfter  Time   `json:"not_after,omitzero"`
	// active: the device's newest; superseded: a newer one was issued, and whether this one still opens is the platform's
	// rule; revoked: refused.
	State string `json:"state" enum:"active,superseded,revoked"`
	// When it came into that state.
	Changed Time `json:"changed,omitzero"`
}

// A Channel is a series of samples that belong together.
type Channel struct {
	// The platform's name: "org.example.Temps:1/room1/temp".
	Channel string `json:"channel"`
	// The newest sample; absent if there is none any more.
	Last *Sample `json:"last,omitempty"`
}

// A Sample is one value that a device sent.
type Sample struct {
	// The value's own time where the device gave one, else when it was received.
	At       Time `json:"at"`
	Received Time `json:"received"`
	Value
}

// An Entry is one leaf of a document: something known about a device, written by one side and read by the other.
type Entry struct {
	// The platform's name: "" where a device has only one, a shadow's name, "org.example.Config:1".
	Document string `json:"document"`
	// desired: written by operators and applications; reported: by the device.
	Side string `json:"side" enum:"desired,reported"`
	// The place in the document, in the platform's spelling.
	Path    string `json:"path"`
	Changed Time   `json:"changed,omitzero"`
	Value
}

// A DesiredChange says what is desired of a device.
type DesiredChange struct {
	// Which of its documents, named as in Entry; may be left out where it is "".
	Document string `json:"document,omitempty"`
	// A JSON merge patch (RFC 7396): objects are merged, null deletes, everything else replaces.
	Desired json.RawMessage `json:"desired"`
}

// A SessionKey says which MQTT session is meant: the same client id in two tenants or two dialects are two sessions.
type SessionKey struct {
	// A name of the platform that the client speaks.
	Dialect string `json:"dialect"`
	Tenant  string `json:"tenant"`
	// The client id, as the platform has decided it: not always the one that the client asked for.
	ClientID string `json:"client_id"`
}

// String returns the key in the form dialect/tenant/client; a client id may have slashes in it.
func (k SessionKey) String() string { return k.Dialect + "/" + k.Tenant + "/" + k.ClientID }

// ParseSessionKey reads what String writes.
func ParseSessionKey(s string) (SessionKey, error) {
	p := strings.SplitN(s, "/", 3)
	if len(p) != 3 || p[0] == "" || p[1] == "" {
		return SessionKey{}, fmt.Errorf("session %q: want dialect/tenant/client", s)
	}
	return SessionKey{Dialect: p[0], Tenant: p[1], ClientID: p[2]}, nil
}

// A Connection is an open MQTT connection. Its numbers count from its beginning.
type Connection struct {
	SessionKey
	// The id of its device; absent if it is none.
	Device string `json:"device,omitempty"`
	// IP address and port that it comes from.
	Address string `json:"address"`
	// The version of MQTT.
	Version string `json:"version" enum:"3.1,3.1.1,5"`
	// tls: MQTT over TLS; websocket: MQTT over WebSocket; plain: neither.
	Transport  string `json:"transport" enum:"tls,websocket,plain"`
	TLSVersion string `json:"tls_version,omitempty"`
	Since      Time   `json:"since,omitzero"`
	// When packets came last. A client that has nothing to say sends a packet in each keep-alive time.
	Heard Time `json:"heard,omitzero"`
	// What the client has promised, in seconds, or less where its platform wants so; 0: nothing.
	KeepAliveSeconds float64 `json:"keep_alive_seconds"`
	MessagesIn       int64   `json:"messages_in"`
	MessagesOut      int64   `json:"messages_out"`
	BytesIn          int64   `json:"bytes_in"`
	BytesOut         int64   `json:"bytes_out"`
	// Messages that the client has not acknowledged.
	InFlight int `json:"in_flight"`
	// Messages that wait behind those, in storage for a session that outlives its connection.
	Queued        int `json:"queued"`
	Subscriptions int `json:"subscriptions"`
	// Whether the session outlives the connection.
	Stored bool `json:"stored"`
}

// A Session is what the hub keeps of an MQTT client: subscriptions, and messages that wait for it.
type Session struct {
	SessionKey
	// The id of its device; absent if it is none.
	Device    string `json:"device,omitempty"`
	Connected bool   `json:"connected"`
	// Whether it outlives its connection.
	Stored  bool `json:"stored"`
	Created Time `json:"created,omitzero"`
	// When it ends if its client does not return; absent: not by itself, or with its connection.
	Expires       Time `json:"expires,omitzero"`
	Subscriptions int  `json:"subscriptions"`
	// Messages that wait in storage, those that the client has not acknowledged included.
	Queued      int `json:"queued"`
	QueuedBytes int `json:"queued_bytes"`
	// The filters of its subscriptions, up to 1,000; absent in lists.
	Filters []string `json:"filters,omitempty"`
}

// A Refusal is something that a client was not allowed to do, once or several times in the same way. Refusals are kept in
// memory: the newest ones, until the hub ends.
type Refusal struct {
	// Ascending in the order of last.
	Seq   int64 `json:"seq"`
	First Time  `json:"first,omitzero"`
	Last  Time  `json:"last,omitzero"`
	// How often it happened from first to last.
	Count int64 `json:"count"`
	// How far the client came: publish and subscribe are of clients that had signed in, http is a platform's HTTP API.
	Stage string `json:"stage" enum:"accept,tls,connect,sign-in,session,publish,subscribe,http"`
	// Why, in one word: see docs/admin-api.md.
	Reason string `json:"reason"`
	// Why, for people.
	Text string `json:"text"`
	// What to do about it, for people.
	Help string `json:"help,omitempty"`
	// What the client was told: "CONNACK 5", "HTTP 403"; absent if nothing.
	Code string `json:"code,omitempty"`
	// Whose connection it would have been. Absent if that is not known; then only tokens for all tenants see it.
	Tenant  string `json:"tenant,omitempty"`
	Dialect string `json:"dialect,omitempty"`
	Device  string `json:"device,omitempty"`
	// Whether the client has proven to be that device. Else it may be anybody who calls himself so.
	Proven bool `json:"proven"`
	// The IP address that it came from.
	Address  string `json:"address"`
	ClientID string `json:"client_id,omitempty"`
	// Cut to its beginning where it may be a token.
	Username string `json:"username,omitempty"`
	// The name that the client connected to, where it told one.
	ServerName string `json:"server_name,omitempty"`
	TLSVersion string `json:"tls_version,omitempty"`
	// "3.1", "3.1.1" or "5"; absent if the client did not come so far.
	MQTTVersion string `json:"mqtt_version,omitempty"`
	// The certificate that the client showed.
	Certificate *RefusedCertificate `json:"certificate,omitempty"`
}

// A RefusedCertificate is a certificate as a client showed it; who issued it is not known.
type RefusedCertificate struct {
	Subject string `json:"subject"`
	Issuer  string `json:"issuer"`
	// Lower-case hexadecimal.
	Serial   string `json:"serial"`
	NotAfter Time   `json:"not_after,omitzero"`
}

// An Event tells that something has changed. Samples make no events: they are their own record.
type Event struct {
	// Ascending in the order of what happened, without an end: where to go on.
	Seq int64 `json:"seq"`
	At  Time  `json:"at,omitzero"`
	// "device.connected", "document.changed": see docs/admin-api.md.
	Kind string `json:"kind"`
	// Absent for what concerns all tenants.
	Tenant string `json:"tenant,omitempty"`
	// Absent, like device, for what concerns no device.
	Dialect string `json:"dialect,omitempty"`
	Device  string `json:"device,omitempty"`
	// Depends on the kind.
	Data json.RawMessage `json:"data,omitempty"`
}

// An EventPage is a part of the list of events.
type EventPage struct {
	Items []Event `json:"items"`
	// What to give as after, or backwards as before, for the part behind this one, also if items is empty.
	Last int64 `json:"last"`
	// There are more already. A page can be short, or empty, although there are.
	More bool `json:"more"`
	// Events between after and the first one here have been dropped, because they were old or too many.
	Gap bool `json:"gap,omitempty"`
}

// A Token is what the hub keeps of a token of this API.
type Token struct {
	// To name it by; absent for the token in the hub's data folder.
	ID string `json:"id,omitempty"`
	// What it is for.
	Name string `json:"name"`
	// read: look at everything; write: and change devices; admin: and manage tenants and tokens.
	Scope string `json:"scope" enum:"read,write,admin"`
	// The only tenant that it opens; absent: all.
	Tenant  string `json:"tenant,omitempty"`
	Created Time   `json:"created,omitzero"`
	// Absent: it does not expire.
	Expires Time `json:"expires,omitzero"`
}

// NewToken asks for a token: POST /v1/tokens.
type NewToken struct {
	// What it is for: 1 to 100 bytes of printable text.
	Name  string `json:"name"`
	Scope string `json:"scope" enum:"read,write,admin"`
	// The only tenant that it shall open; absent: all that the caller's token does.
	Tenant string `json:"tenant,omitempty"`
	// Absent: as long as the caller's token.
	Expires Time `json:"expires,omitzero"`
}

// A CreatedToken is a new token.
type CreatedToken struct {
	Token
	// The token itself. It is told this once.
	Secret string `json:"token"`
}
