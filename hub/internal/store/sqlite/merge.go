package sqlite

import (
	"cmp"
	"iter"
	"math"
	"slices"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// Blocks come in the order of their first sample, but a block may reach into those that follow it, and its samples may
// be in any order. So samples are collected until it is certain that no later block has an earlier one, and then
// sorted and given out. Devices choose the times: one that makes all its blocks overlap must not make us hold all of
// them. When too much is collected the later half is dropped, and a further pass over the blocks begins there.

// key orders samples: by time, then by acceptance. For reading backwards all three are inverted.
type key struct{ at, block, index int64 }

func (k key) compare(o key) int {
	return cmp.Or(cmp.Compare(k.at, o.at), cmp.Compare(k.block, o.block), cmp.Compare(k.index, o.index))
}

var lowest = key{math.MinInt64, math.MinInt64, math.MinInt64}

type pending struct {
	key
	sample core.Sample
}

// Bounds of what a merge holds in memory; variables so that tests reach them.
var (
	maxPending      = 32 << 10
	maxPendingBytes = 4 << 20
)

type merge struct {
	r         *reader
	num, span int64
	since, to int64 // inclusive both
	left      int   // of the limit
	backwards bool
	yield     func(core.Sample, error) bool
	list      []pending
	bytes     int
	from      key  // of this pass; smaller ones have been given out
	ceiling   key  // what is not smaller was dropped; only if dropped
	dropped   bool // in this pass
}

// Samples implements [store.SampleReader].
func (r *reader) Samples(s *core.Series, rng core.Range) iter.Seq2[core.Sample, error] {
	return func(yield func(core.Sample, error) bool) {
		num, span, err := r.series(s)
		if err != nil {
			yield(core.Sample{}, err)
			return
		}
		m := merge{
			r: r, num: num, span: span, since: math.MinInt64, to: math.MaxInt64, left: math.MaxInt,
			backwards: rng.Backwards, yield: yield, from: lowest,
		}
		if !rng.Since.IsZero() {
			m.since = ceilMicro(rng.Since.UnixMicro(), rng.Since.Nanosecond())
		}
		if !rng.To.IsZero() {
			m.to = ceilMicro(rng.To.UnixMicro(), rng.To.Nanosecond()) - 1
		}
		if rng.Limit > 0 {
			m.left = rng.Limit
		}
		if num == 0 {
			return
		}
		for m.pass() {
		}
	}
}

// ceilMicro rounds up to whole microseconds; samples have no finer times.
func ceilMicro(us int64, nanos int) int64 {
	if nanos%1000 != 0 {
		us++
	}
	return us
}

// pass reads the blocks once and reports whether another pass is needed.
func (m *merge) pass() (again bool) {
	const columns = "SELECT id, first, data FROM blocks INDEXED BY blocks_by_time " +
		"WHERE series = ? AND first >= ? AND first <= ? AND last >= ? ORDER BY "
	lo, hi, sql := m.since, m.to, columns+"first, id"
	if m.backwards {
		sql = columns + "first DESC, id DESC"
		if m.from.at != math.MinInt64 {
			hi = min(hi, ^m.from.at)
		}
	} else {
		lo = max(lo, m.from.at)
	}
	for r, err := range m.r.c.rows(sql, m.num, minus(lo, m.span), hi, lo) {
		if err != nil {
			m.yield(core.Sample{}, err)
			return false
		}
		frontier := r.ColumnInt64(1) // neither this block nor a later one has a sample before it
		if m.backwards {
			frontier = ^plus(frontier, m.span)
		}
		if m.dropped && frontier > m.ceiling.at {
			break
		}
		if len(m.list) >= min(m.left, 1024) && !m.flush(frontier) {
			return false
		}
		if !m.add(r.ColumnInt64(0), r.blob(2)) {
			return false
		}
	}
	if !m.flush(math.MaxInt64) {
		return false
	}
	m.from, again, m.dropped = m.ceiling, m.dropped, false
	return again
}

// add collects the samples of a block that are asked for.
func (m *merge) add(block int64, data []byte) bool {
	index := int64(0)
	id := block
	for s, ok := range core.Samples(data) {
		if !ok {
			m.yield(core.Sample{}, m.r.blockError(id))
			return false
		}
		at := s.At.UnixMicro()
		k := key{at, block, index}
		if m.backwards {
			k = key{^at, ^block, ^index}
		}
		index++
		if at < m.since || at > m.to || k.compare(m.from) < 0 || m.dropped && k.compare(m.ceiling) >= 0 {
			continue
		}
		s.Value = s.Value[:len(s.Value):len(s.Value)] // the caller may append to it
		m.list = append(m.list, pending{k, s})
	}
	m.bytes += len(data)
	if len(m.list) > maxPending || m.bytes > maxPendingBytes {
		m.shrink()
	}
	return true
}

// shrink drops the later half if there is too much, and lets go of the blocks of which little is left.
func (m *merge) shrink() {
	m.sort()
	size := 0
	keep := len(m.list)
	for i, p := range m.list {
		if size += len(p.sample.Value); i > 0 && (i >= maxPending/2 || size > maxPendingBytes/2) {
			size -= len(p.sample.Value)
			m.ceiling, m.dropped, keep = p.key, true, i
			break
		}
	}
	clear(m.list[keep:])
	m.list = m.list[:keep]
	values := make([]byte, 0, size)
	for i := range m.list {
		v := &m.list[i].sample.Value
		start := len(values)
		values = append(values, *v...)
		*v = values[start:len(values):len(values)]
	}
	m.bytes = size
}

func (m *merge) sort() {
	compare := func(a, b pending) int { return a.compare(b.key) }
	if !slices.IsSortedFunc(m.list, compare) {
		slices.SortFunc(m.list, compare)
	}
}

// flush gives out what lies before frontier and reports whether to go on.
func (m *merge) flush(frontier int64) bool {
	m.sort()
	n := 0
	for n < len(m.list) && (m.list[n].at < frontier || frontier == math.MaxInt64) {
		if !m.yield(m.list[n].sample, nil) {
			return false
		}
		n++
		if m.left--; m.left == 0 {
			return false
		}
	}
	m.list = slices.Delete(m.list, 0, n)
	if len(m.list) == 0 {
		m.bytes = 0
	}
	return true
}

// minus and plus stay within the range of times.
func minus(a, b int64) int64 {
	if a < math.MinInt64+b {
		return math.MinInt64
	}
	return a - b
}

func plus(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
