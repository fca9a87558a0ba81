package commit_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/hub/internal/store/sqlite"
)

var errRefused = errors.New("refused")

// watched is a store that counts its transactions, can be held before each of them, and can have its disk fail.
type watched struct {
	store.Store

	mu      sync.Mutex
	updates int
	saves   int           // savepoints
	failure error         // returned instead of committing
	undo    error         // returned by savepoints instead of undoing
	held    chan struct{} // not nil: an Update sends when it begins, and when it may go on
}

func (w *watched) Update(fn func(store.Tx) error) error {
	w.mu.Lock()
	w.updates++
	held := w.held
	w.mu.Unlock()
	if held != nil {
		held <- struct{}{}
		held <- struct{}{}
	}
	return w.Store.Update(func(tx store.Tx) error {
		if err := fn(watchedTx{tx, w}); err != nil {
			return err
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.failure
	})
}

type watchedTx struct {
	store.Tx
	w *watched
}

func (t watchedTx) Savepoint(fn func() error) error {
	err := t.Tx.Savepoint(fn)
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	t.w.saves++
	if err != nil && t.w.undo != nil {
		return t.w.undo
	}
	return err
}

func (w *watched) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failure = err
}

func (w *watched) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.updates
}

// fixture is a committer on a database in a temporary folder.
type fixture struct {
	*commit.Committer
	store *watched
	log   bytes.Buffer
	stop  func() // ends Run and waits for it
}

// start runs a committer until the test ends. edit may change its configuration.
func start(t *testing.T, edit func(*commit.Config)) *fixture {
	t.Helper()
	st, err := sqlite.Open(t.Context(), sqlite.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{store: &watched{Store: st}}
	cfg := commit.Config{Store: f.store, Logger: slog.New(slog.NewTextHandler(&f.log, nil))}
	if edit != nil {
		edit(&cfg)
	}
	f.Committer = commit.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := f.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	f.stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(func() {
		f.stop()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// hold has every transaction wait from now on; each call of next lets one begin, and returns what lets it go on.
func (f *fixture) hold() (next func() (release func())) {
	held := make(chan struct{})
	f.store.mu.Lock()
	f.store.held = held
	f.store.mu.Unlock()
	return func() func() {
		<-held
		return func() { <-held }
	}
}

// free has transactions wait no more.
func (f *fixture) free() {
	f.store.mu.Lock()
	f.store.held = nil
	f.store.mu.Unlock()
}

// owner collects what becomes of its batches; it is on the committer's goroutine.
type owner struct {
	name string
	log  *journal
	done chan error
}

// journal is what happened, in order.
type journal struct {
	mu   sync.Mutex
	list []string
}

func (j *journal) add(s string) {
	j.mu.Lock()
	j.list = append(j.list, s)
	j.mu.Unlock()
}

func (j *journal) record(s string) func() { return func() { j.add(s) } }

func (o *owner) Committed(b *commit.Batch, err error) {
	if o.log != nil {
		o.log.add(o.name + " committed" + suffix(err))
	}
	o.done <- err
}

func suffix(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, core.ErrStorage):
		return ": storage"
	}
	return ": " + err.Error()
}

func newOwner(name string, j *journal) *owner {
	return &owner{name: name, log: j, done: make(chan error, 100)}
}

func submit(t *testing.T, f *fixture, b *commit.Batch) {
	t.Helper()
	if err := f.Submit(b); err != nil {
		t.Fatalf("submit: %v", err)
	}
}

// tenants are the ids of the tenants in the store, joined: operations of the tests insert tenants.
func tenants(t *testing.T, f *fixture) (ids string) {
	t.Helper()
	if err := f.store.View(t.Context(), func(r store.Reader) error {
		list, err := r.Tenants()
		for _, x := range list {
			ids += string(x.ID)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return ids
}

func insert(id core.TenantID) func(*commit.Tx) error {
	return func(tx *commit.Tx) error { return tx.InsertTenant(core.Tenant{ID: id}) }
}
