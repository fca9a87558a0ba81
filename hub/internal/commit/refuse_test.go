package commit_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// TestRefused: an operation that refuses, or panics, is undone alone, on disk and in memory.
func TestRefused(t *testing.T) {
	for name, refuse := range map[string]func() error{
		"refused": func() error { return errRefused },
		"panic":   func() error { panic("on purpose") },
		"not found, of storage": func() error {
			return fmt.Errorf("lookup: %w", core.ErrNotFound)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			var j journal
			o := newOwner("owner", &j)
			b := &commit.Batch{Owner: o}
			series := &core.Series{Device: 1, Channel: "c"}
			b.Sample(series, 1, 1, core.AppendNull(nil))
			keep := func(id core.TenantID) func(*commit.Tx) error {
				return func(tx *commit.Tx) error {
					tx.After(j.record("after " + string(id)))
					tx.Undo(j.record("undo " + string(id)))
					return tx.InsertTenant(core.Tenant{ID: id})
				}
			}
			b.Do(keep("a"), nil)
			var refused error
			b.Do(func(tx *commit.Tx) error {
				if err := errors.Join(keep("b")(tx), keep("c")(tx)); err != nil {
					t.Error(err)
				}
				return refuse()
			}, func(err error) { refused = err })
			b.Do(keep("d"), nil)
			submit(t, f, b)
			err := <-o.done
			f.stop()
			// The owner must know: it would acknowledge the message that the operation was for.
			if refused == nil || !errors.Is(err, refused) {
				t.Errorf("done was told %v, the owner %v", refused, err)
			}
			want := []string{"undo c", "undo b", fmt.Sprintf("owner committed: %v", refused), "after a", "after d"}
			if d := cmp.Diff(want, j.list); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
			if got := tenants(t, f); got != "ad" {
				t.Errorf("got tenants %q, want ad", got)
			}
			if series.Num() == 0 {
				t.Error("the sample was undone as well")
			}
			if !f.Healthy() {
				t.Error("a refusal counts as a failure of the disk")
			}
			if got := strings.Contains(f.log.String(), "on purpose"); got != (name == "panic") {
				t.Errorf("log: %s", f.log.String())
			}
		})
	}
}

// TestStorageFails: nobody is acknowledged, everything is undone, the next transaction is as good as ever.
func TestStorageFails(t *testing.T) {
	full := fmt.Errorf("%w: disk full", core.ErrStorage)
	for name, c := range map[string]struct {
		commit    error // of the transaction
		operation error // of the last operation
	}{
		"commit":             {full, nil},
		"commit, other kind": {errors.New("a bug"), nil},
		"operation":          {nil, full},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			next, release := blocker(t, f)
			var j journal
			series := &core.Series{Device: 1, Channel: "c"}
			one, two := newOwner("1", &j), newOwner("2", &j)
			for _, o := range []*owner{one, two} {
				b := &commit.Batch{Owner: o}
				b.Sample(series, 1, 1, core.AppendNull(nil))
				b.Do(func(tx *commit.Tx) error {
					tx.After(j.record(o.name + " after"))
					tx.Undo(j.record(o.name + " undo"))
					return insert(core.TenantID(o.name))(tx)
				}, func(err error) { j.add(o.name + " done" + suffix(err)) })
				if o == two {
					b.Do(func(*commit.Tx) error { return c.operation }, nil)
				}
				submit(t, f, b)
			}
			release()
			release = next()
			f.free()
			f.store.fail(c.commit)
			release()
			for _, o := range []*owner{one, two} {
				if err := <-o.done; !errors.Is(err, core.ErrStorage) {
					t.Errorf("owner %s: got %v, want core.ErrStorage", o.name, err)
				}
			}
			if f.Healthy() {
				t.Error("healthy after a failure")
			}
			f.store.fail(nil)
			want := []string{"2 undo", "1 undo", "1 done: storage", "2 done: storage", "1 committed: storage", "2 committed: storage"}
			if d := cmp.Diff(want, j.list); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
			if series.Num() != 0 {
				t.Error("the series kept its number")
			}
			if err := f.Do(t.Context(), insert("z")); err != nil {
				t.Errorf("after recovery: %v", err)
			}
			if !f.Healthy() || f.Stats().Failures.Load() != 1 {
				t.Error("not healthy after a success, or failures not counted")
			}
			f.stop()
			if got := tenants(t, f); got != "z" {
				t.Errorf("got tenants %q, want z", got)
			}
			if got := strings.Count(f.log.String(), "\n"); got != 2 {
				t.Errorf("want one line for the failure and one for the recovery:\n%s", f.log.String())
			}
		})
	}
}

// TestSavepointFails: an operation that refused and could not be undone must not be committed.
func TestSavepointFails(t *testing.T) {
	for _, undo := range []error{fmt.Errorf("%w: disk full", core.ErrStorage), errors.New("a bug")} {
		f := start(t, nil)
		f.store.undo = undo
		if err := f.Do(t.Context(), func(tx *commit.Tx) error { return errRefused }); !errors.Is(err, core.ErrStorage) {
			t.Errorf("%v: got %v, want core.ErrStorage", undo, err)
		}
	}
}

// TestHeals: a hub that nobody writes to learns by itself that its disk works again.
func TestHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, nil)
		f.store.fail(fmt.Errorf("%w: disk full", core.ErrStorage))
		if err := f.Do(t.Context(), insert("a")); !errors.Is(err, core.ErrStorage) {
			t.Fatalf("got %v, want core.ErrStorage", err)
		}
		time.Sleep(10 * time.Second) // of the test's clock: no time passes
		synctest.Wait()
		if f.Healthy() {
			t.Error("healthy while the disk fails")
		}
		if got := f.store.count(); got < 5 || got > 15 {
			t.Errorf("tried %d times in 10 s", got)
		}
		f.store.fail(nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !f.Healthy() {
			t.Error("not healthy although the disk works")
		}
		tried := f.store.count()
		time.Sleep(time.Minute)
		synctest.Wait()
		if f.store.count() != tried {
			t.Error("a healthy disk is probed")
		}
		f.stop()
	})
}

// TestRefuse: everything is refused in order, except what makes room and what changes nothing.
func TestRefuse(t *testing.T) {
	f := start(t, nil)
	why := fmt.Errorf("%w: nearly full", core.ErrStorage)
	f.Refuse(why)
	if f.Healthy() || f.Refusal() != why {
		t.Error("it says that all is well")
	}
	var j journal
	o := newOwner("o", &j)
	first, empty, last := &commit.Batch{Owner: o}, &commit.Batch{Owner: o, Reply: []byte("pong")}, &commit.Batch{Owner: o}
	first.Do(insert("a"), func(err error) { j.add("a" + suffix(err)) })
	last.Do(insert("b"), func(err error) { j.add("b" + suffix(err)) })
	for _, b := range []*commit.Batch{first, empty, last} {
		submit(t, f, b)
	}
	for range 3 {
		<-o.done
	}
	if err := f.Do(t.Context(), insert("c")); !errors.Is(err, why) {
		t.Errorf("got %v, want %v", err, why)
	}
	if err := f.Maintain(t.Context(), insert("d")); err != nil {
		t.Error(err)
	}
	f.Refuse(nil)
	if err := f.Do(t.Context(), insert("e")); err != nil || !f.Healthy() {
		t.Error(err)
	}
	if got := tenants(t, f); got != "de" {
		t.Errorf("got tenants %q, want de", got)
	}
	want := []string{"a: storage", "o committed: storage", "o committed", "b: storage", "o committed: storage"}
	if d := cmp.Diff(want, j.list); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}
