package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

func testWills(t *testing.T, open driver) {
	s := fixture(t, open)
	wills := func() (list []core.Will) {
		view(t, s, func(r store.Reader) error { list = all(t, r.Wills()); return nil })
		return list
	}
	if got := wills(); len(got) != 0 {
		t.Errorf("got %v, want none", got)
	}
	key := core.SessionKey{Tenant: "t", Dialect: "a", ClientID: "c"}
	want := []core.Will{
		{
			Session: key, Device: 3, Delay: time.Minute, Lasts: time.Hour,
			Message: core.Message{Topic: "x/y", Payload: []byte("gone"), QoS: 2, Retain: true, Properties: []byte{1, 1}},
		},
		{Session: key, Delay: core.Forever, Due: base, Message: core.Message{Topic: "x", Payload: []byte{}}, Lasts: core.Forever},
	}
	update(t, s, func(tx store.Tx) error { return errors.Join(tx.InsertWill(&want[0]), tx.InsertWill(&want[1])) })
	diff(t, "wills", wills(), want)
	want[0].Due, want[1].Due = base.Add(time.Second), time.Time{}
	update(t, s, func(tx store.Tx) error {
		return errors.Join(tx.SetWillDue(want[0].Num, want[0].Due), tx.SetWillDue(want[1].Num, time.Time{}))
	})
	diff(t, "wills", wills(), want)
	last := want[1].Num
	update(t, s, func(tx store.Tx) error { return errors.Join(tx.DeleteWill(last), tx.DeleteWill(last)) })
	diff(t, "wills", wills(), want[:1])
	wantKind(t, "none", s.Update(func(tx store.Tx) error { return tx.SetWillDue(last, base) }), core.ErrNotFound)
	// A number is not used again: what was decided about a will must not meet another.
	again := core.Will{Session: key, Lasts: core.Forever}
	if update(t, s, func(tx store.Tx) error { return tx.InsertWill(&again) }); again.Num <= last {
		t.Errorf("got number %d again", again.Num)
	}
}
