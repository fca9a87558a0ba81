package awsiot

import (
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
)

// Lifecycle events: what the platform publishes about connections. (AWS IoT guide, "Lifecycle events".)

// presence is the payload of events about connections.
type presence struct {
	ClientID   string `json:"clientId"`
	ThingName  string `json:"thingName,omitempty"`
	Timestamp  int64  `json:"timestamp"`
	EventType  string `json:"eventType"`
	Session    string `json:"sessionIdentifier"`
	Principal  string `json:"principalIdentifier"`
	Addr       string `json:"ipAddress,omitempty"`
	ByClient   *bool  `json:"clientInitiatedDisconnect,omitempty"`
	Reason     string `json:"disconnectReason,omitempty"`
	VersionNum int    `json:"versionNumber"`
}

// tellConnected publishes that the client is connected.
func (l *link) tellConnected(tx *commit.Tx, addr string) error {
	if !l.tells() {
		return nil
	}
	l.number = l.d.versions.next(tx, liveKey{l.tenant(), l.clientID})
	return l.tell(tx, "presence/connected/", presence{EventType: "connected", Addr: addr, VersionNum: l.number})
}

// tellDisconnected publishes that the client is connected no more.
func (l *link) tellDisconnected(tx *commit.Tx, reason string) error {
	if !l.tells() {
		return nil
	}
	l.d.versions.left(tx, liveKey{l.tenant(), l.clientID}, l.account.sessionExpiry(), l.disconnectReason(reason))
	byClient := reason == dialect.EndGoodbye
	return l.tell(tx, "presence/disconnected/", presence{
		EventType: "disconnected", ByClient: &byClient, Reason: l.disconnectReason(reason), VersionNum: l.number,
	})
}

// tells reports whether there are events about the client: not if no topic can have its id.
func (l *link) tells() bool { return !strings.ContainsAny(l.clientID, "#+") }

func (l *link) tell(tx *commit.Tx, topic string, p presence) error {
	p.ClientID, p.Timestamp, p.Session, p.Principal = l.clientID, millis(tx.Now()), l.id, l.principalIdentifier()
	payload, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return l.d.publishAll(tx, l.tenant(), core.Message{Topic: eventsPrefix + topic + l.clientID, Payload: payload, QoS: 1})
}

const eventsPrefix = reservedPrefix + "events/"

// principalIdentifier is what events call who has signed in: a certificate by its id.
func (l *link) principalIdentifier() string {
	_, id, _ := strings.Cut(l.principal, "/")
	return id
}

// disconnectReason says in the platform's words why a connection has ended.
func (l *link) disconnectReason(reason string) string {
	if strings.HasPrefix(reason, dialect.EndForbidden) {
		return "FORBIDDEN_ACCESS"
	}
	switch reason {
	case dialect.EndGoodbye:
		return "CLIENT_INITIATED_DISCONNECT"
	case dialect.EndLost:
		return "CONNECTION_LOST"
	case dialect.EndSilent:
		return "MQTT_KEEP_ALIVE_TIMEOUT"
	case dialect.EndTakenOver:
		return "DUPLICATE_CLIENTID"
	case dialect.EndStopping, endWithdrawn:
		return "SERVER_INITIATED_DISCONNECT"
	case endByRequest:
		return "API_INITIATED_DISCONNECT"
	case dialect.EndLifetime:
		if l.expires != "" {
			return l.expires
		}
		return "AUTH_ERROR" // the certificate has ended
	}
	return "CLIENT_ERROR"
}

// endByRequest is why connections end that the platform's API was asked to end.
const endByRequest = "ended by a request"

// Subscribed implements dialect.Listener.
func (l *link) Subscribed(tx *commit.Tx, filters []string) error {
	return l.tellFilters(tx, "subscribed", filters)
}

// Unsubscribed implements dialect.Listener.
func (l *link) Unsubscribed(tx *commit.Tx, filters []string) error {
	return l.tellFilters(tx, "unsubscribed", filters)
}

func (l *link) tellFilters(tx *commit.Tx, what string, filters []string) error {
	if !l.tells() {
		return nil
	}
	payload, err := json.Marshal(map[string]any{
		"clientId": l.clientID, "timestamp": millis(tx.Now()), "eventType": what, "sessionIdentifier": l.id,
		"principalIdentifier": l.principalIdentifier(), "topics": filters,
	})
	if err != nil {
		return err
	}
	return l.d.publishAll(tx, l.tenant(), core.Message{Topic: eventsPrefix + "subscriptions/" + what + "/" + l.clientID, Payload: payload, QoS: 1})
}

// versions count the connections of client ids, so that who hears of them in another order can tell which was first. They
// are kept in memory, for as long as the client is connected and an hour longer (as long as its session, if that is more), together
// with why the last connection has ended. The committer's goroutine changes them.
type versions struct {
	mu    sync.Mutex
	of    map[liveKey]*versionCount
	swept time.Time
}

type versionCount struct {
	next  int
	ended time.Time // when it is forgotten; zero: the client is connected
	why   string    // the last connection has ended, in the platform's words
}

// versionsKept is how long the count of a client that is away is kept at least.
const versionsKept = time.Hour

// next returns the number of a connection that begins.
func (v *versions) next(tx *commit.Tx, k liveKey) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sweep(tx.Now())
	c := v.of[k]
	if c == nil {
		if v.of == nil {
			v.of = map[liveKey]*versionCount{}
		}
		c = &versionCount{}
		v.of[k] = c
	}
	was := *c
	tx.Undo(func() { v.set(c, was) })
	c.next, c.ended = c.next+1, time.Time{}
	return was.next
}

// left notes that a client is connected no more.
func (v *versions) left(tx *commit.Tx, k liveKey, session time.Duration, why string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := v.of[k]
	if c == nil {
		return
	}
	was := *c
	tx.Undo(func() { v.set(c, was) })
	c.ended, c.why = tx.Now().Add(max(versionsKept, session)), why
}

func (v *versions) set(c *versionCount, to versionCount) {
	v.mu.Lock()
	defer v.mu.Unlock()
	*c = to
}

// reason returns why a client's last connection has ended, "" if nobody remembers. Any goroutine.
func (v *versions) reason(k liveKey) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if c := v.of[k]; c != nil {
		return c.why
	}
	return ""
}

// sweep forgets counts that are over, now and then; where there are very many, as when a client changes its id all the time,
// those of all clients that are away. With the lock.
func (v *versions) sweep(now time.Time) {
	const every, most = time.Minute, 500_000
	full := len(v.of) >= most
	if now.Sub(v.swept) < every && !full {
		return
	}
	v.swept = now
	for k, c := range v.of {
		if !c.ended.IsZero() && (full || now.After(c.ended)) {
			delete(v.of, k)
		}
	}
}
