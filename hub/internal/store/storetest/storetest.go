// Package storetest is the suite that every storage driver passes: the contract of package store as tests.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// A driver opens the database in dir, making it if there is none. Opening the same dir again finds what was committed.
type driver func(t *testing.T, dir string) store.Store

// Run checks a driver. open fails the test itself when it cannot open.
func Run(t *testing.T, open func(t *testing.T, dir string) store.Store) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, open driver)
	}{
		{"update", testUpdate},
		{"savepoint", testSavepoint},
		{"reopen", testReopen},
		{"view", testView},
		{"view cancelled", testViewCancelled},
		{"view during update", testViewDuringUpdate},
		{"tenants", testTenants},
		{"tenants deleted", testDeleteTenant},
		{"events", testEvents},
		{"events of one", testEventsOf},
		{"drop events of one", testDropEventsOf},
		{"tokens", testTokens},
		{"devices", testDevices},
		{"devices paging", testDevicesPaging},
		{"devices found", testFindDevices},
		{"devices deleted", testDeleteDevice},
		{"enrolments", testEnrolments},
		{"certificates", testCertificates},
		{"certificates revoked", testRevoked},
		{"counts", testCounts},
		{"documents", testDocuments},
		{"leaves", testLeaves},
		{"records", testRecords},
		{"records order", testRecordsOrder},
		{"sessions", testSessions},
		{"sessions found", testFindSessions},
		{"subscriptions", testSubscriptions},
		{"received", testReceived},
		{"queue", testQueue},
		{"queue properties", testQueueProperties},
		{"drop queued", testDropQueued},
		{"delete session", testDeleteSession},
		{"delete session with a long queue", testDeleteLongSession},
		{"wills", testWills},
		{"retained", testRetained},
		{"retained order", testRetainedOrder},
		{"retained expiry", testRetainedExpiry},
		{"retained of a tenant", testDropTenantRetained},
		{"series", testSeries},
		{"series after", testSeriesAfter},
		{"series numbers undone", testSeriesUndone},
		{"series deleted", testSeriesDeleted},
		{"wide block undone", testWideUndone},
		{"samples", testSamples},
		{"samples nested", testSamplesNested},
		{"samples at random", testSamplesRandom},
		{"size", testSize},
		{"usage", testUsage},
		{"samples dropped", testDropSamples},
		{"samples of a series dropped", testDropSeriesSamples},
		{"samples of a tenant dropped", testDropTenantSamples},
		{"closed", testClosed},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open) })
	}
}

// RunSamples is the part of [Run] that compares samples at random with a sorted slice, for drivers that want to repeat it
// under other conditions.
func RunSamples(t *testing.T, open func(t *testing.T, dir string) store.Store) {
	testSamplesRandom(t, open)
}

// base is the time that tests count from.
var base = time.Date(2026, 3, 4, 5, 6, 7, 890123000, time.UTC)

// errRefused is what functions of the tests return to undo what they did.
var errRefused = errors.New("refused")

// fixture opens a driver in a new folder, with a tenant.
func fixture(t *testing.T, open driver) store.Store {
	t.Helper()
	s := open(t, t.TempDir())
	t.Cleanup(func() { closeStore(t, s) })
	update(t, s, func(tx store.Tx) error { return tx.InsertTenant(core.Tenant{ID: "t", Created: base}) })
	return s
}

func closeStore(t *testing.T, s store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func update(t *testing.T, s store.Store, fn func(store.Tx) error) {
	t.Helper()
	if err := s.Update(fn); err != nil {
		t.Fatalf("update: %v", err)
	}
}

func view(t *testing.T, s store.Store, fn func(store.Reader) error) {
	t.Helper()
	if err := s.View(t.Context(), fn); err != nil {
		t.Fatalf("view: %v", err)
	}
}

// insertDevice makes a device of the tenant "t".
func insertDevice(t *testing.T, s store.Store, dialect string, id core.DeviceID) core.Device {
	t.Helper()
	d := core.Device{DeviceKey: core.DeviceKey{Tenant: "t", Dialect: dialect, ID: id}, Created: base}
	update(t, s, func(tx store.Tx) error { return tx.InsertDevice(&d) })
	return d
}

// wantKind checks the kind of an error.
func wantKind(t *testing.T, what string, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: got error %v, want %v", what, err, kind)
	}
}

func diff(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s: -want +got\n%s", what, d)
	}
}

func testUpdate(t *testing.T, open driver) {
	s := fixture(t, open)
	err := s.Update(func(tx store.Tx) error {
		if err := tx.InsertTenant(core.Tenant{ID: "u"}); err != nil {
			return err
		}
		if _, err := tx.Tenant("u"); err != nil {
			t.Errorf("a transaction does not read what it wrote: %v", err)
		}
		return errRefused
	})
	if err != errRefused {
		t.Errorf("got %v, want the function's own error", err)
	}
	view(t, s, func(r store.Reader) error {
		_, err := r.Tenant("u")
		wantKind(t, "undone tenant", err, core.ErrNotFound)
		return nil
	})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a panic does not pass")
			}
		}()
		_ = s.Update(func(tx store.Tx) error {
			_ = tx.InsertTenant(core.Tenant{ID: "v"})
			panic("on purpose")
		})
	}()
	update(t, s, func(tx store.Tx) error {
		_, err := tx.Tenant("v")
		wantKind(t, "tenant of a panic", err, core.ErrNotFound)
		return tx.InsertTenant(core.Tenant{ID: "w"})
	})
}

func testSavepoint(t *testing.T, open driver) {
	s := fixture(t, open)
	insert := func(tx store.Tx, id core.TenantID) {
		if err := tx.InsertTenant(core.Tenant{ID: id}); err != nil {
			t.Errorf("insert %s: %v", id, err)
		}
	}
	update(t, s, func(tx store.Tx) error {
		insert(tx, "a")
		if err := tx.Savepoint(func() error { insert(tx, "b"); return nil }); err != nil {
			t.Errorf("kept: %v", err)
		}
		if err := tx.Savepoint(func() error { insert(tx, "c"); return errRefused }); err != errRefused {
			t.Errorf("undone: got %v, want the function's own error", err)
		}
		// A statement that fails inside is no harm to the rest either.
		wantKind(t, "conflict", tx.Savepoint(func() error { return tx.InsertTenant(core.Tenant{ID: "a"}) }), core.ErrConflict)
		return tx.Savepoint(func() error {
			insert(tx, "d")
			if err := tx.Savepoint(func() error { insert(tx, "e"); return errRefused }); err != errRefused {
				t.Errorf("nested: got %v", err)
			}
			return nil
		})
	})
	var got []core.TenantID
	view(t, s, func(r store.Reader) error {
		list, err := r.Tenants()
		for _, x := range list {
			got = append(got, x.ID)
		}
		return err
	})
	diff(t, "tenants", got, []core.TenantID{"a", "b", "d", "t"})
}

func testReopen(t *testing.T, open driver) {
	dir := t.TempDir()
	s := open(t, dir)
	series := &core.Series{Channel: "x"}
	var sess core.Session
	update(t, s, func(tx store.Tx) error {
		d := core.Device{DeviceKey: core.DeviceKey{Tenant: "t", Dialect: "a", ID: "d"}, Created: base}
		err := tx.InsertTenant(core.Tenant{ID: "t", Created: base})
		err = errors.Join(err, tx.InsertDevice(&d))
		series.Device = d.Num
		sess = core.Session{Key: core.SessionKey{Tenant: "t", Dialect: "a", ClientID: "d"}, Device: d.Num, Created: base}
		return errors.Join(err, tx.AppendBlock(block(series, at(0), at(1))), tx.AppendEvent(&core.Event{Kind: core.DeviceConnected}),
			tx.InsertSession(&sess), tx.Enqueue(core.Queued{Session: sess.Num, Seq: 7, Message: core.Message{Topic: "a"}}))
	})
	closeStore(t, s)
	s = open(t, dir)
	defer closeStore(t, s)
	view(t, s, func(r store.Reader) error {
		x, err := r.Tenant("t")
		diff(t, "tenant", x, core.Tenant{ID: "t", Created: base})
		seq, err2 := r.LastEvent()
		diff(t, "last event", seq, int64(1))
		q, err3 := r.Queue(sess.Num, 0, 10)
		if len(q) != 1 || q[0].Seq != 7 {
			t.Errorf("queue: got %v", q)
		}
		got := collect(t, r, &core.Series{Device: series.Device, Channel: "x"}, core.Range{})
		if len(got) != 2 {
			t.Errorf("got %d samples, want 2", len(got))
		}
		return errors.Join(err, err2, err3)
	})
	// A number remembered from before is as good as none.
	update(t, s, func(tx store.Tx) error {
		return tx.AppendBlock(block(&core.Series{Device: series.Device, Channel: "x"}, at(2)))
	})
	view(t, s, func(r store.Reader) error {
		if got := collect(t, r, series, core.Range{}); len(got) != 3 {
			t.Errorf("got %d samples, want 3", len(got))
		}
		return nil
	})
}

func testView(t *testing.T, open driver) {
	s := fixture(t, open)
	if err := s.View(t.Context(), func(store.Reader) error { return errRefused }); err != errRefused {
		t.Errorf("got %v, want the function's own error", err)
	}
	var kept store.Reader
	view(t, s, func(r store.Reader) error { kept = r; return nil })
	if _, err := kept.Tenant("t"); err == nil {
		t.Error("a reader works after its view")
	}
}

func testViewCancelled(t *testing.T, open driver) {
	s := fixture(t, open)
	ctx, cancel := context.WithCancel(t.Context())
	err := s.View(ctx, func(r store.Reader) error {
		if _, err := r.Tenant("t"); err != nil {
			return err
		}
		cancel()
		for { // the interruption comes from another goroutine
			if _, err := r.Tenants(); err != nil {
				return err
			}
		}
	})
	wantKind(t, "view", err, context.Canceled)
	wantKind(t, "view of a cancelled context", s.View(ctx, func(store.Reader) error { return nil }), context.Canceled)
	view(t, s, func(r store.Reader) error { _, err := r.Tenant("t"); return err })

	// More views at once than any driver has connections for: those that wait for one give up with their context.
	var wg sync.WaitGroup
	hold := make(chan struct{})
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for range 200 {
		wg.Go(func() {
			err := s.View(ctx, func(store.Reader) error { <-hold; return nil })
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("waiting view: got %v", err)
			}
		})
	}
	<-ctx.Done()
	close(hold)
	wg.Wait()
}

func testViewDuringUpdate(t *testing.T, open driver) {
	s := fixture(t, open)
	const name = "n"
	write := func(n int64) {
		update(t, s, func(tx store.Tx) error {
			v := core.AppendInt(nil, n)
			return errors.Join(tx.PutRecord("t", "a", name+"1", v), tx.PutRecord("t", "a", name+"2", v))
		})
	}
	write(0)
	view(t, s, func(r store.Reader) error {
		before, err := r.Record("t", "a", name+"1")
		if err != nil {
			return err
		}
		write(1) // goes on although a view is open
		after, err := r.Record("t", "a", name+"2")
		diff(t, "snapshot", after, before)
		return err
	})
	// Views see both records of a transaction or none of them, and never go back in time.
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			last := int64(-1)
			for {
				select {
				case <-stop:
					return
				default:
				}
				view(t, s, func(r store.Reader) error {
					var got []int64
					for rec, err := range r.Records("t", "a", name) {
						if err != nil {
							return err
						}
						v, _ := core.Value(rec.Value).Decode()
						got = append(got, v.(int64))
					}
					if len(got) != 2 || got[0] != got[1] || got[0] < last {
						return fmt.Errorf("got %v after %d", got, last)
					}
					last = got[0]
					return nil
				})
			}
		})
	}
	for n := range int64(200) {
		write(n + 2)
	}
	close(stop)
	wg.Wait()
}

func testClosed(t *testing.T, open driver) {
	s := open(t, t.TempDir())
	// Close interrupts a view that runs.
	running, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- s.View(context.Background(), func(r store.Reader) error {
			close(running)
			for {
				if _, err := r.Tenants(); err != nil {
					return err
				}
			}
		})
	}()
	<-running
	closeStore(t, s)
	wantKind(t, "interrupted view", <-ended, core.ErrStopping)
	wantKind(t, "update", s.Update(func(store.Tx) error { return nil }), core.ErrStopping)
	wantKind(t, "view", s.View(t.Context(), func(store.Reader) error { return nil }), core.ErrStopping)
	closeStore(t, s) // twice is no error
}

// shuffled returns the numbers below n in random order.
func shuffled(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	rand.Shuffle(n, func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// sorted returns the strings in bytewise order.
func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}
