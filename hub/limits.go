package hub

import (
	"math"
	"runtime/debug"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/listen"
)

// Limits bound what clients can take of the hub, whoever they are. Zero fields stand for defaults; for numbers of
// connections, negative is no limit. docs/limits.md says what happens at each, and how it is counted.
type Limits struct {
	// MQTTConnections is how many MQTT connections may have signed in. 0 is DefaultMQTTConnections, or as many as file
	// descriptors allow if those are fewer.
	MQTTConnections int
	// MQTTPending is how many MQTT connections may be on their way: in the TLS handshake, before CONNECT, or before its
	// answer. 0 is DefaultMQTTPending, or fewer where file descriptors are scarce.
	MQTTPending int
	// MQTTPendingPerAddress is how many of those may come from one IPv4 address, or from one /64 of IPv6. 0 is as many as
	// are still free, so that one address can have half of all.
	MQTTPendingPerAddress int
	// HTTPSConnections is how many connections the HTTPS port may have; WebSockets count as MQTT. 0 is
	// DefaultHTTPSConnections, or fewer where file descriptors are scarce.
	HTTPSConnections int
	// HTTPSPerAddress is how many of those may come from one IPv4 address, or from one /64 of IPv6. 0 is as many as are
	// still free, so that one address can have half of all.
	HTTPSPerAddress int
	// FailedConnects is for how many connections a second that come to nothing others from the same places are not slowed
	// down, in all, and FailedConnectsPerAddress from one IPv4 address, or from one /64 of IPv6; ten seconds' worth may come
	// at once. 0 is DefaultFailedConnects and DefaultFailedConnectsPerAddress.
	FailedConnects           int
	FailedConnectsPerAddress int
	// MQTTConnectsPerDevice is how often a device may sign in within a minute, and HTTPSConnectsPerAddress how many
	// connections to the HTTPS port may be made from one IPv4 address, or from one /64 of IPv6, in that time. Others beyond
	// count as failed ones do. Connections from this machine do not count. 0 is DefaultMQTTConnectsPerDevice and
	// DefaultHTTPSConnectsPerAddress.
	MQTTConnectsPerDevice   int
	HTTPSConnectsPerAddress int
	// ConnectTimeout bounds a TLS handshake, and, anew, the wait for CONNECT. 0 is DefaultConnectTimeout.
	ConnectTimeout time.Duration
	// HeaderTimeout bounds the wait for the header of an HTTP request. 0 is DefaultConnectTimeout.
	HeaderTimeout time.Duration
	// HeaderBytes bounds the header of an HTTP request. 0 is DefaultHeaderBytes.
	HeaderBytes int
	// MQTTSessions is how many MQTT sessions each tenant may have, connected or kept, and MQTTSessionsPerDevice how many one
	// device. 0 is DefaultMQTTSessions and DefaultMQTTSessionsPerDevice.
	MQTTSessions          int
	MQTTSessionsPerDevice int
	// MQTTSubscriptionsPerDevice is how many subscriptions the sessions of one device may have together. 0 is
	// DefaultMQTTSubscriptionsPerDevice.
	MQTTSubscriptionsPerDevice int
	// MQTTUnreadBytes is how many bytes may wait in memory for all connections of one device together that do not read. 0
	// is DefaultMQTTUnreadBytes.
	MQTTUnreadBytes int
	// MQTTUnreadTotalBytes is how many bytes may wait in memory for all devices together that do not read. 0 is
	// DefaultMQTTUnreadTotalBytes, or half of the memory limit of the process (GOMEMLIMIT) if that is less.
	MQTTUnreadTotalBytes int
	// MQTTAutoRegistered is how many plain MQTT devices a tenant may have until certificates of its registered authorities make
	// no further ones. 0 is DefaultMQTTAutoRegistered.
	MQTTAutoRegistered int
	// MQTTRetained is how many retained messages each tenant may have, and MQTTRetainedBytes how large they may be
	// together: topics, payloads and properties. 0 is DefaultMQTTRetained and DefaultMQTTRetainedBytes.
	MQTTRetained      int
	MQTTRetainedBytes int
}

// Defaults of [Limits].
const (
	DefaultMQTTConnections  = 100_000
	DefaultMQTTPending      = 4096
	DefaultHTTPSConnections = 4096
	DefaultConnectTimeout   = 10 * time.Second
	DefaultHeaderBytes      = 64 << 10

	DefaultFailedConnects           = 100
	DefaultFailedConnectsPerAddress = 10
	DefaultMQTTConnectsPerDevice    = 1_200
	DefaultHTTPSConnectsPerAddress  = 6_000

	DefaultMQTTSessions               = 500_000
	DefaultMQTTSessionsPerDevice      = 1_000
	DefaultMQTTSubscriptionsPerDevice = 10_000
	DefaultMQTTUnreadBytes            = 64 << 20
	DefaultMQTTUnreadTotalBytes       = 1 << 30

	DefaultMQTTAutoRegistered = 100_000

	DefaultMQTTRetained      = 500_000
	DefaultMQTTRetainedBytes = 256 << 20
)

// Clients must not take the last file descriptors: the database needs some of its own.
const reservedDescriptors = 256

// effective returns the limits for a process that may have so many files open; 0 means that it is not known.
func (l Limits) effective(descriptors int) Limits {
	most := Limits{
		MQTTConnections: DefaultMQTTConnections, MQTTPending: DefaultMQTTPending, HTTPSConnections: DefaultHTTPSConnections,
	}
	if descriptors > 0 {
		free := max(descriptors-min(reservedDescriptors, descriptors/4), 3)
		most.MQTTPending = min(most.MQTTPending, max(free/4, 1))
		most.HTTPSConnections = min(most.HTTPSConnections, max(free/4, 1))
		most.MQTTConnections = min(most.MQTTConnections, max(free-most.MQTTPending-most.HTTPSConnections, 1))
	}
	for _, n := range []struct {
		v    *int
		most int
	}{
		{&l.MQTTConnections, most.MQTTConnections},
		{&l.MQTTPending, most.MQTTPending},
		{&l.MQTTPendingPerAddress, 0},
		{&l.HTTPSConnections, most.HTTPSConnections},
		{&l.HTTPSPerAddress, 0},
		{&l.FailedConnects, DefaultFailedConnects},
		{&l.FailedConnectsPerAddress, DefaultFailedConnectsPerAddress},
		{&l.MQTTConnectsPerDevice, DefaultMQTTConnectsPerDevice},
		{&l.HTTPSConnectsPerAddress, DefaultHTTPSConnectsPerAddress},
		{&l.HeaderBytes, DefaultHeaderBytes},
		{&l.MQTTSessions, DefaultMQTTSessions},
		{&l.MQTTSessionsPerDevice, DefaultMQTTSessionsPerDevice},
		{&l.MQTTSubscriptionsPerDevice, DefaultMQTTSubscriptionsPerDevice},
		{&l.MQTTUnreadBytes, DefaultMQTTUnreadBytes},
		{&l.MQTTUnreadTotalBytes, int(min(DefaultMQTTUnreadTotalBytes, debug.SetMemoryLimit(-1)/2))},
		{&l.MQTTAutoRegistered, DefaultMQTTAutoRegistered},
		{&l.MQTTRetained, DefaultMQTTRetained},
		{&l.MQTTRetainedBytes, DefaultMQTTRetainedBytes},
	} {
		switch {
		case *n.v == 0:
			*n.v = n.most
		case *n.v < 0:
			*n.v = math.MaxInt
		}
	}
	if l.ConnectTimeout == 0 {
		l.ConnectTimeout = DefaultConnectTimeout
	}
	if l.HeaderTimeout == 0 {
		l.HeaderTimeout = DefaultConnectTimeout
	}
	return l
}

// check finds limits that cannot be switched off: without them one silent client holds its place for ever.
func (l Limits) check() (errs []error) {
	for _, f := range []struct {
		name string
		v    int64
	}{
		{"ConnectTimeout", int64(l.ConnectTimeout)},
		{"HeaderTimeout", int64(l.HeaderTimeout)},
		{"HeaderBytes", int64(l.HeaderBytes)},
	} {
		if f.v < 0 {
			errs = append(errs, badField("Limits."+f.name, "cannot be off"))
		}
	}
	if l.HeaderBytes > maxHeaderBytes {
		errs = append(errs, badField("Limits.HeaderBytes", "is %d, at most %d are possible", l.HeaderBytes, maxHeaderBytes))
	}
	return errs
}

// maxHeaderBytes is the most that Limits.HeaderBytes can be.
const maxHeaderBytes = 16 << 20

// pace returns what the limits on failed connections make; math.MaxInt is none.
func (l Limits) pace() *listen.Pace {
	return listen.NewPace(orNone(l.FailedConnects), orNone(l.FailedConnectsPerAddress))
}

// orNone returns a limit, 0 for none.
func orNone(n int) int {
	if n == math.MaxInt {
		return 0
	}
	return n
}

// limits returns what holds, and warns where descriptors may run out before a limit is reached.
func (h *Hub) limits() Limits {
	descriptors := listen.Descriptors()
	l := h.cfg.Limits.effective(descriptors)
	need := float64(l.MQTTConnections) + float64(l.MQTTPending) + float64(l.HTTPSConnections)
	if descriptors > 0 && need > float64(descriptors) {
		h.cfg.Logger.Warn("the limits allow more connections than this process may have files open (ulimit -n, LimitNOFILE)",
			"files", descriptors, "mqtt_connections", l.MQTTConnections, "mqtt_pending", l.MQTTPending, "https_connections", l.HTTPSConnections)
	}
	return l
}
