package awsiot

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/accesskey"
	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/feed"
	"github.com/fairlead-iot/fairlead/hub/internal/seal"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Name is the dialect's name in the admin API, the logs and storage.
const Name = "aws"

// DefaultRegion is the region of accounts when the Config does not say otherwise.
const DefaultRegion = "us-east-1"

// Config configures a [Dialect]. Committer, Store, Broker, CA and Secrets are required.
type Config struct {
	Committer *commit.Committer
	Store     store.Store
	Broker    Broker
	CA        *ca.CA
	Secrets   *seal.Key // of access keys

	// Region is the region that accounts are in: it is part of ARNs, and of what clients sign. "": DefaultRegion.
	Region string
	// DefaultTenant is the account of connections that do not tell theirs; "": they open nothing.
	DefaultTenant core.TenantID

	// ShadowsPerSecond is how many requests to the shadows of one thing are taken in a second. 0: 20, as at the service;
	// negative: any number.
	ShadowsPerSecond int

	// ServiceLimits has connections bounded in messages, bytes and connects for each second as they are at the service.
	ServiceLimits bool

	// Refused is told of requests with wrong or missing credentials. nil: nobody is told.
	Refused func(core.Refusal)

	Logger *slog.Logger     // nil: discard
	Now    func() time.Time // the clock; nil: time.Now
}

// Broker is what this dialect asks of the MQTT broker.
type Broker interface {
	dialect.Broker
	// DisconnectDevice ends the connections of all sessions of a device. The sessions stay.
	DisconnectDevice(tx *commit.Tx, n core.DeviceNum, reason string) error
	// Connection returns the open connection of a session.
	Connection(k core.SessionKey) (core.Connection, bool)
	// SessionStates returns what is known of some sessions; those that are not there are left out.
	SessionStates(ctx context.Context, keys []core.SessionKey) (map[core.SessionKey]core.SessionState, error)
	// SessionSubscriptions returns a session's subscriptions by their filters, as many as can be shown.
	SessionSubscriptions(ctx context.Context, k core.SessionKey) ([]core.Subscription, error)
	// CallOffWill has the will of a session never published.
	CallOffWill(tx *commit.Tx, k core.SessionKey) error
}

// Dialect speaks AWS IoT. It implements dialect.Dialect; its methods may be called concurrently.
type Dialect struct {
	cfg Config
	log *slog.Logger

	keys        *accesskey.Keys
	feed        *feed.Feed
	live        live
	versions    versions
	accounts    cached[[]account]
	authorities cached[map[string][]*authority]
	// services are who takes messages to reserved topics, by kind; nil: nobody, and the message is acknowledged and dropped.
	services [kinds]service
	shadows  *shadows
	jobs     *jobs
}

// What the hub looks for by type would be missed by nobody if a method changed.
var _ interface {
	dialect.Dialect
	dialect.Runner
	dialect.Verifier
	dialect.Upgrader
	dialect.Matcher
	dialect.Executor
	dialect.Adviser
	dialect.Director
	dialect.Curator
	dialect.Describer
	dialect.Developer
} = (*Dialect)(nil)

// New returns the dialect. It does no I/O.
func New(cfg Config) *Dialect {
	cfg.Region = cmp.Or(cfg.Region, DefaultRegion)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	d := &Dialect{cfg: cfg, log: cfg.Logger.With("dialect", Name)}
	d.feed = feed.New(feed.Config{Store: cfg.Store, Now: cfg.Now})
	d.keys = accesskey.New(accesskey.Config{Store: cfg.Store, Seal: cfg.Secrets, Dialect: Name, Permanent: "AKIA", Temporary: "ASIA"})
	// Each service is a line here.
	d.shadows = &shadows{d: d, limiter: newLimiter(cmp.Or(cfg.ShadowsPerSecond, shadowsPerSecond), cfg.Now)}
	d.services[kindShadow] = d.shadows
	d.jobs = &jobs{d: d, wake: make(chan struct{}, 1)}
	d.services[kindJobs] = d.jobs
	fleet := &provisioning{d}
	d.services[kindCertificates], d.services[kindTemplates] = fleet, fleet
	return d
}

// Name returns "aws".
func (d *Dialect) Name() string { return Name }

// Keys are what requests to the platform's API are signed with.
func (d *Dialect) Keys() *accesskey.Keys { return d.keys }

// Matching implements dialect.Matcher: "a/#" does not match "a" (AWS IoT guide, "MQTT topics").
func (d *Dialect) Matching() core.Matching { return core.Matching{BelowOnly: true} }

// Notify shows an event to each service, and forgets what is kept of a thing that an operator has deleted.
func (d *Dialect) Notify(tx *commit.Tx, e core.Event) error {
	switch e.Kind {
	case core.DeviceDeleted:
		if err := d.forgetThing(tx, e.Device.Tenant, string(e.Device.ID)); err != nil {
			return err
		}
	case core.TenantDeleted: // which has nothing any more
		d.forgetAccount(tx, e.Device.Tenant)
	case core.AccessKeyDeleted:
		if err := d.forgetAccessKey(tx, e); err != nil {
			return err
		}
	}
	for i, s := range d.services {
		if s == nil || i > 0 && s == d.services[i-1] {
			continue
		}
		if err := s.notify(tx, e); err != nil {
			return err
		}
	}
	return nil
}

// deviceKey returns the key of a thing.
func deviceKey(t core.TenantID, thing string) core.DeviceKey {
	return core.DeviceKey{Tenant: t, Dialect: Name, ID: core.DeviceID(thing)}
}

// sessionKey returns the key of an MQTT session: client ids are unique in an account.
func sessionKey(t core.TenantID, clientID string) core.SessionKey {
	return core.SessionKey{Tenant: t, Dialect: Name, ClientID: clientID}
}
