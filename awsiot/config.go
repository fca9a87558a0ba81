package awsiot

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/wire/awswire"
	"github.com/fairlead-iot/fairlead/outbox"
)

// Config configures [New]. Endpoint is required, and one of Identity, Credentials and Authorizer; every other field works at zero.
type Config struct {
	// Endpoint is the account's device endpoint, such as "a1b2c3-ats.iot.eu-west-1.amazonaws.com"; with a port, if it is not 8883 with an
	// Identity or 443 without.
	Endpoint string
	// ThingName is the thing whose shadows and jobs [Client.Shadow] and [Client.Jobs] are about.
	ThingName string
	// ClientID is who this is among the clients of the account: a second one with the same ID throws the first one out. "": ThingName; if
	// that is empty, too, a random one, with CleanSession.
	ClientID string

	// Identity is the device's certificate with its key: MQTT over mutual TLS, on port 8883, or on 443 by ALPN.
	Identity *identity.Identity
	// Credentials give an AWS access key: MQTT over a WebSocket whose URL is signed (SigV4). They are asked before each connection, so
	// keys may be temporary.
	Credentials CredentialsProvider
	// Region is what URLs are signed for. "": the one in Endpoint.
	Region string
	// Authorizer signs in with a custom authorizer: MQTT over TLS on port 443 by ALPN, or over a WebSocket if that is set.
	Authorizer *Authorizer
	// WebSocket carries MQTT in a WebSocket. It is implied by Credentials, and not possible with Identity.
	WebSocket bool
	// Username and Password are sent in CONNECT. AWS IoT hands them to the custom authorizer, and ignores them otherwise.
	Username string
	Password identity.Secret

	// Protocol is the version of MQTT. The zero value is [MQTT5], which alone can say why something was refused: with earlier ones AWS
	// IoT hangs up on whoever publishes what no policy allows. See MaxHangUps.
	Protocol Protocol
	// CleanSession makes AWS IoT forget subscriptions and undelivered messages whenever the connection ends. Otherwise it keeps them for
	// an hour.
	CleanSession bool
	// SessionExpiry is how long it keeps them, with MQTT 5. 0: an hour. Other versions leave that to the account.
	SessionExpiry time.Duration
	// KeepAlive is after how much silence the connection is tested. 0: 60 s. Negative: never. Whole seconds, at most 65,535; AWS IoT
	// raises it to 30 s and lowers it to 20 min.
	KeepAlive time.Duration
	// Will is published by AWS IoT when the connection is lost. nil: nothing is. See [Client.SetWill].
	Will *Will
	// NoMetrics leaves the name and the version of the SDK out of CONNECT's user name. AWS IoT counts them.
	NoMetrics bool

	// Outbox keeps published messages until AWS IoT has them: give one in a file, from package sqlitebox, and they survive power cuts.
	// The client does not close it; pass what it drops on to [Client.Dropped]. nil: they are kept in memory, as OfflineQueue says.
	Outbox *outbox.Outbox
	// OfflineQueue bounds the messages that wait in memory. nil: Size -1. Not with an Outbox, which has limits of its own.
	OfflineQueue *OfflineQueue
	// DrainInterval is the pause between two messages that had been accepted before the connection was made; those published meanwhile
	// wait for them. 0: none. A frequency of 2 Hz is time.Second/2.
	DrainInterval time.Duration
	// MaxInFlight is how many messages are sent without having been acknowledged. 0: 100, which is what AWS IoT allows.
	MaxInFlight int

	// MaxHangUps is how often in a row AWS IoT may hang up on a message with QoS 1 before that is given up as refused, with [ErrHungUp];
	// otherwise it would come first on every connection, for ever, and nothing behind it would get through. 0: 5. Negative: messages are
	// never given up.
	//
	// A hang-up counts only if it can mean nothing else. After the first one messages go out one at a time, each behind an answer of AWS
	// IoT to a PINGREQ, and the connection has to end in good order, while the message was all that was unanswered. Lost networks,
	// time-outs, resets, and servers that are stopped do not count, and any other course of events begins the count anew. If AWS IoT
	// acknowledges nothing at all, each further message takes twice as long. With MQTT 5 what counts is a DISCONNECT that blames what was
	// sent.
	MaxHangUps int

	// Backoff is how long to wait between attempts to connect.
	Backoff Backoff
	// GiveUp is asked when an attempt to connect has failed or a connection was lost: if it returns true, [Client.Run] returns the error.
	// nil: Run never gives up.
	GiveUp func(error) bool
	// ConnectTimeout is how long an attempt may take until there is a connection, and from then on until CONNACK. 0: 30 s.
	ConnectTimeout time.Duration
	// OperationTimeout is how long [Client.Publish], [Client.Subscribe] and [Client.Unsubscribe] wait at most. 0: as long as their
	// context lasts.
	OperationTimeout time.Duration
	// RequestTimeout is how long requests to shadows, jobs and provisioning wait for an answer if their context has no deadline. 0: 30 s.
	RequestTimeout time.Duration

	// OnMessage is told of every message, whether a subscription has a handler for it or not. Callbacks, this one, the next ones and all
	// handlers, are called one at a time, in order, by a goroutine of Run; they may use the client. A message is acknowledged when they
	// have returned, so one that ends the program is sent again.
	OnMessage func(*Message)
	// OnConnection is told when the client has connected, and why it is not connected.
	OnConnection func(Connection)
	// OnRefusedSubscription is told when AWS IoT does not grant a subscription, which can also happen on a later connection.
	OnRefusedSubscription func(filter string, err error)
	// OnUndeliverable is told of messages that were deleted from the queue or outbox because AWS IoT has refused them for good: a
	// [fairlead.PlatformError], or [ErrHungUp]; or because the outbox has what is no message of this package: then m has only the
	// payload. Nobody else has the message any more.
	OnUndeliverable func(m *Message, err error)

	// RootCAs are the authorities that the server's certificate may come from, see [identity.LoadRoots]. nil: the system's, which usually
	// have those of Amazon.
	RootCAs *x509.CertPool
	// TLS is for what else TLS is to be like: versions, cipher suites, the server's name, or NextProtos for other names in ALPN. It is
	// copied, and what the other fields say is filled in.
	TLS *tls.Config
	// Proxy is "http://[user:password@]host:port" for a proxy that does CONNECT, or the same with socks5. nil: none.
	Proxy *url.URL
	// Dial makes the connection below TLS: to the proxy if there is one. nil: TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Logger is told what happens. nil: discard.
	Logger *slog.Logger
}

// Protocol is a version of MQTT.
type Protocol uint8

// The versions.
const (
	MQTT5 Protocol = iota
	MQTT311
	MQTT31
)

// String returns the version's name.
func (p Protocol) String() string {
	switch p {
	case MQTT5:
		return "MQTT 5"
	case MQTT311:
		return "MQTT 3.1.1"
	case MQTT31:
		return "MQTT 3.1"
	}
	return fmt.Sprintf("protocol %d", uint8(p))
}

func (p Protocol) version() mqtt.Version {
	return [...]mqtt.Version{MQTT5: mqtt.V5, MQTT311: mqtt.V311, MQTT31: mqtt.V31}[p]
}

// Backoff is how long to wait between attempts to connect: Base, then twice as long each time, up to Max. A connection that lasted for
// Stable makes it begin anew with Base.
type Backoff struct {
	Base   time.Duration // 0: 1 s. Less than Stable
	Max    time.Duration // 0: 32 s, or Base if that is more
	Stable time.Duration // 0: 20 s
	// Jitter makes each wait a random time from half of it on, so that a fleet that was cut off together does not come back together.
	Jitter bool
}

// complete fills in what is zero, after checking what is not.
func (b *Backoff) complete() error {
	if b.Base < 0 || b.Max < 0 || b.Stable < 0 {
		return fmt.Errorf("negative time configuration detected: Backoff has base %v, max %v, stable %v", b.Base, b.Max, b.Stable)
	}
	if b.Base == 0 {
		b.Base = time.Second
	}
	if b.Max == 0 {
		b.Max = max(32*time.Second, b.Base)
	}
	if b.Stable == 0 {
		b.Stable = 20 * time.Second
	}
	if b.Base >= b.Stable {
		return fmt.Errorf("min connect time should be bigger than base reconnect time: Backoff has base %v, stable %v", b.Base, b.Stable)
	}
	if b.Max < b.Base {
		return fmt.Errorf("Backoff has base %v and max %v", b.Base, b.Max)
	}
	return nil
}

// OfflineQueue bounds the published messages that wait in memory while there is no connection. Those that were sent and are not
// acknowledged yet do not count.
type OfflineQueue struct {
	// Size is how many messages wait. 0: none, publishing without a connection fails. Negative: as many as MaxBytes allows.
	Size int
	// Drop decides what happens when there is no room.
	Drop DropBehavior
	// MaxBytes bounds topics and payloads, sent ones included. 0: 64 MiB.
	MaxBytes int64
}

// DropBehavior decides what happens to a message for which the queue has no room.
type DropBehavior uint8

// The behaviours. While there is a connection everybody waits for room instead, as it comes by itself.
const (
	DropNewest  DropBehavior = iota // publishing fails with [ErrQueueFull]
	DropOldest                      // the oldest message that waits ends with [ErrQueueFull]
	WaitForRoom                     // publishing waits for room, or for a connection if Size is 0
)

// String returns the behaviour in words.
func (d DropBehavior) String() string {
	switch d {
	case DropNewest:
		return "drop newest"
	case DropOldest:
		return "drop oldest"
	case WaitForRoom:
		return "wait for room"
	}
	return fmt.Sprintf("drop behavior %d", uint8(d))
}

// Will is the message that AWS IoT publishes when the client is gone without having said goodbye.
type Will struct {
	Topic   string
	Payload []byte
	QoS     QoS
	Retain  bool

	// With MQTT 5 only.
	Delay      time.Duration // after the end of the connection, in whole seconds: if the client is back before, nothing is published
	Properties Properties
}

// check reports all that is wrong.
func (c *Config) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if _, _, err := c.address(); err != nil {
		errs = append(errs, err)
	}
	ways := 0
	for _, there := range []bool{c.Identity != nil, c.Credentials != nil, c.Authorizer != nil} {
		if there {
			ways++
		}
	}
	if ways != 1 {
		bad("one of Identity, Credentials and Authorizer is required, and there are %d", ways)
	}
	if c.Identity != nil && c.WebSocket {
		bad("AWS IoT takes no client certificates over WebSocket")
	}
	if c.Credentials != nil {
		if _, err := c.region(); err != nil {
			errs = append(errs, err)
		}
	}
	if c.Authorizer != nil {
		if err := c.Authorizer.check(c.WebSocket); err != nil {
			errs = append(errs, err)
		}
	}
	if c.ThingName != "" && !awswire.ValidThingName(c.ThingName) {
		bad("ThingName is %.200q, want up to 128 of [a-zA-Z0-9:_-]", c.ThingName)
	}
	if err := validClientID(c.ClientID); err != nil {
		errs = append(errs, err)
	}
	if c.Protocol > MQTT31 {
		bad("Protocol is %v", c.Protocol)
	}
	if err := c.Will.check(c.Protocol); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, c.checkNumbers()...)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("aws iot client: %w: %w", fairlead.ErrInvalid, err)
	}
	return nil
}

func (c *Config) checkNumbers() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.KeepAlive > math.MaxUint16*time.Second || c.KeepAlive > 0 && c.KeepAlive < time.Second {
		bad("KeepAlive is %v", c.KeepAlive)
	}
	if c.MaxHangUps > maxHangUps {
		bad("MaxHangUps is %d, want up to %d", c.MaxHangUps, maxHangUps)
	}
	if c.MaxInFlight < 0 || c.MaxInFlight > 60_000 {
		bad("MaxInFlight is %d", c.MaxInFlight)
	}
	for _, d := range []struct {
		of   time.Duration
		name string
	}{
		{c.SessionExpiry, "SessionExpiry"},
		{c.DrainInterval, "DrainInterval"},
		{c.ConnectTimeout, "ConnectTimeout"},
		{c.OperationTimeout, "OperationTimeout"},
		{c.RequestTimeout, "RequestTimeout"},
	} {
		if d.of < 0 {
			bad("%s %v is negative", d.name, d.of)
		}
	}
	if c.SessionExpiry > math.MaxUint32*time.Second {
		bad("SessionExpiry is %v", c.SessionExpiry)
	}
	b := c.Backoff
	if err := b.complete(); err != nil {
		errs = append(errs, err)
	}
	if q := c.OfflineQueue; q != nil {
		if c.Outbox != nil {
			bad("there are an Outbox and an OfflineQueue: the Outbox has limits of its own")
		}
		if q.Drop > WaitForRoom || q.MaxBytes < 0 {
			bad("OfflineQueue has %v, MaxBytes %d", q.Drop, q.MaxBytes)
		}
	}
	return errs
}

const (
	defaultHangUps = 5
	maxHangUps     = 1000
)

// hangUps returns MaxHangUps in the engine's form.
func (c *Config) hangUps() int {
	if c.MaxHangUps == 0 {
		return defaultHangUps
	}
	return max(c.MaxHangUps, 0)
}

// maxClientIDBytes is AWS IoT's limit ("AWS IoT Core message broker and protocol limits", read 2026-11).
const maxClientIDBytes = 128

func validClientID(id string) error {
	switch {
	case id == "":
		return nil
	case len(id) > maxClientIDBytes, id[0] == '$', !validText(id):
		return fmt.Errorf("ClientID is %.200q, want up to %d bytes of UTF-8 that do not begin with $", id, maxClientIDBytes)
	}
	return nil
}

func (w *Will) check(p Protocol) error {
	if w == nil {
		return nil
	}
	if err := checkTopic(w.Topic); err != nil {
		return fmt.Errorf("Will: %w", err)
	}
	if w.QoS > AtLeastOnce {
		return fmt.Errorf("Will has QoS %d, AWS IoT knows 0 and 1", w.QoS)
	}
	if len(w.Payload) > mqtt.MaxStringBytes {
		return fmt.Errorf("Will has %d bytes, MQTT can carry %d", len(w.Payload), mqtt.MaxStringBytes)
	}
	if w.Delay < 0 || w.Delay > math.MaxUint32*time.Second {
		return fmt.Errorf("Will has delay %v", w.Delay)
	}
	if p != MQTT5 && (w.Delay != 0 || !w.Properties.isZero()) {
		return errors.New("Will has a delay or properties, which only MQTT 5 can carry")
	}
	if err := w.Properties.check(); err != nil {
		return fmt.Errorf("Will: %w", err)
	}
	return nil
}

// ConnectionState says how far a client is.
type ConnectionState = fairlead.ConnectionState

// The states.
const (
	Connecting   = fairlead.Connecting   // Run tries to connect, or waits before it tries again
	Connected    = fairlead.Connected    // the client is online
	Disconnected = fairlead.Disconnected // Run does not run
)

// A Connection is a change of the connection.
type Connection struct {
	// State is Connected when the client has connected and its subscriptions are in place; otherwise Connecting after a connection was
	// lost or an attempt has failed, and Disconnected when Run ends.
	State ConnectionState
	// SessionPresent tells, with Connected, that AWS IoT still had the session, with what it has kept meanwhile.
	SessionPresent bool
	// Err is why there is no connection; nil with Connected, and if Run was asked to end. A refusal is a [fairlead.PlatformError] with
	// the code in CONNACK or DISCONNECT.
	Err error
	// Retry is, with Connecting, when the next attempt is made, from then.
	Retry time.Duration
}
