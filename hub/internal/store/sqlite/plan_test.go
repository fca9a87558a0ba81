package sqlite

import (
	"iter"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// scans are the queries that read a whole table: at the start, or tables that are small.
var scans = []string{
	"SELECT id, created, deleting FROM tenants ORDER BY id",
	"SELECT seq FROM sqlite_sequence",
	"SELECT id, hash, name, scope, tenant, created, expires FROM tokens ORDER BY id",
	"SELECT num, tenant, dialect, client, device, created, expires, expiry, version FROM sessions WHERE tenant <> '' ORDER BY num",
	"SELECT session, filter, qos, identifier, no_local, as_published, retain_handling, retained_from FROM subscriptions ORDER BY session, filter",
	"SELECT session, count(*)",
	"SELECT num, tenant, dialect, client, device, delay, due, lasts, qos, retain, topic, properties, payload FROM wills ORDER BY num",
	"SELECT id, count, length(data), substr(data, 1, 20) FROM blocks ORDER BY id LIMIT ?", // it is short: the oldest ones
	"SELECT substr(data, 1, 20) FROM blocks ORDER BY id LIMIT 1",
	"SELECT tenant, dialect, count(*)",
}

// TestPlans calls every method of the interface and has SQLite explain every statement that was prepared for it: all
// others must find their rows by an index, and in the order that they return them in.
func TestPlans(t *testing.T) {
	s := opened(t, Config{})
	if err := s.Update(func(tx store.Tx) error {
		// The branches that the calls below would not reach.
		for _, b := range []bool{false, true} {
			x := &core.Series{Device: 1, Channel: "x"}
			wide := &core.Block{Series: x, Count: 1, Last: 1e9}
			if err := tx.AppendBlock(wide); err != nil {
				return err
			}
			for range tx.Samples(x, core.Range{Backwards: b}) {
			}
			if _, err := tx.Devices("", "", 0, 1); err != nil {
				return err
			}
			if _, _, err := tx.CountDevices("", ""); err != nil {
				return err
			}
			for _, q := range []core.DeviceQuery{{Connected: &b}, {After: "x"}, {After: "x", Connected: &b}} {
				if _, err := tx.FindDevices(q); err != nil {
					return err
				}
			}
			if _, _, err := tx.DropQueued(1, 0, 1, time.Time{}, 1); err != nil {
				return err
			}
			if _, err := tx.FindSessions(core.SessionQuery{Tenant: "x"}); err != nil {
				return err
			}
			if _, err := tx.SeriesAfter(1, "", "x", 1); err != nil {
				return err
			}
			if _, err := tx.DropSamples(time.Time{}, 1); err != nil {
				return err
			}
			if _, err := tx.DropEventsOf(core.DeviceKey{Tenant: "x", Dialect: "x", ID: "x"}, 1); err != nil {
				return err
			}
		}
		callAll(t, tx)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var statements []string
	for sql := range s.w.idle {
		if verb, _, _ := strings.Cut(sql, " "); slices.Contains([]string{"SELECT", "INSERT", "UPDATE", "DELETE"}, verb) {
			statements = append(statements, sql)
		}
	}
	if len(statements) < 45 {
		t.Errorf("only %d statements", len(statements))
	}
	for _, sql := range statements {
		for r, err := range s.w.rows("EXPLAIN QUERY PLAN " + sql) {
			if err != nil {
				t.Fatal(err)
			}
			detail := r.ColumnText(3)
			allowed := slices.ContainsFunc(scans, func(p string) bool { return strings.HasPrefix(sql, p) })
			if strings.Contains(detail, "TEMP B-TREE") || strings.HasPrefix(detail, "SCAN") && !allowed {
				t.Errorf("%s\n\t%s", sql, detail)
			}
		}
	}
	// All bounds of a range take part in finding it.
	for part, want := range map[string]string{
		"SELECT id, first, data FROM blocks":                            "USING INDEX blocks_by_time (series=? AND first>? AND first<?)",
		"SELECT first, id, last, count":                                 "USING INDEX blocks_by_time (series=? AND first>? AND first<?)",
		"DELETE FROM blocks WHERE id <=":                                "USING INTEGER PRIMARY KEY (rowid<?)",
		"FROM records WHERE tenant = ? AND dialect = ? AND key >=":      "(tenant=? AND dialect=? AND key>? AND key<?)",
		"SELECT channel FROM series":                                    "(device=? AND channel>? AND channel<?)",
		"last_addr FROM devices INDEXED BY devices_by_dialect":          "(tenant=? AND dialect=? AND rowid>?)",
		"FROM devices INDEXED BY devices_by_tenant":                     "(tenant=? AND rowid>?)",
		"FROM queue WHERE session = ? AND seq >":                        "(session=? AND seq>?)",
		"FROM entries WHERE device = ? AND name = ? AND side = ? ORDER": "(device=? AND name=? AND side=?)",
		"FROM devices INDEXED BY sqlite_autoindex_devices_1":            "(tenant=? AND dialect=? AND id>? AND id<?)",
		"last_addr FROM devices INDEXED BY devices_connected":           "(tenant=? AND dialect=? AND id>? AND id<?)",
		"FROM devices INDEXED BY devices_away":                          "(tenant=? AND dialect=? AND id>? AND id<?)",
		"SELECT dialect FROM devices":                                   "USING COVERING INDEX devices_by_dialect (tenant=? AND dialect>?)",
		"(name, side, path) >":                                          "(device=? AND (name,side,path)>(?,?,?))",
		"data FROM events INDEXED BY events_by_tenant":                  "(tenant=? AND rowid>?)",
		"data FROM events INDEXED BY events_by_device":                  "(tenant=? AND dialect=? AND device=? AND rowid>?)",
		"SELECT seq FROM events INDEXED BY events_by_tenant":            "USING COVERING INDEX events_by_tenant (tenant=?)",
		"SELECT seq FROM events INDEXED BY events_by_device":            "USING COVERING INDEX events_by_device (tenant=? AND dialect=? AND device=?)",
		"count(*) FROM events":                                          "USING COVERING INDEX events_by_device ((tenant,dialect,device)>(?,?,?))",
		"FROM certificates INDEXED BY":                                  "(authority_key_id=?)",
		"FROM tokens WHERE hash":                                        "(hash=?)",
		"count(*) FROM devices WHERE":                                   "USING COVERING INDEX",
		"FROM queue INDEXED BY queue_shared":                            "(session=? AND seq>?)",
		"FROM queue INDEXED BY queue_expiring":                          "(session=? AND expires<?)",
		"FROM retained WHERE tenant = ? AND dialect = ? AND topic >= ?": "(tenant=? AND dialect=? AND topic>?",
		"FROM retained WHERE expires <=":                                "USING INDEX retained_expiring (expires<?)",
		"count(*) FROM devices INDEXED":                                 "USING COVERING INDEX devices_connected",
	} {
		found := false
		for _, sql := range statements {
			if !strings.Contains(sql, part) {
				continue
			}
			found = true
			plan := ""
			for r, err := range s.w.rows("EXPLAIN QUERY PLAN " + sql) {
				if err != nil {
					t.Fatal(err)
				}
				plan += r.ColumnText(3) + "\n"
			}
			if !strings.Contains(plan, want) {
				t.Errorf("%s\n\tgot plan %swant %s", sql, plan, want)
			}
		}
		if !found {
			t.Errorf("no statement with %q", part)
		}
	}
}

// callAll calls all methods of a transaction with arguments that mean nothing much, each undone.
func callAll(t *testing.T, tx store.Tx) {
	v := reflect.ValueOf(&tx).Elem()
	for i := range v.NumMethod() {
		m, name := v.Method(i), v.Type().Method(i).Name
		if name == "Savepoint" {
			continue
		}
		var args []reflect.Value
		for k := range m.Type().NumIn() {
			args = append(args, argument(m.Type().In(k)))
		}
		_ = tx.Savepoint(func() error {
			for _, out := range m.Call(args) {
				if out.Kind() == reflect.Func { // a sequence
					exhaust(out)
				}
			}
			return errUndo
		})
	}
}

var errUndo = core.ErrInvalid

func argument(typ reflect.Type) reflect.Value {
	switch typ {
	case reflect.TypeFor[*core.Block]():
		b := &core.Block{Series: &core.Series{Device: 1, Channel: "c"}}
		b.Add(1, 1, core.AppendNull(nil))
		return reflect.ValueOf(b)
	case reflect.TypeFor[string]():
		return reflect.ValueOf("x")
	case reflect.TypeFor[*core.Series]():
		return reflect.ValueOf(&core.Series{Device: 1, Channel: "x"})
	}
	if typ.Kind() == reflect.Pointer {
		return reflect.New(typ.Elem())
	}
	return reflect.New(typ).Elem()
}

// exhaust ranges over an iter.Seq2 of any type.
func exhaust(seq reflect.Value) {
	var _ iter.Seq2[int, error] // the form that is meant
	yield := reflect.MakeFunc(seq.Type().In(0), func([]reflect.Value) []reflect.Value { return []reflect.Value{reflect.ValueOf(true)} })
	seq.Call([]reflect.Value{yield})
}
