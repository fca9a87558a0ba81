package hub

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/accesskey"
	"github.com/fairlead-iot/fairlead/hub/internal/broker"
	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/credential"
	"github.com/fairlead-iot/fairlead/hub/internal/datadir"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect/astarte"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect/awsiot"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect/mqtt"
	"github.com/fairlead-iot/fairlead/hub/internal/listen"
	"github.com/fairlead-iot/fairlead/hub/internal/refusal"
	"github.com/fairlead-iot/fairlead/hub/internal/retain"
	"github.com/fairlead-iot/fairlead/hub/internal/seal"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/hub/internal/store/sqlite"
	"github.com/fairlead-iot/fairlead/hub/internal/sweep"
	"github.com/fairlead-iot/fairlead/hub/internal/trace"
)

// devTenant is the tenant that development credentials are for. Every platform can have it as its own word for
// tenant: it is a valid name of an Astarte realm, for instance.
const devTenant core.TenantID = "dev"

// parts are what a hub is made of.
type parts struct {
	host, token string

	dir         *datadir.Dir
	ca          *ca.CA
	certificate getCertificate
	limits      Limits
	mqtt, https net.Listener
	plain       net.Listener   // nil: no such port
	more        []net.Listener // besides https
	pending     *listen.Gate   // of MQTT connections that have not signed in
	webGate     *listen.Gate   // of the HTTPS port
	pace        *listen.Pace
	deviceQuota *listen.Quota[core.DeviceNum]
	webQuota    *listen.Quota[netip.Prefix]
	front       *listen.Front
	store       store.Store
	committer   *commit.Committer
	keeper      *retain.Keeper
	tracer      *trace.Tracer                    // nil: no traces
	observe     func(time.Time, int, int, error) // of commits; nil: nobody
	refusals    *refusal.Log
	sweeper     *sweep.Sweeper
	hasher      *credential.Hasher
	secrets     *seal.Key
	keys        *accesskey.Keys
	broker      *broker.Broker
	dialects    []dialect.Dialect

	unregistered func() int64 // counts the devices that certificates would have made beyond the limit

	closers []func() error // in the order of opening
}

// close closes what is open, the last one first.
func (p *parts) close() error {
	var errs []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		errs = append(errs, p.closers[i]())
	}
	return errors.Join(errs...)
}

// open takes the data folder and the ports and puts the parts together. Nothing runs yet.
func (h *Hub) open(ctx context.Context) (_ *parts, err error) {
	p := &parts{host: h.cfg.host(), limits: h.limits()}
	// Inherited sockets are ours from the beginning, also when the start fails.
	for _, l := range []net.Listener{h.cfg.Listeners.MQTT, h.cfg.Listeners.MQTTPlain, h.cfg.Listeners.HTTPS} {
		if l != nil {
			p.closers = append(p.closers, closeListener(l))
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if h.cfg.Prepared {
		if err := datadir.Prepared(h.cfg.DataDir); err != nil {
			return nil, err
		}
	}
	if p.dir, err = datadir.Open(h.cfg.DataDir); err != nil {
		return nil, err
	}
	p.closers = append(p.closers, p.dir.Close)
	if p.token, err = p.dir.AdminToken(); err != nil {
		return nil, err
	}
	if p.secrets, err = seal.OpenFile(p.dir.SecretsKey()); err != nil {
		return nil, err
	}
	if err := h.openCA(p); err != nil {
		return nil, err
	}
	if err := h.openPorts(p); err != nil {
		return nil, err
	}
	if p.store, err = sqlite.Open(ctx, sqlite.Config{Dir: p.dir.Database()}); err != nil {
		return nil, err
	}
	p.closers = append(p.closers, p.store.Close)
	if err := h.openTracer(p); err != nil {
		return nil, err
	}
	h.assemble(p)
	if err := h.openKeeper(p); err != nil {
		return nil, err
	}
	return p, nil
}

// openKeeper makes what keeps the limits of the database, with those that depend on the disk.
func (h *Hub) openKeeper(p *parts) error {
	cfg := h.cfg.Retention
	disk := func() (size, free int64, err error) { return datadir.Disk(p.dir.Path()) }
	size, free, err := disk()
	if err != nil {
		return fmt.Errorf("free space of the disk: %w", err)
	}
	database, log, err := p.store.Size()
	if err != nil {
		return err
	}
	cfg = cfg.on(database+log, size, free)
	var expiring []retain.Expiring
	for _, d := range p.dialects {
		if e, ok := d.(dialect.Expirer); ok {
			expiring = append(expiring, e)
		}
	}
	p.keeper = retain.New(retain.Config{
		Store: p.store, Committer: p.committer, Disk: disk, Logger: h.cfg.Logger,
		SampleAge: cfg.SampleAge, SampleBytes: cfg.SampleBytes, TenantBytes: cfg.TenantSampleBytes, EventAge: cfg.EventAge, EventCount: cfg.EventCount,
		MinFreeBytes: cfg.MinFreeBytes, Expiring: expiring,
	})
	return nil
}

// openTracer makes the tracer, if there shall be one. When it is closed nobody makes spans any more.
func (h *Hub) openTracer(p *parts) (err error) {
	if h.cfg.TraceEndpoint == "" {
		return nil
	}
	if p.tracer, err = trace.New(trace.Config{Endpoint: h.cfg.TraceEndpoint, Version: Version(), Logger: h.cfg.Logger}); err != nil {
		return err
	}
	p.observe = p.tracer.Commit
	p.closers = append(p.closers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if err := p.tracer.Close(ctx); err != nil {
			h.cfg.Logger.Warn("the last traces were not sent", "err", err)
		}
		return nil
	})
	return nil
}

func (h *Hub) openCA(p *parts) error {
	if err := h.openAuthority(p); err != nil || h.cfg.CertificateFile == "" {
		return err
	}
	own, err := openCertificate(h.cfg.CertificateFile, h.cfg.KeyFile, h.cfg.Logger)
	if err != nil {
		return err
	}
	p.certificate = own.get
	if name := own.name(); name != "" && len(h.cfg.Names) == 0 {
		p.host = name
	}
	return nil
}

// openAuthority opens the hub's own certificate authority, and the server certificate that comes from it.
func (h *Hub) openAuthority(p *parts) error {
	var err error
	if p.ca, err = ca.Open(ca.Config{Dir: p.dir.CA(), Logger: h.cfg.Logger}); err != nil {
		return err
	}
	machine, err := os.Hostname()
	if err != nil {
		machine = ""
	}
	p.certificate, err = p.ca.GetCertificate(h.cfg.serverNames(machine))
	if errors.Is(err, core.ErrInvalid) && machine != "" {
		// Names of machines have fewer rules than those in certificates; names that the user gave are another matter.
		p.certificate, err = p.ca.GetCertificate(h.cfg.serverNames(""))
	}
	return err
}

// openPorts opens the listening sockets that were not inherited.
func (h *Hub) openPorts(p *parts) error {
	https := ports(h.cfg.HTTPSPort, DefaultHTTPSPort, UnprivilegedHTTPSPort)
	if len(https) > 1 { // the second choice may be one that is wanted besides
		https = slices.DeleteFunc(https, func(port int) bool { return slices.Contains(h.cfg.HTTPSMorePorts, port) })
	}
	var plain []int
	if h.cfg.MQTTPlainPort != 0 {
		plain = ports(h.cfg.MQTTPlainPort)
	}
	for _, s := range []struct {
		use   string
		from  net.Listener
		to    *net.Listener
		addr  netip.Addr
		ports []int
	}{
		{"MQTT", h.cfg.Listeners.MQTT, &p.mqtt, h.cfg.Listen, ports(h.cfg.MQTTPort, DefaultMQTTPort)},
		{"MQTT without TLS", h.cfg.Listeners.MQTTPlain, &p.plain, h.cfg.MQTTPlainListen, plain},
		{"HTTPS", h.cfg.Listeners.HTTPS, &p.https, h.cfg.Listen, https},
	} {
		if s.from != nil || len(s.ports) == 0 {
			*s.to = s.from
			continue
		}
		l, skipped, err := listen.TCP(s.use, s.addr.String(), s.ports...)
		if err != nil {
			return err
		}
		for _, e := range skipped {
			h.cfg.Logger.Info("port not to be had, using another", "use", s.use, "port", listen.Port(l), "err", e)
		}
		*s.to = l
		p.closers = append(p.closers, closeListener(l))
	}
	for _, port := range h.cfg.HTTPSMorePorts {
		l, _, err := listen.TCP("HTTPS", h.cfg.Listen.String(), ports(port)...)
		if err != nil {
			return err
		}
		p.more = append(p.more, l)
		p.closers = append(p.closers, closeListener(l))
	}
	return nil
}

// closeListener closes a listener unless its server has done so.
func closeListener(l net.Listener) func() error {
	return func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

// assemble makes committer, broker and dialects, which need each other: the committer tells dialects of events, they
// send messages through the broker, and the broker commits.
func (h *Hub) assemble(p *parts) {
	var dialects atomic.Pointer[map[string]dialect.Dialect]
	p.committer = commit.New(commit.Config{
		Store:   p.store,
		Logger:  h.cfg.Logger,
		Observe: p.observe,
		Notify: func(tx *commit.Tx, e core.Event) error {
			if all := dialects.Load(); all != nil {
				if e.Kind == core.TenantDeleted {
					return notifyAll(tx, *all, e)
				}
				if d := (*all)[e.Device.Dialect]; d != nil {
					return d.Notify(tx, e)
				}
			}
			return nil
		},
	})
	p.hasher = credential.NewHasher(max(1, runtime.GOMAXPROCS(0)/2))
	p.refusals = refusal.New(refusal.Config{Known: p.hasTenant})
	p.pending = listen.NewGate(p.limits.MQTTPending, p.limits.MQTTPendingPerAddress)
	p.pace = p.limits.pace()
	p.deviceQuota = listen.NewQuota[core.DeviceNum](orNone(p.limits.MQTTConnectsPerDevice))
	p.webQuota = listen.NewQuota[netip.Prefix](orNone(p.limits.HTTPSConnectsPerAddress))
	h.openFront(p)
	p.broker = broker.New(broker.Config{
		Committer: p.committer, Store: p.store, Logger: h.cfg.Logger, Refused: p.refusals.Add,
		ConnectTimeout: p.limits.ConnectTimeout, Pending: p.pending, Pace: p.pace, Quota: p.deviceQuota, MaxConnections: p.limits.MQTTConnections,
		MaxSessions: p.limits.MQTTSessions, MaxUnreadBytes: p.limits.MQTTUnreadTotalBytes,
		Limits:      core.Limits{Sessions: p.limits.MQTTSessionsPerDevice, DeviceFilters: p.limits.MQTTSubscriptionsPerDevice, DeviceUnread: p.limits.MQTTUnreadBytes},
		MaxRetained: p.limits.MQTTRetained, MaxRetainedBytes: int64(p.limits.MQTTRetainedBytes),
	})
	plain := mqtt.New(mqtt.Config{
		Committer: p.committer, Store: p.store, Broker: p.broker, CA: p.ca, Logger: h.cfg.Logger,
		DefaultTenant: h.defaultTenant(), Hasher: p.hasher, Anonymous: h.cfg.MQTTAnonymous, MaxRegistered: p.limits.MQTTAutoRegistered,
	})
	p.unregistered = plain.RegistrationsRefused
	p.sweeper = sweep.New(sweep.Config{Store: p.store, Committer: p.committer, Broker: p.broker, Gone: p.refusals.Forget, Logger: h.cfg.Logger})
	aws := awsiot.New(awsiot.Config{
		Committer: p.committer, Store: p.store, Broker: p.broker, CA: p.ca, Logger: h.cfg.Logger,
		Secrets: p.secrets, Region: h.cfg.AWSRegion, ServiceLimits: h.cfg.AWSServiceLimits, Refused: p.refusals.Add, DefaultTenant: h.defaultTenant(),
	})
	p.keys = aws.Keys()
	// Each dialect is an element here, and nowhere else.
	p.dialects = []dialect.Dialect{
		astarte.New(astarte.Config{
			Committer: p.committer, Store: p.store, Broker: p.broker, CA: p.ca, Logger: h.cfg.Logger,
			Refused:   p.refusals.Add,
			BrokerURL: func(host string) string { return "mqtts://" + p.at(host, p.mqtt) + "/" },
		}),
		aws,
		plain, // the last one: it takes what no platform wants
	}
	byName := make(map[string]dialect.Dialect, len(p.dialects))
	for _, d := range p.dialects {
		byName[d.Name()] = d
	}
	dialects.Store(&byName)
	p.broker.SetDialects(p.dialects)
}

// notifyAll tells all dialects of what concerns a tenant.
func notifyAll(tx *commit.Tx, all map[string]dialect.Dialect, e core.Event) error {
	for _, d := range all {
		if err := d.Notify(tx, e); err != nil {
			return err
		}
	}
	return nil
}

// hasTenant reports whether there is such a tenant, false where that cannot be told soon.
func (p *parts) hasTenant(t core.TenantID) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return p.store.View(ctx, func(rd store.Reader) error {
		_, err := rd.Tenant(t)
		return err
	}) == nil
}

// defaultTenant is the tenant of user names that name none.
func (h *Hub) defaultTenant() core.TenantID {
	if h.cfg.MQTTDefaultTenant == "" && h.cfg.Development {
		return devTenant
	}
	return core.TenantID(h.cfg.MQTTDefaultTenant)
}

// lostDefaultTenant says that the default tenant is not there, "" if it is or there is none. It may be made at any time.
func (h *Hub) lostDefaultTenant(rd store.Reader) (string, error) {
	t := h.defaultTenant()
	if t == "" {
		return "", nil
	}
	_, err := rd.Tenant(t)
	if errors.Is(err, core.ErrNotFound) {
		return fmt.Sprintf("mqtt_default_tenant is %s, and there is no such tenant: user names without one open nothing. `fairlead tenant add %s` makes it.", t, t), nil
	}
	return "", err
}

// warnOfDefaultTenant logs that.
func (h *Hub) warnOfDefaultTenant(ctx context.Context, p *parts) error {
	return p.store.View(ctx, func(rd store.Reader) error {
		text, err := h.lostDefaultTenant(rd)
		if text != "" {
			h.cfg.Logger.Warn("default tenant is not there: user names without a tenant open nothing", "tenant", string(h.defaultTenant()))
		}
		return err
	})
}

// develop makes the development tenant, and credentials of each dialect for it.
func (p *parts) develop(ctx context.Context) (map[string]map[string]string, error) {
	if err := p.endDeletion(ctx, devTenant); err != nil {
		return nil, err
	}
	err := p.committer.Do(ctx, func(tx *commit.Tx) error {
		err := tx.InsertTenant(core.Tenant{ID: devTenant, Created: tx.Now()})
		if errors.Is(err, core.ErrConflict) {
			return nil // an earlier start has made it
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create tenant %s: %w", devTenant, err)
	}
	all := map[string]map[string]string{}
	for _, d := range p.dialects {
		dev, ok := d.(dialect.Developer)
		if !ok {
			continue
		}
		dir, err := p.dir.Development(d.Name())
		if err != nil {
			return nil, err
		}
		env, err := dev.Develop(ctx, dialect.Development{
			Tenant:    devTenant,
			Dir:       dir,
			BaseURL:   p.url(),
			Host:      p.host,
			HTTPSPort: listen.Port(p.https),
			MQTTPort:  listen.Port(p.mqtt),
		})
		if err != nil {
			return nil, fmt.Errorf("development credentials for %s: %w", d.Name(), err)
		}
		all[d.Name()] = maps.Clone(env)
	}
	return all, nil
}

// endDeletion deletes the rest of a tenant whose deletion the last process did not end. Nobody is connected yet.
func (p *parts) endDeletion(ctx context.Context, t core.TenantID) error {
	deleting := false
	err := p.store.View(ctx, func(rd store.Reader) error {
		x, err := rd.Tenant(t)
		if errors.Is(err, core.ErrNotFound) {
			return nil
		}
		deleting = x.Deleting
		return err
	})
	if err != nil || !deleting {
		return err
	}
	return p.sweeper.Tenant(ctx, t)
}

// url returns the address of all HTTP APIs, without a slash at the end. The port is left out where it goes without
// saying, because clients that compare URLs do that too.
func (p *parts) url() string { return p.urlOf(p.https) }

func (p *parts) urlOf(l net.Listener) string {
	if port := listen.Port(l); port == 443 {
		return "https://" + bracket(p.host)
	}
	return "https://" + p.at(p.host, l)
}

func (p *parts) moreURLs() (list []string) {
	for _, l := range p.more {
		list = append(list, p.urlOf(l))
	}
	return list
}

func (p *parts) mqttAddress() string { return p.at(p.host, p.mqtt) }

// plainAddress is where the port without TLS is reached: usually on this machine only, whatever its name is.
func (p *parts) plainAddress() string {
	if a, ok := p.plain.Addr().(*net.TCPAddr); ok && !a.IP.IsUnspecified() {
		return a.String()
	}
	return p.at(p.host, p.plain)
}

// at returns host and port of a listener, the port always explicit; without a host it is the one that clients are told.
func (p *parts) at(host string, l net.Listener) string {
	if host == "" {
		host = p.host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(listen.Port(l)))
}

// bracket puts an IPv6 address into the form that URLs want.
func bracket(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}
