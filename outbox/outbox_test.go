package outbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/outbox"
)

func TestOrder(t *testing.T) {
	o := open(t, outbox.Config{})
	for i, p := range []outbox.Priority{0, outbox.Low, 0, outbox.High, 127, -128, outbox.High, 0} {
		add(t, o, outbox.Message{Payload: fmt.Append(nil, p, "/", i), Priority: p})
	}
	equal(t, "order", rest(t, o), []string{"127/4", "64/3", "64/6", "0/0", "0/2", "0/7", "-64/1", "-128/5"})
}

func TestEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := open(t, outbox.Config{})
		m := outbox.Message{Header: []byte("topic"), Payload: []byte("21.5"), Priority: -3, Lifetime: time.Minute}
		id := add(t, o, m)
		copy(m.Header, "XXXXX") // the outbox has its own
		now := time.Now().UTC()
		want := []outbox.Entry{{
			ID: id, Header: []byte("topic"), Payload: []byte("21.5"), Priority: -3, Accepted: now, Expires: now.Add(time.Minute),
		}}
		if diff := cmp.Diff(want, readEntries(t, o.Reader())); diff != "" {
			t.Error(diff)
		}
	})
}

func TestReaderGoesOn(t *testing.T) {
	o := open(t, outbox.Config{})
	r := o.Reader()
	for i := range 20 {
		add(t, o, text(fmt.Sprint("n", i)))
	}
	if got := read(t, r); len(got) != 20 {
		t.Fatalf("got %d messages, want 20", len(got))
	}
	add(t, o, text("late"))
	add(t, o, outbox.Message{Payload: []byte("urgent"), Priority: outbox.High})
	equal(t, "after the end", read(t, r), []string{"urgent", "late"})
	equal(t, "at the end", read(t, r), nil)
	r.Rewind()
	if got := read(t, r); len(got) != 22 || got[0] != "urgent" {
		t.Errorf("after Rewind: got %q", got)
	}
}

func TestReaderWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := open(t, outbox.Config{})
		got := make(chan string)
		go func() {
			page, err := o.Reader().Next(context.Background(), 10)
			if err != nil || len(page) != 1 {
				got <- fmt.Sprint(page, err)
				return
			}
			got <- string(page[0].Payload)
		}()
		synctest.Wait()
		add(t, o, text("x"))
		if s := <-got; s != "x" {
			t.Errorf("got %q, want x", s)
		}
	})
}

// TestReaderPassesHoles reads where the newest message has gone again.
func TestReaderPassesHoles(t *testing.T) {
	o := open(t, outbox.Config{})
	r := o.Reader()
	add(t, o, text("a"))
	id := add(t, o, text("b"))
	if err := o.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	equal(t, "with a hole", read(t, r), []string{"a"})
	equal(t, "again", read(t, r), nil)
}

func TestReaderPageBytes(t *testing.T) {
	o := open(t, outbox.Config{})
	for range 5 {
		add(t, o, outbox.Message{Payload: make([]byte, 600<<10)})
	}
	add(t, o, outbox.Message{Payload: make([]byte, 3<<20)})
	r := o.Reader()
	for i := range 6 {
		page, err := r.Next(t.Context(), 100)
		if err != nil || len(page) != 1 {
			t.Fatalf("page %d: got %d messages, %v; want one of 1 MiB at most", i, len(page), err)
		}
	}
	if _, err := r.Next(t.Context(), 0); !errors.Is(err, fairlead.ErrInvalid) {
		t.Errorf("limit 0: got %v", err)
	}
}

func TestDelete(t *testing.T) {
	o := open(t, outbox.Config{})
	a, b, c := add(t, o, text("a")), add(t, o, text("b")), add(t, o, text("c"))
	if err := o.Delete(t.Context(), c, a, a, b+1000, 0, ^outbox.ID(0)); err != nil {
		t.Fatal(err)
	}
	equal(t, "left", rest(t, o), []string{"b"})
	if diff := cmp.Diff(outbox.Stats{Messages: 1, Bytes: 1, Accepted: 3, Deleted: 2}, o.Stats()); diff != "" {
		t.Error(diff)
	}
}

func TestDeleteMany(t *testing.T) {
	o := open(t, outbox.Config{})
	var ids []outbox.ID
	for range 3000 {
		ids = append(ids, add(t, o, text("x")))
	}
	if err := o.Delete(t.Context(), ids...); err != nil {
		t.Fatal(err)
	}
	if s := o.Stats(); s.Messages != 0 || s.Bytes != 0 || s.Deleted != 3000 {
		t.Errorf("got %+v", s)
	}
}

func TestInvalid(t *testing.T) {
	for _, cfg := range []outbox.Config{
		{},
		{Store: outbox.NewMemory(), MaxBytes: -1},
		{Store: outbox.NewMemory(), MaxMessages: -1},
		{Store: outbox.NewMemory(), MaxAge: -1},
		{Store: outbox.NewMemory(), Policy: 9},
	} {
		if _, err := outbox.Open(t.Context(), cfg); !errors.Is(err, fairlead.ErrInvalid) {
			t.Errorf("%+v: got %v, want ErrInvalid", cfg, err)
		}
	}
	o := open(t, outbox.Config{MaxBytes: 100_000})
	for _, c := range []struct {
		m    outbox.Message
		kind error
	}{
		{outbox.Message{Lifetime: -1}, fairlead.ErrInvalid},
		{outbox.Message{Header: make([]byte, 1<<16)}, fairlead.ErrTooLarge},
		{outbox.Message{Payload: make([]byte, 100_001)}, fairlead.ErrTooLarge},
	} {
		if _, err := o.Append(t.Context(), c.m); !errors.Is(err, c.kind) {
			t.Errorf("got %v, want %v", err, c.kind)
		}
	}
	add(t, o, outbox.Message{}) // an empty one is one, too
	add(t, o, outbox.Message{Header: make([]byte, 1<<16-1)})
}

// TestGroup shows that callers who come during a write share the next one.
func TestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		var sizes []int
		o := open(t, outbox.Config{Store: &faulty{outbox.NewMemory(), func(add []outbox.Record, _ []uint64) error {
			sizes = append(sizes, len(add))
			<-hold
			return nil
		}}})
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() { add(t, o, text(fmt.Sprint(i))) })
			if i == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		close(hold)
		wg.Wait()
		if diff := cmp.Diff([]int{1, 99}, sizes); diff != "" {
			t.Error(diff)
		}
		if got := o.Stats().Accepted; got != 100 {
			t.Errorf("accepted %d, want 100", got)
		}
	})
}

// TestCancel ends contexts of callers in each state: waiting, written, about to lead.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		step := make(chan struct{})
		o := open(t, outbox.Config{Store: &faulty{outbox.NewMemory(), func([]outbox.Record, []uint64) error {
			<-step
			return nil
		}}})
		ctx, cancel := context.WithCancelCause(t.Context())
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { _, err := o.Append(ctx, text("first")); first <- err }()
		synctest.Wait()
		go func() { _, err := o.Append(ctx, text("second")); second <- err }()
		synctest.Wait()
		cancel(errNoMore)
		synctest.Wait()
		if err := <-second; !errors.Is(err, errNoMore) {
			t.Errorf("waiting: got %v, want the cause of the context", err)
		}
		step <- struct{}{}
		if err := <-first; err != nil {
			t.Errorf("being written: got %v, want the outcome", err)
		}
		if _, err := o.Append(ctx, text("third")); !errors.Is(err, errNoMore) {
			t.Errorf("ended before: got %v", err)
		}
		equal(t, "stored", rest(t, o), []string{"first"})
	})
}

func TestStorageFails(t *testing.T) {
	f := &faulty{Store: outbox.NewMemory()}
	o := open(t, outbox.Config{Store: f})
	id := add(t, o, text("a"))
	f.fail = func([]outbox.Record, []uint64) error { return fairlead.ErrStorage }
	if got, err := o.Append(t.Context(), text("b")); !errors.Is(err, fairlead.ErrStorage) || got != 0 {
		t.Errorf("append: got %d, %v; want ErrStorage", got, err)
	}
	if err := o.Delete(t.Context(), id); !errors.Is(err, fairlead.ErrStorage) {
		t.Errorf("delete: got %v, want ErrStorage", err)
	}
	f.fail = nil
	add(t, o, text("c"))
	equal(t, "stored", rest(t, o), []string{"a", "c"})
	if diff := cmp.Diff(outbox.Stats{Messages: 2, Bytes: 2, Accepted: 2}, o.Stats()); diff != "" {
		t.Error(diff)
	}
}

// TestDeleteOnFullDisk has a disk with room for what makes room only.
func TestDeleteOnFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &faulty{Store: outbox.NewMemory()}
		o := open(t, outbox.Config{Store: f})
		id := add(t, o, text("old"))
		hold := make(chan struct{})
		f.fail = func(add []outbox.Record, remove []uint64) error {
			<-hold
			if len(add) > 0 {
				return fairlead.ErrStorage
			}
			return nil
		}
		var wg sync.WaitGroup
		results := make([]error, 3)
		for i, do := range []func() error{
			func() error { _, err := o.Append(t.Context(), text("x")); return err },
			func() error { return o.Delete(t.Context(), id) },
			func() error { _, err := o.Append(t.Context(), text("y")); return err },
		} {
			wg.Go(func() { results[i] = do() })
			synctest.Wait() // the second and third share a write
		}
		close(hold)
		wg.Wait()
		if results[1] != nil || !errors.Is(results[0], fairlead.ErrStorage) || !errors.Is(results[2], fairlead.ErrStorage) {
			t.Errorf("got %v, want only the deletion to succeed", results)
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		o := open(t, outbox.Config{Store: &faulty{outbox.NewMemory(), func([]outbox.Record, []uint64) error { <-hold; return nil }}})
		appended := make(chan error, 2)
		for range 2 {
			go func() { _, err := o.Append(t.Context(), text("x")); appended <- err }()
			synctest.Wait()
		}
		read := make(chan error, 1)
		go func() { _, err := o.Reader().Next(t.Context(), 1); read <- err }()
		closed := make(chan error, 1)
		go func() { closed <- o.Close() }()
		synctest.Wait()
		if err := <-read; !errors.Is(err, fairlead.ErrClosed) {
			t.Errorf("reader: got %v, want ErrClosed", err)
		}
		select {
		case <-closed:
			t.Error("Close did not wait for what was handed in")
		default:
		}
		close(hold)
		for range 2 {
			if err := <-appended; err != nil {
				t.Errorf("handed in before Close: %v", err)
			}
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if err := o.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
		if _, err := o.Append(t.Context(), text("x")); !errors.Is(err, fairlead.ErrClosed) {
			t.Errorf("append: got %v, want ErrClosed", err)
		}
		if err := o.Delete(t.Context(), 1); !errors.Is(err, fairlead.ErrClosed) {
			t.Errorf("delete: got %v, want ErrClosed", err)
		}
	})
}

// TestMany has producers, a sender and passers-by at work together.
func TestMany(t *testing.T) {
	o := open(t, outbox.Config{})
	const producers, each = 16, 300
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			for i := range each {
				ctx, cancel := context.WithCancel(t.Context())
				if i%7 == 0 {
					go cancel()
					_, _ = o.Append(ctx, outbox.Message{Header: []byte("impatient")})
				}
				cancel()
				add(t, o, outbox.Message{Header: []byte{byte(p)}, Payload: fmt.Appendf(nil, "%04d", i)})
			}
		})
	}
	r := o.Reader()
	last := map[string][]byte{}
	for n := 0; n < producers*each; {
		page, err := r.Next(t.Context(), 50)
		if err != nil {
			t.Fatal(err)
		}
		var ids []outbox.ID
		for _, e := range page {
			ids = append(ids, e.ID)
			if strings.HasPrefix(string(e.Header), "imp") {
				continue
			}
			n++
			if p := string(e.Header); bytes.Compare(last[p], e.Payload) >= 0 {
				t.Fatalf("producer %q: %s came after %s", p, e.Payload, last[p])
			}
			last[string(e.Header)] = e.Payload
		}
		if err := o.Delete(t.Context(), ids...); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	for _, e := range readEntries(t, r) {
		if string(e.Header) != "impatient" {
			t.Errorf("left over: %q", e.Payload)
		}
	}
}

// Drained waits for what was there when it was called, whatever becomes of it, and for nothing that comes later.
func TestDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		o, err := outbox.Open(ctx, outbox.Config{Store: outbox.NewMemory()})
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Drained(ctx); err != nil {
			t.Errorf("empty: %v", err)
		}
		put := func(m outbox.Message) outbox.ID {
			id, err := o.Append(ctx, m)
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		first := put(outbox.Message{Priority: 1})
		second := put(outbox.Message{Lifetime: time.Hour})
		drained := make(chan error, 1)
		go func() { drained <- o.Drained(ctx) }()
		synctest.Wait()
		put(outbox.Message{}) // too late to be waited for
		put(outbox.Message{Priority: 2})
		if err := o.Delete(ctx, first); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		select {
		case err := <-drained:
			t.Fatalf("done, and %d is there: %v", second, err)
		default:
		}
		time.Sleep(2 * time.Hour)
		if _, err := o.Reader().Poll(ctx, 10); err != nil { // finds that it has expired
			t.Fatal(err)
		}
		if err := <-drained; err != nil {
			t.Error(err)
		}

		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := o.Drained(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		go func() { drained <- o.Drained(ctx) }()
		synctest.Wait()
		if err := o.Close(); err != nil {
			t.Error(err)
		}
		if err := <-drained; !errors.Is(err, fairlead.ErrClosed) {
			t.Errorf("closed: got %v", err)
		}
	})
}
