package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/hub/internal/store/sqlite"
	"github.com/fairlead-iot/fairlead/internal/memnet"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
)

// testHub is a broker on real storage with a dialect that does what the tests want.
type testHub struct {
	t      testing.TB
	dir    string
	store  *failing
	com    *commit.Committer
	broker *Broker
	plain  *plain
	addr   string
	mem    *memnet.Listener // nil: on TCP
	stop   func()
	skew   atomic.Int64 // how far the committer's clock is from the true one, in ns
}

// failing is a store whose disk can be made to refuse.
type failing struct {
	store.Store
	mu   sync.Mutex
	err  error
	hold chan struct{} // nil: commits go on
	held int           // commits that wait, or have waited
}

func (f *failing) Update(fn func(store.Tx) error) error {
	f.mu.Lock()
	err, hold := f.err, f.hold
	if hold != nil {
		f.held++
	}
	f.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if err != nil {
		return err
	}
	return f.Store.Update(fn)
}

// pause holds commits up, and returns, once one waits, how to let them go on.
func (h *testHub) pause() (resume func()) {
	h.t.Helper()
	hold, f := make(chan struct{}), h.store
	f.mu.Lock()
	f.hold, f.held = hold, 0
	f.mu.Unlock()
	go h.com.Do(context.Background(), func(*commit.Tx) error { return nil })
	for waits := false; !waits; time.Sleep(time.Millisecond) {
		f.mu.Lock()
		waits = f.held > 0
		f.mu.Unlock()
	}
	return func() {
		f.mu.Lock()
		f.hold = nil
		f.mu.Unlock()
		close(hold)
	}
}

func (f *failing) refuse(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func startHub(t testing.TB, dir string, cfg Config) *testHub {
	t.Helper()
	st, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	h := &testHub{t: t, dir: dir, store: &failing{Store: st}}
	h.com = commit.New(commit.Config{Store: h.store, Now: func() time.Time { return time.Now().Add(time.Duration(h.skew.Load())) }})
	cfg.Committer, cfg.Store = h.com, h.store
	h.broker = New(cfg)
	h.plain = &plain{broker: h.broker, store: h.store}
	h.broker.SetDialects([]dialect.Dialect{h.plain})
	comCtx, comStop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { h.com.Run(comCtx) })
	h.do(func(tx *commit.Tx) error {
		if err := tx.InsertTenant(core.Tenant{ID: "t"}); err != nil && !errors.Is(err, core.ErrConflict) {
			return err
		}
		return nil
	})
	if err := h.broker.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() { defer close(ran); h.broker.Run(ctx) }()
	l, err := h.listen()
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- h.broker.Serve(ctx, l, nil) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		<-ran
		comStop()
		wg.Wait()
		if err := st.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	t.Cleanup(h.stop)
	return h
}

// listen opens a port; inside a synctest bubble, which the kernel is not part of, and for many short connections one in memory.
func (h *testHub) listen() (net.Listener, error) {
	_, fuzzing := h.t.(*testing.F)
	if fuzzing || time.Now().Year() == 2000 {
		h.mem = memnet.Listen("hub:1883")
		return h.mem, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		h.addr = l.Addr().String()
	}
	return l, err
}

// kill ends the hub as kill -9 would: nothing more gets to disk.
func (h *testHub) kill() {
	h.t.Helper()
	h.store.refuse(fmt.Errorf("killed: %w", core.ErrStorage))
	h.stop()
}

// dial returns a client that has not sent CONNECT.
func (h *testHub) dial() *mqtttest.Client {
	h.t.Helper()
	var nc net.Conn
	var err error
	if h.mem != nil {
		nc, err = h.mem.Dial(h.t.Context())
	} else {
		nc, err = net.Dial("tcp", h.addr)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return mqtttest.NewClient(h.t, nc)
}

// connect returns a connected client; id is its device, tenant "t".
func (h *testHub) connect(id string, clean bool) (*mqtttest.Client, bool) {
	h.t.Helper()
	c := h.dial()
	ack := c.Connect(mqtt.Connect{Version: mqtt.V311, ClientID: id, CleanStart: clean, Username: "t", HasUsername: true})
	return c, ack.SessionPresent
}

// publish sends a message from the hub to whom it concerns and returns how many sessions took it.
func (h *testHub) publish(topic string, qos byte, payload string) (reached int) {
	h.t.Helper()
	err := h.com.Do(h.t.Context(), func(tx *commit.Tx) (err error) {
		reached, err = h.broker.Publish(tx, "t", "plain", core.Message{Topic: topic, Payload: []byte(payload), QoS: qos})
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return reached
}

// do runs an operation.
func (h *testHub) do(f func(tx *commit.Tx) error) {
	h.t.Helper()
	if err := h.com.Do(h.t.Context(), f); err != nil {
		h.t.Fatal(err)
	}
}

// plain is a dialect for tests: the user name is the tenant, the client id the device. Each message becomes a record
// "in/CLIENT/N" with topic and payload, in the order of processing.
type plain struct {
	broker  *Broker
	store   store.Store
	limits  core.Limits
	grant   func(*core.Grant) // nil: as it is
	refuse  error
	stumble bool // Disconnected panics
	sink    bool // messages are not kept
	match   core.Matching

	mu     sync.Mutex
	events []string
}

func (*plain) Name() string                        { return "plain" }
func (*plain) Notify(*commit.Tx, core.Event) error { return nil }
func (*plain) Serves(*http.Request) bool           { return false }
func (*plain) Handler() http.Handler               { return nil }
func (p *plain) Matching() core.Matching           { return p.match }
func (p *plain) log(s string)                      { p.mu.Lock(); p.events = append(p.events, s); p.mu.Unlock() }

func (p *plain) logged() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.events...)
}

func (p *plain) SignIn(_ context.Context, c core.Claim) (core.Grant, dialect.Link, error) {
	if !c.HasUsername {
		return core.Grant{}, nil, dialect.ErrNotMine
	}
	if p.refuse != nil {
		return core.Grant{}, nil, p.refuse
	}
	g := core.Grant{
		Session: core.SessionKey{Tenant: core.TenantID(c.Username), Dialect: "plain", ClientID: c.ClientID},
		Publish: []string{"#"}, Subscribe: []string{"#"}, Limits: p.limits,
	}
	if p.grant != nil {
		p.grant(&g)
	}
	return g, &plainLink{p: p, key: g.Session}, nil
}

type plainLink struct {
	p   *plain
	key core.SessionKey
	n   int
}

func (l *plainLink) Connected(_ *commit.Tx, s dialect.Presence) error {
	l.p.log("connected " + l.key.ClientID)
	return nil
}

func (l *plainLink) Disconnected(tx *commit.Tx, reason string) error {
	if l.p.stumble {
		panic("in Disconnected")
	}
	// Not before it is on disk: while that refuses, this is called again and again.
	tx.After(func() { l.p.log("disconnected " + l.key.ClientID + ": " + reason) })
	return nil
}

var errUnwanted = errors.New("unwanted")

type entry struct{ Topic, Payload string }

func (l *plainLink) Receive(t *dialect.Topic, m dialect.Publish, b *commit.Batch) error {
	if l.p.sink {
		return nil
	}
	switch t.Name {
	case "withheld":
		t.Withheld = true
	case "close":
		return errUnwanted
	case "panic":
		panic("a dialect's mistake")
	case "moved":
		return &core.AnswerError{Code: uint8(mqtt.ReasonUseAnotherServer), Server: "other.example", Text: "over there"}
	case "quota":
		return fmt.Errorf("hidden: %w", &core.AnswerError{Code: uint8(mqtt.ReasonQuotaExceeded), Text: "enough for today", Kind: core.ErrTooLarge})
	case "fail":
		b.Do(func(*commit.Tx) error { return errUnwanted }, nil)
		return nil
	case "ask":
		m := core.Message{Topic: "answer", QoS: 1, Payload: append([]byte(nil), m.Payload...)}
		b.Do(func(tx *commit.Tx) error {
			_, err := l.p.broker.Publish(tx, l.key.Tenant, "plain", m)
			return err
		}, nil)
		return nil
	case "kick":
		b.Do(func(tx *commit.Tx) error { return l.p.broker.Disconnect(tx, l.key, true, "kicked") }, nil)
		return nil
	}
	v, _ := json.Marshal(entry{t.Name, string(m.Payload)})
	b.Do(func(tx *commit.Tx) error {
		l.n++
		return tx.PutRecord(l.key.Tenant, "plain", recordKey(l.key.ClientID, tx), v)
	}, nil)
	return nil
}

// recordKey is the next free key of a client, so that the order and the number of messages can be told.
func recordKey(client string, tx *commit.Tx) string {
	n := 0
	for _, err := range tx.Records("t", "plain", "in/"+client+"/") {
		if err == nil {
			n++
		}
	}
	return "in/" + client + "/" + strings.Repeat("x", n)
}

// received returns what a client's messages left in storage.
func (h *testHub) received(client string) (out []entry) {
	h.t.Helper()
	err := h.store.View(h.t.Context(), func(rd store.Reader) error {
		for r, err := range rd.Records("t", "plain", "in/"+client+"/") {
			if err != nil {
				return err
			}
			var v entry
			if err := json.Unmarshal(r.Value, &v); err != nil {
				return err
			}
			out = append(out, v)
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// eventually waits for a condition that another goroutine brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
