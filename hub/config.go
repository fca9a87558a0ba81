package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/datadir"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect/awsiot"
	"github.com/fairlead-iot/fairlead/hub/internal/listen"
	"github.com/fairlead-iot/fairlead/hub/internal/retain"
	"github.com/fairlead-iot/fairlead/hub/internal/store/sqlite"
)

// Ports that the platforms' SDKs expect, and the one for users that may not have 443.
const (
	DefaultMQTTPort       = 8883
	DefaultHTTPSPort      = 443
	UnprivilegedHTTPSPort = 8443
)

// AnyPort asks for whatever port is free.
const AnyPort = -1

// DefaultStopGrace is how long a hub that stops goes on answering HTTP after it has closed MQTT.
const DefaultStopGrace = 3 * time.Second

// Config configures a [Hub]. DataDir is required; every other field works at zero.
type Config struct {
	// DataDir is the folder for everything that the hub keeps. It is created if it does not exist, unless Prepared. One
	// process at a time can use it.
	DataDir string
	// Prepared refuses a data folder that is not there or not complete, which may be a disk that is not mounted, instead
	// of making what is missing. [Init] makes a folder; for production.
	Prepared bool `config:"-"`

	// Listen is the address to listen on. The zero value is 127.0.0.1; 0.0.0.0 or :: is every address. Listeners have their
	// own.
	Listen netip.Addr
	// MQTTPort is the port for MQTT over TLS. 0 is 8883, [AnyPort] any free one.
	MQTTPort int
	// MQTTPlainPort is a port for MQTT without TLS: plain MQTT devices only, whose passwords and data anybody on the way can
	// read. 0 is no such port, [AnyPort] any free one.
	MQTTPlainPort int
	// MQTTPlainListen is the address for MQTTPlainPort. The zero value is 127.0.0.1, whatever Listen is.
	MQTTPlainListen netip.Addr
	// MQTTDefaultTenant is the tenant of plain MQTT devices whose user names have none: DEVICE instead of TENANT/DEVICE. With
	// Development it is dev; without either, such names open nothing.
	MQTTDefaultTenant string
	// MQTTAnonymous lets clients of MQTTPlainPort in without a user name, to all topics of the default tenant. The port has
	// to be on a loopback address.
	MQTTAnonymous bool
	// HTTPSPort is the port for all REST APIs, for MQTT over WebSocket and, by ALPN, MQTT. 0 is 443 where that can be had, else 8443; [AnyPort] any free one.
	HTTPSPort int
	// HTTPSMorePorts are further ports for the same, for clients that have one fixed. They have to be had.
	HTTPSMorePorts []int
	// Listeners are sockets to use instead of opening some; see [InheritedListeners]. The hub closes them.
	Listeners Listeners `config:"-"`

	// Names are host names and IP addresses by which clients reach this hub, for its server certificate. In the
	// certificate there are always localhost, 127.0.0.1, ::1, the name of the machine, and the address of Listen. The first
	// name is the one in URLs that clients are told; without names that is localhost, or the address of Listen where
	// localhost would not lead there.
	Names []string

	// AWSRegion is the region in which devices and programs on AWS IoT's SDKs find this hub: it is part of resource names, and
	// of what requests are signed for. Accounts keep the region that they were made in. "": us-east-1.
	AWSRegion string
	// AWSServiceLimits has connections of AWS IoT's devices bounded as they are at the service: 100 messages and 512 KiB a second
	// in each direction, and one connect a second for each client id. A hub for one's own fleet need not, but who tests devices
	// for the service finds out here what will happen there.
	AWSServiceLimits bool

	// CertificateFile and KeyFile hold a server certificate with its chain, and its key, in PEM, to use in place of one from
	// the hub's own authority. They are read again when they change. Devices must trust who issued it.
	CertificateFile string
	KeyFile         string // see CertificateFile

	// Development prepares a laptop: a tenant called dev, with credentials for each platform, see [Hub.Env].
	// Nothing of that is done in production.
	Development bool `config:"-"`

	// Retention says how long data is kept.
	Retention Retention

	// Limits bound what clients can take of the hub.
	Limits Limits

	// StopGrace is how long an orderly stop goes on answering HTTP after MQTT is closed. 0 is DefaultStopGrace,
	// negative is no time. Device programs on the official Astarte SDK ask Pairing right after they lose their
	// connection, and never come back if nobody answers; so shorten it only where no such devices are.
	StopGrace time.Duration

	// TraceEndpoint is the URL of an OpenTelemetry collector that gets a span of each HTTP request and of each transaction, by
	// OTLP over HTTP: "http://localhost:4318". Empty: no traces.
	TraceEndpoint string

	// Logger gets what happens; nil discards it.
	Logger *slog.Logger `config:"-"`
}

// Retention says how long data is kept. What goes first is what was accepted first. The zero value cannot fill a disk.
type Retention struct {
	// SampleAge is how long samples are kept after their acceptance. 0 or negative: for ever.
	SampleAge time.Duration
	// SampleBytes is the size of the database beyond which the oldest samples go. Not counted is room within its file that is
	// free for new data; the file does not shrink. 0 is seven tenths of what the database takes and the disk has free at the
	// start, negative is no bound.
	SampleBytes int64
	// TenantSampleBytes is the size of the samples of each tenant beyond which its oldest go. 0 or negative is no bound but
	// SampleBytes, beyond which those of the tenant go that has most.
	TenantSampleBytes int64
	// EventAge is how long events are kept. 0 is DefaultEventAge, negative is for ever.
	EventAge time.Duration
	// EventCount is how many events are kept. 0 is DefaultEventCount, negative is no bound.
	EventCount int64
	// MinFreeBytes is how much of the disk stays free: with less, writes are refused until there is more, or until data has been
	// dropped whose room can be used. 0 is a fiftieth of the disk, at most 256 MiB; negative is nothing.
	MinFreeBytes int64
}

// Defaults of [Retention].
const (
	DefaultEventAge   = 30 * 24 * time.Hour
	DefaultEventCount = 1_000_000
)

// A ConfigError is a field of [Config] that has no usable value.
type ConfigError struct {
	Field   string // "MQTTPort", "Retention.EventAge"
	Problem string
}

func (e *ConfigError) Error() string { return e.Field + " " + e.Problem }

func badField(field, format string, args ...any) error {
	return &ConfigError{Field: field, Problem: fmt.Sprintf(format, args...)}
}

// Listeners are listening TCP sockets. A nil one is opened by the hub.
type Listeners struct {
	MQTT, HTTPS net.Listener
	MQTTPlain   net.Listener // nil, and Config.MQTTPlainPort 0: no such port
}

// InheritedListeners takes over the sockets that a service manager has opened for this process (systemd's socket units
// and what else follows sd_listen_fds), named "mqtt", "https" and "mqtt-plain", or two
// without names, for the first two in this order. Such sockets outlive the
// process, so that clients wait during a restart instead of being refused. It can be called once, and removes the
// protocol's variables from the environment. What was not inherited is nil.
func InheritedListeners() (Listeners, error) {
	ls, err := listen.Inherited()
	if err != nil {
		return Listeners{}, err
	}
	return Listeners{MQTT: ls[listen.MQTT], HTTPS: ls[listen.HTTPS], MQTTPlain: ls[listen.MQTTPlain]}, nil
}

// A PortError says that a port could not be had, and tells whether it is in use or forbidden.
type PortError = listen.PortError

// WithDefaults checks the configuration and fills in what is zero and does not depend on the machine, as [New] does. The
// error joins one [*ConfigError] for each field that is wrong.
func (cfg Config) WithDefaults() (Config, error) {
	var errs []error
	if cfg.DataDir == "" {
		errs = append(errs, badField("DataDir", "is empty"))
	}
	if l := cfg.Listeners.HTTPS; l != nil {
		if a, ok := l.Addr().(*net.TCPAddr); ok {
			cfg.Listen = a.AddrPort().Addr().Unmap()
		}
	}
	if !cfg.Listen.IsValid() {
		cfg.Listen = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	for _, p := range []struct {
		name string
		port int
	}{{"MQTTPort", cfg.MQTTPort}, {"HTTPSPort", cfg.HTTPSPort}, {"MQTTPlainPort", cfg.MQTTPlainPort}} {
		if p.port < AnyPort || p.port > 65535 {
			errs = append(errs, badField(p.name, "is %d: want 1 to 65535", p.port))
		}
	}
	if cfg.MQTTPort > 0 && cfg.MQTTPort == cfg.HTTPSPort {
		errs = append(errs, badField("HTTPSPort", "is %d, as MQTTPort is", cfg.HTTPSPort))
	}
	taken := []int{cfg.MQTTPort, cfg.HTTPSPort, cfg.MQTTPlainPort}
	for _, port := range cfg.HTTPSMorePorts {
		switch {
		case port == 0 || port < AnyPort || port > 65535:
			errs = append(errs, badField("HTTPSMorePorts", "has %d: want 1 to 65535", port))
		case port > 0 && slices.Contains(taken, port):
			errs = append(errs, badField("HTTPSMorePorts", "has %d, which another port is already", port))
		}
		taken = append(taken, port)
	}
	errs = append(errs, cfg.checkPlain()...)
	if cfg.AWSRegion == "" {
		cfg.AWSRegion = awsiot.DefaultRegion
	}
	if strings.Trim(cfg.AWSRegion, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || len(cfg.AWSRegion) > 30 {
		errs = append(errs, badField("AWSRegion", "is %.40q: want a name like us-east-1", cfg.AWSRegion))
	}
	errs = append(errs, cfg.Limits.check()...)
	if cfg.CertificateFile != "" && cfg.KeyFile == "" {
		errs = append(errs, badField("CertificateFile", "is of no use without KeyFile"))
	}
	if cfg.KeyFile != "" && cfg.CertificateFile == "" {
		errs = append(errs, badField("KeyFile", "is of no use without CertificateFile"))
	}
	cfg.Retention = cfg.Retention.withDefaults()
	if cfg.MQTTPort == 0 {
		cfg.MQTTPort = DefaultMQTTPort
	}
	if !cfg.MQTTPlainListen.IsValid() && cfg.MQTTPlainPort != 0 {
		cfg.MQTTPlainListen = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if cfg.StopGrace == 0 {
		cfg.StopGrace = DefaultStopGrace
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := errors.Join(errs...); err != nil {
		return cfg, fmt.Errorf("configure hub: %w", err)
	}
	return cfg, nil
}

// checkPlain checks what concerns the port without TLS.
func (cfg Config) checkPlain() (errs []error) {
	open := cfg.MQTTPlainPort != 0 || cfg.Listeners.MQTTPlain != nil
	at := cfg.MQTTPlainListen
	if l := cfg.Listeners.MQTTPlain; l != nil {
		if a, ok := l.Addr().(*net.TCPAddr); ok {
			at = a.AddrPort().Addr().Unmap()
		}
	}
	if cfg.MQTTPlainPort > 0 && (cfg.MQTTPlainPort == cfg.MQTTPort || cfg.MQTTPlainPort == cfg.HTTPSPort) {
		errs = append(errs, badField("MQTTPlainPort", "is %d, as MQTTPort or HTTPSPort is", cfg.MQTTPlainPort))
	}
	if cfg.MQTTPlainListen.IsValid() && !open {
		errs = append(errs, badField("MQTTPlainListen", "is of no use without MQTTPlainPort"))
	}
	if t := cfg.MQTTDefaultTenant; t != "" {
		if err := core.TenantID(t).Validate(); err != nil {
			errs = append(errs, badField("MQTTDefaultTenant", "is no tenant: %v", err))
		}
	}
	switch {
	case !cfg.MQTTAnonymous:
	case cfg.MQTTDefaultTenant == "" && !cfg.Development:
		errs = append(errs, badField("MQTTAnonymous", "is of no use without MQTTDefaultTenant"))
	case !open:
		errs = append(errs, badField("MQTTAnonymous", "is of no use without MQTTPlainPort"))
	case at.IsValid() && !at.IsLoopback():
		errs = append(errs, badField("MQTTAnonymous", "would let everybody in who reaches %s: it is possible on a loopback address only", at))
	}
	return errs
}

func (r Retention) withDefaults() Retention {
	if r.EventAge == 0 {
		r.EventAge = DefaultEventAge
	}
	if r.EventCount == 0 {
		r.EventCount = DefaultEventCount
	}
	return r
}

// on fills in what depends on the disk, of such a size and with so much free, and on what the database takes of it.
func (r Retention) on(database, size, free int64) Retention {
	sampleBytes, minFree := retain.Defaults(database, size, free)
	if r.SampleBytes == 0 {
		r.SampleBytes = sampleBytes
	}
	if r.MinFreeBytes == 0 {
		r.MinFreeBytes = minFree
	}
	return r
}

// OnThisMachine fills in what [Config.WithDefaults] leaves to the machine: those limits that have a default, as files that
// this process may have open and its memory limit allow, and sizes of [Retention], as the disk of DataDir has room. A hub
// that started now would do the same. What cannot be known, since there is no such folder, say, stays zero.
func (cfg Config) OnThisMachine() Config {
	cfg.Limits = cfg.Limits.effective(listen.Descriptors())
	size, free, err := datadir.Disk(cfg.DataDir)
	if err != nil {
		return cfg
	}
	database, log, err := sqlite.Size(datadir.DatabaseOf(cfg.DataDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return cfg
	}
	cfg.Retention = cfg.Retention.on(database+log, size, free)
	return cfg
}

// ports returns the ports to try, in order; 0 is any free one.
func ports(port int, defaults ...int) []int {
	switch port {
	case 0:
		return defaults
	case AnyPort:
		return []int{0}
	}
	return []int{port}
}

// host returns the name that clients are told.
func (cfg Config) host() string {
	switch {
	case len(cfg.Names) > 0:
		return cfg.Names[0]
	case cfg.Listen.IsUnspecified(), cfg.Listen == netip.IPv6Loopback(), cfg.Listen == netip.AddrFrom4([4]byte{127, 0, 0, 1}):
		return "localhost"
	}
	return cfg.Listen.WithZone("").String()
}

// serverNames returns the names for the server certificate. machine is the name of the machine, "" if it is not usable
// as one.
func (cfg Config) serverNames(machine string) []string {
	names := append([]string{"localhost", "127.0.0.1", "::1"}, cfg.Names...)
	if cfg.Development {
		names = append(names, awsiot.Host(devTenant, cfg.AWSRegion))
	}
	if machine != "" {
		names = append(names, machine)
	}
	if !cfg.Listen.IsUnspecified() {
		names = append(names, cfg.Listen.WithZone("").String())
	}
	return names
}
