package core

import (
	"crypto/x509"
	"net/netip"
	"time"
)

// A Claim is what a connecting client says and shows of itself. The dialects decide what it is worth.
type Claim struct {
	Remote      netip.AddrPort
	Certificate *x509.Certificate // shown in the TLS handshake, its possession proven; its issuer is NOT checked yet; nil: none
	ServerName  string            // SNI, "" if none
	ALPN        string            // negotiated protocol, "" if none
	Path        string            // of the WebSocket request, escaped as it was sent, "" on a plain MQTT socket
	Web         *WebRequest       // the rest of that request; nil on a plain MQTT socket
	Plain       bool              // it came in on the plain TCP port, without TLS
	Version     uint8             // MQTT protocol level: 3, 4 or 5
	ClientID    string
	CleanStart  bool
	Keeps       bool // it asks for a session that outlives the connection
	Will        bool // a will comes with it
	Username    string
	HasUsername bool
	Password    []byte // nil: none
}

// A WebRequest is the HTTP request that became a WebSocket, besides its path: platforms sign clients in by signed queries
// and by headers of their own. Where a browser sent it for a page from elsewhere, what browsers add by themselves is
// missing: cookies and Authorization here, and the Claim's certificate.
type WebRequest struct {
	Host   string              // as it was sent
	Query  string              // without the question mark, as it was sent
	Header map[string][]string // names in the canonical form of MIME headers; not to be changed
}

// A SessionKey names an MQTT session. The client id is the one of the Grant, which is not always the one of CONNECT. If it
// is empty in a Grant, the broker assigns one that nobody else has.
type SessionKey struct {
	Tenant   TenantID
	Dialect  string
	ClientID string
}

// A Grant is what a dialect decides at sign-in and what the broker then enforces.
type Grant struct {
	Session SessionKey
	// Assigned is the client id that a client is told which has sent none; "": that of Session.
	Assigned  string
	Device    DeviceNum // 0: not a device
	Publish   []string  // topic filters
	Subscribe []string  // topic filters: a subscription must lie within one of them
	// Dollar says that topics which begin with "$" are as free as Publish and Subscribe make others, where no wildcard
	// matches them. Those of the hub itself never are.
	Dollar bool
	// Rules decide in the place of Publish, Subscribe and Dollar, and for each message towards the client; nil: those decide.
	Rules Rules
	// Private says that no session but this one can have a subscription that matches what it publishes, so
	// that the broker need not look further than its own subscriptions.
	Private bool
	// Retain says that the client may have messages retained. Without it the flag is ignored.
	Retain bool
	// Authority names who has vouched for the client, where that is not the hub, for when this counts no more; "": nobody.
	Authority string
	Lifetime  time.Duration // from now, then the connection is closed; 0: no limit
	Limits    Limits
	Profile   Profile
}

// Rules decide what a connection may do where lists of topic filters cannot say it: permissions that name topics by patterns
// of another kind, or that change while the connection lasts. What the methods return must be quick: they do no I/O. Publish and
// Subscribe are called by one goroutine, Receive by another, at the same time.
type Rules interface {
	// Version changes when what Publish has said may hold no more: its answers are kept until then, for each topic.
	Version() uint64
	// Publish returns nil if the client may publish to a topic, have messages retained there if retain is set. An error of kind
	// [ErrDenied] refuses the message as the Profile says; any other one ends the connection: the topic breaks a rule of the
	// platform.
	Publish(topic string, retain bool) error
	// Subscribe returns nil if the client may have a subscription with that filter, all of it if it is a shared one
	// ("$share/GROUP/..."). Errors are as those of Publish.
	Subscribe(filter string) error
	// Receive reports whether the client may have a message that it subscribes to. It is asked for each message, when that is
	// queued for the client, and again when a client comes back that was away.
	Receive(topic string) bool
}

// Limits bound what one connection can use. Zero fields stand for the broker's defaults.
type Limits struct {
	MaxPacketBytes int           // remaining length of an incoming packet
	Inflight       int           // unacknowledged QoS 1 and 2 messages towards the client
	MaxQueued      int           // messages waiting behind those
	MaxQueuedBytes int           // their topics and payloads
	MaxFilters     int           // subscriptions
	PacketFilters  int           // in one SUBSCRIBE; with more the connection ends; 0: any number
	KeepAlive      time.Duration // longest silence granted when the client asks for more or for none; 0: as the client asks
	MinKeepAlive   time.Duration // shortest, when the client asks for less, but not for none
	SessionExpiry  time.Duration // longest that a session outlives its connection; 0: as the client asks, which before MQTT 5 is for ever
	ReceiveMaximum int           // QoS 1 and 2 messages from the client that it may have under way; enforced in MQTT 5 only, which announces it
	TopicAliases   int           // that an MQTT 5 client may set, and the most that are set towards it; -1: none
	Sessions       int           // that the device may have, connected or kept; -1: any number
	DeviceFilters  int           // subscriptions of all its sessions together; -1: any number
	DeviceUnread   int           // bytes that wait in memory for all its connections; -1: any number

	// MessageRate is how many messages are taken from the client in a second, and as many sent to it, besides a second's worth
	// that it has saved; 0: any number. Those beyond are discarded: a client of MQTT 5 is told in the acknowledgement, others get
	// none. Towards the client only those at QoS 0 are, the others wait.
	MessageRate int
	// ByteRate is how many bytes are read from the client in a second, and as many written to it. More have to wait. 0: any number.
	ByteRate int
	// ConnectInterval is the shortest time between two connections of a session; 0: none. One that comes too soon is refused.
	ConnectInterval time.Duration
}

// A Message is an application message on its way to clients.
type Message struct {
	Topic   string
	Payload []byte // not changed by anyone once it is in a Message
	QoS     byte
	// Retain says that the message is to be kept for later subscribers, or, on its way to one of them, what the flag
	// tells that one.
	Retain bool
	// Properties are those of MQTT 5 that go with a message unaltered (payload format, content type, response topic,
	// correlation data, user properties), encoded as in PUBLISH, without the length in front; nil: none. They are not
	// changed by anyone once they are in a Message. Receivers of older versions do not get them.
	Properties []byte
	Expires    time.Time // then nobody wants it any more; zero: never
}

// Size is what the message counts where memory or storage is limited.
func (m *Message) Size() int { return len(m.Topic) + len(m.Payload) + len(m.Properties) }

// Expired reports whether nobody wants the message any more.
func (m *Message) Expired(now time.Time) bool { return !m.Expires.IsZero() && !now.Before(m.Expires) }

// A Retained is the last message that was to be kept of its topic. (Retain is set, the payload is not empty.)
type Retained struct {
	Message
	Stored   time.Time
	ClientID string // of the publisher; "": the hub
}

// A Session is what outlives a connection.
type Session struct {
	Num     int64 // given by storage
	Key     SessionKey
	Device  DeviceNum
	Limits  Limits // not stored; those of the last Grant while the hub runs
	Created time.Time
	Expiry  time.Duration // how long it outlives its connection, in whole seconds; or Forever
	Expires time.Time     // when it ends if no connection comes; zero: never, or there is a connection
	Version uint8         // MQTT protocol level of the connection that made it: 3, 4 or 5; 0: not known
}

// A Subscription is one filter of a session.
type Subscription struct {
	Session int64
	Filter  string // a shared one begins with "$share/GROUP/"
	QoS     byte

	// Of MQTT 5; zero is what older versions mean.
	ID                uint32 // subscription identifier; 0: none
	NoLocal           bool   // not what the client itself publishes
	RetainAsPublished bool   // the retain flag is handed on as the publisher set it
	RetainHandling    byte   // retained messages are sent at SUBSCRIBE: 0 always, 1 when the subscription is new, 2 never

	// RetainedFrom is the first topic of which the retained messages are still to be sent; "": none.
	RetainedFrom string
}

// A Queued message waits in a stored session for its acknowledgement.
type Queued struct {
	Session  int64
	Seq      int64  // ascending within the session: the order of delivery
	ID       uint16 // MQTT packet identifier, fixed when queued so that a redelivery after a crash keeps it
	Released bool   // QoS 2: PUBREC has come, PUBREL is to be sent
	Message
	SubscriptionIDs []uint32 // of the subscriptions that it matched when it was queued
	Share           string   // filter of the shared subscription that it came by: another member may have it instead; "": none
}
