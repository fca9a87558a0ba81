package core

import (
	"cmp"
	"net/netip"
	"time"
)

// Compare orders keys by tenant, dialect and client id, bytewise.
func (k SessionKey) Compare(l SessionKey) int {
	return cmp.Or(cmp.Compare(k.Tenant, l.Tenant), cmp.Compare(k.Dialect, l.Dialect), cmp.Compare(k.ClientID, l.ClientID))
}

// A Connection is what operators see of one open MQTT connection.
type Connection struct {
	Key       SessionKey
	Device    DeviceNum // 0: not a device
	Stored    bool      // its session outlives it
	Addr      netip.AddrPort
	Version   uint8  // MQTT protocol level: 3, 4 or 5
	Transport string // "tls", "websocket", "plain"
	TLS       uint16 // version, 0: none
	Since     time.Time
	Heard     time.Time     // when the last packets came
	KeepAlive time.Duration // 0: none

	MessagesIn, MessagesOut int64
	BytesIn, BytesOut       int64 // of MQTT
	InFlight                int   // messages that the client has not acknowledged
	Waiting                 int   // messages in memory behind those
}

// A SessionState is what the broker knows of a session that storage need not say.
type SessionState struct {
	Connected     bool
	Stored        bool
	Device        DeviceNum
	Since         time.Time     // of the connection, else zero
	Ended         time.Time     // when its last connection ended, as far as that is known; zero while it has one
	Expiry        time.Duration // how long it outlives its connection; 0: it does not
	Subscriptions int
	Queued        int // messages in storage
	QueuedBytes   int
}

// A SessionQuery selects sessions, or connections, by tenant, dialect and client id. Zero fields select all.
type SessionQuery struct {
	Tenant  TenantID
	Dialect string
	// The whole client id. Prefix is its beginning.
	ClientID, Prefix string
	Device           DeviceNum // 0: any
	After            SessionKey
	Limit            int // at most that many
}

// Matches reports whether the query selects a session.
func (q *SessionQuery) Matches(k SessionKey, n DeviceNum) bool {
	return (q.Tenant == "" || k.Tenant == q.Tenant) && (q.Dialect == "" || k.Dialect == q.Dialect) && (q.Device == 0 || n == q.Device) &&
		(q.ClientID == "" || k.ClientID == q.ClientID) && len(k.ClientID) >= len(q.Prefix) && k.ClientID[:len(q.Prefix)] == q.Prefix && k.Compare(q.After) > 0
}
