package astarte

import (
	"slices"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/telemetry"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// keyTimestamp is what the time of a sample is called in all formats.
const keyTimestamp = "timestamp"

// A table's head, beside its rows.
type tableHead struct {
	Columns map[string]int `json:"columns"`
	Header  []string       `json:"table_header"`
}

func newTableHead(names []string) tableHead {
	h := tableHead{Columns: make(map[string]int, len(names)), Header: names}
	for i, n := range names {
		h.Columns[n] = i
	}
	return h
}

// numeric reports whether a chart can be made of values of a type.
func numeric(t astartewire.Type) bool {
	return t == astartewire.TypeDouble || t == astartewire.TypeInteger || t == astartewire.TypeLongInteger
}

// A row is a sample with its value or values in JSON form.
type row struct {
	at    any
	value any            // of an individual datastream
	cells map[string]any // of an object
}

// individualSeries returns the samples of an individual datastream in the format that is asked for. None at all is
// "Path not found", as on the platform.
func (r reading) individualSeries(m *astartewire.Mapping, path string) (reply, error) {
	s := &core.Series{Device: r.dev.Num, Channel: channel(r.iface, path)}
	rows, err := r.individualRows(m, s)
	if err != nil {
		return reply{}, err
	}
	if len(rows) == 0 && !r.nothingWanted() {
		return reply{}, errPathNotFound
	}
	list := make([]any, len(rows))
	switch r.options.format {
	case formatTable:
		for i, w := range rows {
			list[i] = []any{w.at, w.value}
		}
		name := path[strings.LastIndexByte(path, '/')+1:]
		rep := success(list)
		rep.metadata = newTableHead([]string{keyTimestamp, name})
		return rep, nil
	case formatDisjoint:
		for i, w := range rows {
			list[i] = []any{w.value, w.at}
		}
		return success(map[string]any{"value": list}), nil
	}
	for i, w := range rows {
		list[i] = map[string]any{keyTimestamp: w.at, "value": w.value}
	}
	return success(list), nil
}

// nothingWanted reports whether a limit of 0 was set.
func (r reading) nothingWanted() bool { return r.options.limited && r.options.bounds.Limit == 0 }

func (r reading) individualRows(m *astartewire.Mapping, s *core.Series) ([]row, error) {
	if r.nothingWanted() {
		return nil, nil
	}
	if r.options.downsampleTo > 0 {
		if !numeric(m.Type) {
			return nil, fieldErrors{"downsample_to": {"is not supported for values of type " + m.Type.String()}}
		}
		points, err := r.downsampled(s, "")
		rows := make([]row, len(points))
		for i, p := range points {
			rows[i] = row{at: r.options.timestamp(p.Time()), value: r.options.json(p.Value(), m.Type)}
		}
		return rows, err
	}
	samples, err := telemetry.Range(r.rd, s, r.options.bounds)
	if err != nil {
		return nil, err
	}
	rows := make([]row, len(samples))
	for i, sample := range samples {
		v, err := r.options.value(sample.Value, m.Type)
		if err != nil {
			return nil, err
		}
		rows[i] = row{at: r.options.timestamp(sample.At), value: v}
	}
	return rows, nil
}

// downsampled returns the points of a series, or of one key of an object's, thinned out. The limit of a reply does not
// bound what is looked at: a chart of a day from its first minutes would be none.
func (r reading) downsampled(s *core.Series, key string) ([]telemetry.Point, error) {
	points, err := telemetry.Points(r.rd, s, r.options.bounds, func(v core.Value) (any, bool) {
		x, err := v.Decode()
		if err != nil {
			return nil, false
		}
		if key == "" {
			return x, true
		}
		fields, _ := x.(map[string]any)
		x, found := fields[key]
		return x, found
	})
	return telemetry.Downsample(points, r.options.downsampleTo), err
}

// objectSeries returns the samples of an object datastream in the format that is asked for.
func (r reading) objectSeries(o *astartewire.Object, s *core.Series) (reply, error) {
	rows, keys, err := r.objectRows(o, s)
	if err != nil {
		return reply{}, err
	}
	if len(rows) == 0 && !r.nothingWanted() {
		return reply{}, errPathNotFound
	}
	switch r.options.format {
	case formatTable:
		columns := append([]string{keyTimestamp}, keys...)
		slices.Sort(columns) // one order for all keys, that of the time included
		list := make([]any, len(rows))
		for i, w := range rows {
			line := make([]any, len(columns))
			for k, name := range columns {
				line[k] = w.cells[name]
			}
			list[i] = line
		}
		rep := success(list)
		rep.metadata = newTableHead(columns)
		return rep, nil
	case formatDisjoint:
		columns := make(map[string][]any, len(keys))
		for _, k := range keys {
			columns[k] = make([]any, len(rows))
			for i, w := range rows {
				columns[k][i] = []any{w.cells[k], w.at}
			}
		}
		return success(columns), nil
	}
	list := make([]any, len(rows))
	for i, w := range rows {
		list[i] = w.cells
	}
	return success(list), nil
}

// objectRows returns the rows of an object datastream and the names of their cells, but that of the time. Downsampled
// rows have the cell that they were chosen by only.
func (r reading) objectRows(o *astartewire.Object, s *core.Series) ([]row, []string, error) {
	if r.nothingWanted() {
		return nil, objectKeys(o), nil
	}
	if m := o.Key([]byte(r.options.downsampleKey)); r.options.downsampleTo > 0 && m != nil && numeric(m.Type) {
		key := m.Key()
		points, err := r.downsampled(s, key)
		rows := make([]row, len(points))
		for i, p := range points {
			at := r.options.timestamp(p.Time())
			rows[i] = row{at: at, cells: map[string]any{keyTimestamp: at, key: r.options.json(p.Value(), m.Type)}}
		}
		return rows, []string{key}, err
	}
	samples, err := telemetry.RangeOf(r.rd, s, r.options.bounds, cellWeight*len(o.Mappings))
	if err != nil {
		return nil, nil, err
	}
	rows := make([]row, len(samples))
	for i, sample := range samples {
		cells, err := r.objectRow(o, sample)
		if err != nil {
			return nil, nil, err
		}
		rows[i] = row{at: cells[keyTimestamp], cells: cells}
	}
	return rows, objectKeys(o), nil
}

// cellWeight is what each key of an object takes in each row, also where a sample has no value for it.
const cellWeight = 64

// objectKeys returns the keys of an object. One that is called like the time is not shown: the time is.
func objectKeys(o *astartewire.Object) []string {
	var keys []string
	for _, m := range o.Mappings {
		if k := m.Key(); k != keyTimestamp {
			keys = append(keys, k)
		}
	}
	return keys
}

// objectRow returns one sample of an object datastream: all keys of the interface, null for those without a value.
func (r reading) objectRow(o *astartewire.Object, s core.Sample) (map[string]any, error) {
	x, err := s.Value.Decode()
	if err != nil {
		return nil, storedWrong(err)
	}
	fields, _ := x.(map[string]any)
	cells := make(map[string]any, len(o.Mappings)+1)
	for _, m := range o.Mappings {
		k := m.Key()
		cells[k] = r.options.json(fields[k], m.Type)
	}
	cells[keyTimestamp] = r.options.timestamp(s.At)
	return cells, nil
}
