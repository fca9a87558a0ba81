package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

func testTenants(t *testing.T, open driver) {
	s := open(t, t.TempDir())
	defer closeStore(t, s)
	view(t, s, func(r store.Reader) error {
		list, err := r.Tenants()
		if len(list) != 0 {
			t.Errorf("got %v, want none", list)
		}
		return err
	})
	want := []core.Tenant{{ID: "B", Created: base}, {ID: "a"}, {ID: "ä", Created: base.Add(time.Microsecond)}}
	update(t, s, func(tx store.Tx) error {
		return errors.Join(tx.InsertTenant(want[2]), tx.InsertTenant(want[0]), tx.InsertTenant(want[1]))
	})
	view(t, s, func(r store.Reader) error {
		list, err := r.Tenants()
		diff(t, "tenants", list, want)
		_, err2 := r.Tenant("A")
		wantKind(t, "other case", err2, core.ErrNotFound)
		return err
	})
	wantKind(t, "again", s.Update(func(tx store.Tx) error { return tx.InsertTenant(core.Tenant{ID: "a"}) }), core.ErrConflict)
}

func testEvents(t *testing.T, open driver) {
	s := fixture(t, open)
	last := func() (seq int64) {
		view(t, s, func(r store.Reader) (err error) { seq, err = r.LastEvent(); return err })
		return seq
	}
	if got := last(); got != 0 {
		t.Errorf("last of none: got %d, want 0", got)
	}
	var want []core.Event
	update(t, s, func(tx store.Tx) error {
		for i := range 5 {
			e := core.Event{
				At: base, Device: core.DeviceKey{Tenant: "t", Dialect: "a", ID: "d"}, Num: 9, Kind: core.DeviceConnected,
				Data: []byte(fmt.Sprintf(`{"n":%d}`, i)),
			}
			if i == 3 {
				e = core.Event{Kind: "x.y"}
			}
			if err := tx.AppendEvent(&e); err != nil {
				return err
			}
			e.Num = 0 // is not stored
			want = append(want, e)
		}
		return nil
	})
	for i := 1; i < len(want); i++ {
		if want[i].Seq <= want[i-1].Seq {
			t.Errorf("seq %d follows %d", want[i].Seq, want[i-1].Seq)
		}
	}
	view(t, s, func(r store.Reader) error {
		got, err := r.Events(0, 100)
		diff(t, "events", got, want)
		got, err2 := r.Events(want[1].Seq, 2)
		diff(t, "page", got, want[2:4])
		got, err3 := r.Events(want[4].Seq, 2)
		if len(got) != 0 {
			t.Errorf("after the last: got %v", got)
		}
		return errors.Join(err, err2, err3)
	})
	update(t, s, func(tx store.Tx) error {
		n, err := tx.DropEvents(want[2].Seq)
		diff(t, "dropped", n, 2)
		got, err2 := tx.Events(0, 1)
		diff(t, "first that is left", got, want[2:3])
		return errors.Join(err, err2)
	})
	// Numbers go on even when nothing is left.
	update(t, s, func(tx store.Tx) error { _, err := tx.DropEvents(1 << 40); return err })
	diff(t, "last of all dropped", last(), want[4].Seq)
	update(t, s, func(tx store.Tx) error { return tx.AppendEvent(&core.Event{Kind: "x.y"}) })
	if got := last(); got <= want[4].Seq {
		t.Errorf("got seq %d, want above %d", got, want[4].Seq)
	}
}

func testDevices(t *testing.T, open driver) {
	s := fixture(t, open)
	d := core.Device{DeviceKey: core.DeviceKey{Tenant: "t", Dialect: "a", ID: "D1"}, Created: base}
	update(t, s, func(tx store.Tx) error { return tx.InsertDevice(&d) })
	if d.Num <= 0 {
		t.Fatalf("got number %d", d.Num)
	}
	dup := core.Device{DeviceKey: d.DeviceKey}
	wantKind(t, "again", s.Update(func(tx store.Tx) error { return tx.InsertDevice(&dup) }), core.ErrConflict)
	other := core.Device{DeviceKey: core.DeviceKey{Tenant: "none", Dialect: "a", ID: "D1"}}
	wantKind(t, "without tenant", s.Update(func(tx store.Tx) error { return tx.InsertDevice(&other) }), core.ErrNotFound)
	// The same id elsewhere is another device.
	update(t, s, func(tx store.Tx) error {
		e := errors.Join(tx.InsertTenant(core.Tenant{ID: "T"}), tx.InsertDevice(&core.Device{DeviceKey: core.DeviceKey{Tenant: "T", Dialect: "a", ID: "D1"}}))
		return errors.Join(e, tx.InsertDevice(&core.Device{DeviceKey: core.DeviceKey{Tenant: "t", Dialect: "b", ID: "D1"}}),
			tx.InsertDevice(&core.Device{DeviceKey: core.DeviceKey{Tenant: "t", Dialect: "a", ID: "d1"}}))
	})
	check := func() {
		t.Helper()
		view(t, s, func(r store.Reader) error {
			got, err := r.Device(d.DeviceKey)
			diff(t, "by key", got, d)
			got, err2 := r.DeviceByNum(d.Num)
			diff(t, "by number", got, d)
			return errors.Join(err, err2)
		})
	}
	check()
	d.Connected, d.LastConnected, d.LastDisconnected, d.LastAddr = true, base.Add(time.Second), base.Add(-time.Second), "10.0.0.9"
	update(t, s, func(tx store.Tx) error { return tx.UpdateDevice(d) })
	check()
	view(t, s, func(r store.Reader) error {
		for _, c := range []struct {
			dialect          string
			total, connected int
		}{{"", 3, 1}, {"a", 2, 1}, {"b", 1, 0}, {"c", 0, 0}} {
			total, connected, err := r.CountDevices("t", c.dialect)
			if err != nil || total != c.total || connected != c.connected {
				t.Errorf("count %q: got %d, %d, %v, want %d, %d", c.dialect, total, connected, err, c.total, c.connected)
			}
		}
		_, err := r.Device(core.DeviceKey{Tenant: "t", Dialect: "a", ID: "x"})
		wantKind(t, "unknown key", err, core.ErrNotFound)
		_, err = r.DeviceByNum(999)
		wantKind(t, "unknown number", err, core.ErrNotFound)
		return nil
	})
	wantKind(t, "update of none", s.Update(func(tx store.Tx) error { return tx.UpdateDevice(core.Device{Num: 999}) }), core.ErrNotFound)
	d.Connected, d.LastConnected = false, time.Time{}
	update(t, s, func(tx store.Tx) error { return tx.UpdateDevice(d) })
	check()
}

func testDevicesPaging(t *testing.T, open driver) {
	s := fixture(t, open)
	var all, a []core.DeviceNum
	update(t, s, func(tx store.Tx) error {
		if err := tx.InsertTenant(core.Tenant{ID: "other"}); err != nil {
			return err
		}
		for i, n := range shuffled(60) {
			d := core.Device{DeviceKey: core.DeviceKey{Tenant: "t", Dialect: "a", ID: core.DeviceID(fmt.Sprint(n))}}
			if i%3 == 1 {
				d.Tenant = "other"
			}
			if i%2 == 1 {
				d.Dialect = "b"
			}
			if err := tx.InsertDevice(&d); err != nil {
				return err
			}
			if d.Tenant == "t" {
				all = append(all, d.Num)
			}
			if d.Tenant == "t" && d.Dialect == "a" {
				a = append(a, d.Num)
			}
		}
		return nil
	})
	for dialect, want := range map[string][]core.DeviceNum{"": all, "a": a, "none": nil} {
		for _, limit := range []int{1, 7, 60, 1000} {
			var got []core.DeviceNum
			view(t, s, func(r store.Reader) error {
				for after := core.DeviceNum(0); ; {
					page, err := r.Devices("t", dialect, after, limit)
					if err != nil || len(page) == 0 {
						return err
					}
					if len(page) > limit {
						return fmt.Errorf("%d devices, limit %d", len(page), limit)
					}
					for _, d := range page {
						got = append(got, d.Num)
					}
					after = page[len(page)-1].Num
				}
			})
			diff(t, fmt.Sprintf("dialect %q, limit %d", dialect, limit), got, want)
		}
	}
}

func testEnrolments(t *testing.T, open driver) {
	s := fixture(t, open)
	d := insertDevice(t, s, "a", "d")
	view(t, s, func(r store.Reader) error {
		_, err := r.Enrolment(d.Num)
		wantKind(t, "none", err, core.ErrNotFound)
		return nil
	})
	for _, want := range []core.Enrolment{
		{Device: d.Num, SecretHash: []byte{1, 0, 2}, FirstRegistered: base},
		{Device: d.Num, FirstRegistered: base, FirstCredentials: base.Add(time.Hour), LastCredentialsAddr: "::1", Inhibited: true},
	} {
		update(t, s, func(tx store.Tx) error { return tx.PutEnrolment(want) })
		view(t, s, func(r store.Reader) error {
			got, err := r.Enrolment(d.Num)
			diff(t, "enrolment", got, want)
			return err
		})
	}
	wantKind(t, "without device", s.Update(func(tx store.Tx) error { return tx.PutEnrolment(core.Enrolment{Device: 999}) }), core.ErrNotFound)
}

func testCertificates(t *testing.T, open driver) {
	s := fixture(t, open)
	d := insertDevice(t, s, "a", "d")
	want := []core.Certificate{
		{Serial: "ff", Device: d.Num, SHA256: [32]byte{1, 31: 2}, AuthorityKeyID: "ab", NotBefore: base, NotAfter: base.Add(time.Hour), State: core.CertificateRevoked, Changed: base},
		{Serial: "0a", Device: d.Num},
		{Serial: "10", Device: d.Num, State: core.CertificateSuperseded},
	}
	update(t, s, func(tx store.Tx) error {
		for _, c := range want {
			if err := tx.PutCertificate(c); err != nil {
				return err
			}
		}
		want[0].State, want[0].Changed = core.CertificateActive, base.Add(time.Minute)
		return tx.PutCertificate(want[0]) // a change does not change the order
	})
	view(t, s, func(r store.Reader) error {
		list, err := r.Certificates(d.Num)
		diff(t, "certificates", list, want)
		c, err2 := r.Certificate("0a")
		diff(t, "certificate", c, want[1])
		_, err3 := r.Certificate("0A")
		wantKind(t, "none", err3, core.ErrNotFound)
		list, err4 := r.Certificates(999)
		if len(list) != 0 {
			t.Errorf("of no device: got %v", list)
		}
		return errors.Join(err, err2, err4)
	})
}

func testCounts(t *testing.T, open driver) {
	s := fixture(t, open)
	d, e := insertDevice(t, s, "a", "d"), insertDevice(t, s, "a", "e")
	update(t, s, func(tx store.Tx) error {
		return errors.Join(tx.AddCount(d.Num, core.Count{Scope: "x", Messages: 1, Bytes: 10}),
			tx.AddCount(d.Num, core.Count{Messages: 1, Bytes: 10}), tx.AddCount(e.Num, core.Count{Messages: 5, Bytes: 5}),
			tx.AddCount(d.Num, core.Count{Scope: "B", Messages: 0, Bytes: 0}))
	})
	update(t, s, func(tx store.Tx) error {
		return tx.AddCount(d.Num, core.Count{Scope: "x", Messages: 2, Bytes: 1 << 40})
	})
	view(t, s, func(r store.Reader) error {
		got, err := r.Counts(d.Num)
		diff(t, "counts", got, []core.Count{{Messages: 1, Bytes: 10}, {Scope: "B"}, {Scope: "x", Messages: 3, Bytes: 1<<40 + 10}})
		got, err2 := r.Counts(999)
		if len(got) != 0 {
			t.Errorf("of no device: got %v", got)
		}
		return errors.Join(err, err2)
	})
}

func testDocuments(t *testing.T, open driver) {
	s := fixture(t, open)
	d := insertDevice(t, s, "a", "d")
	k := core.DocumentKey{Device: d.Num, Name: "n:1", Side: core.Desired}
	others := []core.DocumentKey{{Device: d.Num, Name: "n:1"}, {Device: d.Num, Name: "n", Side: core.Desired}, {Device: d.Num + 1, Name: "n:1", Side: core.Desired}}
	paths := []string{"", "/B", "/a", "/a/b", "/a0", "/ü", "/\xff"}
	var want []core.Entry
	update(t, s, func(tx store.Tx) error {
		for _, o := range others {
			if err := tx.PutEntry(o, core.Entry{Path: "/other", Value: core.AppendNull(nil)}); err != nil {
				return err
			}
		}
		for _, i := range shuffled(len(paths)) {
			if err := tx.PutEntry(k, core.Entry{Path: paths[i], Value: core.AppendInt(nil, -1)}); err != nil {
				return err
			}
		}
		for i, p := range paths { // replaces
			e := core.Entry{Path: p, Value: core.AppendInt(nil, int64(i)), Changed: base.Add(time.Duration(i) * time.Second)}
			want = append(want, e)
			if err := tx.PutEntry(k, e); err != nil {
				return err
			}
		}
		return nil
	})
	view(t, s, func(r store.Reader) error {
		got, err := r.Entries(k)
		diff(t, "entries", got, want)
		e, err2 := r.Entry(k, "/a")
		diff(t, "entry", e, want[2])
		_, err3 := r.Entry(k, "/A")
		wantKind(t, "none", err3, core.ErrNotFound)
		got, err4 := r.Entries(core.DocumentKey{Device: 999})
		if len(got) != 0 {
			t.Errorf("of no document: got %v", got)
		}
		return errors.Join(err, err2, err4)
	})
	big := core.Value(core.AppendBytes(nil, make([]byte, 300_000)))
	update(t, s, func(tx store.Tx) error {
		return errors.Join(tx.DeleteEntry(k, "/a"), tx.DeleteEntry(k, "/none"), tx.PutEntry(k, core.Entry{Path: "/B", Value: big}))
	})
	view(t, s, func(r store.Reader) error {
		_, err := r.Entry(k, "/a")
		wantKind(t, "deleted", err, core.ErrNotFound)
		e, err := r.Entry(k, "/B")
		if string(e.Value) != string(big) {
			t.Errorf("big value: got %d bytes", len(e.Value))
		}
		got, err2 := r.Entries(k)
		diff(t, "number left", len(got), len(paths)-1)
		return errors.Join(err, err2)
	})
}

func testDeleteDevice(t *testing.T, open driver) {
	s := fixture(t, open)
	gone, stays := insertDevice(t, s, "a", "gone"), insertDevice(t, s, "a", "stays")
	end := base.Add(time.Hour)
	fill := func(tx store.Tx, n core.DeviceNum, serial string) error {
		errs := []error{tx.PutEnrolment(core.Enrolment{Device: n, SecretHash: []byte{1}})}
		for i := range 20 {
			x := &core.Block{Series: &core.Series{Device: n, Channel: fmt.Sprint("c", i%3)}}
			x.Add(base.UnixMicro(), base.UnixMicro(), core.AppendNull(nil))
			errs = append(errs, tx.AppendBlock(x), tx.AddCount(n, core.Count{Scope: fmt.Sprint(i), Messages: 1}),
				tx.PutEntry(core.DocumentKey{Device: n, Name: "d"}, core.Entry{Path: fmt.Sprint("/", i), Value: core.AppendNull(nil)}))
		}
		for i, c := range []core.Certificate{
			{NotAfter: end, State: core.CertificateActive},
			{NotAfter: end.Add(time.Minute), State: core.CertificateSuperseded},
			{NotAfter: end.Add(-time.Minute), State: core.CertificateRevoked, Changed: base},
			{NotAfter: base.Add(-time.Minute), State: core.CertificateSuperseded},
		} {
			c.Serial, c.Device, c.AuthorityKeyID = fmt.Sprint(serial, i), n, "k"
			errs = append(errs, tx.PutCertificate(c))
		}
		return errors.Join(errs...)
	}
	update(t, s, func(tx store.Tx) error { return errors.Join(fill(tx, gone.Num, "a"), fill(tx, stays.Num, "b")) })
	update(t, s, func(tx store.Tx) error { return tx.DeleteDevice(gone.Num) })
	wantKind(t, "delete again", s.Update(func(tx store.Tx) error { return tx.DeleteDevice(gone.Num) }), core.ErrNotFound)
	wantKind(t, "certificate of what is deleted", s.Update(func(tx store.Tx) error {
		return tx.PutCertificate(core.Certificate{Serial: "new", Device: gone.Num})
	}), core.ErrNotFound)
	again := insertDevice(t, s, "a", "gone")
	if again.Num == gone.Num {
		t.Error("the number is used again")
	}
	view(t, s, func(r store.Reader) error {
		_, err := r.DeviceByNum(gone.Num)
		wantKind(t, "the device", err, core.ErrNotFound)
		_, err = r.Enrolment(gone.Num)
		wantKind(t, "its enrolment", err, core.ErrNotFound)
		list, err := r.DeletedDevices(base, 10)
		diff(t, "deleted", list, []core.DeviceNum{gone.Num})
		return err
	})
	sweep := func(now time.Time) (slices int) {
		for {
			var n int
			update(t, s, func(tx store.Tx) (err error) { n, err = tx.SweepDevice(gone.Num, now, 16); return err })
			if n > 24 {
				t.Errorf("%d rows in a slice, want about 16 at most", n)
			}
			if n == 0 {
				return slices
			}
			slices++
		}
	}
	if n := sweep(base); n < 8 {
		t.Errorf("swept in %d slices", n)
	}
	revoked := func() (list []string) {
		view(t, s, func(r store.Reader) error {
			for c, err := range r.Revoked("k", base) {
				if err != nil {
					return err
				}
				list = append(list, c.Serial)
			}
			return nil
		})
		return list
	}
	diff(t, "revoked", revoked(), []string{"a0", "a1", "a2", "b2"})
	view(t, s, func(r store.Reader) error {
		series, err := r.Series(gone.Num, "")
		counts, err2 := r.Counts(gone.Num)
		entries, err3 := r.Entries(core.DocumentKey{Device: gone.Num, Name: "d"})
		if len(series)+len(counts)+len(entries) > 0 {
			t.Errorf("left: %v, %v, %v", series, counts, entries)
		}
		series, err4 := r.Series(stays.Num, "")
		counts, err5 := r.Counts(stays.Num)
		entries, err6 := r.Entries(core.DocumentKey{Device: stays.Num, Name: "d"})
		if len(series) != 3 || len(counts) != 20 || len(entries) != 20 {
			t.Errorf("of the other: %v, %v, %v", series, counts, entries)
		}
		c, err7 := r.Certificate("a2")
		if !c.Changed.Equal(base) {
			t.Error("what was revoked is revoked anew")
		}
		list, err8 := r.DeletedDevices(end, 10)
		diff(t, "due before the certificates end", list, []core.DeviceNum(nil))
		return errors.Join(err, err2, err3, err4, err5, err6, err7, err8)
	})
	sweep(end.Add(time.Minute))
	diff(t, "revoked in the end", revoked(), []string{"b2"})
	view(t, s, func(r store.Reader) error {
		list, err := r.DeletedDevices(end.Add(time.Hour), 10)
		diff(t, "deleted in the end", list, []core.DeviceNum(nil))
		return err
	})
}
