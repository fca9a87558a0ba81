package mqtt

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/broker"
	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/credential"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/refusal"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/hub/internal/store/sqlite"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
)

// A rig is the dialect with the broker on a real database. It serves without TLS, so that tests need no certificates to
// talk to it; what certificates open is tested on SignIn.
type rig struct {
	*testing.T
	d         *Dialect
	store     store.Store
	committer *commit.Committer
	broker    *broker.Broker
	refusals  *refusal.Log
	ca        *ca.CA
	addr      string

	mu     sync.Mutex
	skew   time.Duration
	halted time.Time // the zero time: it goes on
}

func newRig(t *testing.T, edit func(*Config)) *rig {
	t.Helper()
	g := &rig{T: t}
	var err error
	if g.store, err = sqlite.Open(t.Context(), sqlite.Config{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	if g.ca, err = ca.Open(ca.Config{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	g.committer = commit.New(commit.Config{Store: g.store, Notify: func(tx *commit.Tx, e core.Event) error {
		if e.Device.Dialect != Name {
			return nil
		}
		return g.d.Notify(tx, e)
	}})
	g.refusals = refusal.New(refusal.Config{Known: func(core.TenantID) bool { return true }})
	g.broker = broker.New(broker.Config{Committer: g.committer, Store: g.store, Refused: g.refusals.Add})
	cfg := Config{Committer: g.committer, Store: g.store, Broker: g.broker, CA: g.ca, DefaultTenant: "dev", Now: g.now}
	if edit != nil {
		edit(&cfg)
	}
	g.d = New(cfg)
	g.broker.SetDialects([]dialect.Dialect{g.d})
	g.start()
	g.do(func(tx *commit.Tx) error {
		return errors.Join(tx.InsertTenant(core.Tenant{ID: "dev", Created: tx.Now()}), tx.InsertTenant(core.Tenant{ID: "acme", Created: tx.Now()}))
	})
	return g
}

func (g *rig) start() {
	commitCtx, stopCommits := context.WithCancel(context.Background())
	ctx, stop := context.WithCancel(context.Background())
	var commits, served sync.WaitGroup
	commits.Go(func() { _ = g.committer.Run(commitCtx) })
	if err := g.broker.Load(ctx); err != nil {
		g.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		g.Fatal(err)
	}
	g.addr = l.Addr().String()
	served.Go(func() { g.broker.Run(ctx) })
	served.Go(func() { _ = g.broker.ServePlain(ctx, l) })
	g.Cleanup(func() {
		stop()
		served.Wait()
		stopCommits()
		commits.Wait()
		g.store.Close()
	})
}

func (g *rig) now() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.halted.IsZero() {
		return g.halted.Add(g.skew)
	}
	return time.Now().Add(g.skew)
}

// halt stops the dialect's clock, so that it does not matter how long passwords take.
func (g *rig) halt() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.halted = time.Now()
}

// later moves the dialect's clock.
func (g *rig) later(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.skew += d
}

func (g *rig) do(f func(*commit.Tx) error) {
	g.Helper()
	if err := g.committer.Do(g.Context(), f); err != nil {
		g.Fatal(err)
	}
}

// key reads TENANT/DEVICE.
func (g *rig) key(user string) core.DeviceKey {
	k, ok := g.d.user(user)
	if !ok {
		g.Fatalf("%q is no user name", user)
	}
	return k
}

// add makes a device and returns its password.
func (g *rig) add(user string) (password string) {
	g.Helper()
	password, hash := credential.NewPassword()
	g.do(func(tx *commit.Tx) error {
		_, err := credential.Add(tx, g.key(user), hash, nil)
		return err
	})
	return password
}

// addChosen makes a device with a password that somebody has chosen.
func (g *rig) addChosen(user, password string) {
	g.Helper()
	hash, err := g.d.cfg.Hasher.Hash(g.Context(), password)
	if err != nil {
		g.Fatal(err)
	}
	g.do(func(tx *commit.Tx) error {
		_, err := credential.Add(tx, g.key(user), hash, nil)
		return err
	})
}

func (g *rig) grant(user string, grants credential.Grants) {
	g.Helper()
	g.do(func(tx *commit.Tx) error { return credential.SetGrants(tx, g.key(user), grants) })
}

func (g *rig) holder(user string) (h credential.Holder) {
	g.Helper()
	err := g.store.View(g.Context(), func(rd store.Reader) (err error) {
		h, err = credential.Find(rd, g.key(user))
		return err
	})
	if err != nil {
		g.Fatal(err)
	}
	return h
}

func (g *rig) dial() *mqtttest.Client {
	g.Helper()
	nc, err := net.Dial("tcp", g.addr)
	if err != nil {
		g.Fatal(err)
	}
	return mqtttest.NewClient(g, nc)
}

// try connects and returns the code of CONNACK.
func (g *rig) try(v mqtt.Version, user, password string) byte {
	g.Helper()
	return g.dial().TryConnect(mqtt.Connect{
		Version: v, ClientID: "c", CleanStart: true, Username: user, HasUsername: true, Password: []byte(password), HasPassword: true,
	}).Code
}

// connect returns a client that has signed in.
func (g *rig) connect(user, password string, p mqtt.Connect) *mqtttest.Client {
	g.Helper()
	c := g.dial()
	p.Username, p.HasUsername, p.Password, p.HasPassword = user, true, []byte(password), true
	c.Connect(p)
	return c
}

// samples returns the newest value of each channel of a device.
func (g *rig) samples(user string) map[string]any {
	g.Helper()
	out := map[string]any{}
	num := g.holder(user).Num
	err := g.store.View(g.Context(), func(rd store.Reader) error {
		list, err := rd.Series(num, "")
		if err != nil {
			return err
		}
		for _, s := range list {
			for x, err := range rd.Samples(s, core.Range{Limit: 1, Backwards: true}) {
				if err != nil {
					return err
				}
				if out[s.Channel], err = x.Value.Decode(); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		g.Fatal(err)
	}
	return out
}

// counts returns the messages of a device by scope.
func (g *rig) counts(user string) map[string]int64 {
	g.Helper()
	out := map[string]int64{}
	num := g.holder(user).Num
	err := g.store.View(g.Context(), func(rd store.Reader) error {
		list, err := rd.Counts(num)
		for _, c := range list {
			out[c.Scope] = c.Messages
		}
		return err
	})
	if err != nil {
		g.Fatal(err)
	}
	return out
}

// events returns the kinds of a device's events.
func (g *rig) events(user string) (kinds []string) {
	g.Helper()
	err := g.store.View(g.Context(), func(rd store.Reader) error {
		list, err := rd.DeviceEvents(g.key(user), 0, 100)
		for _, e := range list {
			kinds = append(kinds, string(e.Kind))
		}
		return err
	})
	if err != nil {
		g.Fatal(err)
	}
	return kinds
}

// eventually waits for something that others do.
func (g *rig) eventually(what string, ok func() bool) {
	g.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			g.Fatalf("not within 30 s: %s", what)
		}
	}
}

// claim is what a client on another machine says.
func claim(user, password string) core.Claim {
	return core.Claim{
		Remote: netip.MustParseAddrPort("192.0.2.7:5000"), Version: 4, ClientID: "c", CleanStart: true,
		Username: user, HasUsername: user != "", Password: []byte(password),
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func parse(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// issue gives a device a certificate of our CA.
func (g *rig) issue(user string) (*x509.Certificate, ca.Issued) {
	g.Helper()
	issued, err := g.ca.SignDeviceKey(newKey(g).Public(), ca.Leaf{CommonName: user})
	if err != nil {
		g.Fatal(err)
	}
	g.do(func(tx *commit.Tx) error {
		return registry.IssueDirectly(tx, g.holder(user).Device, core.Certificate{
			Serial: issued.Serial, SHA256: issued.SHA256, AuthorityKeyID: issued.AuthorityKeyID, NotBefore: issued.NotBefore, NotAfter: issued.NotAfter,
		})
	})
	block, _ := pem.Decode(issued.PEM)
	return parse(g, block.Bytes), issued
}

// A factory is somebody else's authority.
type factory struct {
	t   testing.TB
	key *ecdsa.PrivateKey
	crt *x509.Certificate
}

func newFactory(t testing.TB, name string) *factory {
	t.Helper()
	f := &factory{t: t, key: newKey(t)}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, f.key.Public(), f.key)
	if err != nil {
		t.Fatal(err)
	}
	f.crt = parse(t, der)
	return f
}

func (f *factory) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.crt.Raw}))
}

// sign makes a certificate; edit may change it first.
func (f *factory) sign(name string, edit func(*x509.Certificate)) *x509.Certificate {
	f.t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if edit != nil {
		edit(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, f.crt, newKey(f.t).Public(), f.key)
	if err != nil {
		f.t.Fatal(err)
	}
	return parse(f.t, der)
}
