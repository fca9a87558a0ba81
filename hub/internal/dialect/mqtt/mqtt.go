package mqtt

import (
	"log/slog"
	"net/http"
	"runtime"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/credential"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/feed"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Name is the dialect's name in the admin API, the logs and storage.
const Name = credential.Dialect

// Config configures a [Dialect]. Committer, Store, Broker and CA are required.
type Config struct {
	Committer *commit.Committer
	Store     store.Store
	Broker    Broker
	CA        *ca.CA

	// DefaultTenant is the tenant of user names that name none; "": they open nothing.
	DefaultTenant core.TenantID
	// Anonymous lets clients on the plain TCP port in that show no credentials at all: they may do everything in
	// DefaultTenant, and are one device together.
	Anonymous bool
	// Hasher computes slow hashes of passwords; nil: one of its own.
	Hasher *credential.Hasher
	// MaxChannels bounds the channels of a device; messages to further topics are passed on and not stored. 0:
	// feed.DefaultMaxChannels.
	MaxChannels int
	// MaxRegistered bounds the devices of a tenant that certificates of registered authorities make by themselves: with so many,
	// whoever made them, they make no more. 0: DefaultMaxRegistered; negative: no bound.
	MaxRegistered int

	Logger *slog.Logger     // nil: discard
	Now    func() time.Time // the clock; nil: time.Now
}

// Broker is what this dialect asks of the MQTT broker.
type Broker interface {
	dialect.Broker
	// DisconnectDevice ends the connections of all sessions of a device. The sessions stay.
	DisconnectDevice(tx *commit.Tx, n core.DeviceNum, reason string) error
	// DisconnectAuthority ends the connections that were let in because of an authority, see core.Grant. The sessions stay.
	DisconnectAuthority(tx *commit.Tx, t core.TenantID, dialect, authority, reason string)
	// Restrict does that too, and ends those of its subscriptions that do not lie within one of the filters.
	Restrict(tx *commit.Tx, n core.DeviceNum, subscribe []string, reason string) error
}

// Dialect speaks MQTT as it is. It implements dialect.Dialect; its methods may be called concurrently.
type Dialect struct {
	cfg         Config
	log         *slog.Logger
	guesses     guesses
	authorities authorities
	feed        *feed.Feed
	recall      registry.Recall[credential.Holder] // what certificates of our CA open

	registrations registrations
}

// What the hub looks for by type would be missed by nobody if a method changed.
var _ interface {
	dialect.Dialect
	dialect.Plain
	dialect.Identifier
	dialect.Executor
	dialect.Verifier
	dialect.Developer
} = (*Dialect)(nil)

// New returns the dialect. It does no I/O.
func New(cfg Config) *Dialect {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Hasher == nil {
		cfg.Hasher = credential.NewHasher(max(1, runtime.GOMAXPROCS(0)/2))
	}
	if cfg.MaxRegistered == 0 {
		cfg.MaxRegistered = DefaultMaxRegistered
	}
	return &Dialect{
		registrations: registrations{devices: map[core.TenantID]int{}},

		cfg: cfg, log: cfg.Logger.With("dialect", Name), guesses: newGuesses(),
		feed: feed.New(feed.Config{Store: cfg.Store, MaxChannels: cfg.MaxChannels, Now: cfg.Now}),
	}
}

// Name returns "mqtt".
func (d *Dialect) Name() string { return Name }

// TakesPlain implements dialect.Plain: user names and passwords work without TLS too, where the operator has such a port.
func (d *Dialect) TakesPlain() bool { return true }

// Serves reports false: there is no HTTP for these devices.
func (d *Dialect) Serves(*http.Request) bool { return false }

// Handler returns nil.
func (d *Dialect) Handler() http.Handler { return nil }

// Notify ends the connections of devices whose credentials or grants have changed: they sign in anew, with what holds now.
// That a certificate was revoked is not among it: who revokes it disconnects its device, whatever the dialect.
func (d *Dialect) Notify(tx *commit.Tx, e core.Event) error {
	d.recall.Changing(tx, e)
	switch e.Kind {
	case core.DeviceRegistered:
		d.registered(tx, e.Device.Tenant, 1)
	case core.TenantDeleted:
		d.authorities.changing(tx)
		tx.After(func() { delete(d.registrations.devices, e.Device.Tenant) })
	case core.DeviceDeleted:
		d.registered(tx, e.Device.Tenant, -1)
		return credential.Forget(tx, e.Device)
	case core.CredentialsInhibited:
		return d.cfg.Broker.DisconnectDevice(tx, e.Num, "credentials inhibited")
	case core.CredentialsChanged:
		if credential.Added(e) {
			return nil
		}
		return d.cfg.Broker.DisconnectDevice(tx, e.Num, "credentials changed")
	case core.AuthorityRegistered:
		d.authorities.changing(tx)
	case core.AuthorityRemoved:
		d.authorities.changing(tx)
		d.cfg.Broker.DisconnectAuthority(tx, e.Device.Tenant, Name, credential.AuthorityOf(e), "authority removed")
	case core.GrantsChanged:
		h, err := credential.Find(tx, e.Device)
		if err != nil {
			return err
		}
		_, subscribe, err := h.Grants.For(h.DeviceKey)
		if err != nil {
			return err
		}
		return d.cfg.Broker.Restrict(tx, e.Num, subscribe, "grants changed")
	}
	return nil
}

// deviceKey returns the key of a device.
func deviceKey(t core.TenantID, id core.DeviceID) core.DeviceKey {
	return core.DeviceKey{Tenant: t, Dialect: Name, ID: id}
}
