package astarte

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/hub/internal/store/sqlite"
	"github.com/fairlead-iot/fairlead/internal/topic"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// A recorder stands in for the MQTT broker: it keeps the subscriptions that a test gives it and remembers what it was
// asked for, once that is committed.
type recorder struct {
	filters map[core.SessionKey][]string // committer's goroutine, or before anything runs
	queues  map[core.SessionKey]int      // room left; absent: any
	err     error                        // of the next call
	settle  func()                       // waits until what was committed is here

	mu   sync.Mutex
	sent []core.Message
	left []string // "REASON wipe" of each Disconnect
}

func (r *recorder) Publish(tx *commit.Tx, t core.TenantID, dialect string, m core.Message) (int, error) {
	panic("not used by this dialect")
}

func (r *recorder) SendTo(*commit.Tx, core.SessionKey, core.Message) (bool, error) {
	panic("not used by this dialect")
}

func (r *recorder) Retain(*commit.Tx, core.TenantID, string, core.Message) error { return nil }

func (r *recorder) PublishTo(tx *commit.Tx, k core.SessionKey, m core.Message) (bool, error) {
	if r.err != nil {
		return false, r.err
	}
	for _, f := range r.filters[k] {
		if !topic.Match(f, m.Topic) {
			continue
		}
		if room, bounded := r.queues[k]; bounded {
			if room == 0 {
				return false, core.ErrTooLarge
			}
			r.queues[k]--
		}
		tx.After(func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.sent = append(r.sent, m)
		})
		return true, nil
	}
	return false, nil
}

func (r *recorder) Disconnect(tx *commit.Tx, k core.SessionKey, wipe bool, reason string) error {
	filters := r.filters[k]
	if wipe {
		delete(r.filters, k)
		tx.Undo(func() { r.filters[k] = filters })
	}
	tx.After(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.left = append(r.left, fmt.Sprintf("%s wipe=%v", reason, wipe))
	})
	return nil
}

// take returns what was sent since the last call.
func (r *recorder) take() []core.Message {
	r.settle()
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.sent
	r.sent = nil
	return m
}

// kicks returns the disconnections since the last call.
func (r *recorder) kicks() []string {
	r.settle()
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.left
	r.left = nil
	return l
}

// A rig is the dialect on a real database, without broker and HTTP.
type rig struct {
	testing.TB
	d      *Dialect
	store  store.Store
	c      *commit.Committer
	ca     *ca.CA
	broker *recorder
	key    *ecdsa.PrivateKey
	now    time.Time // of messages and transactions; changed between them only
	stop   func()    // the committer
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	r := &rig{
		TB: tb, broker: &recorder{filters: map[core.SessionKey][]string{}, queues: map[core.SessionKey]int{}},
		now: time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC),
	}
	var err error
	if r.ca, err = ca.Open(ca.Config{Dir: tb.TempDir()}); err != nil {
		tb.Fatal(err)
	}
	if r.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		tb.Fatal(err)
	}
	if r.store, err = sqlite.Open(tb.Context(), sqlite.Config{Dir: tb.TempDir()}); err != nil {
		tb.Fatal(err)
	}
	r.broker.settle = r.settle
	r.start()
	tb.Cleanup(func() {
		r.stop()
		r.store.Close()
	})
	return r
}

// start makes a dialect and a committer, as after a start of the hub; earlier ones end.
func (r *rig) start() {
	r.Helper()
	if r.stop != nil {
		r.stop()
	}
	clock := func() time.Time { return r.now }
	log := slog.New(slog.DiscardHandler)
	r.c = commit.New(commit.Config{Store: r.store, Now: clock, Notify: func(tx *commit.Tx, e core.Event) error {
		return r.d.Notify(tx, e)
	}})
	r.d = New(Config{Committer: r.c, Store: r.store, Broker: r.broker, CA: r.ca, Now: clock, Logger: log})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.c.Run(ctx) }()
	r.stop = func() {
		stop()
		<-done
	}
}

// do runs a transaction that must succeed.
func (r *rig) do(f func(tx *commit.Tx) error) {
	r.Helper()
	if err := r.try(f); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) try(f func(tx *commit.Tx) error) error { return r.c.Do(context.Background(), f) }

// settle waits until what a commit lets out is out: that comes after the answer.
func (r *rig) settle() {
	w := &batchOwner{done: make(chan error, 1)}
	if r.c.Submit(&commit.Batch{Owner: w}) == nil {
		<-w.done
	}
}

func (r *rig) view(f func(rd store.Reader) error) {
	r.Helper()
	if err := r.store.View(context.Background(), f); err != nil {
		r.Fatal(err)
	}
}

// realm creates a realm and installs interfaces.
func (r *rig) realm(name core.TenantID, definitions ...string) {
	r.Helper()
	r.do(func(tx *commit.Tx) error { return r.d.createRealm(tx, realmConfig{Name: name, PublicKeyPEM: "PEM"}) })
	for _, def := range definitions {
		if err := r.install(name, def); err != nil {
			r.Fatal(err)
		}
	}
}

func (r *rig) install(name core.TenantID, def string) error {
	r.Helper()
	i := parseDef(r, def)
	return r.try(func(tx *commit.Tx) error { return r.d.installInterface(tx, r.current(name), i) })
}

func (r *rig) current(name core.TenantID) *realm {
	r.Helper()
	cur, err := r.d.realm(context.Background(), name)
	if err != nil {
		r.Fatal(err)
	}
	return cur
}

func parseDef(tb testing.TB, def string) *astartewire.Interface {
	tb.Helper()
	i, err := astartewire.ParseInterface([]byte(def))
	if err != nil {
		tb.Fatalf("%v in %s", err, def)
	}
	return i
}

const testID = "Vi3j3M8YVpOPyuzqk8sg5A"

// device registers a device with a certificate.
func (r *rig) device(realm core.TenantID, id string) (core.Device, *x509.Certificate) {
	r.Helper()
	dev := core.Device{DeviceKey: deviceKey(realm, id), Created: r.now}
	crt, issued := r.sign(baseTopic(dev.DeviceKey))
	r.do(func(tx *commit.Tx) error {
		if err := tx.InsertDevice(&dev); err != nil {
			return err
		}
		return tx.PutCertificate(core.Certificate{Serial: issued.Serial, Device: dev.Num, SHA256: issued.SHA256, Changed: r.now})
	})
	return dev, crt
}

func (r *rig) sign(cn string) (*x509.Certificate, ca.Issued) {
	r.Helper()
	issued, err := r.ca.SignDeviceKey(r.key.Public(), ca.Leaf{CommonName: cn})
	if err != nil {
		r.Fatal(err)
	}
	block, _ := pem.Decode(issued.PEM)
	crt, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		r.Fatal(err)
	}
	return crt, issued
}

// v returns the payload {"v": x} for the mapping type t.
func v(tb testing.TB, t astartewire.Type, x any) []byte {
	tb.Helper()
	p, err := t.AppendPayload(nil, x)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// doc returns the payload {"v": {...}} of integers, strings and nulls.
func doc(values map[string]any) []byte {
	b, outer := astartewire.BeginDocument(nil)
	b, inner := astartewire.BeginSubdocument(b, "v")
	for _, k := range slices.Sorted(maps.Keys(values)) {
		switch x := values[k].(type) {
		case int:
			b = astartewire.AppendInt(b, k, int64(x))
		case string:
			b = astartewire.AppendString(b, k, x)
		default:
			b = astartewire.AppendNull(b, k)
		}
	}
	return astartewire.EndDocument(astartewire.EndDocument(b, inner), outer)
}

func wantList(tb testing.TB, what string, got []string, want ...string) {
	tb.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		tb.Errorf("%s: -want +got\n%s", what, d)
	}
}

func wantIs(tb testing.TB, err, kind error) {
	tb.Helper()
	if !errors.Is(err, kind) {
		tb.Errorf("error: got %v, want %v", err, kind)
	}
}

// Interfaces that the tests share.
const (
	temps = `{"interface_name":"org.example.Temps","version_major":1,"version_minor":0,"type":"datastream","ownership":"device",
		"mappings":[{"endpoint":"/%{room}/temp","type":"double"},{"endpoint":"/%{room}/at","type":"double","explicit_timestamp":true},
		{"endpoint":"/%{room}/raw","type":"binaryblob","reliability":"guaranteed"},{"endpoint":"/%{room}/many","type":"integerarray"},
		{"endpoint":"/%{room}/text","type":"string"}]}`

	config = `{"interface_name":"org.example.Config","version_major":1,"version_minor":0,"type":"properties","ownership":"device",
		"mappings":[{"endpoint":"/%{room}/mode","type":"string","allow_unset":true},{"endpoint":"/%{room}/level","type":"integer"},
		{"endpoint":"/%{room}/blob","type":"binaryblob","allow_unset":true}]}`
	target1 = `{"interface_name":"org.example.Target","version_major":1,"version_minor":0,"type":"properties","ownership":"server",
		"mappings":[{"endpoint":"/%{room}/target","type":"double","allow_unset":true},{"endpoint":"/%{room}/name","type":"string"},
		{"endpoint":"/%{room}/count","type":"longinteger","allow_unset":true}]}`
	commands = `{"interface_name":"org.example.Commands","version_major":1,"version_minor":0,"type":"datastream","ownership":"server",
		"mappings":[{"endpoint":"/blink","type":"boolean"},{"endpoint":"/beep","type":"integer","reliability":"guaranteed"},
		{"endpoint":"/boom","type":"datetime","reliability":"unique"}]}`
	position = `{"interface_name":"org.example.Position","version_major":1,"version_minor":0,"type":"datastream","ownership":"device",
		"aggregation":"object","mappings":[{"endpoint":"/%{who}/x","type":"integer","explicit_timestamp":true},
		{"endpoint":"/%{who}/y","type":"integer","explicit_timestamp":true},{"endpoint":"/%{who}/label","type":"string","explicit_timestamp":true}]}`
	flat = `{"interface_name":"org.example.Flat","version_major":1,"version_minor":0,"type":"datastream","ownership":"device",
		"aggregation":"object","mappings":[{"endpoint":"/x","type":"integer"},{"endpoint":"/y","type":"integer"}]}`
	move = `{"interface_name":"org.example.Move","version_major":1,"version_minor":0,"type":"datastream","ownership":"server",
		"aggregation":"object","mappings":[{"endpoint":"/to/x","type":"integer","reliability":"guaranteed"},
		{"endpoint":"/to/y","type":"integer","reliability":"guaranteed","required":true}]}`
	draft = `{"interface_name":"org.example.Draft","version_major":0,"version_minor":1,"type":"datastream","ownership":"device",
		"mappings":[{"endpoint":"/a","type":"integer"}]}`
)
