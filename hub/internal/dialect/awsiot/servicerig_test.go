package awsiot

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/hub/internal/store/sqlite"
)

// A subscriber stands in for the MQTT broker: it takes every message that is published or sent, once that is committed.
type subscriber struct {
	mu   sync.Mutex
	sent []said
}

// said is a message that left: to all, or to one client.
type said struct{ To, Topic, Payload string }

func (r *subscriber) note(tx *commit.Tx, to string, m core.Message) {
	tx.After(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.sent = append(r.sent, said{to, m.Topic, string(m.Payload)})
	})
}

func (r *subscriber) Publish(tx *commit.Tx, _ core.TenantID, _ string, m core.Message) (int, error) {
	r.note(tx, "", m)
	return 1, nil
}

func (r *subscriber) PublishTo(tx *commit.Tx, k core.SessionKey, m core.Message) (bool, error) {
	return r.SendTo(tx, k, m)
}

func (r *subscriber) SendTo(tx *commit.Tx, k core.SessionKey, m core.Message) (bool, error) {
	r.note(tx, k.ClientID, m)
	return true, nil
}

func (r *subscriber) Retain(*commit.Tx, core.TenantID, string, core.Message) error { return nil }
func (r *subscriber) Disconnect(*commit.Tx, core.SessionKey, bool, string) error   { return nil }
func (r *subscriber) DisconnectDevice(*commit.Tx, core.DeviceNum, string) error    { return nil }

func (r *subscriber) Connection(core.SessionKey) (core.Connection, bool) {
	return core.Connection{}, false
}

func (r *subscriber) SessionStates(context.Context, []core.SessionKey) (map[core.SessionKey]core.SessionState, error) {
	return nil, nil
}

func (r *subscriber) CallOffWill(*commit.Tx, core.SessionKey) error { return nil }

func (r *subscriber) SessionSubscriptions(context.Context, core.SessionKey) ([]core.Subscription, error) {
	return nil, nil
}

const testTenant core.TenantID = "acme"

// A serviceRig is the dialect on a real database, with a broker that listens, and without connections and HTTP.
type serviceRig struct {
	testing.TB
	d      *Dialect
	store  store.Store
	c      *commit.Committer
	broker *subscriber
	a      account
	stop   func() // the committer

	mu  sync.Mutex
	now time.Time
}

func newServiceRig(tb testing.TB) *serviceRig {
	tb.Helper()
	r := &serviceRig{
		TB: tb, broker: &subscriber{},
		now: time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC),
	}
	var err error
	if r.store, err = sqlite.Open(tb.Context(), sqlite.Config{Dir: tb.TempDir()}); err != nil {
		tb.Fatal(err)
	}
	r.start()
	tb.Cleanup(func() {
		r.stop()
		r.store.Close()
	})
	r.do(func(tx *commit.Tx) (err error) {
		if err := tx.InsertTenant(core.Tenant{ID: testTenant}); err != nil {
			return err
		}
		r.a, err = r.d.makeAccount(tx, testTenant)
		return err
	})
	return r
}

// start makes a dialect and a committer, as after a start of the hub; earlier ones end.
func (r *serviceRig) start() {
	r.Helper()
	if r.stop != nil {
		r.stop()
	}
	r.c = commit.New(commit.Config{Store: r.store, Now: r.clock, Notify: func(tx *commit.Tx, e core.Event) error {
		if e.Device.Dialect != Name {
			return nil
		}
		return r.d.Notify(tx, e)
	}})
	r.d = New(Config{Committer: r.c, Store: r.store, Broker: r.broker, Now: r.clock, ShadowsPerSecond: -1})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.c.Run(ctx) }()
	r.stop = func() {
		stop()
		<-done
	}
}

func (r *serviceRig) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// advance sets the clock forward.
func (r *serviceRig) advance(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

// do runs a transaction that must succeed.
func (r *serviceRig) do(f func(tx *commit.Tx) error) {
	r.Helper()
	if err := r.c.Do(context.Background(), f); err != nil {
		r.Fatal(err)
	}
}

func (r *serviceRig) view(f func(rd store.Reader) error) {
	r.Helper()
	if err := r.store.View(context.Background(), f); err != nil {
		r.Fatal(err)
	}
}

// sender returns a connection of a client id.
func (r *serviceRig) sender(client string) *sender {
	return &sender{account: r.a, clientID: client}
}

// batchDone is the owner of a batch that somebody waits for.
type batchDone chan error

func (c batchDone) Committed(_ *commit.Batch, err error) { c <- err }

// say has a client publish messages, "TOPIC PAYLOAD", in one batch, and waits for the disk.
func (r *serviceRig) say(from *sender, messages ...string) {
	r.Helper()
	done := make(batchDone, 1)
	b := &commit.Batch{Owner: done}
	for _, m := range messages {
		name, payload, _ := strings.Cut(m, " ")
		t := parseReserved(name)
		if err := r.d.services[t.kind].receive(from, &t, dialect.Publish{Payload: []byte(payload), QoS: 1}, b); err != nil {
			r.Fatal(err)
		}
	}
	if err := r.c.Submit(b); err != nil {
		r.Fatal(err)
	}
	if err := <-done; err != nil {
		r.Fatal(err)
	}
}

// heard returns what was published since the last call.
func (r *serviceRig) heard() []said {
	r.Helper()
	done := make(batchDone, 1)
	if err := r.c.Submit(&commit.Batch{Owner: done}); err != nil { // what a commit lets out comes after its answer
		r.Fatal(err)
	}
	<-done
	r.broker.mu.Lock()
	defer r.broker.mu.Unlock()
	s := r.broker.sent
	r.broker.sent = nil
	return s
}
