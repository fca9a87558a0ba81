package sqlite

import (
	"fmt"
	"iter"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

func (r *reader) Entry(k core.DocumentKey, path string) (e core.Entry, err error) {
	found, err := r.c.one(func(r row) { e = entry(r) },
		"SELECT path, value, changed FROM entries WHERE device = ? AND name = ? AND side = ? AND path = ?",
		k.Device, k.Name, int64(k.Side), path)
	if err == nil && !found {
		err = fmt.Errorf("%w: %q in %v document %q", core.ErrNotFound, path, k.Side, k.Name)
	}
	return e, err
}

func (r *reader) Entries(k core.DocumentKey) ([]core.Entry, error) {
	var list []core.Entry
	for r, err := range r.c.rows("SELECT path, value, changed FROM entries WHERE device = ? AND name = ? AND side = ? ORDER BY path",
		k.Device, k.Name, int64(k.Side)) {
		if err != nil {
			return nil, err
		}
		list = append(list, entry(r))
	}
	return list, nil
}

func entry(r row) core.Entry {
	return core.Entry{Path: r.ColumnText(0), Value: r.blob(1), Changed: r.time(2)}
}

func (t *tx) PutEntry(k core.DocumentKey, e core.Entry) error {
	return t.c.exec("INSERT INTO entries (device, name, side, path, value, changed) VALUES (?, ?, ?, ?, ?, ?) "+
		"ON CONFLICT (device, name, side, path) DO UPDATE SET value = excluded.value, changed = excluded.changed",
		k.Device, k.Name, int64(k.Side), e.Path, []byte(e.Value), micro(e.Changed))
}

func (t *tx) DeleteEntry(k core.DocumentKey, path string) error {
	return t.c.exec("DELETE FROM entries WHERE device = ? AND name = ? AND side = ? AND path = ?",
		k.Device, k.Name, int64(k.Side), path)
}

func (r *reader) Record(t core.TenantID, dialect, key string) (value []byte, err error) {
	found, err := r.c.one(func(r row) { value = r.blob(0) },
		"SELECT value FROM records WHERE tenant = ? AND dialect = ? AND key = ?", t, dialect, key)
	if err == nil && !found {
		err = fmt.Errorf("%w: record %q", core.ErrNotFound, key)
	}
	return value, err
}

func (r *reader) Records(t core.TenantID, dialect, prefix string) iter.Seq2[store.Record, error] {
	return r.RecordsFrom(t, dialect, prefix, prefix)
}

func (r *reader) RecordsFrom(t core.TenantID, dialect, prefix, from string) iter.Seq2[store.Record, error] {
	rows := r.c.rows("SELECT key, value FROM records WHERE tenant = ? AND dialect = ? AND key >= ? AND key < ? ORDER BY key",
		t, dialect, max(prefix, from), behind(prefix))
	return func(yield func(store.Record, error) bool) {
		for r, err := range rows {
			if err != nil {
				yield(store.Record{}, err)
				return
			}
			if !yield(store.Record{Key: r.ColumnText(0), Value: r.blob(1)}, nil) {
				return
			}
		}
	}
}

func (t *tx) PutRecord(id core.TenantID, dialect, key string, value []byte) error {
	if value == nil {
		value = []byte{}
	}
	return t.c.exec("INSERT INTO records (tenant, dialect, key, value) VALUES (?, ?, ?, ?) "+
		"ON CONFLICT (tenant, dialect, key) DO UPDATE SET value = excluded.value", id, dialect, key, value)
}

func (t *tx) DeleteRecord(id core.TenantID, dialect, key string) error {
	return t.c.exec("DELETE FROM records WHERE tenant = ? AND dialect = ? AND key = ?", id, dialect, key)
}

// behind returns the bound below which all strings that begin with prefix lie and nothing else that is not less than
// prefix. It is an empty blob where there is no such string, because SQLite sorts every text before every blob.
func behind(prefix string) any {
	b := []byte(prefix)
	for len(b) > 0 && b[len(b)-1] == 0xff {
		b = b[:len(b)-1]
	}
	if len(b) == 0 {
		return b
	}
	b[len(b)-1]++
	return string(b)
}
