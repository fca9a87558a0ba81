package storetest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// kept is a retained message with something in every field.
func kept(topic string) core.Retained {
	return core.Retained{Stored: base, ClientID: "pump", Message: core.Message{
		Topic: topic, Payload: []byte("on"), QoS: 1, Retain: true, Properties: []byte{1, 1}, Expires: base.Add(time.Hour),
	}}
}

func testRetained(t *testing.T, open driver) {
	s := fixture(t, open)
	get := func(tenant core.TenantID, dialect, topic string) (m core.Retained, err error) {
		err = s.View(t.Context(), func(r store.Reader) error { m, err = r.Retained(tenant, dialect, topic); return err })
		return m, err
	}
	_, err := get("t", "a", "x")
	wantKind(t, "none", err, core.ErrNotFound)
	bare := core.Retained{Message: core.Message{Topic: "x", Payload: []byte{0}, Retain: true}}
	update(t, s, func(tx store.Tx) error {
		return errors.Join(tx.PutRetained("t", "a", kept("x")), tx.PutRetained("t", "b", bare), tx.PutRetained("u", "a", bare),
			tx.PutRetained("t", "a", kept("xy")))
	})
	for _, c := range []struct {
		tenant  core.TenantID
		dialect string
		want    core.Retained
	}{{"t", "a", kept("x")}, {"t", "b", bare}, {"u", "a", bare}} {
		got, err := get(c.tenant, c.dialect, "x")
		diff(t, fmt.Sprintf("%s/%s (%v)", c.tenant, c.dialect, err), got, c.want)
	}
	update(t, s, func(tx store.Tx) error { return tx.PutRetained("t", "a", bare) }) // in its place
	got, err := get("t", "a", "x")
	diff(t, fmt.Sprintf("replaced (%v)", err), got, bare)
	view(t, s, func(r store.Reader) error {
		diff(t, "sizes", all(t, r.RetainedSizes()), []store.RetainedSize{
			{Tenant: "t", Dialect: "a", Count: 2, Bytes: 2 + 6}, {Tenant: "t", Dialect: "b", Count: 1, Bytes: 2}, {Tenant: "u", Dialect: "a", Count: 1, Bytes: 2},
		})
		return nil
	})
	update(t, s, func(tx store.Tx) error {
		return errors.Join(tx.DeleteRetained("t", "a", "x"), tx.DeleteRetained("t", "a", "x"))
	})
	_, err = get("t", "a", "x")
	wantKind(t, "deleted", err, core.ErrNotFound)
	if _, err = get("t", "b", "x"); err != nil {
		t.Errorf("the other dialect's: %v", err)
	}
}

func testRetainedOrder(t *testing.T, open driver) {
	s := fixture(t, open)
	topics := []string{"$SYS/x", "/", "A", "a", "a/", "a/b", "a/b/c", "a0", "aa", "b", "é", "日本", "\U0010ffff", "\U0010ffffa"}
	update(t, s, func(tx store.Tx) error {
		for _, i := range shuffled(len(topics)) {
			if err := tx.PutRetained("t", "x", kept(topics[i])); err != nil {
				return err
			}
		}
		return errors.Join(tx.PutRetained("t", "w", kept("a")), tx.PutRetained("t", "y", kept("a")), tx.PutRetained("s", "x", kept("a")))
	})
	view(t, s, func(r store.Reader) error {
		for _, prefix := range append(topics, "", "a/bc", "z") {
			for _, from := range append(topics, "") {
				var want, got []string
				for _, k := range sorted(topics) {
					if strings.HasPrefix(k, prefix) && k >= from {
						want = append(want, k)
					}
				}
				for _, m := range all(t, r.RetainedFrom("t", "x", prefix, from)) {
					got = append(got, m.Topic)
				}
				diff(t, fmt.Sprintf("prefix %q from %q", prefix, from), got, want)
			}
		}
		for m, err := range r.RetainedFrom("t", "x", "a/", "") { // ended early
			diff(t, fmt.Sprintf("first (%v)", err), m, kept("a/"))
			break
		}
		return nil
	})
}

func testRetainedExpiry(t *testing.T, open driver) {
	s := fixture(t, open)
	update(t, s, func(tx store.Tx) error {
		for i := range 10 {
			m := kept(fmt.Sprintf("x/%d", 9-i))
			m.Expires = base.Add(time.Duration(i) * time.Second)
			if err := tx.PutRetained("t", "a", m); err != nil {
				return err
			}
		}
		m := kept("for ever")
		m.Expires = time.Time{}
		return tx.PutRetained("u", "b", m)
	})
	drop := func(after time.Duration, limit, want int) {
		t.Helper()
		update(t, s, func(tx store.Tx) error {
			got, err := tx.DropExpired(base.Add(after), limit)
			if len(got) != want {
				t.Errorf("dropped %d, want %d", len(got), want)
			}
			for _, d := range got {
				diff(t, "dropped", d, store.RetainedSize{Tenant: "t", Dialect: "a", Count: 1, Bytes: 7})
			}
			return err
		})
	}
	drop(-time.Second, 100, 0)
	drop(3*time.Second, 3, 3)
	drop(3*time.Second, 3, 1)
	drop(3*time.Second, 3, 0)
	view(t, s, func(r store.Reader) error {
		var got []string
		for _, m := range all(t, r.RetainedFrom("t", "a", "", "")) {
			got = append(got, m.Topic)
		}
		diff(t, "left", got, []string{"x/0", "x/1", "x/2", "x/3", "x/4", "x/5"})
		return nil
	})
	drop(1000*time.Hour, 100, 6)
	view(t, s, func(r store.Reader) error {
		diff(t, "sizes", all(t, r.RetainedSizes()), []store.RetainedSize{{Tenant: "u", Dialect: "b", Count: 1, Bytes: 12}})
		return nil
	})
}

func testDropTenantRetained(t *testing.T, open driver) {
	s := fixture(t, open)
	update(t, s, func(tx store.Tx) error {
		return errors.Join(tx.PutRetained("t", "a", kept("x")), tx.PutRetained("t", "b", kept("yy")), tx.PutRetained("t", "b", kept("z")),
			tx.PutRetained("u", "b", kept("z")))
	})
	for _, want := range []int{2, 1, 0} {
		update(t, s, func(tx store.Tx) error {
			got, err := tx.DropTenantRetained("t", 2)
			diff(t, "dropped", len(got), want)
			if want == 2 {
				diff(t, "first", got[0], store.RetainedSize{Tenant: "t", Dialect: "a", Count: 1, Bytes: len("x") + len(kept("x").Payload) + len(kept("x").Properties)})
			}
			return err
		})
	}
	view(t, s, func(r store.Reader) error {
		diff(t, "the other one's", len(all(t, r.RetainedSizes())), 1)
		return nil
	})
}
