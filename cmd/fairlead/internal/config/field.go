package config

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/fairlead-iot/fairlead/hub"
)

// A Field is one setting.
type Field struct {
	Key string // "retention.sample_age"

	goName string // from hub.Config or Settings: "Retention.SampleAge"
	index  []int
	typ    reflect.Type
	want   string   // what is allowed, where the type does not say
	enum   []string // the only values
}

// Flag is the name of its flag: "retention-sample-age".
func (f Field) Flag() string { return strings.NewReplacer(".", "-", "_", "-").Replace(f.Key) }

// Env is the name of its environment variable: "FAIRLEAD_RETENTION_SAMPLE_AGE".
func (f Field) Env() string { return EnvPrefix + strings.ToUpper(strings.ReplaceAll(f.Key, ".", "_")) }

// Fields returns all settings in the order of the structs, those in tables last, as a file has to have them. A field tagged `config:"-"` is none, and one tagged
// `config:"name"` has that name in place of its own.
func Fields() []Field {
	list := fieldsOf(reflect.TypeFor[Settings](), nil, "", "")
	slices.SortStableFunc(list, func(a, b Field) int { return strings.Count(a.Key, ".") - strings.Count(b.Key, ".") })
	return list
}

func fieldsOf(typ reflect.Type, index []int, prefix, goPrefix string) (list []Field) {
	for i := range typ.NumField() {
		sf := typ.Field(i)
		at := append(slices.Clone(index), i)
		tag := sf.Tag.Get("config")
		switch {
		case tag == "-" || !sf.IsExported():
			continue
		case sf.Anonymous:
			list = append(list, fieldsOf(sf.Type, at, prefix, goPrefix)...)
			continue
		}
		name := tag
		if name == "" {
			name = snake(sf.Name)
		}
		f := Field{Key: prefix + name, goName: goPrefix + sf.Name, index: at, typ: sf.Type, want: sf.Tag.Get("want")}
		if enum := sf.Tag.Get("enum"); enum != "" {
			f.enum = strings.Split(enum, ",")
		}
		if _, ok := f.form(); !ok && sf.Type.Kind() == reflect.Struct {
			list = append(list, fieldsOf(sf.Type, at, f.Key+".", f.goName+".")...)
			continue
		}
		list = append(list, f)
	}
	return list
}

// snake turns HTTPSPort into https_port.
func snake(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if i > 0 && unicode.IsUpper(r) && (!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// form says how values of the field are written; ok is false if there is no way to.
func (f Field) form() (form string, ok bool) {
	switch {
	case f.enum != nil:
		return strings.Join(f.enum, " or "), true
	case f.want != "":
		return f.want, true
	case f.typ == reflect.TypeFor[time.Duration]():
		return `a duration such as "90s", "12h" or "30d"` + f.orOff(), true
	case reflect.PointerTo(f.typ).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		if strings.HasSuffix(f.typ.String(), "Addr") {
			return `an IP address such as "192.0.2.7" or "::"`, true
		}
		return "text", true
	}
	switch f.typ.Kind() {
	case reflect.Bool:
		return "true or false", true
	case reflect.String:
		return "text", true
	case reflect.Int, reflect.Int64:
		switch {
		case f.isPort():
			return `1 to 65535, or "any"`, true
		case f.isBytes():
			return `a number of bytes such as 1048576, "64KiB" or "20GB"` + f.orOff(), true
		}
		return `a number from 1` + f.orOff(), true
	case reflect.Slice:
		elem := f
		elem.typ = f.typ.Elem()
		if _, ok := elem.form(); ok && f.typ.Elem().Kind() != reflect.Slice {
			return "a list", true
		}
	}
	return "", false
}

func (f Field) isPort() bool {
	return strings.HasSuffix(strings.TrimSuffix(f.goName, "s"), "Port") && f.typ.Kind() != reflect.Slice
}
func (f Field) isBytes() bool { return strings.HasSuffix(f.goName, "Bytes") }

// orOff is for the end of a form: `, or "off"` where the hub takes that.
func (f Field) orOff() string {
	if f.mayBeOff() {
		return `, or "off"`
	}
	return ""
}

// mayBeOff asks the hub, which knows what it cannot do without.
func (f Field) mayBeOff() bool {
	s := defaults()
	v := reflect.ValueOf(&s).Elem().FieldByIndex(f.index)
	if !v.CanInt() {
		return false
	}
	v.SetInt(off)
	_, err := s.WithDefaults()
	return !slices.ContainsFunc(leaves(err), func(err error) bool {
		var bad *hub.ConfigError
		return errors.As(err, &bad) && bad.Field == f.goName
	})
}

func (f Field) expected() error {
	form, _ := f.form()
	return errors.New("wants " + form)
}

// off is what a hub takes for none, where zero is its default.
const off = -1

// fromFile turns a value of a TOML file into one of the field's.
func (f Field) fromFile(v any) (reflect.Value, error) {
	switch v := v.(type) {
	case string:
		if f.typ.Kind() == reflect.Slice || f.typ.Kind() == reflect.Bool || f.isPlainNumber() && v != "off" || f.isPort() && v != "any" {
			return reflect.Value{}, f.expected()
		}
		return f.parse(v)
	case int64:
		if v == 0 && f.typ == reflect.TypeFor[time.Duration]() {
			return reflect.Value{}, f.zero()
		}
		if f.typ.Kind() != reflect.Int && f.typ.Kind() != reflect.Int64 || f.typ == reflect.TypeFor[time.Duration]() {
			return reflect.Value{}, f.expected()
		}
		return f.number(v)
	case bool:
		if f.typ.Kind() != reflect.Bool {
			return reflect.Value{}, f.expected()
		}
		return reflect.ValueOf(v).Convert(f.typ), nil
	case []any:
		if f.typ.Kind() != reflect.Slice {
			return reflect.Value{}, f.expected()
		}
		list := reflect.MakeSlice(f.typ, 0, len(v))
		elem := f
		elem.typ = f.typ.Elem()
		for _, x := range v {
			e, err := elem.fromFile(x)
			if err != nil {
				return reflect.Value{}, fmt.Errorf("element %d %w", list.Len()+1, err)
			}
			list = reflect.Append(list, e)
		}
		return list, nil
	}
	return reflect.Value{}, f.expected()
}

func (f Field) isPlainNumber() bool {
	return (f.typ == reflect.TypeFor[int]() || f.typ == reflect.TypeFor[int64]()) && !f.isPort() && !f.isBytes()
}

// parse turns text into a value of the field's type. Lists have commas between their elements.
func (f Field) parse(text string) (reflect.Value, error) {
	v := reflect.New(f.typ)
	switch {
	case f.enum != nil && !slices.Contains(f.enum, text):
		return reflect.Value{}, fmt.Errorf("is %.100q; it %w", text, f.expected())
	case f.typ == reflect.TypeFor[time.Duration]():
		d, err := parseDuration(text)
		if errors.Is(err, errZero) {
			return reflect.Value{}, f.zero()
		} else if err != nil {
			return reflect.Value{}, fmt.Errorf("is %.100q; it %w", text, f.expected())
		}
		return reflect.ValueOf(d), nil
	case f.typ.Kind() == reflect.Slice:
		list := reflect.MakeSlice(f.typ, 0, 1)
		elem := f
		elem.typ = f.typ.Elem()
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part == "" {
				continue
			}
			e, err := elem.parse(part)
			if err != nil {
				return reflect.Value{}, err
			}
			list = reflect.Append(list, e)
		}
		return list, nil
	}
	if u, ok := v.Interface().(encoding.TextUnmarshaler); ok {
		if err := u.UnmarshalText([]byte(text)); err != nil || text == "" {
			return reflect.Value{}, fmt.Errorf("is %.100q; it %w", text, f.expected())
		}
		return v.Elem(), nil
	}
	switch f.typ.Kind() {
	case reflect.String:
		v.Elem().SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return reflect.Value{}, fmt.Errorf("is %.100q; it %w", text, f.expected())
		}
		v.Elem().SetBool(text == "true")
	default:
		n, err := f.parseNumber(text)
		if err != nil {
			return reflect.Value{}, fmt.Errorf("is %.100q; it %w", text, f.expected())
		}
		if n == off {
			v.Elem().SetInt(off)
			break
		}
		return f.number(n)
	}
	return v.Elem(), nil
}

// parseNumber returns off for what switches a limit off and asks for any port.
func (f Field) parseNumber(text string) (int64, error) {
	switch {
	case f.isPort() && text == "any":
		return hub.AnyPort, nil
	case !f.isPort() && text == "off":
		return off, nil
	case f.isBytes():
		return parseBytes(text)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err == nil && n < 0 {
		err = errors.New("negative")
	}
	return n, err
}

// number checks a number.
func (f Field) number(n int64) (reflect.Value, error) {
	switch {
	case n == 0 && !f.isPort():
		return reflect.Value{}, f.zero()
	case n < 1, f.isPort() && n > 65535, n > math.MaxInt:
		return reflect.Value{}, fmt.Errorf("is %d; it %w", n, f.expected())
	}
	v := reflect.New(f.typ).Elem()
	v.SetInt(n)
	return v, nil
}

// errZero refuses what would be the default, which is said by saying nothing, and not the none that it looks like.
var errZero = errors.New("is 0: leave it out for the default")

// zero is errZero, with how none is written where there can be none.
func (f Field) zero() error {
	if f.mayBeOff() {
		return errors.New(`is 0: write "off" for no limit, or leave it out for the default`)
	}
	return errZero
}

// parseDuration is time.ParseDuration with days.
func parseDuration(text string) (time.Duration, error) {
	if text == "off" {
		return off, nil
	}
	unit := int64(1)
	plain := text
	if days, ok := strings.CutSuffix(text, "d"); ok {
		plain, unit = days+"h", 24
	}
	d, err := time.ParseDuration(plain)
	switch {
	case err != nil:
		return 0, err
	case d < 0 || int64(d) > math.MaxInt64/unit:
		return 0, errors.New("out of range")
	case d == 0:
		return 0, errZero
	}
	return time.Duration(int64(d) * unit), nil
}

// units are those of parseBytes; the longer ones first, since some end like others.
var units = []struct {
	name string
	size int64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"kB", 1e3},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
}

func parseBytes(text string) (int64, error) {
	size := int64(1)
	for _, u := range units {
		if number, ok := strings.CutSuffix(text, u.name); ok {
			text, size = strings.TrimSpace(number), u.size
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err == nil && (n < 0 || n > math.MaxInt64/size) {
		err = errors.New("out of range")
	}
	return n * size, err
}
