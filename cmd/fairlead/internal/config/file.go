package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// maxFileBytes bounds the file; a sensible one has a few hundred.
const maxFileBytes = 1 << 20

// file takes a TOML file. It goes through the expressions itself, because the library's decoder ends at the first error and
// does not say where values are; then the decoder has a look, for the rules of TOML that nobody should write twice.
func (l *loader) file(name string, text []byte) {
	if len(text) > maxFileBytes || !utf8.Valid(text) {
		l.broken = true
		l.problem(name, "want UTF-8 text of at most %d bytes", maxFileBytes)
		return
	}
	w := &walker{loader: l, name: name, seen: map[string]string{}, byKey: map[string]Field{}, tables: map[string]bool{}}
	for _, f := range l.fields {
		w.byKey[f.Key] = f
		for i, c := range f.Key {
			if c == '.' {
				w.tables[f.Key[:i]] = true
			}
		}
	}
	w.parser.Reset(text)
	for w.parser.NextExpression() {
		w.expression(w.parser.Expression())
	}
	var values map[string]any
	if err := toml.Unmarshal(text, &values); err != nil {
		l.broken = true
		where := name
		var at *toml.DecodeError
		if errors.As(err, &at) {
			line, column := at.Position()
			where = fmt.Sprintf("%s:%d:%d", name, line, column)
		}
		if len(l.problems) == 0 || w.parser.Error() != nil { // a key that is there twice has been reported
			l.problem(where, "%s", strings.TrimPrefix(err.Error(), "toml: "))
		}
	}
}

// walker goes through the expressions of a file and notes where its keys are.
type walker struct {
	*loader
	name   string
	parser unstable.Parser
	table  []string // that the next keys are in; nil element: one that is not known, and has been reported
	lost   bool     // the table is not known
	seen   map[string]string
	byKey  map[string]Field
	tables map[string]bool
}

func (w *walker) expression(n *unstable.Node) {
	switch n.Kind {
	case unstable.Table, unstable.ArrayTable:
		key, where := w.key(n.Key())
		w.table, w.lost = key, false
		path := strings.Join(key, ".")
		switch {
		case n.Kind == unstable.ArrayTable && w.tables[path]:
			w.lost = true
			w.problem(where, "write [%s] with single brackets: there is one", path)
		case !w.tables[path]:
			w.lost = true
			w.unknown(where, "["+path+"]", path)
		}
	case unstable.KeyValue:
		if !w.lost {
			w.value(w.table, n)
		}
	}
}

// value takes a key and its value, which may be a table of more of them.
func (w *walker) value(table []string, n *unstable.Node) {
	key, where := w.key(n.Key())
	key = slices.Concat(table, key)
	path := strings.Join(key, ".")
	if n.Value().Kind == unstable.InlineTable && w.tables[path] {
		for it := n.Value().Children(); it.Next(); {
			w.value(key, it.Node())
		}
		return
	}
	before, twice := w.seen[path]
	_, known := w.byKey[path]
	switch {
	case twice:
		w.problem(where, "%s is set a second time; the first is at %s", path, before)
	case w.tables[path]:
		w.problem(where, "%s is a table: write [%s] and its keys below", path, path)
	case !known:
		w.unknown(where, path, path)
	default:
		w.seen[path] = where
		f := w.byKey[path]
		v, err := f.fromFile(decode(n.Value()))
		w.set(f, where, v, err)
	}
}

// unknown reports a key that is no setting.
func (w *walker) unknown(where, as, path string) {
	hint := ""
	if near := nearest(path, w.byKey, 0); near != "" {
		hint = "; did you mean " + near + "?"
		w.bad[near] = true
	} else if near := nearest(path, w.tables, 0); near != "" && near != path {
		hint = "; did you mean [" + near + "]?"
	} else if at := slices.IndexFunc(w.fields, func(f Field) bool { return strings.HasSuffix(f.Key, "."+path) }); at >= 0 {
		hint = "; did you mean " + w.fields[at].Key + "?"
	}
	if hint == "" {
		hint = "; `fairlead config print` shows all there are"
	}
	w.problem(where, "unknown %s%s", as, hint)
}

func (w *walker) key(it unstable.Iterator) (key []string, where string) {
	for it.Next() {
		n := it.Node()
		if where == "" {
			at := w.parser.Shape(n.Raw).Start
			where = fmt.Sprintf("%s:%d:%d", w.name, at.Line, at.Column)
		}
		key = append(key, string(n.Data))
	}
	return key, where
}

// decode returns a value as a string, int64, bool or []any; nil for anything else, which no setting is.
func decode(n *unstable.Node) any {
	switch n.Kind {
	case unstable.String:
		return string(n.Data)
	case unstable.Bool:
		return string(n.Data) == "true"
	case unstable.Integer:
		if i, err := strconv.ParseInt(strings.ReplaceAll(string(n.Data), "_", ""), 0, 64); err == nil {
			return i
		}
	case unstable.Array:
		list := []any{}
		for it := n.Children(); it.Next(); {
			list = append(list, decode(it.Node()))
		}
		return list
	}
	return nil
}
