package engine

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
	"github.com/fairlead-iot/fairlead/outbox"
)

// Config configures [New]. Prepare is required, and Decode with an Outbox; every other field works at zero.
//
// All hooks whose names begin with On are called one at a time, in order, by one goroutine that has nothing else to do: they may
// call the engine and wait for it. The others are called by the engine's own goroutines and say what they may do.
type Config struct {
	// Prepare says how to connect. It is called before every attempt, so that tokens, signatures and addresses are fresh; it may use the
	// network. An error counts as a failed attempt. It is also called while connected, for the connection that replaces
	// the present one: see [Connection.RenewAt].
	Prepare func(ctx context.Context, a Attempt) (*Connection, error)

	// Session configures the MQTT session. Its Receive must be nil: the engine has it. With version 5 and without AdoptSession, a session
	// that a predecessor of this process has left on the server is given up for a new one, with what the server has kept in it. A
	// platform whose messages are in the outbox, and whose program bears a message twice, sets AdoptSession and loses nothing.
	Session mqttclient.Config

	// Start is called on every connection before anything else is sent on it but subscriptions and what a resumed session repeats. What
	// it sends is acknowledged before the outbox and [Engine.Publish] go on. An error ends the connection and counts as a failed attempt.
	// It must not call methods of the Engine that wait for a connection.
	Start func(ctx context.Context, s *Start) error

	// Outbox is emptied in order while connected. nil: none. The engine does not close it. Whoever opens it passes drops on to
	// [Engine.Dropped].
	Outbox *outbox.Outbox
	// Decode makes the packet of an entry. It is called by the goroutine that sends. An error that wraps fairlead.ErrInvalid, or any
	// other, makes the entry go to OnUndeliverable.
	Decode func(*outbox.Entry) (mqtt.Publish, error)
	// DrainInterval, if it is not 0, is the time between two messages that had been accepted before the connection was made. Later ones wait
	// for those, and then for nothing.
	DrainInterval time.Duration
	// OnUndeliverable is told of entries that were deleted because they can never be delivered: they cannot be decoded, or the platform
	// refused them for good. It is the last that anybody sees of them.
	OnUndeliverable func(m *outbox.Entry, err error)
	// HangUps is how often in a row the server may hang up on a message with an acknowledgement, sent alone on a connection that works
	// otherwise, before that is given up with [ErrHungUp]. It is for platforms that say so when they refuse a message, and to which
	// connections of version 5 count that end with a DISCONNECT of that meaning. 0: messages are sent again without end.
	HangUps int

	// OnMessage gets what comes and matches no subscription with a handler. nil: such messages are acknowledged and dropped.
	OnMessage func(*mqttclient.Message)
	// ManualAck leaves it to OnMessage to call Ack. Otherwise that is done when it has returned.
	ManualAck bool
	// MaxQueued bounds the messages that wait for the hooks. Beyond it those with QoS 0 are dropped and counted, and for others the
	// connection is not read on. 0: 1024.
	MaxQueued int
	// OnEvent is told of connections made, lost and refused.
	OnEvent func(Event)
	// OnReady is told, after the event Connected, that Start has done its work, and the connection is everybody's.
	OnReady func()

	// Backoff is how long to wait between attempts.
	Backoff Backoff
	// Permanent tells whether an error makes further attempts pointless: then Run returns it. nil: nothing does.
	Permanent func(error) bool
	// QuietTimeout is how long a renewal waits for what is under way before it breaks the connection. 0: 10 s.
	QuietTimeout time.Duration

	// Logger is told what happens. nil: discard.
	Logger *slog.Logger
}

// Attempt is what Prepare may want to know.
type Attempt struct {
	// Number counts attempts since the last connection, from 1.
	Number int
	// Last is why the last attempt or connection ended; nil at first.
	Last error
	// Redirect is the address that the server named to go to, "" if none (MQTT 5.0 section 4.13.2 and 3.2.2.3.16).
	Redirect string
	// Renewal: there is a connection, and this one is to replace it.
	Renewal bool
}

// Connection is how to connect.
type Connection struct {
	Dialer  mqttclient.Dialer
	Connect mqtt.Connect
	// RenewAt is when to prepare another connection, because this one's credentials are about to end. When that is ready, and nothing is
	// under way or QuietTimeout has passed, the connection is ended in order and the other one made at once. Until it is ready, which may
	// be long after RenewAt, this one goes on: Prepare is asked again after pauses as between attempts, and OnEvent is told (NotRenewed).
	// The zero time: never.
	RenewAt time.Time
}

// Event is a change of the connection.
type Event struct {
	Kind EventKind
	// SessionPresent, of Connected: the server remembered the session.
	SessionPresent bool
	// ConnAck, of Connected, is what the server said.
	ConnAck mqtt.ConnAck
	// Err, of Disconnected, Failed and NotRenewed, is why: a *[mqttclient.ServerError] if the server said so itself; [ErrRenewal] or
	// [ErrReconnect] if it was the engine; the context's cause if Run ends.
	Err error
	// Retry, of Disconnected, Failed and NotRenewed, is when the next attempt is made, from then.
	Retry time.Duration
	// Filter, of Unsubscribed, is the subscription that the server refused, for Err.
	Filter string
}

// EventKind says what has happened.
type EventKind uint8

// The kinds of events.
const (
	Connected    EventKind = iota + 1 // CONNACK has come; nothing else is handed out before this
	Disconnected                      // a connection has ended; everything that came on it was handed out before
	Failed                            // an attempt did not come as far as CONNACK
	Unsubscribed                      // the server refused a subscription
	NotRenewed                        // the connection is to be replaced, and Prepare has failed: the present one goes on
)

// String returns the kind in lower case.
func (k EventKind) String() string {
	switch k {
	case Connected:
		return "connected"
	case Disconnected:
		return "disconnected"
	case Failed:
		return "failed"
	case Unsubscribed:
		return "unsubscribed"
	case NotRenewed:
		return "not renewed"
	}
	return fmt.Sprintf("event %d", uint8(k))
}

func (c *Config) complete() error {
	if c.Prepare == nil {
		return fmt.Errorf("engine: %w: Prepare is nil", fairlead.ErrInvalid)
	}
	if c.Outbox != nil && c.Decode == nil {
		return fmt.Errorf("engine: %w: there is an Outbox and no Decode", fairlead.ErrInvalid)
	}
	if c.Session.Receive != nil {
		return fmt.Errorf("engine: %w: Session.Receive is the engine's", fairlead.ErrInvalid)
	}
	if c.DrainInterval < 0 || c.QuietTimeout < 0 || c.MaxQueued < 0 || c.HangUps < 0 {
		return fmt.Errorf("engine: %w: DrainInterval %v, QuietTimeout %v, MaxQueued %d or HangUps %d is negative", fairlead.ErrInvalid, c.DrainInterval, c.QuietTimeout, c.MaxQueued, c.HangUps)
	}
	if c.MaxQueued == 0 {
		c.MaxQueued = 1024
	}
	if c.QuietTimeout == 0 {
		c.QuietTimeout = 10 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c.Backoff.complete()
}
