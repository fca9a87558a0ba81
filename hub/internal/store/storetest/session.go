package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// all collects a sequence.
func all[T any](t *testing.T, seq iter.Seq2[T, error]) (list []T) {
	t.Helper()
	for v, err := range seq {
		if err != nil {
			t.Errorf("after %d: %v", len(list), err)
			break
		}
		list = append(list, v)
	}
	return list
}

func testRecords(t *testing.T, open driver) {
	s := fixture(t, open)
	get := func(tenant core.TenantID, dialect, key string) (v []byte, err error) {
		err = s.View(t.Context(), func(r store.Reader) error { v, err = r.Record(tenant, dialect, key); return err })
		return v, err
	}
	_, err := get("t", "a", "k")
	wantKind(t, "none", err, core.ErrNotFound)
	big := bytes.Repeat([]byte("x"), 200_000)
	update(t, s, func(tx store.Tx) error {
		return errors.Join(tx.PutRecord("t", "a", "k", []byte("old")), tx.PutRecord("t", "a", "k", big),
			tx.PutRecord("t", "b", "k", []byte("b")), tx.PutRecord("u", "a", "k", nil), tx.PutRecord("t", "a", "", []byte{0}))
	})
	for _, c := range []struct {
		tenant       core.TenantID
		dialect, key string
		want         []byte
	}{{"t", "a", "k", big}, {"t", "b", "k", []byte("b")}, {"u", "a", "k", nil}, {"t", "a", "", []byte{0}}} {
		if got, err := get(c.tenant, c.dialect, c.key); err != nil || !bytes.Equal(got, c.want) {
			t.Errorf("%s/%s/%q: got %d bytes, %v", c.tenant, c.dialect, c.key, len(got), err)
		}
	}
	update(t, s, func(tx store.Tx) error {
		return errors.Join(tx.DeleteRecord("t", "a", "k"), tx.DeleteRecord("t", "a", "k"))
	})
	_, err = get("t", "a", "k")
	wantKind(t, "deleted", err, core.ErrNotFound)
	if _, err = get("t", "b", "k"); err != nil {
		t.Errorf("the other dialect's: %v", err)
	}
}

func testRecordsOrder(t *testing.T, open driver) {
	s := fixture(t, open)
	keys := []string{"", "/", "A", "a", "a\x00", "a\x00b", "a/", "a/b", "a0", "aa", "b", "é", "日本", "\xff", "\xff\xff", "\xff\xffa"}
	update(t, s, func(tx store.Tx) error {
		for _, i := range shuffled(len(keys)) {
			if err := tx.PutRecord("t", "x", keys[i], []byte(keys[i])); err != nil {
				return err
			}
		}
		return errors.Join(tx.PutRecord("t", "w", "a", nil), tx.PutRecord("t", "y", "a", nil), tx.PutRecord("s", "x", "a", nil))
	})
	view(t, s, func(r store.Reader) error {
		for _, prefix := range append(keys, "a/bc", "z", "\xfe") {
			var want, got []string
			for _, k := range sorted(keys) {
				if strings.HasPrefix(k, prefix) {
					want = append(want, k)
				}
			}
			for _, rec := range all(t, r.Records("t", "x", prefix)) {
				got = append(got, rec.Key)
				if string(rec.Value) != rec.Key {
					t.Errorf("%q has value %q", rec.Key, rec.Value)
				}
			}
			diff(t, fmt.Sprintf("prefix %q", prefix), got, want)
			for _, from := range append(keys, "a/bc", "z") {
				var want, got []string
				for _, k := range sorted(keys) {
					if strings.HasPrefix(k, prefix) && k >= from {
						want = append(want, k)
					}
				}
				for _, rec := range all(t, r.RecordsFrom("t", "x", prefix, from)) {
					got = append(got, rec.Key)
				}
				diff(t, fmt.Sprintf("prefix %q from %q", prefix, from), got, want)
			}
		}
		// One sequence within another of the same kind, and ended early.
		n := 0
		for _, err := range r.Records("t", "x", "a") {
			for _, err2 := range r.Records("t", "x", "a") {
				if err != nil || err2 != nil {
					return errors.Join(err, err2)
				}
				if n++; n%3 == 0 {
					break
				}
			}
		}
		if n != 21 {
			t.Errorf("nested: got %d, want 21", n)
		}
		return nil
	})
}

// insertSession makes a session of the tenant "t".
func insertSession(t *testing.T, s store.Store, client string) core.Session {
	t.Helper()
	x := core.Session{Key: core.SessionKey{Tenant: "t", Dialect: "a", ClientID: client}, Device: 3, Created: base, Version: 5}
	update(t, s, func(tx store.Tx) error { return tx.InsertSession(&x) })
	return x
}

func testSessions(t *testing.T, open driver) {
	s := fixture(t, open)
	sessions := func() (list []core.Session) {
		view(t, s, func(r store.Reader) error { list = all(t, r.Sessions()); return nil })
		return list
	}
	if got := sessions(); len(got) != 0 {
		t.Errorf("got %v, want none", got)
	}
	want := []core.Session{insertSession(t, s, "B"), insertSession(t, s, "a"), insertSession(t, s, "b")}
	diff(t, "sessions", sessions(), want)
	dup := want[0]
	wantKind(t, "again", s.Update(func(tx store.Tx) error { return tx.InsertSession(&dup) }), core.ErrConflict)
	want[1].Expiry, want[1].Expires = time.Hour, base.Add(time.Hour)
	update(t, s, func(tx store.Tx) error { return tx.SetSessionExpiry(want[1].Num, want[1].Expiry, want[1].Expires) })
	diff(t, "sessions", sessions(), want)
	want[1].Expiry, want[1].Expires = core.Forever, time.Time{}
	update(t, s, func(tx store.Tx) error { return tx.SetSessionExpiry(want[1].Num, core.Forever, time.Time{}) })
	diff(t, "sessions", sessions(), want)
	wantKind(t, "expiry of none", s.Update(func(tx store.Tx) error { return tx.SetSessionExpiry(999, 0, base) }), core.ErrNotFound)
	// A number is not used again, even that of the last session.
	last := want[2].Num
	update(t, s, func(tx store.Tx) error { return errors.Join(tx.DeleteSession(last), tx.DeleteSession(last)) })
	if again := insertSession(t, s, "b"); again.Num <= last {
		t.Errorf("got number %d again", again.Num)
	}
}

func testSubscriptions(t *testing.T, open driver) {
	s := fixture(t, open)
	a, b := insertSession(t, s, "a"), insertSession(t, s, "b")
	full := core.Subscription{
		Session: a.Num, Filter: "$share/g/#", QoS: 1, ID: 268_435_455, NoLocal: true, RetainAsPublished: true, RetainHandling: 2, RetainedFrom: "x",
	}
	update(t, s, func(tx store.Tx) error {
		plain := full
		plain.ID, plain.NoLocal, plain.RetainAsPublished, plain.RetainHandling, plain.RetainedFrom = 0, false, false, 0, ""
		return errors.Join(tx.PutSubscription(plain), tx.PutSubscription(full), // changes all options
			tx.PutSubscription(core.Subscription{Session: b.Num, Filter: "#", QoS: 2}),
			tx.PutSubscription(core.Subscription{Session: a.Num, Filter: "x/+", QoS: 1}), tx.PutSubscription(core.Subscription{Session: a.Num, Filter: "X"}),
			tx.PutSubscription(core.Subscription{Session: a.Num, Filter: "x/+", QoS: 2}), tx.PutSubscription(core.Subscription{Session: a.Num, Filter: "gone"}),
			tx.DeleteSubscription(a.Num, "gone"), tx.DeleteSubscription(a.Num, "none"))
	})
	view(t, s, func(r store.Reader) error {
		diff(t, "subscriptions", all(t, r.Subscriptions()), []core.Subscription{
			full, {Session: a.Num, Filter: "X"}, {Session: a.Num, Filter: "x/+", QoS: 2}, {Session: b.Num, Filter: "#", QoS: 2},
		})
		return nil
	})
	wantKind(t, "of no session", s.Update(func(tx store.Tx) error {
		return tx.PutSubscription(core.Subscription{Session: 999, Filter: "x"})
	}), core.ErrNotFound)
}

func testReceived(t *testing.T, open driver) {
	s := fixture(t, open)
	a, b := insertSession(t, s, "a"), insertSession(t, s, "b")
	update(t, s, func(tx store.Tx) error {
		return errors.Join(tx.PutReceived(a.Num, 65535), tx.PutReceived(a.Num, 1), tx.PutReceived(a.Num, 1), tx.PutReceived(b.Num, 2),
			tx.PutReceived(a.Num, 7), tx.DeleteReceived(a.Num, 7), tx.DeleteReceived(a.Num, 8))
	})
	view(t, s, func(r store.Reader) error {
		got, err := r.Received(a.Num)
		diff(t, "received", got, []uint16{1, 65535})
		got, err2 := r.Received(999)
		if len(got) != 0 {
			t.Errorf("of no session: got %v", got)
		}
		return errors.Join(err, err2)
	})
}

func testQueue(t *testing.T, open driver) {
	s := fixture(t, open)
	a, b := insertSession(t, s, "a"), insertSession(t, s, "b")
	insertSession(t, s, "nothing queued")
	var want []core.Queued
	update(t, s, func(tx store.Tx) error {
		for _, i := range shuffled(10) {
			if err := tx.Enqueue(core.Queued{
				Session: a.Num, Seq: int64(i + 1), ID: uint16(65530 - i),
				Message: core.Message{Topic: "tö", Payload: bytes.Repeat([]byte{0}, i), QoS: byte(i % 3)},
			}); err != nil {
				return err
			}
		}
		return tx.Enqueue(core.Queued{Session: b.Num, Seq: 1 << 40, Message: core.Message{Topic: "t", Payload: make([]byte, 100_000)}})
	})
	for i := range 10 {
		want = append(want, core.Queued{
			Session: a.Num, Seq: int64(i + 1), ID: uint16(65530 - i),
			Message: core.Message{Topic: "tö", Payload: make([]byte, i), QoS: byte(i % 3)},
		})
	}
	view(t, s, func(r store.Reader) error {
		got, err := r.Queue(a.Num, 0, 100)
		diff(t, "queue", got, want)
		got, err2 := r.Queue(a.Num, 3, 4)
		diff(t, "page", got, want[3:7])
		diff(t, "sizes", all(t, r.QueueSizes()), []store.QueueSize{
			{Session: a.Num, Count: 10, Bytes: 45 + 30, LastSeq: 10}, {Session: b.Num, Count: 1, Bytes: 100_001, LastSeq: 1 << 40},
		})
		return errors.Join(err, err2)
	})
	update(t, s, func(tx store.Tx) error {
		return errors.Join(tx.Release(a.Num, 2), tx.Dequeue(a.Num, 0, 1), tx.Dequeue(a.Num, 1, 1), tx.Dequeue(b.Num, 1<<40, 1<<40))
	})
	want[1].Released = true
	view(t, s, func(r store.Reader) error {
		got, err := r.Queue(a.Num, 0, 2)
		diff(t, "queue", got, want[1:3])
		diff(t, "sizes", all(t, r.QueueSizes()), []store.QueueSize{{Session: a.Num, Count: 9, Bytes: 45 + 27, LastSeq: 10}})
		return err
	})
	for what, c := range map[string]struct {
		fn   func(store.Tx) error
		kind error
	}{
		"number again":    {func(tx store.Tx) error { return tx.Enqueue(want[3]) }, core.ErrConflict},
		"of no session":   {func(tx store.Tx) error { return tx.Enqueue(core.Queued{Session: 999}) }, core.ErrNotFound},
		"release of none": {func(tx store.Tx) error { return tx.Release(a.Num, 999) }, core.ErrNotFound},
	} {
		wantKind(t, what, s.Update(c.fn), c.kind)
	}
}

// All that a message in a queue has.
func testQueueProperties(t *testing.T, open driver) {
	s := fixture(t, open)
	a := insertSession(t, s, "a")
	want := []core.Queued{
		{Session: a.Num, Seq: 1, ID: 1, Message: core.Message{Topic: "x", Payload: []byte{}}},
		{
			Session: a.Num, Seq: 2, ID: 2, SubscriptionIDs: []uint32{1, 268_435_455, 128}, Share: "$share/g/#",
			Message: core.Message{Topic: "x", Payload: []byte{7}, QoS: 2, Retain: true, Properties: []byte{1, 1}, Expires: base},
		},
		{Session: a.Num, Seq: 3, ID: 3, Message: core.Message{Topic: "x", Payload: []byte{}, Expires: base.Add(time.Microsecond)}},
	}
	update(t, s, func(tx store.Tx) error {
		for _, q := range want {
			if err := tx.Enqueue(q); err != nil {
				return err
			}
		}
		return nil
	})
	view(t, s, func(r store.Reader) error {
		got, err := r.Queue(a.Num, 0, 100)
		diff(t, "queue", got, want)
		diff(t, "sizes", all(t, r.QueueSizes()), []store.QueueSize{{Session: a.Num, Count: 3, Bytes: 3 + 1 + 2, LastSeq: 3}})
		shared, err2 := r.SharedQueue(a.Num, 0, 100)
		diff(t, "shared", shared, want[1:2])
		shared, err3 := r.SharedQueue(a.Num, 2, 100)
		if len(shared) != 0 {
			t.Errorf("shared behind the only one: got %v", shared)
		}
		return errors.Join(err, err2, err3)
	})
}

func testDropQueued(t *testing.T, open driver) {
	s := fixture(t, open)
	a, b := insertSession(t, s, "a"), insertSession(t, s, "b")
	update(t, s, func(tx store.Tx) error {
		for i := range int64(20) {
			m := core.Message{Topic: "x", Payload: []byte{1, 2}}
			if i%2 == 0 {
				m.Expires = base.Add(time.Duration(20-i) * time.Second) // the last ones first
			}
			if err := errors.Join(tx.Enqueue(core.Queued{Session: a.Num, Seq: i + 1, Message: m}),
				tx.Enqueue(core.Queued{Session: b.Num, Seq: i + 1, Message: m})); err != nil {
				return err
			}
		}
		return nil
	})
	for _, c := range []struct {
		after       int64
		skip, limit int
		at          time.Duration
		want        int
	}{
		{0, 0, 100, time.Second, 0},
		{0, 0, 100, 2 * time.Second, 1},  // 19
		{0, 0, 2, time.Hour, 2},          // 17, 15
		{12, 0, 100, time.Hour, 1},       // 13
		{0, 10, 100, time.Hour, 1},       // 11
		{0, 100, 100, time.Hour, 0},      // none left behind so many
		{0, 1, 100, time.Hour, 4},        // all but the first
		{0, 0, 100, time.Hour, 1},        // the first
		{0, 0, 100, 1000 * time.Hour, 0}, // the others never expire
	} {
		update(t, s, func(tx store.Tx) error {
			n, bytes, err := tx.DropQueued(a.Num, c.after, c.skip, base.Add(c.at), c.limit)
			if n != c.want || bytes != 3*c.want {
				t.Errorf("%+v: dropped %d with %d bytes", c, n, bytes)
			}
			return err
		})
	}
	view(t, s, func(r store.Reader) error {
		diff(t, "sizes", all(t, r.QueueSizes()), []store.QueueSize{
			{Session: a.Num, Count: 10, Bytes: 30, LastSeq: 20}, {Session: b.Num, Count: 20, Bytes: 60, LastSeq: 20},
		})
		return nil
	})
}

func testDeleteSession(t *testing.T, open driver) {
	s := fixture(t, open)
	a, b := insertSession(t, s, "a"), insertSession(t, s, "b")
	update(t, s, func(tx store.Tx) error {
		for _, n := range []int64{a.Num, b.Num} {
			if err := errors.Join(tx.PutSubscription(core.Subscription{Session: n, Filter: "x"}), tx.PutReceived(n, 5),
				tx.Enqueue(core.Queued{Session: n, Seq: 1, Message: core.Message{Topic: "x"}})); err != nil {
				return err
			}
		}
		return tx.DeleteSession(a.Num)
	})
	view(t, s, func(r store.Reader) error {
		diff(t, "sessions", all(t, r.Sessions()), []core.Session{b})
		diff(t, "subscriptions", all(t, r.Subscriptions()), []core.Subscription{{Session: b.Num, Filter: "x"}})
		diff(t, "queues", all(t, r.QueueSizes()), []store.QueueSize{{Session: b.Num, Count: 1, Bytes: 1, LastSeq: 1}})
		ids, err := r.Received(a.Num)
		if len(ids) != 0 {
			t.Errorf("received: got %v", ids)
		}
		ids, err2 := r.Received(b.Num)
		diff(t, "received of the other", ids, []uint16{5})
		return errors.Join(err, err2)
	})
}

// testDeleteLongSession: a session is gone at once, however much it has queued, and its queue by and by.
func testDeleteLongSession(t *testing.T, open driver) {
	const long = 2_000
	s := fixture(t, open)
	a, b := insertSession(t, s, "a"), insertSession(t, s, "b")
	update(t, s, func(tx store.Tx) error {
		for i := range int64(long) {
			if err := tx.Enqueue(core.Queued{Session: a.Num, Seq: i + 1, Message: core.Message{Topic: "x"}}); err != nil {
				return err
			}
		}
		return errors.Join(tx.Enqueue(core.Queued{Session: b.Num, Seq: 1, Message: core.Message{Topic: "x"}}), tx.DeleteSession(a.Num))
	})
	again := insertSession(t, s, "a")
	view(t, s, func(r store.Reader) error {
		diff(t, "sessions", all(t, r.Sessions()), []core.Session{b, again})
		found, err := r.FindSessions(core.SessionQuery{Limit: 10})
		diff(t, "found", found, []core.Session{again, b})
		return err
	})
	sum := 0
	for n := -1; n != 0; sum += n {
		update(t, s, func(tx store.Tx) (err error) {
			n, err = tx.SweepSessions(300)
			return err
		})
		if n > 300 {
			t.Fatalf("a slice of %d rows", n)
		}
	}
	if sum < long {
		t.Errorf("swept %d rows of %d", sum, long)
	}
	view(t, s, func(r store.Reader) error {
		diff(t, "queues", all(t, r.QueueSizes()), []store.QueueSize{{Session: b.Num, Count: 1, Bytes: 1, LastSeq: 1}})
		return nil
	})
}
