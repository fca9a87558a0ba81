// Package dialect says what a platform's dialect is to the hub. A dialect is a folder below this one and a line of
// wiring: it knows its platform's words, formats, rules and refusals, and nothing of sockets, sessions or databases.
package dialect

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// ErrNotMine is what SignIn returns for a connection that belongs to another dialect: the next one is asked.
var ErrNotMine = errors.New("not this dialect's connection")

// A Dialect is one platform's protocol as the hub speaks it.
type Dialect interface {
	Name() string // as in the admin API and the logs: "astarte"

	// SignIn decides whose connection this is and what it may do. It returns [ErrNotMine], or a refusal (best a
	// *core.SignInError) of kind core.ErrDenied, ErrUnauthenticated, ErrInvalid, ErrStorage... which the broker turns into
	// CONNACK. It may read storage. Nothing is certain before Link.Connected, so it changes nothing, but for one thing: it
	// may make, in a transaction of its own, a device that is let in and is not there yet, because a session needs its number, or
	// put a certificate on record that it refuses until somebody has looked at it.
	SignIn(ctx context.Context, c core.Claim) (core.Grant, Link, error)

	// Notify turns an event into messages for the dialect's devices. It is called for events of its devices only, and for
	// core.TenantDeleted, when a dialect forgets what it remembers of a tenant; inside the transaction that emitted the event.
	Notify(tx *commit.Tx, e core.Event) error

	// Serves reports whether an HTTP request is for this platform's API; dialects are asked in turn.
	Serves(r *http.Request) bool
	// Handler serves those requests; nil if the platform has no HTTP.
	Handler() http.Handler
}

// Plain is implemented by dialects that clients may sign in to without TLS. The others never see such connections: what a
// platform's devices say is not meant to be read on the way.
type Plain interface {
	TakesPlain() bool
}

// An Upgrader is a dialect whose platform answers requests for MQTT over WebSocket itself when it refuses them, where for
// others the refusal is a CONNACK.
type Upgrader interface {
	// Upgrade is called before such a request becomes a connection. With false it has answered the request.
	Upgrade(w http.ResponseWriter, r *http.Request) (proceed bool)
}

// A Link is a dialect's side of one connection.
type Link interface {
	// Connected is called once, inside the transaction that binds the connection to its session and before CONNACK.
	// An error refuses the connection.
	Connected(tx *commit.Tx, s Presence) error
	// Disconnected is called once, inside the transaction that ends the connection, if Connected has succeeded.
	Disconnected(tx *commit.Tx, reason string) error
	// Receive takes a message that the grant allows. It is called on the connection's goroutine, one message at a time
	// in the order of arrival. Everything the message asks for goes into the batch; the acknowledgement leaves when
	// the batch is on disk. A message that breaks the platform's rules is not an error here: the dialect puts its
	// platform's reaction into the batch. An error closes the connection without an acknowledgement.
	Receive(t *Topic, m Publish, b *commit.Batch) error
}

// A Listener is a Link that wants to know what its client subscribes to.
type Listener interface {
	// Subscribed and Unsubscribed are called inside the transaction that makes or ends the subscriptions, after that. An error
	// undoes it.
	Subscribed(tx *commit.Tx, filters []string) error
	Unsubscribed(tx *commit.Tx, filters []string) error
}

// A Matcher is a dialect whose platform's topic filters do not match as MQTT says. What it returns is always the same.
type Matcher interface {
	Matching() core.Matching
}

// Reasons of [Link.Disconnected] that dialects may look for. Others are text for people.
const (
	EndGoodbye   = "client disconnected"
	EndLost      = "connection lost"
	EndSilent    = "keep-alive timeout"
	EndLifetime  = "the grant's lifetime is over"
	EndStopping  = "hub stopping"
	EndTakenOver = "session taken over"
	EndForbidden = "publish refused" // the beginning of the text
)

// A Verifier is a dialect whose devices may show certificates of authorities that are not the hub's.
type Verifier interface {
	// VerifyForeign tells whether one of those authorities has signed a certificate, which is valid now. Its errors are those
	// of ca.CA.Verify; ca.ErrUnknownIssuer means that it is for others to judge. It is called in TLS handshakes.
	VerifyForeign(ctx context.Context, leaf *x509.Certificate) error
}

// An Identifier is a dialect that can tell whose connection a client says it is, without believing it: for operators who
// look for a device that is refused before anybody has asked it for proof.
type Identifier interface {
	Identify(c core.Claim) (k core.DeviceKey, ok bool)
}

// An Adviser is a dialect that knows how operators change what a device may do.
type Adviser interface {
	// AdviseGrant says, for operators, what to do so that a device may publish or subscribe to what it may not now.
	AdviseGrant(k core.DeviceKey) string
}

// A Director is a dialect whose operators can say, for one device and in the hub's own API, what is desired of it.
type Director interface {
	// Direct merges a JSON merge patch (RFC 7396: an object, null deletes) into the desired side of one of a device's
	// documents, under the platform's rules and limits, and has the device told as if it had been asked for in the platform's
	// own API. document is the document's name as the core has it. What the platform does not allow is an error of the kind
	// that fits, whose text is for whoever asked, and then nothing is changed.
	Direct(tx *commit.Tx, dev core.Device, document string, patch json.RawMessage) error
}

// A Describer is a dialect that knows more about a device than the core does, which operators look for.
type Describer interface {
	// Describe returns what it knows, in the order to be shown in.
	Describe(rd store.Reader, d core.Device) ([]Fact, error)
}

// A Fact is one of the things known about a device. The same name may come several times.
type Fact struct {
	Name  string // what it is, in general words: "certificate"
	Value string // in the platform's own
}

// A Curator is a dialect that keeps items which operators edit in the hub's own API, where the platform has other ways for them. An
// item is a JSON object of some kind, with an id of its own among those of its tenant and kind. A kind that the dialect does not
// know is core.ErrNotFound.
type Curator interface {
	// Items returns the items of a kind, by id: there are few.
	Items(rd store.Reader, t core.TenantID, kind string) ([]Item, error)
	// SetItem makes an item or replaces it, under the platform's rules and limits. What they do not allow is an error of the
	// kind that fits, whose text is for whoever asked, and then nothing is changed.
	SetItem(tx *commit.Tx, t core.TenantID, kind string, item Item) error
	// DeleteItem deletes an item; core.ErrNotFound if it is not there.
	DeleteItem(tx *commit.Tx, t core.TenantID, kind, id string) error
}

// An Item is one of them.
type Item struct {
	ID    string
	Value json.RawMessage
}

// An Expirer is a dialect whose platform lets samples expire.
type Expirer interface {
	// Expiring returns the series of a tenant whose samples are kept for a limited time, of some of the devices behind a
	// number (0: from the first). next is where to go on, 0 if there is no more.
	Expiring(rd store.Reader, t core.TenantID, after core.DeviceNum) (list []core.Expiring, next core.DeviceNum, err error)
}

// A Runner is a dialect that does something when nobody asks: what is due at a time.
type Runner interface {
	// Run returns when ctx ends. The committer runs longer.
	Run(ctx context.Context)
}

// Presence tells a Link how its connection begins.
type Presence struct {
	Session core.SessionKey
	Present bool   // earlier session state was found
	Addr    string // IP address of the client
}

// A Topic is a topic name that a connection publishes to, kept between messages.
type Topic struct {
	Name string
	// Aux is the dialect's: what it found out about the topic, so that it need not do so for each message. The broker
	// forgets topics when a connection uses very many.
	Aux any
	// Withheld is set by Receive: what is published to the topic is for the dialect alone. Neither do subscribers get it, nor
	// is it retained.
	Withheld bool
}

// A Publish is an incoming message. Payload aliases the read buffer and is valid during the call only.
type Publish struct {
	Payload []byte
	QoS     byte
	Retain  bool
	Will    bool // not sent now: the will of a connection that has ended

	// Of MQTT 5, as in core.Message.
	Properties []byte
	Expires    time.Time
}

// Broker is what dialects ask of the MQTT broker. All methods are called inside a transaction, and nothing leaves
// before that is on disk.
type Broker interface {
	// Publish queues m for every session of the tenant and dialect that has a matching subscription, and for one session
	// of each matching shared subscription, and returns how many took it. A session whose queue is full has not. With
	// m.Retain it is retained too, like Retain.
	Publish(tx *commit.Tx, t core.TenantID, dialect string, m core.Message) (reached int, err error)
	// PublishTo does the same for one session only, and reports whether it has a matching subscription and took m. A
	// matching session whose queue is full is core.ErrTooLarge. Shared subscriptions do not count, and nothing is retained.
	PublishTo(tx *commit.Tx, k core.SessionKey, m core.Message) (bool, error)
	// SendTo is PublishTo for platforms that send a session what it has not subscribed to: with QoS 0 then, so only while
	// it has a connection.
	SendTo(tx *commit.Tx, k core.SessionKey, m core.Message) (bool, error)
	// Retain keeps m, whatever its Retain says, for those who subscribe to its topic later, in the place of what was
	// kept before; an empty payload deletes that. Nobody is sent anything now. A tenant that has too many is
	// core.ErrTooLarge, and then nothing is changed. What is kept is read from storage: store.RetainedReader.
	Retain(tx *commit.Tx, t core.TenantID, dialect string, m core.Message) error
	// Disconnect ends the connection of a session, if it has one, after the messages that it has already sent are
	// acknowledged. With wipe the session and everything queued in it are forgotten too, connected or not.
	Disconnect(tx *commit.Tx, k core.SessionKey, wipe bool, reason string) error
}

// An Authenticator is a dialect that has methods of enhanced authentication: client and server exchange AUTH packets before
// CONNACK, and again whenever the client wants to (MQTT 5.0 section 4.12). Clients that name a method are offered to
// Authenticators only, and do not come to SignIn.
type Authenticator interface {
	// Authenticate begins an exchange with a client that names a method. It returns [ErrNotMine], or a refusal as SignIn
	// does. Nothing of the claim is proven.
	Authenticate(ctx context.Context, c core.Claim, method string) (Exchange, error)
}

// An Exchange is one authentication under way. It is used by one goroutine, and forgotten when its connection ends.
type Exchange interface {
	// Next takes the data that the client sent, nil if there was none, and says how it goes on. An error refuses the
	// client, or ends the connection of one that was authenticating again.
	Next(ctx context.Context, data []byte) (Step, error)
}

// A Step is an answer to a client that authenticates.
type Step struct {
	Data []byte // for the client; nil: none
	// Link is nil while the client has to answer. Then it and Grant are what SignIn would return. When a client
	// authenticates again its session must be the same; Publish, Subscribe and Lifetime of the new grant count from then
	// on, and the first Link stays in use.
	Link  Link
	Grant core.Grant
}

// An Executor is a dialect that takes wills whose connection is gone: those that their client wanted with a delay, and those
// of connections that were there when the hub ended without notice. The others come to [Link.Receive]. Without this method
// subscribers get such a will, but the dialect does not.
type Executor interface {
	// Executor returns what Receive of the will is called on, once, in the place of the Link that the session had: it is never
	// connected, and shares nothing with who is. core.ErrNotFound: whoever left the will is deleted. An error, of Receive as
	// well, means that the dialect does not want the message; subscribers get it nevertheless.
	Executor(ctx context.Context, k core.SessionKey, n core.DeviceNum) (Link, error)
}

// A Developer is a dialect that can prepare a laptop: `fairlead up` asks it for ready credentials.
type Developer interface {
	// Develop makes, or finds from an earlier run, what a developer needs to point the platform's official SDK at this
	// hub, and returns the environment variables that `fairlead env` prints. Secrets go into files below e.Dir.
	Develop(ctx context.Context, e Development) (map[string]string, error)
}

// Development is what the hub tells a [Developer].
type Development struct {
	Tenant    core.TenantID // exists
	Dir       string        // absolute path of a folder for this dialect's files, mode 0700
	BaseURL   string        // "https://localhost:8443", without a slash at the end
	Host      string        // "localhost"
	HTTPSPort int
	MQTTPort  int
}
