package astarte

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// dialectName is the dialect's name in the admin API, the logs and storage.
const dialectName = "astarte"

// defaultVersion is the release of the platform that we answer as: the newest whose behaviour this package has.
const defaultVersion = "1.2.0"

// Config configures a [Dialect]. Committer, Store, Broker and CA are required.
type Config struct {
	Committer *commit.Committer
	Store     store.Store
	Broker    dialect.Broker
	CA        *ca.CA

	// BrokerURL returns the MQTT address that Pairing tells a device which asked at requestHost (a host name without
	// port): "mqtts://HOST:PORT/", the port explicit. Required when the HTTP APIs are used.
	BrokerURL func(requestHost string) string
	// HousekeepingKeyPEM is the public key of the tokens that may manage realms; nil: nobody may.
	HousekeepingKeyPEM []byte

	// Refused is told of requests with wrong or missing credentials. nil: nobody is told.
	Refused func(core.Refusal)

	Version string           // the platform's release that we answer as; "": 1.2.0
	Logger  *slog.Logger     // nil: discard
	Now     func() time.Time // the clock; nil: time.Now
}

// Dialect speaks Astarte. It implements dialect.Dialect; its methods may be called concurrently.
type Dialect struct {
	cfg    Config
	log    *slog.Logger
	realms realms
	http   httpSide
	recall registry.Recall[core.Device] // what certificates open

	inflating chan struct{} // bounds how many purge lists are inflated at once
}

// What the hub looks for by type would be missed by nobody if a method changed.
var _ interface {
	dialect.Dialect
	dialect.Identifier
	dialect.Expirer
	dialect.Developer
	dialect.Executor
	dialect.Director
} = (*Dialect)(nil)

// New returns the dialect. It does no I/O.
func New(cfg Config) *Dialect {
	if cfg.Version == "" {
		cfg.Version = defaultVersion
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Dialect{
		cfg: cfg, log: cfg.Logger.With("dialect", dialectName),
		realms:    realms{m: map[core.TenantID]*realmSlot{}},
		inflating: make(chan struct{}, 2),
	}
}

// Name returns "astarte".
func (d *Dialect) Name() string { return dialectName }

// limits are those that the platform's broker plugin sets (astarte_vmq_plugin.ex, vernemq.conf), and for what it leaves
// open bounds that let a device with thousands of server-owned properties receive them all after an emptyCache.
var limits = core.Limits{MaxPacketBytes: 65_535, Inflight: 100, MaxQueued: 10_000, MaxQueuedBytes: 32 << 20}

// profile is what the platform's broker does: VerneMQ serves these versions unless told otherwise (vernemq.schema,
// allowed_protocol_versions), and closes the connection of a device that publishes outside of its base topic.
var profile = core.Profile{Versions: []uint8{3, 4}, CloseOnForbidden: true}

// SignIn recognises a device by its certificate. The identity is the certificate's common name REALM/DEVICE and nothing
// else: the Python SDK connects with an empty client id, the others with the same text (observed).
func (d *Dialect) SignIn(ctx context.Context, c core.Claim) (core.Grant, dialect.Link, error) {
	k, ok := identity(c.Certificate)
	if !ok {
		return core.Grant{}, nil, dialect.ErrNotMine
	}
	if err := d.cfg.CA.Verify(c.Certificate); errors.Is(err, ca.ErrUnknownIssuer) {
		return core.Grant{}, nil, dialect.ErrNotMine
	} else if err != nil {
		return core.Grant{}, nil, &core.SignInError{Device: k, Err: denied(k, err)}
	}
	opening, err := d.recall.Find(c.Certificate.Raw, func() (dev core.Device, n core.DeviceNum, err error) {
		err = d.cfg.Store.View(ctx, func(rd store.Reader) (err error) {
			dev, err = holder(rd, k, c.Certificate)
			return err
		})
		return dev, dev.Num, err
	})
	dev := opening.Value
	if err != nil {
		if errors.Is(err, dialect.ErrNotMine) {
			return core.Grant{}, nil, err
		}
		// Who holds a revoked certificate of a device was that device; of other certificates the name may be made up.
		return core.Grant{}, nil, &core.SignInError{Device: k, Proven: dev.DeviceKey == k, Err: err}
	}
	slot, err := d.slot(ctx, k.Tenant)
	if errors.Is(err, core.ErrNotFound) {
		return core.Grant{}, nil, &core.SignInError{Device: k, Proven: true, Err: denied(k, err)}
	} else if err != nil {
		return core.Grant{}, nil, err
	}
	l := newLink(d, dev, ca.SerialString(c.Certificate.SerialNumber), slot)
	l.opening = opening
	return core.Grant{
		Session:   l.session,
		Device:    dev.Num,
		Publish:   []string{l.base + "/#"}, // covers l.base itself, where the introspection goes
		Subscribe: []string{l.base + "/#"},
		Private:   true,
		Lifetime:  max(c.Certificate.NotAfter.Sub(d.cfg.Now()), 1), // the device comes back with a new one
		Limits:    limits,
		Profile:   profile,
	}, l, nil
}

// Identify implements dialect.Identifier.
func (d *Dialect) Identify(c core.Claim) (core.DeviceKey, bool) { return identity(c.Certificate) }

// identity reads the device from a certificate whose common name is of the form REALM/DEVICE.
func identity(c *x509.Certificate) (core.DeviceKey, bool) {
	if c == nil {
		return core.DeviceKey{}, false
	}
	realm, device, ok := strings.Cut(c.Subject.CommonName, "/")
	if !ok || !astartewire.ValidRealm(realm) {
		return core.DeviceKey{}, false
	}
	id, err := astartewire.ParseExtendedDeviceID(device)
	if err != nil {
		return core.DeviceKey{}, false
	}
	return deviceKey(core.TenantID(realm), id), true
}

// holder returns the device k if c is a certificate that was issued to it and may still be used. That our CA signed it
// is not enough: other dialects have certificates signed whose common name their device has chosen.
func holder(rd store.Reader, k core.DeviceKey, c *x509.Certificate) (core.Device, error) {
	crt, err := rd.Certificate(ca.SerialString(c.SerialNumber))
	if errors.Is(err, core.ErrNotFound) {
		return core.Device{}, denied(k, errors.New("certificate is not on record"))
	} else if err != nil {
		return core.Device{}, err
	}
	dev, err := rd.DeviceByNum(crt.Device)
	if err != nil && !errors.Is(err, core.ErrNotFound) {
		return core.Device{}, err
	}
	switch {
	case err == nil && dev.Dialect != dialectName:
		return core.Device{}, dialect.ErrNotMine
	case err != nil || dev.DeviceKey != k:
		return core.Device{}, denied(k, errors.New("certificate was not issued to this device"))
	case crt.State == core.CertificateRevoked:
		return dev, denied(k, errors.New("certificate is revoked"))
	}
	// A superseded certificate opens too: the platform's broker looks at the issuer and the dates only, and a device
	// that lost the answer with its new certificate has no other.
	return dev, nil
}

func denied(k core.DeviceKey, cause error) error {
	return fmt.Errorf("sign in %s: %w: %v", k, core.ErrDenied, cause)
}

// deviceKey returns the key of a device; id is canonical.
func deviceKey(realm core.TenantID, id string) core.DeviceKey {
	return core.DeviceKey{Tenant: realm, Dialect: dialectName, ID: core.DeviceID(id)}
}

// sessionKey returns the key of a device's MQTT session.
func sessionKey(k core.DeviceKey) core.SessionKey {
	return core.SessionKey{Tenant: k.Tenant, Dialect: dialectName, ClientID: baseTopic(k)}
}

// baseTopic returns REALM/DEVICE, below which all topics of a device are.
func baseTopic(k core.DeviceKey) string { return string(k.Tenant) + "/" + string(k.ID) }
