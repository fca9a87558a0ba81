package config

import (
	"encoding"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub"
)

// Print writes what is in effect as a file that says the same, each setting with where it comes from. No setting is a
// secret: keys are in files, which are named.
func (c *Config) Print(w io.Writer) error {
	var b strings.Builder
	table, machine := "", c.onThisMachine()
	for _, f := range Fields() {
		name := f.Key
		if i := strings.LastIndexByte(f.Key, '.'); i >= 0 {
			if t := f.Key[:i]; t != table {
				table = t
				fmt.Fprintf(&b, "\n[%s]\n", table)
			}
			name = f.Key[i+1:]
		}
		text, origin, set := c.Value(f)
		switch usual, ok := machine.of(f); {
		case !set && ok:
			fmt.Fprintf(&b, "# %s = %s   # default on this machine\n", name, usual)
		case !set:
			fmt.Fprintf(&b, "# %s is not set\n", name)
		case origin == "":
			fmt.Fprintf(&b, "%s = %s # default\n", name, text)
		default:
			fmt.Fprintf(&b, "%s = %s # %s\n", name, text, origin)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// A Setting is one setting in effect, for programs.
type Setting struct {
	Key string `json:"key"`
	// As in a file, in JSON's form: durations and sizes are text. Absent: not set, and the hub does what fits the machine.
	Value json.RawMessage `json:"value,omitempty"`
	// What fits this machine, where there is no value. Absent: there is none, or it is not known before the hub runs.
	Default json.RawMessage `json:"default,omitempty"`
	// Where it comes from: a place in the file, a variable, a flag; absent: the default.
	Origin string `json:"origin,omitempty"`
}

// List returns all settings in effect.
func (c *Config) List() ([]Setting, error) {
	var list []Setting
	machine := c.onThisMachine()
	for _, f := range Fields() {
		text, origin, set := c.Value(f)
		s := Setting{Key: f.Key, Origin: origin}
		if set {
			// What print writes is in both languages: booleans, numbers, basic strings, and lists of these.
			if s.Value = json.RawMessage(text); !json.Valid(s.Value) {
				return nil, fmt.Errorf("setting %s is %s, which is no JSON", f.Key, text)
			}
		} else if usual, ok := machine.of(f); ok {
			s.Default = json.RawMessage(usual) // a number or a string
		}
		list = append(list, s)
	}
	return list, nil
}

// machineDefaults are the settings with what the hub makes of those that are not set.
type machineDefaults Settings

func (c *Config) onThisMachine() machineDefaults {
	return machineDefaults{Config: c.Settings.OnThisMachine(), Log: c.Log}
}

// of returns what the hub makes of a setting that is not set; ok is false where nothing can be said.
func (m machineDefaults) of(f Field) (text string, ok bool) {
	v := reflect.ValueOf(m).FieldByIndex(f.index)
	if !v.CanInt() || v.IsZero() {
		return "", false
	}
	return f.print(v), true
}

// Value returns a setting that is in effect as it is written in a file, and where it comes from: "" for the default. set
// is false where there is none and the hub does what fits the machine.
func (c *Config) Value(f Field) (text, origin string, set bool) {
	v := reflect.ValueOf(c.Settings).FieldByIndex(f.index)
	origin = c.origin[f.Key]
	number := v.Kind() == reflect.Int || v.Kind() == reflect.Int64
	_, isText := v.Interface().(encoding.TextMarshaler)
	return f.print(v), origin, origin != "" || !v.IsZero() || v.Kind() == reflect.Bool || number && isText
}

// print writes a value as in a file.
func (f Field) print(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		if x < 0 {
			return `"off"`
		}
		if day := 24 * time.Hour; x > 0 && x%day == 0 {
			return fmt.Sprintf(`"%dd"`, x/day)
		}
		return strconv.Quote(x.String())
	case encoding.TextMarshaler:
		if text, err := x.MarshalText(); err == nil {
			return quote(strings.ToLower(string(text)))
		}
	}
	switch v.Kind() {
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Int, reflect.Int64:
		return f.printNumber(v.Int())
	case reflect.Slice:
		elem := f
		elem.typ = f.typ.Elem()
		var list []string
		for i := range v.Len() {
			list = append(list, elem.print(v.Index(i)))
		}
		return "[" + strings.Join(list, ", ") + "]"
	}
	return quote(v.String())
}

func (f Field) printNumber(n int64) string {
	switch {
	case f.isPort() && n == hub.AnyPort:
		return `"any"`
	case n < 0:
		return `"off"`
	case f.isBytes() && n > 0:
		for _, u := range []struct {
			name string
			bits int
		}{{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}} {
			if n&(1<<u.bits-1) == 0 {
				return fmt.Sprintf(`"%d%s"`, n>>u.bits, u.name)
			}
		}
	}
	return strconv.FormatInt(n, 10)
}

// quote writes a TOML basic string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
