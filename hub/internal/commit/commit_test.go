package commit_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// blocker submits an operation and returns when its transaction waits, so that all that is submitted next comes into
// the one after.
func blocker(t *testing.T, f *fixture) (next func() func(), release func()) {
	t.Helper()
	next = f.hold()
	b := &commit.Batch{Owner: newOwner("", nil)}
	b.Do(func(*commit.Tx) error { return nil }, nil)
	submit(t, f, b)
	return next, next()
}

func TestOrder(t *testing.T) {
	f := start(t, nil)
	next, release := blocker(t, f)
	var j journal
	last := newOwner("2", &j)
	for _, o := range []*owner{newOwner("1", &j), last} {
		b := &commit.Batch{Owner: o}
		for _, x := range []string{"a", "b"} {
			name := o.name + x
			b.Do(func(tx *commit.Tx) error {
				j.add(name)
				tx.After(j.record(name + " after"))
				return nil
			}, func(err error) { j.add(name + " done" + suffix(err)) })
		}
		submit(t, f, b)
	}
	release()
	next()()
	if err := <-last.done; err != nil {
		t.Fatal(err)
	}
	f.free()
	f.stop()
	want := []string{
		"1a", "1b", "2a", "2b", "1a done", "1b done", "2a done", "2b done", "1 committed", "2 committed",
		"1a after", "1b after", "2a after", "2b after",
	}
	if d := cmp.Diff(want, j.list); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestSyncIsShared(t *testing.T) {
	f := start(t, nil)
	next, release := blocker(t, f)
	o := newOwner("", nil)
	series := &core.Series{Device: 1, Channel: "c"}
	const n = 50
	for i := range n {
		b := &commit.Batch{Owner: o}
		b.Sample(series, int64(i), int64(i), core.AppendNull(nil))
		b.Count(1, "", 1, 10)
		submit(t, f, b)
	}
	release()
	next()()
	for range n {
		if err := <-o.done; err != nil {
			t.Fatal(err)
		}
	}
	if got := f.store.count(); got != 2 {
		t.Errorf("got %d transactions, want 2", got)
	}
	if c, b := f.Stats().Commits.Load(), f.Stats().Batches.Load(); c != 2 || b != n+1 {
		t.Errorf("got %d commits of %d batches", c, b)
	}
	_ = f.store.View(t.Context(), func(r store.Reader) error {
		got := 0
		for _, err := range r.Samples(series, core.Range{}) {
			if err != nil {
				t.Error(err)
			}
			got++
		}
		counts, err := r.Counts(1)
		if err != nil || got != n || len(counts) != 1 || counts[0] != (core.Count{Messages: n, Bytes: n * 10}) {
			t.Errorf("got %d samples, counts %v, %v", got, counts, err)
		}
		return nil
	})
}

func TestSubmitWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, func(c *commit.Config) { c.MaxQueuedBytes = 1000 })
		next, release := blocker(t, f)
		o := newOwner("", nil)
		fill := &commit.Batch{Owner: o}
		fill.Sample(&core.Series{Device: 1, Channel: "c"}, 1, 1, make([]byte, 2000))
		submit(t, f, fill) // one may exceed the bound
		waiting := make(chan error, 3)
		go func() {
			b := &commit.Batch{Owner: o}
			b.Do(insert("a"), nil)
			waiting <- f.Submit(b)
		}()
		ctx, cancel := context.WithCancel(t.Context())
		go func() { waiting <- f.Do(ctx, insert("b")) }()
		synctest.Wait()
		select {
		case err := <-waiting:
			t.Fatalf("not waited for room: %v", err)
		default:
		}
		cancel() // releases Do, which has not handed in anything
		if err := <-waiting; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
		release()
		release = next() // the queue has been taken
		if err := <-waiting; err != nil {
			t.Errorf("got %v", err)
		}
		f.free()
		release()
		<-o.done
		<-o.done
		f.stop()
		if got := tenants(t, f); got != "a" {
			t.Errorf("got tenants %q, want a", got)
		}
	})
}

func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, func(c *commit.Config) { c.MaxQueuedBytes = 1000 })
		next, release := blocker(t, f)
		f.free()
		o := newOwner("", nil)
		b := &commit.Batch{Owner: o}
		b.Do(insert("a"), nil)
		b.Reply = make([]byte, 2000)
		submit(t, f, b)
		waiting := make(chan error)
		go func() { waiting <- f.Do(t.Context(), insert("b")) }()
		synctest.Wait()
		stopped := make(chan struct{})
		go func() { f.stop(); close(stopped) }()
		if err := <-waiting; !errors.Is(err, core.ErrStopping) {
			t.Errorf("waiting for room: got %v, want core.ErrStopping", err)
		}
		if err := f.Submit(&commit.Batch{Owner: o}); !errors.Is(err, core.ErrStopping) {
			t.Errorf("later: got %v, want core.ErrStopping", err)
		}
		release()
		if err := <-o.done; err != nil {
			t.Errorf("what was submitted before: %v", err)
		}
		<-stopped
		_ = next
		if got := tenants(t, f); got != "a" {
			t.Errorf("got tenants %q, want a", got)
		}
	})
}

func TestDoCancelled(t *testing.T) {
	f := start(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	f.hold()
	result := make(chan error)
	go func() { result <- f.Do(ctx, insert("a")) }()
	<-f.store.held // its transaction has begun
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	held := f.store.held
	f.free()
	<-held
	if err := f.Do(ctx, insert("b")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	f.stop()
	if got := tenants(t, f); got != "a" {
		t.Errorf("got tenants %q, want a: what was under way is finished, what was not is not begun", got)
	}
}

func TestTransactionIsBounded(t *testing.T) {
	f := start(t, func(c *commit.Config) { c.MaxTransactionBytes = 64 << 10 })
	next, release := blocker(t, f)
	var j journal
	o := newOwner("", nil)
	series := &core.Series{Device: 1, Channel: "c"}
	const n = 20
	for i := range n {
		b := &commit.Batch{Owner: o}
		size := 10 << 10
		if i == 10 {
			size = 100 << 10 // larger than a transaction may be: alone
		}
		b.Sample(series, int64(i), int64(i), make([]byte, size))
		b.Do(func(*commit.Tx) error { j.add(fmt.Sprint(i)); return nil }, nil)
		submit(t, f, b)
	}
	release()
	for k, want := range []int{5, 5, 1, 5, 4} {
		release := next() // the one before has ended
		if k == 4 {
			f.free()
		}
		release()
		for range want {
			<-o.done
		}
		if got := len(o.done); got != 0 {
			t.Errorf("transaction %d: got %d batches more than %d", k+1, got, want)
		}
	}
	if got := f.store.count(); got != 6 {
		t.Errorf("got %d transactions, want 6", got)
	}
	for i, s := range j.list {
		if s != fmt.Sprint(i) {
			t.Fatalf("got order %v", j.list)
		}
	}
}

func TestEmptyBatch(t *testing.T) {
	f := start(t, nil)
	o := newOwner("", nil)
	submit(t, f, &commit.Batch{Owner: o, Reply: []byte("PINGRESP")})
	if err := <-o.done; err != nil {
		t.Error(err)
	}
	if got := f.store.count(); got != 0 {
		t.Errorf("got %d transactions for nothing", got)
	}
}

func TestEmit(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var told []core.Event
	f := start(t, func(c *commit.Config) {
		c.Now = func() time.Time { return now }
		c.Notify = func(tx *commit.Tx, e core.Event) error {
			told = append(told, e)
			if e.Kind == "refuse.it" {
				return errRefused
			}
			return tx.InsertTenant(core.Tenant{ID: core.TenantID(e.Kind)})
		}
	})
	emit := func(e core.Event) error {
		return f.Do(t.Context(), func(tx *commit.Tx) error {
			if tx.Now() != now {
				t.Errorf("got %v, want %v", tx.Now(), now)
			}
			return tx.Emit(e)
		})
	}
	if err := emit(core.Event{Kind: "a", Num: 7}); err != nil {
		t.Error(err)
	}
	if err := emit(core.Event{Kind: "refuse.it", At: now.Add(time.Hour)}); err != errRefused {
		t.Errorf("got %v, want that of Notify", err)
	}
	f.stop()
	want := []core.Event{{Seq: 1, At: now, Num: 7, Kind: "a"}, {Seq: 2, At: now.Add(time.Hour), Kind: "refuse.it"}}
	if d := cmp.Diff(want, told); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	want[0].Num = 0
	_ = f.store.View(t.Context(), func(r store.Reader) error {
		got, err := r.Events(0, 10)
		if d := cmp.Diff(want[:1], got); d != "" || err != nil {
			t.Errorf("stored: %v, -want +got\n%s", err, d)
		}
		return nil
	})
	if got := tenants(t, f); got != "a" {
		t.Errorf("got tenants %q: what Notify wrote belongs to the operation", got)
	}
}

// TestManyAtOnce has the race detector look at everything that goes on at the same time.
func TestManyAtOnce(t *testing.T) {
	f := start(t, func(c *commit.Config) { c.MaxQueuedBytes = 4000 })
	var wg sync.WaitGroup
	const clients, rounds = 16, 30
	for i := range clients {
		wg.Go(func() {
			o := newOwner("", nil)
			b := &commit.Batch{Owner: o}
			series := &core.Series{Device: core.DeviceNum(i + 1), Channel: "c"}
			for k := range rounds {
				b.Sample(series, int64(k), int64(k), core.AppendInt(nil, int64(k)))
				b.Count(series.Device, "", 1, 1)
				if err := f.Submit(b); err != nil {
					t.Error(err)
					return
				}
				if err := <-o.done; err != nil {
					t.Error(err)
				}
				b.Reset()
				b.Owner = o
				want := error(nil)
				if k%3 == 0 {
					want = errRefused
				}
				if err := f.Do(t.Context(), func(tx *commit.Tx) error { tx.After(func() {}); return want }); err != want {
					t.Errorf("got %v, want %v", err, want)
				}
			}
		})
	}
	wg.Wait()
	_ = f.store.View(t.Context(), func(r store.Reader) error {
		for i := range clients {
			n := int64(0)
			for s, err := range r.Samples(&core.Series{Device: core.DeviceNum(i + 1), Channel: "c"}, core.Range{}) {
				if v, _ := s.Value.Decode(); err != nil || v != n {
					t.Fatalf("client %d: got %v, %v, want %d", i, v, err, n)
				}
				n++
			}
			if counts, err := r.Counts(core.DeviceNum(i + 1)); n != rounds || err != nil || counts[0].Messages != rounds {
				t.Errorf("client %d: got %d samples, counts %v, %v", i, n, counts, err)
			}
		}
		return nil
	})
}
