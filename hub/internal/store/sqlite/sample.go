package sqlite

import (
	"errors"
	"fmt"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// Series does not remember the numbers in what it returns: they cost one look-up at the first AppendBlock, and a number
// read in a transaction that is undone would have to be taken back.
func (r *reader) Series(n core.DeviceNum, prefix string) ([]*core.Series, error) {
	var list []*core.Series
	for r, err := range r.c.rows("SELECT channel FROM series WHERE device = ? AND channel >= ? AND channel < ? ORDER BY channel",
		n, prefix, behind(prefix)) {
		if err != nil {
			return nil, err
		}
		list = append(list, &core.Series{Device: n, Channel: r.ColumnText(0)})
	}
	return list, nil
}

// series looks a series up by its key: unlike its number that is right in every snapshot.
func (r *reader) series(s *core.Series) (num, span int64, err error) {
	_, err = r.c.one(func(r row) { num, span = r.ColumnInt64(0), r.ColumnInt64(1) },
		"SELECT num, span FROM series WHERE device = ? AND channel = ?", s.Device, s.Channel)
	return num, span, err
}

// minSpan is what every series is assumed to span, in microseconds, so that most need never be widened.
const minSpan = 1_000_000

func (t *tx) AppendBlock(b *core.Block) error {
	if b.Count == 0 {
		return nil
	}
	num := b.Series.Num()
	if _, gone := t.deleted[num]; num == 0 || gone {
		var err error
		if num, err = t.number(b.Series); err != nil {
			return err
		}
	}
	if span := b.Last - b.First; span > minSpan && span > t.spans[num] {
		if err := t.widen(num, span); err != nil {
			return err
		}
	}
	const sql = "INSERT INTO blocks (series, first, last, count, data) VALUES (?, ?, ?, ?, ?)"
	st, err := t.c.take(sql)
	if err != nil {
		return err
	}
	st.BindInt64(1, num)
	st.BindInt64(2, b.First)
	st.BindInt64(3, b.Last)
	st.BindInt64(4, int64(b.Count))
	st.BindBytes(5, b.Data)
	t.c.written += 2*pageBytes + int64(len(b.Data))
	err = t.c.drain(sql, st)
	t.c.put(sql, st)
	return err
}

// number finds or makes the number of a series and remembers it in s until the transaction is undone.
func (t *tx) number(s *core.Series) (num int64, err error) {
	if num, _, err = t.series(s); err != nil {
		return 0, err
	}
	if num == 0 {
		if err := t.c.exec("INSERT INTO series (device, channel, span) VALUES (?, ?, ?)", s.Device, s.Channel, minSpan); err != nil {
			return 0, err
		}
		num = t.c.sq.LastInsertRowID()
	}
	s.SetNum(num)
	t.undo = append(t.undo, func() { s.SetNum(0) })
	return num, nil
}

// widen notes on disk that the series has a block of that span; in steps, to be rare.
func (t *tx) widen(num, span int64) error {
	step := int64(4 * minSpan)
	for step < span {
		step *= 4
	}
	if err := t.c.exec("UPDATE series SET span = ?1 WHERE num = ?2 AND span < ?1", step, num); err != nil {
		return err
	}
	const remembered = 100_000 // only a cache: forgetting costs an update
	if len(t.spans) >= remembered {
		clear(t.spans)
	}
	t.spans[num] = step
	t.undo = append(t.undo, func() { delete(t.spans, num) })
	return nil
}

func (t *tx) DeleteSeries(n core.DeviceNum, prefix string, limit int) (done int, err error) {
	for done < limit {
		swept, err := t.sweepSeries(n, prefix, limit-done)
		if err != nil || swept == 0 {
			return done, err
		}
		done += swept
	}
	return done, nil
}

// blockError reports a block that is not what was written.
func (r *reader) blockError(id int64) error {
	return fmt.Errorf("%w: %s: %w", core.ErrStorage, r.c.path, fmt.Errorf("block %d is damaged: %w", id, errDamaged))
}

var errDamaged = errors.New("bytes that are no sample")
