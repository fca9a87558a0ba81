package awsiot

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/broker"
	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/seal"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/hub/internal/store/sqlite"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
)

// A connRig is the dialect with the broker on a real database, and a port with TLS.
type connRig struct {
	*testing.T
	d         *Dialect
	store     store.Store
	committer *commit.Committer
	broker    *broker.Broker
	ca        *ca.CA
	addr      string

	mu       sync.Mutex
	skew     time.Duration
	refusals []core.Refusal
}

func newConnRig(t *testing.T) *connRig {
	t.Helper()
	g := &connRig{T: t}
	var err error
	if g.store, err = sqlite.Open(t.Context(), sqlite.Config{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	if g.ca, err = ca.Open(ca.Config{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	key, err := seal.New(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	g.committer = commit.New(commit.Config{Store: g.store, Notify: func(tx *commit.Tx, e core.Event) error {
		if e.Device.Dialect != Name {
			return nil
		}
		return g.d.Notify(tx, e)
	}})
	refused := func(r core.Refusal) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.refusals = append(g.refusals, r)
	}
	g.broker = broker.New(broker.Config{Committer: g.committer, Store: g.store, Refused: refused})
	g.d = New(Config{
		Committer: g.committer, Store: g.store, Broker: g.broker, CA: g.ca, Secrets: key, DefaultTenant: testTenant,
		Refused: refused, Now: g.now,
	})
	g.broker.SetDialects([]dialect.Dialect{g.d})
	g.start()
	g.do(func(tx *commit.Tx) error {
		if err := tx.InsertTenant(core.Tenant{ID: testTenant, Created: tx.Now()}); err != nil {
			return err
		}
		_, err := g.d.makeAccount(tx, testTenant)
		return err
	})
	return g
}

func (g *connRig) start() {
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
	server, err := g.ca.ServerCertificate([]string{"localhost"})
	if err != nil {
		g.Fatal(err)
	}
	g.addr = l.Addr().String()
	served.Go(func() { g.broker.Run(ctx) })
	served.Go(func() {
		_ = g.broker.Serve(ctx, l, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*server}, ClientAuth: tls.RequestClientCert})
	})
	g.Cleanup(func() {
		stop()
		served.Wait()
		stopCommits()
		commits.Wait()
		g.store.Close()
	})
}

func (g *connRig) now() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Now().Add(g.skew)
}

func (g *connRig) do(f func(*commit.Tx) error) {
	g.Helper()
	if err := g.committer.Do(g.Context(), f); err != nil {
		g.Fatal(err)
	}
}

// thing makes a thing.
func (g *connRig) thing(x thing) {
	g.Helper()
	x.ID, x.Version = newUUID(), 1
	g.do(func(tx *commit.Tx) error { return g.d.putThing(tx, testTenant, x) })
}

// newKey returns a key for a device.
func (g *connRig) newKey() *ecdsa.PrivateKey {
	g.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		g.Fatal(err)
	}
	return key
}

// enrol makes an ACTIVE certificate of our CA, attached to things and with policies.
func (g *connRig) enrol(policies []string, things ...string) (tls.Certificate, string) {
	g.Helper()
	key := g.newKey()
	issued, err := g.ca.SignDeviceKey(key.Public(), ca.Leaf{CommonName: issuedName})
	if err != nil {
		g.Fatal(err)
	}
	crt, err := ca.ParseCertificate(issued.PEM)
	if err != nil {
		g.Fatal(err)
	}
	id := certificateID(crt.Raw)
	g.register(crt, certificate{Status: statusActive, Mode: modeDefault})
	g.do(func(tx *commit.Tx) error {
		for _, p := range policies {
			if err := g.d.attachPolicy(tx, testTenant, p, certResource+id); err != nil {
				return err
			}
		}
		for _, x := range things {
			if err := g.d.attachPrincipal(tx, testTenant, attachment{Principal: certResource + id, Thing: x}); err != nil {
				return err
			}
		}
		return nil
	})
	return tls.Certificate{Certificate: [][]byte{crt.Raw}, PrivateKey: key}, id
}

// register puts a certificate on record.
func (g *connRig) register(crt *x509.Certificate, c certificate) {
	g.Helper()
	c.ID, c.PEM, c.NotBefore, c.NotAfter = certificateID(crt.Raw), string(pemOf(crt.Raw)), crt.NotBefore, crt.NotAfter
	g.do(func(tx *commit.Tx) error {
		c.Created = tx.Now()
		return g.d.insertCertificate(tx, testTenant, c)
	})
}

// setStatus changes the status of a certificate.
func (g *connRig) setStatus(id, status string) {
	g.Helper()
	g.do(func(tx *commit.Tx) error {
		c, err := readCertificate(tx, testTenant, id)
		if err != nil {
			return err
		}
		c.Status = status
		return g.d.updateCertificate(tx, testTenant, c)
	})
}

// policy makes a policy, or a new version of it. In statements "arn:" stands for the account's ARN up to the resource.
func (g *connRig) policy(name string, statements ...string) {
	g.Helper()
	g.do(func(tx *commit.Tx) error {
		a, err := readAccount(tx, testTenant)
		if err != nil {
			return err
		}
		doc := `{"Version":"2012-10-17","Statement":[` + strings.ReplaceAll(strings.Join(statements, ","), "arn:", a.arn("")) + `]}`
		p := iotPolicy{Name: name, Default: 1, Last: 1, Versions: []policyVersion{{Version: 1, Document: doc}}}
		return g.d.putPolicy(tx, testTenant, p)
	})
}

func allow(action, resource string) string {
	return `{"Effect":"Allow","Action":"` + action + `","Resource":"` + resource + `"}`
}

// foreign makes an authority of somebody else, and a certificate that it has signed.
func (g *connRig) foreign(commonName string) (authority *x509.Certificate, leaf tls.Certificate) {
	g.Helper()
	caKey := g.newKey()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "somebody's CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, caKey.Public(), caKey)
	if err != nil {
		g.Fatal(err)
	}
	if authority, err = x509.ParseCertificate(der); err != nil {
		g.Fatal(err)
	}
	key := g.newKey()
	der, err = x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: commonName}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, authority, key.Public(), caKey)
	if err != nil {
		g.Fatal(err)
	}
	return authority, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// dial returns a client that has not sent CONNECT.
func (g *connRig) dial(crt tls.Certificate) *mqtttest.Client {
	g.Helper()
	nc, err := tls.Dial("tcp", g.addr, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{crt}, ServerName: "localhost"}) //nolint:gosec // a test's own server
	if err != nil {
		g.Fatal(err)
	}
	return mqtttest.NewClient(g.T, nc)
}

// connect returns a connected client, of MQTT 3.1.1 unless p says otherwise.
func (g *connRig) connect(crt tls.Certificate, p mqtt.Connect) *mqtttest.Client {
	g.Helper()
	c := g.dial(crt)
	if p.Version == 0 {
		p.Version = mqtt.V311
	}
	c.Connect(p)
	return c
}

// tryConnect returns what a client is told that may be refused.
func (g *connRig) tryConnect(crt tls.Certificate, p mqtt.Connect) mqtt.ConnAck {
	g.Helper()
	if p.Version == 0 {
		p.Version = mqtt.V311
	}
	return g.dial(crt).TryConnect(p)
}

// silentlyRefused checks that a client is refused without a word.
func (g *connRig) silentlyRefused(crt tls.Certificate, clientID string) {
	g.Helper()
	c := g.dial(crt)
	c.Send(mqtt.Connect{Version: mqtt.V311, ClientID: clientID, CleanStart: true})
	c.ExpectClosed()
}

// samples returns the number of samples of a thing by channel.
func (g *connRig) samples(thing string) map[string]int {
	g.Helper()
	got := map[string]int{}
	err := g.store.View(g.Context(), func(rd store.Reader) error {
		dev, err := rd.Device(deviceKey(testTenant, thing))
		if err != nil {
			return err
		}
		list, err := rd.Series(dev.Num, "")
		for _, s := range list {
			for _, err := range rd.Samples(s, core.Range{}) {
				if err != nil {
					return err
				}
				got[s.Channel]++
			}
		}
		return err
	})
	if err != nil {
		g.Fatal(err)
	}
	return got
}

// eventually waits for what another goroutine brings about.
func (g *connRig) eventually(what string, ok func() bool) {
	g.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			g.Fatalf("not within 30 s: %s", what)
		}
	}
}

// refusedFor reports whether a refusal was told whose text has some words in it.
func (g *connRig) refusedFor(words string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.refusals {
		if strings.Contains(r.Err.Error(), words) {
			return true
		}
	}
	return false
}

// event reads the payload of an event that a client has got.
func (g *connRig) event(m mqtt.Publish) (e map[string]any) {
	g.Helper()
	if err := json.Unmarshal(m.Payload, &e); err != nil {
		g.Fatal(errors.Join(err, errors.New(string(m.Payload))))
	}
	return e
}

// A clientOf is a client with the id of its certificate.
type clientOf struct {
	*mqtttest.Client
	id string
}
