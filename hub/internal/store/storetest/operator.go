package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

func testTokens(t *testing.T, open driver) {
	s := fixture(t, open)
	want := []core.Token{
		{ID: "a", Hash: [32]byte{1}, Name: "first", Scope: core.ScopeRead, Tenant: "t", Created: base, Expires: base.Add(time.Hour)},
		{ID: "b", Hash: [32]byte{31: 1}, Scope: core.ScopeAdmin},
	}
	update(t, s, func(tx store.Tx) error { return errors.Join(tx.InsertToken(want[1]), tx.InsertToken(want[0])) })
	for what, dup := range map[string]core.Token{"same id": {ID: "a", Hash: [32]byte{9}}, "same hash": {ID: "c", Hash: [32]byte{1}}} {
		wantKind(t, what, s.Update(func(tx store.Tx) error { return tx.InsertToken(dup) }), core.ErrConflict)
	}
	view(t, s, func(r store.Reader) error {
		list, err := r.Tokens()
		diff(t, "tokens", list, want)
		x, err2 := r.TokenByHash([32]byte{31: 1})
		diff(t, "by hash", x, want[1])
		x, err3 := r.Token("a")
		diff(t, "by id", x, want[0])
		_, err4 := r.TokenByHash([32]byte{})
		wantKind(t, "no such hash", err4, core.ErrNotFound)
		_, err4 = r.Token("A")
		wantKind(t, "no such id", err4, core.ErrNotFound)
		return errors.Join(err, err2, err3)
	})
	update(t, s, func(tx store.Tx) error { return tx.DeleteToken("a") })
	wantKind(t, "delete again", s.Update(func(tx store.Tx) error { return tx.DeleteToken("a") }), core.ErrNotFound)
	view(t, s, func(r store.Reader) error {
		_, err := r.TokenByHash([32]byte{1})
		wantKind(t, "deleted", err, core.ErrNotFound)
		return nil
	})
}

func testEventsOf(t *testing.T, open driver) {
	s := fixture(t, open)
	keys := []core.DeviceKey{
		{Tenant: "t", Dialect: "a", ID: "d"},
		{Tenant: "t", Dialect: "b", ID: "d"},
		{Tenant: "t"},
		{Tenant: "u", Dialect: "a", ID: "d"},
		{},
	}
	var all []core.Event
	update(t, s, func(tx store.Tx) error {
		for i := range 20 {
			e := core.Event{Device: keys[i%len(keys)], Kind: "x.y"}
			if err := tx.AppendEvent(&e); err != nil {
				return err
			}
			all = append(all, e)
		}
		return nil
	})
	behind := func(seq int64, limit int, of func(core.Event) bool) (list []core.Event) {
		for _, e := range all {
			if e.Seq > seq && of(e) && len(list) < limit {
				list = append(list, e)
			}
		}
		return list
	}
	view(t, s, func(r store.Reader) error {
		for _, after := range []int64{0, all[7].Seq, all[19].Seq} {
			for _, limit := range []int{1, 3, 100} {
				got, err := r.TenantEvents("t", after, limit)
				if err != nil {
					return err
				}
				diff(t, fmt.Sprintf("tenant, after %d, limit %d", after, limit), got,
					behind(after, limit, func(e core.Event) bool { return e.Device.Tenant == "t" }))
				got, err = r.DeviceEvents(keys[0], after, limit)
				if err != nil {
					return err
				}
				diff(t, fmt.Sprintf("device, after %d, limit %d", after, limit), got,
					behind(after, limit, func(e core.Event) bool { return e.Device == keys[0] }))
				for _, k := range []core.DeviceKey{{}, {Tenant: "t"}, keys[0]} {
					var want []core.Event
					for _, e := range slices.Backward(all) {
						is := k == core.DeviceKey{} || k.ID == "" && e.Device.Tenant == k.Tenant || e.Device == k
						if (after == 0 || e.Seq < after) && is && len(want) < limit {
							want = append(want, e)
						}
					}
					if got, err = r.EventsBefore(k, after, limit); err != nil {
						return err
					}
					diff(t, fmt.Sprintf("of %v, before %d, limit %d", k, after, limit), got, want)
				}
			}
		}
		return nil
	})
}

func testDropEventsOf(t *testing.T, open driver) {
	s := fixture(t, open)
	keys := []core.DeviceKey{{}, {Tenant: "t"}, {Tenant: "t", Dialect: "a", ID: "d"}, {Tenant: "t", Dialect: "a", ID: "e"}, {Tenant: "u", Dialect: "a", ID: "d"}}
	seqs := map[core.DeviceKey][]int64{}
	update(t, s, func(tx store.Tx) error {
		for i := range 20 {
			e := core.Event{Device: keys[i%len(keys)], Kind: "x.y"}
			if err := tx.AppendEvent(&e); err != nil {
				return err
			}
			seqs[e.Device] = append(seqs[e.Device], e.Seq)
		}
		return nil
	})
	check := func(what string, from core.DeviceKey, want ...int64) {
		t.Helper()
		view(t, s, func(r store.Reader) error {
			var got []int64
			n := len(keys) - len(want)
			for c, err := range r.EventCounts(from) {
				if err != nil {
					return err
				}
				diff(t, what+": key", c.Device, keys[n])
				got = append(got, c.Count)
				n++
			}
			diff(t, what, got, want)
			return nil
		})
	}
	dropped := func(id core.TenantID, want int64) {
		t.Helper()
		view(t, s, func(r store.Reader) error {
			got, err := r.DroppedEvents(id)
			diff(t, fmt.Sprintf("dropped of %q", id), got, want)
			return err
		})
	}
	check("all", core.DeviceKey{}, 4, 4, 4, 4, 4)
	check("some", keys[2], 4, 4, 4)
	check("behind what is not there", core.DeviceKey{Tenant: "t", Dialect: "a", ID: "dd"}, 4, 4)
	dropped("", 0)
	drop := func(k core.DeviceKey, limit, want int) {
		t.Helper()
		update(t, s, func(tx store.Tx) error {
			n, err := tx.DropEventsOf(k, limit)
			diff(t, "dropped", n, want)
			return err
		})
	}
	drop(keys[2], 3, 3)
	check("without a device's oldest", core.DeviceKey{}, 4, 4, 1, 4, 4)
	dropped("t", seqs[keys[2]][2])
	dropped("", seqs[keys[2]][2])
	dropped("u", 0)
	drop(keys[1], 4, 4) // the tenant's: of these three of no device or of the other one, which are older, and more
	check("without a tenant's oldest", core.DeviceKey{}, 4, 2, 1, 2, 4)
	dropped("t", seqs[keys[2]][2])
	drop(keys[0], 9, 4)
	dropped("", seqs[keys[0]][3])
	dropped("t", seqs[keys[2]][2])
	drop(keys[0], 9, 0)
}

func testFindDevices(t *testing.T, open driver) {
	s := fixture(t, open)
	ids := []core.DeviceID{"a", "a-", "ab", "abc", "b", "A", "ab:", "aB", "z\xff"}
	var all []core.Device
	update(t, s, func(tx store.Tx) error {
		if err := tx.InsertTenant(core.Tenant{ID: "other"}); err != nil {
			return err
		}
		for _, i := range shuffled(len(ids)) {
			d := core.Device{DeviceKey: core.DeviceKey{Tenant: "t", Dialect: "m", ID: ids[i]}, Connected: i%3 == 0, Created: base}
			if err := tx.InsertDevice(&d); err != nil {
				return err
			}
			all = append(all, d)
			for _, k := range []core.DeviceKey{{Tenant: "t", Dialect: "n", ID: ids[i]}, {Tenant: "other", Dialect: "m", ID: ids[i]}} {
				if err := tx.InsertDevice(&core.Device{DeviceKey: k, Connected: true}); err != nil {
					return err
				}
			}
		}
		// The indexes follow changes.
		for _, i := range []int{0, 5} {
			all[i].Connected = !all[i].Connected
			if err := tx.UpdateDevice(all[i]); err != nil {
				return err
			}
		}
		return nil
	})
	slices.SortFunc(all, func(a, b core.Device) int { return strings.Compare(string(a.ID), string(b.ID)) })
	yes, no := true, false
	for _, prefix := range []string{"", "a", "ab", "abc", "abcd", "z\xff", "\xff"} {
		for _, connected := range []*bool{nil, &yes, &no} {
			for _, after := range []core.DeviceID{"", "a", "aa", "ab", "zz", "0"} {
				for _, limit := range []int{1, 2, 100} {
					q := core.DeviceQuery{Tenant: "t", Dialect: "m", Prefix: prefix, After: after, Connected: connected, Limit: limit}
					var want []core.Device
					for _, d := range all {
						if strings.HasPrefix(string(d.ID), prefix) && d.ID > after && (connected == nil || d.Connected == *connected) && len(want) < limit {
							want = append(want, d)
						}
					}
					view(t, s, func(r store.Reader) error {
						got, err := r.FindDevices(q)
						diff(t, fmt.Sprintf("%+v", q), got, want)
						return err
					})
				}
			}
		}
	}
	view(t, s, func(r store.Reader) error {
		list, err := r.DeviceDialects("t")
		diff(t, "dialects", list, []string{"m", "n"})
		list, err2 := r.DeviceDialects("none")
		if len(list) != 0 {
			t.Errorf("dialects of no tenant: got %v", list)
		}
		return errors.Join(err, err2)
	})
}

func testRevoked(t *testing.T, open driver) {
	s := fixture(t, open)
	d := insertDevice(t, s, "a", "d")
	issued := func(serial, issuer string, ends time.Duration, state core.CertificateState) core.Certificate {
		return core.Certificate{Serial: serial, Device: d.Num, AuthorityKeyID: issuer, NotAfter: base.Add(ends), State: state, Changed: base}
	}
	all := []core.Certificate{
		issued("05", "x", time.Hour, core.CertificateRevoked),
		issued("04", "x", -time.Hour, core.CertificateRevoked),
		issued("03", "y", time.Hour, core.CertificateRevoked),
		issued("02", "x", time.Hour, core.CertificateActive),
		issued("01", "x", time.Hour, core.CertificateSuperseded),
		issued("00", "x", time.Minute, core.CertificateRevoked),
	}
	update(t, s, func(tx store.Tx) error {
		for _, c := range all {
			if err := tx.PutCertificate(c); err != nil {
				return err
			}
		}
		return nil
	})
	view(t, s, func(r store.Reader) error {
		var got []string
		for c, err := range r.Revoked("x", base) {
			if err != nil {
				return err
			}
			got = append(got, c.Serial)
		}
		diff(t, "revoked", got, []string{"05", "00"})
		for range r.Revoked("x", base) {
			break // may be left early
		}
		return nil
	})
}

func testLeaves(t *testing.T, open driver) {
	s := fixture(t, open)
	d := insertDevice(t, s, "a", "d")
	var want []core.Leaf
	for _, name := range []string{"", "a", "a:1", "b"} {
		for _, side := range []core.Side{core.Reported, core.Desired} {
			for i, path := range []string{"", "/a", "/b"} {
				want = append(want, core.Leaf{Document: name, Side: side, Entry: core.Entry{Path: path, Value: core.AppendInt(nil, int64(i)), Changed: base}})
			}
		}
	}
	update(t, s, func(tx store.Tx) error {
		for _, i := range shuffled(len(want)) {
			l := want[i]
			if err := tx.PutEntry(core.DocumentKey{Device: d.Num, Name: l.Document, Side: l.Side}, l.Entry); err != nil {
				return err
			}
		}
		return tx.PutEntry(core.DocumentKey{Device: d.Num + 1}, core.Entry{Path: "/other", Value: core.AppendNull(nil)})
	})
	view(t, s, func(r store.Reader) error {
		read := func(from core.Leaf) (list []core.Leaf) {
			for l, err := range r.Leaves(d.Num, from) {
				if err != nil {
					t.Error(err)
				}
				list = append(list, l)
			}
			return list
		}
		diff(t, "all", read(core.Leaf{}), want)
		for i, l := range want {
			diff(t, fmt.Sprintf("from %d", i), read(l), want[i:])
			l.Path += "\x00"
			if i+1 < len(want) {
				diff(t, fmt.Sprintf("behind %d", i), read(l), want[i+1:])
			}
		}
		diff(t, "from one that is not there", read(core.Leaf{Document: "a", Side: core.Desired, Entry: core.Entry{Path: "/aa"}})[0], want[11])
		if got := read(core.Leaf{Document: "c"}); len(got) != 0 {
			t.Errorf("behind all: got %v", got)
		}
		return nil
	})
}

func testSeriesAfter(t *testing.T, open driver) {
	s := fixture(t, open)
	d := insertDevice(t, s, "a", "d")
	channels := []string{"a", "a/1", "a/2", "aa", "b"}
	update(t, s, func(tx store.Tx) error {
		for _, i := range shuffled(len(channels)) {
			if err := tx.AppendBlock(block(&core.Series{Device: d.Num, Channel: channels[i]}, at(0))); err != nil {
				return err
			}
		}
		return nil
	})
	for _, prefix := range []string{"", "a", "a/", "c"} {
		for _, after := range []string{"", "a", "a/11", "0", "b"} {
			for _, limit := range []int{1, 2, 10} {
				var want []string
				for _, c := range channels {
					if strings.HasPrefix(c, prefix) && c > after && len(want) < limit {
						want = append(want, c)
					}
				}
				view(t, s, func(r store.Reader) error {
					list, err := r.SeriesAfter(d.Num, prefix, after, limit)
					var got []string
					for _, x := range list {
						got = append(got, x.Channel)
					}
					diff(t, fmt.Sprintf("prefix %q after %q limit %d", prefix, after, limit), got, want)
					return err
				})
			}
		}
	}
}

func testSize(t *testing.T, open driver) {
	s := fixture(t, open)
	size := func() int64 {
		db, log, err := s.Size()
		if err != nil || db < 0 || log < 0 {
			t.Fatalf("got %d, %d, %v", db, log, err)
		}
		return db + log
	}
	before := size()
	update(t, s, func(tx store.Tx) error { return tx.PutRecord("t", "a", "big", make([]byte, 1<<20)) })
	if got := size(); got < before+1<<20 {
		t.Errorf("got %d bytes after %d and a record of 1 MiB", got, before)
	}
}

func testFindSessions(t *testing.T, open driver) {
	s := fixture(t, open)
	var all []core.Session
	update(t, s, func(tx store.Tx) error {
		for i, tenant := range []core.TenantID{"b", "a", "c"} {
			for _, dialect := range []string{"y", "x"} {
				for _, client := range []string{"pump-2", "pump-1", "", "\xff", "lamp/1", "lamp/10"} {
					x := core.Session{Key: core.SessionKey{Tenant: tenant, Dialect: dialect, ClientID: client}, Device: core.DeviceNum(i), Created: base}
					if err := tx.InsertSession(&x); err != nil {
						return err
					}
					all = append(all, x)
				}
			}
		}
		return nil
	})
	slices.SortFunc(all, func(a, b core.Session) int { return a.Key.Compare(b.Key) })
	after := []core.SessionKey{{}}
	for _, x := range all {
		after = append(after, x.Key)
	}
	after = append(after, core.SessionKey{Tenant: "b", Dialect: "x", ClientID: "none"}, core.SessionKey{Tenant: "d"})
	view(t, s, func(r store.Reader) error {
		for _, tenant := range []core.TenantID{"", "a", "c", "none"} {
			for _, dialect := range []string{"", "x", "none"} {
				for i, prefix := range []string{"", "pump", "lamp/1", "\xff", "none"} {
					for _, device := range []core.DeviceNum{0, 2} {
						for _, k := range after {
							q := core.SessionQuery{Tenant: tenant, Dialect: dialect, Prefix: prefix, Device: device, After: k, Limit: 4}
							if i == 2 { // "lamp/1" alone, not "lamp/10"
								q.ClientID = prefix
							}
							var want []core.Session
							for _, x := range all {
								if q.Matches(x.Key, x.Device) && len(want) < q.Limit {
									want = append(want, x)
								}
							}
							got, err := r.FindSessions(q)
							if err != nil {
								return err
							}
							diff(t, fmt.Sprintf("%+v", q), got, want)
						}
					}
				}
			}
		}
		return nil
	})
}
