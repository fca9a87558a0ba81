package astarte

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/outbox"
)

// Config configures [New]. PairingURL, Realm, DeviceID, CredentialsSecret and Dir are required; every other field works at zero.
type Config struct {
	// PairingURL is where the Pairing API is, such as "https://api.astarte.example/pairing".
	PairingURL string
	// Realm is the realm in which the device is registered.
	Realm string
	// DeviceID is the device's ID, see [RandomDeviceID] and [NamedDeviceID].
	DeviceID string
	// CredentialsSecret is what registering the device has returned, see [Pairing.Register].
	CredentialsSecret identity.Secret
	// Dir is a folder of the device's own, in which it keeps key and certificate (in crypto) and properties (in properties.log). Folders
	// that do not exist are made.
	Dir string

	// Interfaces are the interfaces that the device declares. More can be added, and some removed, at any time.
	Interfaces []*Interface

	// Outbox keeps values whose mapping's retention is stored until Astarte has them: give one in a file, from package sqlitebox, and
	// they survive power cuts. The device does not close it. nil: they are kept in memory, with the volatile ones.
	Outbox *outbox.Outbox
	// MaxVolatile bounds how many values whose mapping's retention is volatile are kept in memory while there is no connection, and their
	// size is bounded by 8 MiB. Then the oldest make room. 0: 10,000.
	MaxVolatile int
	// Properties keeps properties. The device closes it. nil: a file in Dir.
	Properties PropertyStore
	// Key is a private key from elsewhere, such as a TPM. nil: one in Dir, which is made if there is none.
	Key crypto.Signer

	// OnData is told of each value that Astarte sends. Callbacks, this one and the next, are called one at a time, in order, by a
	// goroutine of Run; they may use the device. A message is acknowledged when OnData has returned, so one that ends the program is sent
	// again.
	OnData func(Data)
	// OnConnection is told when the device has connected, and why it is not connected.
	OnConnection func(Connection)

	// RootCAs are the authorities that the broker's certificate may come from, and that of Pairing unless HTTP says otherwise. nil: the
	// system's.
	RootCAs *x509.CertPool
	// InsecureSkipVerify takes any server for the right one. It is for experiments: whoever is on the way can read and change everything.
	InsecureSkipVerify bool
	// HTTP makes the requests to Pairing. nil: a client that trusts RootCAs and dials with Dial.
	HTTP *http.Client
	// Dial makes connections. nil: TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// KeepAlive is after how much silence the connection is tested. 0: 60 s. Whole seconds, at most 65,535.
	KeepAlive time.Duration
	// MaxInFlight is how many messages are sent without having been acknowledged. 0: 100, which is what Astarte's broker allows.
	MaxInFlight int
	// MinBackoff and MaxBackoff bound the wait between attempts to connect; it doubles, and is random within its upper half. 0: a second,
	// and two minutes.
	MinBackoff, MaxBackoff time.Duration

	// Logger is told what happens. nil: discard.
	Logger *slog.Logger
}

// check reports all that is wrong.
func (c *Config) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.PairingURL == "" {
		bad("PairingURL is empty")
	}
	if !ValidRealm(c.Realm) {
		bad("Realm is %q, which is no realm's name", c.Realm)
	}
	if !ValidDeviceID(c.DeviceID) {
		bad("DeviceID is %q, want 22 characters of URL-safe base64 for 128 bits", c.DeviceID)
	}
	if c.CredentialsSecret.IsZero() {
		bad("CredentialsSecret is empty")
	}
	if c.Dir == "" && (c.Properties == nil || c.Key == nil) {
		bad("Dir is empty")
	}
	for _, i := range c.Interfaces {
		if i == nil {
			bad("one of Interfaces is nil")
		}
	}
	if c.KeepAlive < 0 || c.KeepAlive > 65535*time.Second || c.MaxInFlight < 0 || c.MaxInFlight > 60_000 || c.MaxVolatile < 0 || c.MinBackoff < 0 || c.MaxBackoff < 0 {
		bad("KeepAlive %v, MaxInFlight %d, MinBackoff %v or MaxBackoff %v is out of range", c.KeepAlive, c.MaxInFlight, c.MinBackoff, c.MaxBackoff)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("astarte device: %w: %w", fairlead.ErrInvalid, err)
	}
	return nil
}

func (c *Config) tls() *tls.Config {
	//nolint:gosec // the field's comment says what it is for
	return &tls.Config{RootCAs: c.RootCAs, InsecureSkipVerify: c.InsecureSkipVerify, MinVersion: tls.VersionTLS12}
}

func (c *Config) client() *http.Client {
	if c.HTTP != nil {
		return c.HTTP
	}
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: c.tls(), ForceAttemptHTTP2: true, DialContext: c.Dial, IdleConnTimeout: 30 * time.Second}
	return &http.Client{Transport: t}
}

// ConnectionState says how far a device is.
type ConnectionState = fairlead.ConnectionState

// The states, with the numbers of the official SDK.
const (
	Connecting   = fairlead.Connecting   // Run tries to connect, or waits before it tries again
	Connected    = fairlead.Connected    // values go out at once
	Disconnected = fairlead.Disconnected // Run does not run
)

// A Connection is a change of the connection.
type Connection struct {
	// State is Connected when the device has connected and told Astarte about itself, and with an Err also later; otherwise Connecting
	// after a connection was lost or an attempt has failed, and Disconnected when Run ends.
	State ConnectionState
	// SessionPresent tells, with Connected, that Astarte still had the session, with what it has sent meanwhile.
	SessionPresent bool
	// Err is why there is no connection; nil if Run was asked to end. With Connected it is nil when the device has connected; otherwise
	// it is why the certificate, after two thirds of its life, could not be renewed. The connection goes on, and new ones are made, as
	// long as the certificate is valid.
	Err error
	// Retry is, with Err, when the next attempt is made, from then.
	Retry time.Duration
}

// Data is a value that Astarte has sent.
type Data struct {
	Interface string
	Path      string
	// Value is of the Go type that belongs to the mapping's [Type], or an [Object]. It is nil if a property was unset.
	Value any
	// Time is the value's timestamp, the zero time if Astarte has given none.
	Time time.Time
}

// Unset tells whether a property was unset.
func (d Data) Unset() bool { return d.Value == nil }
