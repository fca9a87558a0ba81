package commit_test

import (
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// rang reports whether a channel is closed.
func rang(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestEmitted(t *testing.T) {
	f := start(t, nil)
	do := func(fn func(*commit.Tx) error) { _ = f.Do(t.Context(), fn) }
	first, same := f.Emitted(), f.Emitted()
	do(func(tx *commit.Tx) error { return tx.InsertTenant(core.Tenant{ID: "t"}) })
	if rang(first) {
		t.Error("rang for a transaction without an event")
	}
	f.store.fail(core.ErrStorage)
	do(func(tx *commit.Tx) error { return tx.Emit(core.Event{Kind: "lost"}) })
	f.store.fail(nil)
	if rang(first) {
		t.Error("rang for a transaction that is not on disk")
	}
	do(func(tx *commit.Tx) error { return tx.Emit(core.Event{Kind: "kept"}) })
	for _, c := range []<-chan struct{}{first, same} {
		select {
		case <-c:
		case <-time.After(30 * time.Second):
			t.Fatal("did not ring")
		}
	}
	// Who was woken finds the event.
	_ = f.store.View(t.Context(), func(r store.Reader) error {
		got, err := r.Events(0, 10)
		if err != nil || len(got) != 1 || got[0].Kind != "kept" {
			t.Errorf("got %v, %v", got, err)
		}
		return nil
	})
	if rang(f.Emitted()) {
		t.Error("the next channel is closed already")
	}
}

func TestQueued(t *testing.T) {
	f := start(t, nil)
	next := f.hold()
	o := newOwner("", nil)
	batch := func() *commit.Batch {
		b := &commit.Batch{Owner: o}
		b.Do(insert("x"), nil)
		return b
	}
	submit(t, f, batch())
	release := next() // it is not in the queue any more
	b := batch()
	submit(t, f, b)
	submit(t, f, batch())
	if n, bytes := f.Queued(); n != 2 || bytes != 2*b.Size() {
		t.Errorf("got %d batches of %d bytes, want the 2 that wait", n, bytes)
	}
	f.free()
	release()
	for range 3 {
		<-o.done
	}
	if n, bytes := f.Queued(); n != 0 || bytes != 0 {
		t.Errorf("got %d batches of %d bytes, want none", n, bytes)
	}
}

// TestChanged: it tells of what changes something, and not of what only makes room, is empty or refused.
func TestChanged(t *testing.T) {
	f := start(t, nil)
	put := func(tx *commit.Tx) error { return tx.PutRecord("t", "a", "k", nil) }
	first, same := f.Changed(), f.Changed()
	if err := f.Maintain(t.Context(), put); err != nil || rang(first) {
		t.Errorf("rang for maintenance, or %v", err)
	}
	f.store.fail(core.ErrStorage)
	if err := f.Do(t.Context(), put); err == nil || rang(first) {
		t.Errorf("rang for what is not on disk, or %v", err)
	}
	f.store.fail(nil)
	if err := f.Do(t.Context(), put); err != nil {
		t.Fatal(err)
	}
	for _, c := range []<-chan struct{}{first, same} {
		select {
		case <-c:
		case <-time.After(30 * time.Second):
			t.Fatal("did not ring")
		}
	}
	if rang(f.Changed()) {
		t.Error("the next one rings at once")
	}
}

// quick is an owner that fills its batch again as soon as it has it back.
type quick struct{ done chan error }

func (q *quick) Committed(b *commit.Batch, err error) {
	b.Reset()
	go func() {
		b.Count(1, "scope", 1, 1)
		q.done <- err
	}()
}

// TestChangedWhileTheBatchIsUsedAgain: what a batch held is not looked up when its owner has it back.
func TestChangedWhileTheBatchIsUsedAgain(t *testing.T) {
	f := start(t, nil)
	q := &quick{done: make(chan error, 1)}
	changed := f.Changed()
	b := &commit.Batch{Owner: q}
	b.Do(func(tx *commit.Tx) error { return tx.PutRecord("t", "a", "k", nil) }, nil)
	submit(t, f, b)
	if err := <-q.done; err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	case <-time.After(30 * time.Second):
		t.Error("did not ring")
	}
}
