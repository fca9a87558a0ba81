package core

import (
	"encoding/json"
	"time"
)

// An Event tells that something in the core changed. It is stored in the transaction that made the change and is
// handed on after that transaction is on disk. Samples make no events: they are their own record.
type Event struct {
	Seq    int64 // given by storage, ascending in the order of commits
	At     time.Time
	Device DeviceKey // zero ID: about the tenant
	Num    DeviceNum // of Device; not stored
	Kind   EventKind
	Data   json.RawMessage // depends on Kind, may be nil
}

// EventKind names what happened, "noun.verb".
type EventKind string

// The kinds of events that the core knows. Data is nil unless said otherwise.
const (
	DeviceRegistered      EventKind = "device.registered"
	DeviceUnregistered    EventKind = "device.unregistered"
	DeviceDeleted         EventKind = "device.deleted"      // dialects delete what they keep of it themselves
	DeviceConnected       EventKind = "device.connected"    // {"addr":"10.0.0.9"}
	DeviceDisconnected    EventKind = "device.disconnected" // {"reason":"keep-alive timeout"}
	DeviceError           EventKind = "device.error"        // {"error":NAME,"metadata":{...}}, names are the dialect's
	DeviceModelChanged    EventKind = "device.model"        // what the device says it can do; the dialect's form
	CertificateIssued     EventKind = "certificate.issued"  // {"serial":"..."}
	CertificateRevocation EventKind = "certificate.revoked" // {"serial":"..."}
	DocumentChanged       EventKind = "document.changed"    // EntryChange

	CredentialsInhibited EventKind = "credentials.inhibited" // an operator has forbidden further certificates
	CredentialsAllowed   EventKind = "credentials.allowed"   // and allows them again
	CredentialsChanged   EventKind = "credentials.changed"   // {"what":"password"}: what opened the device may not any more
	GrantsChanged        EventKind = "grants.changed"        // what the device may publish and subscribe to

	// About no device, but the devices of a dialect in a tenant.
	AuthorityRegistered EventKind = "authority.registered" // {"id":"..."}: its certificates open devices
	AuthorityRemoved    EventKind = "authority.removed"    // {"id":"..."}
	AccessKeyCreated    EventKind = "accesskey.created"    // {"id":"AKIA...","name":"..."}: it may do everything in the tenant
	AccessKeyDeleted    EventKind = "accesskey.deleted"    // {"id":"AKIA...","name":"..."}

	// About no device; of a tenant, or without one of all.
	TenantCreated EventKind = "tenant.created"
	TenantDeleted EventKind = "tenant.deleted" // with all that it had; every dialect is told
	TokenCreated  EventKind = "token.created"  // {"id":"...","name":"...","scope":"read"}
	TokenRevoked  EventKind = "token.revoked"  // {"id":"...","name":"...","scope":"read"}
)

// EventKinds are all kinds of events.
var EventKinds = []EventKind{
	DeviceRegistered, DeviceUnregistered, DeviceDeleted, DeviceConnected, DeviceDisconnected, DeviceError,
	DeviceModelChanged, CertificateIssued, CertificateRevocation, DocumentChanged, CredentialsInhibited,
	CredentialsAllowed, CredentialsChanged, GrantsChanged, AuthorityRegistered, AuthorityRemoved, TenantCreated,
	TenantDeleted, TokenCreated, TokenRevoked, AccessKeyCreated, AccessKeyDeleted,
}

// An EntryChange is the data of [DocumentChanged].
type EntryChange struct {
	Document string `json:"document"`
	Side     string `json:"side"` // "desired" or "reported"
	Path     string `json:"path"`
	Old      Value  `json:"old,omitempty"` // absent: was not set; JSON form is base64 of the encoding
	New      Value  `json:"new,omitempty"` // absent: deleted
}
