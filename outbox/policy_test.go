package outbox_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/outbox"
)

// recorder keeps what the hook is told.
type recorder struct{ drops []string }

func (r *recorder) drop(d outbox.Drop) {
	r.drops = append(r.drops, fmt.Sprintf("%s: %v", d.Entry.Payload, d.Reason))
}

func TestRefuse(t *testing.T) {
	var rec recorder
	o := open(t, outbox.Config{MaxMessages: 2, OnDrop: rec.drop})
	a := add(t, o, text("a"))
	add(t, o, text("b"))
	if _, err := o.Append(t.Context(), text("c")); !errors.Is(err, fairlead.ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
	equal(t, "reported", rec.drops, []string{"c: " + outbox.Full.String()})
	if err := o.Delete(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	add(t, o, text("d"))
	equal(t, "stored", rest(t, o), []string{"b", "d"})
	if diff := cmp.Diff(outbox.Stats{Messages: 2, Bytes: 2, Accepted: 3, Deleted: 1, Refused: 1}, o.Stats()); diff != "" {
		t.Error(diff)
	}
}

func TestDropNewest(t *testing.T) {
	var rec recorder
	o := open(t, outbox.Config{MaxBytes: 10, Policy: outbox.DropNewest, OnDrop: rec.drop})
	add(t, o, text("12345678"))
	if id := add(t, o, text("abc")); id != 0 {
		t.Errorf("dropped: got ID %d, want 0", id)
	}
	add(t, o, text("ab"))
	equal(t, "stored", rest(t, o), []string{"12345678", "ab"})
	equal(t, "reported", rec.drops, []string{"abc: " + outbox.Newest.String()})
	if diff := cmp.Diff(outbox.Stats{Messages: 2, Bytes: 10, Accepted: 2, DroppedNewest: 1}, o.Stats()); diff != "" {
		t.Error(diff)
	}
}

func TestDropOldest(t *testing.T) {
	var rec recorder
	o := open(t, outbox.Config{MaxMessages: 4, MaxBytes: 100, Policy: outbox.DropOldest, OnDrop: rec.drop})
	add(t, o, outbox.Message{Payload: []byte("h1"), Priority: 1})
	add(t, o, text("n1"))
	add(t, o, outbox.Message{Payload: []byte("l1"), Priority: -1})
	add(t, o, text("n2"))
	add(t, o, text("n3"))                                         // instead of l1
	add(t, o, text("n4"))                                         // instead of n1
	add(t, o, outbox.Message{Payload: []byte("h2"), Priority: 1}) // instead of n2
	add(t, o, outbox.Message{Payload: []byte("h3"), Priority: 1}) // instead of n3
	add(t, o, outbox.Message{Payload: []byte("h4"), Priority: 1}) // instead of n4
	add(t, o, outbox.Message{Payload: []byte("h5"), Priority: 1}) // instead of h1
	if _, err := o.Append(t.Context(), text("n5")); !errors.Is(err, fairlead.ErrFull) {
		t.Errorf("low against high: got %v, want ErrFull", err)
	}
	equal(t, "stored", rest(t, o), []string{"h2", "h3", "h4", "h5"})
	why := ": " + outbox.Oldest.String()
	equal(t, "reported", rec.drops, []string{
		"l1" + why, "n1" + why, "n2" + why, "n3" + why, "n4" + why, "h1" + why, "n5: " + outbox.Full.String(),
	})
	rec.drops = nil
	add(t, o, outbox.Message{Payload: make([]byte, 95), Priority: 1}) // by bytes
	equal(t, "reported", rec.drops, []string{"h2" + why, "h3" + why})
	want := outbox.Stats{Messages: 3, Bytes: 99, Accepted: 11, Refused: 1, DroppedOldest: 8}
	if diff := cmp.Diff(want, o.Stats()); diff != "" {
		t.Error(diff)
	}
}

// TestDropOldestInVain discards nothing for a message that would not fit anyway.
func TestDropOldestInVain(t *testing.T) {
	var rec recorder
	o := open(t, outbox.Config{MaxBytes: 100, Policy: outbox.DropOldest, OnDrop: rec.drop})
	add(t, o, outbox.Message{Payload: make([]byte, 60), Priority: outbox.High})
	add(t, o, text("some low one"))
	if _, err := o.Append(t.Context(), outbox.Message{Payload: make([]byte, 50)}); !errors.Is(err, fairlead.ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
	if s := o.Stats(); s.Messages != 2 || s.DroppedOldest != 0 || s.Refused != 1 {
		t.Errorf("got %+v", s)
	}
	add(t, o, outbox.Message{Payload: make([]byte, 40)})
	if s := o.Stats(); s.Messages != 2 || s.Bytes != 100 || s.DroppedOldest != 1 {
		t.Errorf("got %+v", s)
	}
}

// TestDropOldestInBatch has one batch bring more than there is room for in all.
func TestDropOldestInBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		drops := 0
		o := open(t, outbox.Config{
			MaxMessages: 10, Policy: outbox.DropOldest, OnDrop: func(outbox.Drop) { drops++ },
			Store: &faulty{outbox.NewMemory(), func([]outbox.Record, []uint64) error { <-hold; return nil }},
		})
		var wg sync.WaitGroup
		for i := range 36 {
			wg.Go(func() { add(t, o, text(fmt.Sprint(i))) })
			synctest.Wait()
		}
		close(hold)
		wg.Wait()
		equal(t, "stored", rest(t, o), []string{"26", "27", "28", "29", "30", "31", "32", "33", "34", "35"})
		if s := o.Stats(); drops != 26 || s.DroppedOldest != 26 || s.Messages != 10 {
			t.Errorf("reported %d, counted %+v", drops, s)
		}
	})
}

func TestLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rec recorder
		o := open(t, outbox.Config{MaxAge: hour, OnDrop: rec.drop})
		add(t, o, outbox.Message{Payload: []byte("minute"), Lifetime: time.Minute})
		add(t, o, outbox.Message{Payload: []byte("day"), Lifetime: 24 * hour})
		add(t, o, text("ever"))
		time.Sleep(time.Minute - time.Microsecond)
		equal(t, "just before", rest(t, o), []string{"minute", "day", "ever"})
		time.Sleep(time.Microsecond)
		equal(t, "after a minute", rest(t, o), []string{"day", "ever"})
		time.Sleep(hour)
		add(t, o, text("new"))
		equal(t, "after an hour", rest(t, o), []string{"new"})
		equal(t, "reported", rec.drops, []string{
			"minute: " + outbox.Expired.String(), "day: " + outbox.TooOld.String(), "ever: " + outbox.TooOld.String(),
		})
		want := outbox.Stats{Messages: 1, Bytes: 3, Accepted: 4, Expired: 1, TooOld: 2}
		if diff := cmp.Diff(want, o.Stats()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestExpiredMakesRoom fills an outbox with messages that expire one after another.
func TestExpiredMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rec recorder
		o := open(t, outbox.Config{MaxMessages: 3, OnDrop: rec.drop})
		for i := range 3 {
			add(t, o, outbox.Message{Payload: fmt.Append(nil, i), Lifetime: time.Duration(i+1) * time.Minute})
		}
		if _, err := o.Append(t.Context(), text("x")); !errors.Is(err, fairlead.ErrFull) {
			t.Errorf("got %v, want ErrFull", err)
		}
		rec.drops = nil
		for i := range 3 {
			time.Sleep(time.Minute)
			add(t, o, text("y"))
			equal(t, "reported", rec.drops[i:], []string{fmt.Sprint(i, ": ", outbox.Expired)})
		}
		if _, err := o.Append(t.Context(), text("z")); !errors.Is(err, fairlead.ErrFull) {
			t.Errorf("got %v, want ErrFull", err)
		}
	})
}

// TestHookUsesOutbox appends from within the hook.
func TestHookUsesOutbox(t *testing.T) {
	var o *outbox.Outbox
	var order []string
	depth := 0
	o = open(t, outbox.Config{MaxMessages: 2, Policy: outbox.DropOldest, OnDrop: func(d outbox.Drop) {
		if depth++; depth != 1 {
			t.Error("the hook was called during the hook")
		}
		order = append(order, string(d.Entry.Payload))
		if len(order) < 5 {
			add(t, o, text(fmt.Sprint("again ", len(order))))
		}
		depth--
	}})
	for _, s := range []string{"a", "b", "c"} {
		add(t, o, text(s))
	}
	equal(t, "dropped", order, []string{"a", "b", "c", "again 1", "again 2"})
	equal(t, "stored", rest(t, o), []string{"again 3", "again 4"})
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		outbox.Refuse.String(): "refuse", outbox.DropOldest.String(): "drop oldest", outbox.DropNewest.String(): "drop newest",
		outbox.Policy(7).String(): "policy 7", outbox.Reason(77).String(): "reason 77",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
