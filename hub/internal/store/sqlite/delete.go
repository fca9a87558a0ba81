package sqlite

import (
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// DeleteDevice frees the key at once and leaves the rest, which hangs on the number, to SweepDevice.
func (t *tx) DeleteDevice(n core.DeviceNum) error {
	if err := t.c.exec("DELETE FROM enrolments WHERE device = ?", n); err != nil {
		return err
	}
	if err := t.c.change("device number", "DELETE FROM devices WHERE num = ?", n); err != nil {
		return err
	}
	return t.c.exec("INSERT INTO deleted_devices (num, due) VALUES (?, 0)", n)
}

func (r *reader) DeletedDevices(due time.Time, limit int) ([]core.DeviceNum, error) {
	var list []core.DeviceNum
	for r, err := range r.c.rows("SELECT num FROM deleted_devices INDEXED BY deleted_devices_due WHERE due <= ? ORDER BY due, num LIMIT ?", due.UnixMicro(), limit) {
		if err != nil {
			return nil, err
		}
		list = append(list, core.DeviceNum(r.ColumnInt64(0)))
	}
	return list, nil
}

// SweepDevice goes through the tables one by one; only the last slice looks at all of them.
func (t *tx) SweepDevice(n core.DeviceNum, now time.Time, limit int) (done int, err error) {
	at := now.UnixMicro()
	for _, step := range []struct {
		sql  string
		args []any // behind the device and the limit
	}{
		{"DELETE FROM entries WHERE (device, name, side, path) IN (SELECT device, name, side, path FROM entries WHERE device = ?1 LIMIT ?2)", nil},
		{"DELETE FROM counts WHERE (device, scope) IN (SELECT device, scope FROM counts WHERE device = ?1 LIMIT ?2)", nil},
		{"DELETE FROM certificates WHERE id IN (SELECT id FROM certificates WHERE device = ?1 AND not_after <= ?3 LIMIT ?2)", []any{at}},
		{"UPDATE certificates SET state = 2, changed = ?3 WHERE id IN (SELECT id FROM certificates WHERE device = ?1 AND state <> 2 LIMIT ?2)", []any{at}},
	} {
		if done >= limit {
			return done, nil
		}
		if err := t.c.exec(step.sql, append([]any{n, limit - done}, step.args...)...); err != nil {
			return done, err
		}
		done += t.c.sq.Changes()
	}
	for done < limit {
		swept, err := t.sweepSeries(n, "", limit-done)
		if err != nil {
			return done, err
		}
		if swept == 0 {
			break
		}
		done += swept
	}
	if done > 0 {
		return done, nil
	}
	// What is left are certificates that must be on the revocation list until they end.
	var last time.Time
	if _, err := t.c.one(func(r row) { last = r.time(0) }, "SELECT max(not_after) FROM certificates WHERE device = ?", n); err != nil {
		return 0, err
	}
	if last.IsZero() {
		return 0, t.c.exec("DELETE FROM deleted_devices WHERE num = ?", n)
	}
	return 0, t.c.exec("UPDATE deleted_devices SET due = ?2 WHERE num = ?1", n, last.UnixMicro())
}

// sweepSeries deletes some blocks of one series of a device, or the series if it has none. A block counts for as many
// rows as its bytes are worth. The numbers that are gone are remembered, because somebody may still hold a core.Series with one.
func (t *tx) sweepSeries(n core.DeviceNum, prefix string, limit int) (done int, err error) {
	const blockRows = 8
	num := int64(0)
	if _, err := t.c.one(func(r row) { num = r.ColumnInt64(0) }, "SELECT num FROM series WHERE device = ? AND channel >= ? AND channel < ? ORDER BY channel LIMIT 1",
		n, prefix, behind(prefix)); err != nil || num == 0 {
		return 0, err
	}
	if err := t.c.exec("DELETE FROM blocks WHERE id IN (SELECT id FROM blocks WHERE series = ? LIMIT ?)", num, max(1, limit/blockRows)); err != nil {
		return 0, err
	}
	if blocks := t.c.sq.Changes(); blocks > 0 {
		return blocks * blockRows, nil
	}
	if err := t.c.exec("DELETE FROM series WHERE num = ?", num); err != nil {
		return 0, fmt.Errorf("sweep: %w", err)
	}
	t.deleted[num] = struct{}{}
	t.undo = append(t.undo, func() { delete(t.deleted, num) })
	return 1, nil
}
