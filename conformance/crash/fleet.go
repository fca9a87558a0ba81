package crash

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// A fleet is the plain MQTT devices.
type fleet struct {
	admin  *admin.Client
	addr   string
	config *tls.Config
	pumps  []*pump
}

// A pump is a plain MQTT device: a publisher, persistent subscribers of both versions, a shared subscription with two
// members, and clients with wills. All of them sign in with its user name and password.
type pump struct {
	id        string
	key       admin.DeviceKey
	user      string
	password  string
	prefix    string
	publisher *plain
	subs      []*plain
	group     *group
	mortals   []*mortal
	sleeper   *sleeper
	guest     *guest
	tails     map[string]*tail // of its samples, by topic
}

// sentinel is the last retained topic of a device: when it has come, all others have.
const sentinel = "zzz"

// newFleet makes the devices, as `fairlead device add` does.
func newFleet(ctx context.Context, vars map[string]string, addr string) (*fleet, error) {
	root, err := os.ReadFile(vars["FAIRLEAD_CA"])
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(root) {
		return nil, errors.New("root certificate: no certificate in the file")
	}
	f := &fleet{addr: addr, config: &tls.Config{RootCAs: roots}}
	f.admin = &admin.Client{URL: vars["FAIRLEAD_URL"], Token: vars["FAIRLEAD_TOKEN"], HTTP: &http.Client{
		Transport: &http.Transport{TLSClientConfig: f.config.Clone()}, Timeout: patience,
	}}
	f.config.ServerName = "localhost"
	tenants, err := f.admin.Tenants(ctx, 1, "")
	if err != nil || len(tenants.Items) == 0 {
		return nil, fmt.Errorf("tenants: %d, %v", len(tenants.Items), err)
	}
	for i, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		p := &pump{id: fmt.Sprintf("pump%d", i), tails: map[string]*tail{}}
		p.key = admin.DeviceKey{Dialect: "mqtt", Tenant: tenants.Items[0].ID, ID: p.id}
		made, err := f.admin.AddDevice(ctx, admin.NewDevice{Dialect: "mqtt", Tenant: p.key.Tenant, ID: p.id})
		if err != nil {
			return nil, fmt.Errorf("add device %s: %w", p.id, err)
		}
		p.user, p.password, p.prefix = made.Username, made.Password, made.TopicPrefix
		f.furnish(p, v)
		f.pumps = append(f.pumps, p)
	}
	return f, nil
}

// furnish makes the clients of a device whose publisher speaks version v.
func (f *fleet) furnish(p *pump, v mqtt.Version) {
	p.publisher = newPlain(f, p, v, "publisher", true)
	for qos := byte(1); qos <= 2; qos++ {
		for _, name := range []string{"s/a", "s/b", "g/a"} {
			topic := fmt.Sprintf("%s%s%d", p.prefix, name, qos)
			p.publisher.outlets = append(p.publisher.outlets, &outlet{
				topic: topic, qos: qos, stream: &Stream{Where: topic, Once: qos == 2},
			})
		}
		for _, name := range []string{"r/a", "r/b"} {
			topic := fmt.Sprintf("%s%s%d", p.prefix, name, qos)
			p.publisher.outlets = append(p.publisher.outlets, &outlet{topic: topic, qos: qos, retained: &Property{Where: topic}})
		}
	}
	p.publisher.burst = 4
	if v == mqtt.V5 {
		p.publisher.want(3, mqtt.Subscription{Filter: p.prefix + "s/#", QoS: 2, NoLocal: true})
	}
	p.group = &group{name: p.id + " group"}
	for i, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		s := newPlain(f, p, v, fmt.Sprintf("subscriber%d", i), true)
		s.want(7, mqtt.Subscription{Filter: p.prefix + "s/#", QoS: 2})
		s.want(8, mqtt.Subscription{Filter: p.prefix + "w/#", QoS: 2})
		s.want(268_435_455, mqtt.Subscription{
			Filter: p.prefix + "r/#", QoS: 2, RetainAsPublished: v == mqtt.V5, RetainHandling: mqtt.RetainDontSend,
		})
		p.subs = append(p.subs, s)
		m := newPlain(f, p, v, fmt.Sprintf("member%d", i), true)
		m.want(9, mqtt.Subscription{Filter: "$share/crew/" + p.prefix + "g/#", QoS: 2})
		p.group.members = append(p.group.members, m)
	}
	add := func(name string, v mqtt.Version, clean bool, qos byte) *mortal {
		m := &mortal{addr: f.addr, config: f.config, name: p.id + " " + name, login: p.login(v, name), qos: qos}
		m.topic = p.prefix + "w/" + name
		m.wills = &Wills{Where: m.topic}
		if m.login.CleanStart = clean; !clean {
			m.login.SessionExpiry = sessionSeconds
		}
		return m
	}
	p.mortals = []*mortal{
		add("mortal0", mqtt.V311, true, 1), add("mortal1", mqtt.V311, false, 2), add("mortal2", mqtt.V5, false, 1), add("mortal3", mqtt.V5, true, 2),
	}
	p.sleeper = &sleeper{mortal: *add("sleeper", mqtt.V5, false, 2)}
	p.guest = &guest{addr: f.addr, config: f.config, name: p.id + " guest", login: p.login(mqtt.V5, "guest")}
	p.guest.login.SessionExpiry = uint32(guestExpiry / time.Second)
}

// login is a CONNECT of a client of the device.
func (p *pump) login(v mqtt.Version, clientID string) mqtt.Connect {
	return mqtt.Connect{
		Version: v, ClientID: clientID, KeepAlive: 60,
		Username: p.user, HasUsername: true, Password: []byte(p.password), HasPassword: true,
	}
}

// clients returns those with persistent sessions.
func (p *pump) clients() []*plain {
	list := append([]*plain{p.publisher}, p.subs...)
	return append(list, p.group.members...)
}

// introduce has all subscribe, so that what is published from the beginning is theirs.
func (f *fleet) introduce(ctx context.Context, lf *life) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, p := range f.pumps {
		for _, c := range p.clients() {
			if err := c.connected(ctx, lf, func(ctx context.Context) error {
				// The hub answers in order, so that the SUBACKs have come when this exchange is complete.
				return c.settle(ctx, p.prefix+"hello")
			}); err != nil {
				return fmt.Errorf("introduce %s: %w", c.name, err)
			}
		}
		if _, err := f.admin.Publish(ctx, p.key.Tenant, admin.NewMessage{
			Topic: p.prefix + "r/" + sentinel, Text: "the end", QoS: 1, Retain: true,
		}); err != nil {
			return fmt.Errorf("introduce %s: %w", p.id, err)
		}
	}
	return nil
}

// settle publishes a message and waits until all exchanges are complete.
func (c *plain) settle(ctx context.Context, topic string) error {
	c.mu.Lock()
	out := c.begin(&exchange{p: mqtt.Publish{QoS: 1, Topic: []byte(topic), Payload: []byte("1")}, lasting: true, acked: func() {}})
	c.mu.Unlock()
	if err := c.l.send(out); err != nil {
		return err
	}
	return c.await(ctx, func() bool { return true })
}

// await sends what has waited until nothing is under way and done says so, or all is silent.
func (c *plain) await(ctx context.Context, done func() bool) error {
	const patience = 15 * time.Second
	for ctx.Err() == nil && c.silent() < patience {
		if err := c.flush(); err != nil {
			return err
		}
		c.mu.Lock()
		idle := c.idle()
		c.mu.Unlock()
		if idle && done() {
			return nil
		}
		pause(ctx, 10*time.Millisecond)
	}
	return nil
}

// begin has everybody live. Who has a persistent session may be away for the whole life; in the first one somebody is.
func (f *fleet) begin(start func(func(context.Context, *life, *rand.Rand)), rng *rand.Rand, first bool) {
	for _, p := range f.pumps {
		start(p.publisher.live)
		for i, c := range p.clients()[1:] {
			switch n := rng.IntN(4); {
			case n == 0 || first && i == 0:
			case n == 1:
				start(c.comeAndGo)
			default:
				start(c.live)
			}
		}
		for _, m := range p.mortals {
			start(m.live)
		}
		start(p.sleeper.live)
		if rng.IntN(2) == 0 { // else it stays away, so that its time may be over
			start(p.guest.live)
		}
	}
}

// verify brings everybody who is chosen what waits for him, and compares all there is with the ledgers. With all set
// nobody is left out, and publishers finish, too.
func (f *fleet) verify(ctx context.Context, c *campaign, all bool) error {
	ctx, cancel := context.WithTimeout(ctx, drainPatience+30*time.Second)
	defer cancel()
	lf := c.life()
	var wg sync.WaitGroup
	for _, p := range f.pumps {
		wg.Go(func() { p.sleeper.comeBack(ctx, lf) })
		p.guest.restarted()
	}
	wg.Wait()
	var publishers, present []*plain
	for _, p := range f.pumps {
		if all {
			publishers = append(publishers, p.publisher)
		}
		for _, s := range p.subs {
			if all || c.rng.IntN(4) > 0 {
				present = append(present, s)
			}
		}
		if all || c.rng.IntN(4) > 0 {
			present = append(present, p.group.members...)
		}
	}
	f.drain(ctx, c, lf, publishers)
	f.drain(ctx, c, lf, present)
	var failed []error
	for _, p := range f.pumps {
		c.add(p.check(present))
		failed = append(failed, f.checkRetained(ctx, c, lf, p), f.checkSamples(ctx, c, p, all), f.checkSessions(ctx, c, p))
	}
	f.admin.HTTP.CloseIdleConnections()
	return errors.Join(failed...)
}
