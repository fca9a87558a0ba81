package mqttclient

import (
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// Config configures [NewSession]. Every field works at zero.
type Config struct {
	// Version is the protocol to speak. 0: 3.1.1.
	Version mqtt.Version
	// Receive is called for each message that comes, in order, by the goroutine that reads: nothing is read while it runs. It must not
	// wait for anything that comes from the server, and keeps the message as long as it likes. Whoever takes the message calls its
	// Ack; without that the server sends it again on the next connection, and at some time nothing else any more.
	// nil: messages are acknowledged and dropped.
	Receive func(*Message)
	// MaxInFlight is how many messages with QoS 1 and 2 are sent without having been acknowledged; the server may allow
	// fewer. 0: 100. At most 60,000.
	MaxInFlight int
	// MaxInFlightQoS2 is how many of them may have QoS 2, before version 5, where the server cannot say what it bears. 0: 20: mosquitto 2.0.11 hangs up when
	// there are more (observed; its setting max_inflight_messages).
	MaxInFlightQoS2 int
	// ReceiveMaximum is how many messages with QoS 1 and 2 the server may send without acknowledgement, where the version can say so. 0: 100.
	ReceiveMaximum uint16
	// MaxPacketBytes is the longest packet to take. 0: 1 MiB.
	MaxPacketBytes int
	// AdoptSession says, with version 5, what to do when the server has a session that this Session has not seen: one of the program's predecessor, before a
	// restart. The protocol has a client without session state close the connection [MQTT-3.2.2-4]; so does Run then, with [ErrUnknownSession], and only CleanStart helps, which throws away
	// what the server has kept for the device. true is for programs that do have their state: what was not acknowledged they send again themselves (an
	// outbox), and a message that they had handled when they ended may come to them again. The rest, packet identifiers, a Session finds out: see the package comment.
	// The older versions leave this to the client (MQTT 3.1.1 section 3.2.2.2); there sessions are always adopted.
	AdoptSession bool
	// TopicAliasMaximum is how many aliases the server may use (version 5). 0: none.
	TopicAliasMaximum uint16

	ConnectTimeout time.Duration // from CONNECT to CONNACK. 0: 30 s
	AckTimeout     time.Duration // from a packet to its acknowledgement. 0: 60 s
	PingTimeout    time.Duration // from PINGREQ to any byte. 0: 20 s, but not more than the keep-alive
	WriteTimeout   time.Duration // for one write. 0: 30 s
}

// LeaveTimeout is how long the last bytes and DISCONNECT may take when a connection is ended on purpose.
const LeaveTimeout = 3 * time.Second

const (
	maxInFlight    = 60_000
	maxBufferBytes = 256 << 10 // waiting to be written, before senders wait
)

// complete fills in what is zero.
func (c *Config) complete() error {
	if c.Version == 0 {
		c.Version = mqtt.V311
	}
	if c.Version < mqtt.V31 || c.Version > mqtt.V5 {
		return fmt.Errorf("mqtt session: %w: version %v", fairlead.ErrInvalid, c.Version)
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 100
	}
	if c.MaxInFlight < 0 || c.MaxInFlight > maxInFlight {
		return fmt.Errorf("mqtt session: %w: MaxInFlight %d, want 1 to %d", fairlead.ErrInvalid, c.MaxInFlight, maxInFlight)
	}
	if c.MaxInFlightQoS2 == 0 {
		c.MaxInFlightQoS2 = 20
	}
	if c.MaxInFlightQoS2 < 0 {
		return fmt.Errorf("mqtt session: %w: MaxInFlightQoS2 %d is negative", fairlead.ErrInvalid, c.MaxInFlightQoS2)
	}
	if c.ReceiveMaximum == 0 {
		c.ReceiveMaximum = 100
	}
	if c.MaxPacketBytes == 0 {
		c.MaxPacketBytes = 1 << 20
	}
	if c.MaxPacketBytes < 0 || c.MaxPacketBytes > mqtt.MaxRemainingBytes {
		return fmt.Errorf("mqtt session: %w: MaxPacketBytes %d, want up to %d", fairlead.ErrInvalid, c.MaxPacketBytes, mqtt.MaxRemainingBytes)
	}
	for _, d := range []struct {
		of      *time.Duration
		or      time.Duration
		whatFor string
	}{
		{&c.ConnectTimeout, 30 * time.Second, "ConnectTimeout"},
		{&c.AckTimeout, 60 * time.Second, "AckTimeout"},
		{&c.PingTimeout, 20 * time.Second, "PingTimeout"},
		{&c.WriteTimeout, 30 * time.Second, "WriteTimeout"},
	} {
		if *d.of < 0 {
			return fmt.Errorf("mqtt session: %w: %s %v is negative", fairlead.ErrInvalid, d.whatFor, *d.of)
		}
		if *d.of == 0 {
			*d.of = d.or
		}
	}
	return nil
}
