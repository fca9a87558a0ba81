package sqlite

import (
	"encoding/binary"
	"errors"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Usage counts pages. What the log holds is not in it; that has a bound of its own, see wal.go.
func (r *reader) Usage() (used, free int64, err error) {
	var pages, unused int64
	if _, err := r.c.one(func(r row) { pages = r.ColumnInt64(0) }, "PRAGMA page_count"); err != nil {
		return 0, 0, err
	}
	if _, err := r.c.one(func(r row) { unused = r.ColumnInt64(0) }, "PRAGMA freelist_count"); err != nil {
		return 0, 0, err
	}
	return (pages - unused) * pageBytes, unused * pageBytes, nil
}

// blockTime returns when the first sample of a block was received. All samples of a block come from one batch, so the
// others were received within moments. head is the beginning of the block: two times take 20 bytes at most. ok is false if the block is damaged.
func blockTime(head []byte) (at time.Time, ok bool) {
	first, n := binary.Varint(head)
	if n <= 0 {
		return time.Time{}, false
	}
	lag, m := binary.Varint(head[n:])
	return time.UnixMicro(first + lag).UTC(), m > 0
}

func (r *reader) OldestSamples() (at time.Time, err error) {
	_, err = r.c.one(func(r row) { at, _ = blockTime(r.blob(0)) }, "SELECT substr(data, 1, 20) FROM blocks ORDER BY id LIMIT 1")
	return at, err
}

// DropSamples goes by id, which is the order of acceptance. A clock that was set back has left blocks that look younger
// than those behind them; they go with these. One that was ahead makes a block look young until its time has come.
func (t *tx) DropSamples(before time.Time, limit int) (store.Dropped, error) {
	var sum, upTo store.Dropped
	last := int64(math.MinInt64)
	for r, err := range t.c.rows("SELECT id, count, length(data), substr(data, 1, 20) FROM blocks ORDER BY id LIMIT ?", limit) {
		if err != nil {
			return store.Dropped{}, err
		}
		sum.Blocks++
		sum.Samples += r.ColumnInt64(1)
		sum.Bytes += r.ColumnInt64(2)
		if !before.IsZero() {
			if at, ok := blockTime(r.blob(3)); ok && !at.Before(before) {
				continue
			}
		}
		last, upTo = r.ColumnInt64(0), sum
	}
	if upTo.Blocks == 0 {
		return store.Dropped{}, nil
	}
	return upTo, t.drop(upTo, "DELETE FROM blocks WHERE id <= ?", last)
}

func (t *tx) DropSeriesSamples(s *core.Series, before time.Time, from store.Place, limit int) (d store.Dropped, next store.Place, done bool, err error) {
	num, _, err := t.series(s)
	if err != nil || num == 0 {
		return d, from, true, err
	}
	if from == (store.Place{}) {
		from.A = math.MinInt64
	}
	cutoff := before.UnixMicro()
	var old []int64
	read := 0
	next = from
	for r, err := range t.c.rows("SELECT first, id, last, count, length(data), substr(data, 1, 20) FROM blocks INDEXED BY blocks_by_time "+
		"WHERE series = ? AND first >= ? AND first < ? AND (first, id) > (?, ?) ORDER BY first, id LIMIT ?",
		num, from.A, cutoff, from.A, from.B, limit) {
		if err != nil {
			return store.Dropped{}, from, false, err
		}
		read++
		next = store.Place{A: r.ColumnInt64(0), B: r.ColumnInt64(1)}
		if at, ok := blockTime(r.blob(5)); ok && !at.Before(before) || r.ColumnInt64(2) >= cutoff {
			continue
		}
		old = append(old, next.B)
		d.Blocks++
		d.Samples += r.ColumnInt64(3)
		d.Bytes += r.ColumnInt64(4)
	}
	for _, id := range old {
		if err := t.c.exec("DELETE FROM blocks WHERE id = ?", id); err != nil {
			return store.Dropped{}, from, false, err
		}
	}
	t.c.written += d.Blocks*2*pageBytes + d.Bytes/100
	return d, next, read < limit, nil
}

func (r *reader) EventCounts(from core.DeviceKey) iter.Seq2[store.EventCount, error] {
	return func(yield func(store.EventCount, error) bool) {
		for r, err := range r.c.rows("SELECT tenant, dialect, device, count(*) FROM events INDEXED BY events_by_device "+
			"WHERE (tenant, dialect, device) >= (?, ?, ?) GROUP BY tenant, dialect, device", from.Tenant, from.Dialect, from.ID) {
			if err != nil {
				yield(store.EventCount{}, err)
				return
			}
			k := core.DeviceKey{Tenant: core.TenantID(r.ColumnText(0)), Dialect: r.ColumnText(1), ID: core.DeviceID(r.ColumnText(2))}
			if !yield(store.EventCount{Device: k, Count: r.ColumnInt64(3)}, nil) {
				return
			}
		}
	}
}

// droppedEvents is a record of each tenant that has lost events to others, and one of the tenant "". No dialect has the
// name "".
const droppedEvents = "events/dropped"

func (r *reader) DroppedEvents(t core.TenantID) (seq int64, err error) {
	raw, err := r.Record(t, "", droppedEvents)
	if errors.Is(err, core.ErrNotFound) {
		return 0, nil
	}
	seq, _ = binary.Varint(raw)
	return seq, err
}

func (t *tx) DropEventsOf(k core.DeviceKey, limit int) (n int, err error) {
	sql, args := "SELECT seq FROM events INDEXED BY events_by_tenant WHERE tenant = ? ORDER BY seq LIMIT ?", []any{k.Tenant, limit}
	if k.ID != "" {
		sql = "SELECT seq FROM events INDEXED BY events_by_device WHERE tenant = ? AND dialect = ? AND device = ? ORDER BY seq LIMIT ?"
		args = []any{k.Tenant, k.Dialect, k.ID, limit}
	}
	var old []int64
	for r, err := range t.c.rows(sql, args...) {
		if err != nil {
			return 0, err
		}
		old = append(old, r.ColumnInt64(0))
	}
	for _, seq := range old {
		if err := t.c.exec("DELETE FROM events WHERE seq = ?", seq); err != nil {
			return 0, err
		}
	}
	if len(old) == 0 {
		return 0, nil
	}
	for _, of := range slices.Compact([]core.TenantID{k.Tenant, ""}) {
		last, err := t.DroppedEvents(of)
		if err != nil {
			return 0, err
		}
		if err := t.PutRecord(of, "", droppedEvents, binary.AppendVarint(nil, max(last, old[len(old)-1]))); err != nil {
			return 0, err
		}
	}
	return len(old), nil
}

const blocksBehind = "SELECT b.id, b.count, length(b.data), ifnull(d.tenant, '') FROM blocks b " +
	"LEFT JOIN series s ON s.num = b.series LEFT JOIN devices d ON d.num = s.device WHERE b.id > ? ORDER BY b.id LIMIT ?"

func (r *reader) SampleSizes(from store.Place, limit int) (sizes map[core.TenantID]int64, next store.Place, done bool, err error) {
	sizes = map[core.TenantID]int64{}
	read := 0
	next = from
	for r, err := range r.c.rows(blocksBehind, from.A, limit) {
		if err != nil {
			return nil, from, false, err
		}
		read++
		next.A = r.ColumnInt64(0)
		sizes[core.TenantID(r.ColumnText(3))] += r.ColumnInt64(2)
	}
	return sizes, next, read < limit, nil
}

func (t *tx) DropTenantSamples(id core.TenantID, from store.Place, limit int) (d store.Dropped, next store.Place, done bool, err error) {
	var own []int64
	read := 0
	next = from
	for r, err := range t.c.rows(blocksBehind, from.A, limit) {
		if err != nil {
			return store.Dropped{}, from, false, err
		}
		read++
		next.A = r.ColumnInt64(0)
		if r.ColumnText(3) != string(id) {
			continue
		}
		own = append(own, next.A)
		d.Blocks++
		d.Samples += r.ColumnInt64(1)
		d.Bytes += r.ColumnInt64(2)
	}
	for _, id := range own {
		if err := t.c.exec("DELETE FROM blocks WHERE id = ?", id); err != nil {
			return store.Dropped{}, from, false, err
		}
	}
	t.c.written += d.Blocks*2*pageBytes + d.Bytes/100
	return d, next, read < limit, nil
}

// drop deletes blocks and counts what that adds to the log: the pages that point to others, not those that become free.
func (t *tx) drop(d store.Dropped, sql string, args ...any) error {
	t.c.written += d.Blocks*2*pageBytes + d.Bytes/100
	return t.c.exec(sql, args...)
}
