package core

import (
	"crypto/tls"
	"fmt"
	"time"
)

// A Stage is how far a client came before it was refused.
type Stage string

// The stages, in the order in which a client passes them.
const (
	StageAccept    Stage = "accept"    // the socket
	StageTLS       Stage = "tls"       // the handshake
	StageConnect   Stage = "connect"   // the CONNECT packet
	StageSignIn    Stage = "sign-in"   // whose connection it is
	StageSession   Stage = "session"   // its session
	StagePublish   Stage = "publish"   // a message, of a client that had signed in
	StageSubscribe Stage = "subscribe" // a subscription, of a client that had signed in
	StageHTTP      Stage = "http"      // a request to a platform's HTTP API
)

// Stages lists the stages.
var Stages = []Stage{
	StageAccept, StageTLS, StageConnect, StageSignIn, StageSession, StagePublish, StageSubscribe, StageHTTP,
}

// A Refusal is something that a client was not allowed to do, for whoever has to find out why a device cannot connect.
type Refusal struct {
	At    time.Time
	Stage Stage
	// Claim is what the client said of itself. Of the password nothing is kept but whether there was one.
	Claim Claim
	TLS   *tls.ConnectionState // nil: no TLS, or not known
	// Device is whose connection it would have been, as far as that is known; its zero fields are not.
	Device DeviceKey
	// Proven says that the client has proven to be Device; else it may be anybody who calls itself so.
	Proven bool
	Code   string // what the client was told: "CONNACK 5", "HTTP 403"; "" if nothing
	Alert  byte   // of TLS, if the client sent one that the error does not tell; 0: none
	Err    error  // why
}

// Why a client is refused before anybody has looked at its credentials.
var (
	// ErrUnknownClient means that no dialect knows the client.
	ErrUnknownClient = fmt.Errorf("no platform of this hub knows this client: %w", ErrDenied)
	// ErrBusy means that too many clients are signing in at this moment.
	ErrBusy = fmt.Errorf("too many connections are signing in: %w", ErrTooLarge)
	// ErrFull means that as many connections have signed in as may.
	ErrFull = fmt.Errorf("the hub has as many connections as it may have: %w", ErrTooLarge)
	// ErrSessions means that the device, or its tenant, has as many MQTT sessions as it may have.
	ErrSessions = fmt.Errorf("too many MQTT sessions: %w", ErrTooLarge)
	// ErrReconnect means that a client id connects again sooner than it may.
	ErrReconnect = fmt.Errorf("the client id connects too often: %w", ErrTooLarge)
	// ErrRate means that a client sends more messages in a second than it may.
	ErrRate = fmt.Errorf("too many messages in a second: %w", ErrTooLarge)
)

// A SignInError is a refusal that knows whom it concerns. Dialects return it so that operators find it; clients are told
// no more than the kind of Err.
type SignInError struct {
	Device DeviceKey // zero fields are not known
	Proven bool      // see [Refusal]
	Err    error
}

func (e *SignInError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *SignInError) Unwrap() error { return e.Err }

// A HelpError is a refusal with words of its own for operators, where those for its kind would be too general. Clients are
// told no more than the kind of Err.
type HelpError struct {
	Text string // what is the matter
	Help string // what to do about it, best as a command
	Err  error
}

func (e *HelpError) Error() string { return e.Text }

// Unwrap returns Err.
func (e *HelpError) Unwrap() error { return e.Err }
