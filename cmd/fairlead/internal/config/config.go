// Package config reads the settings of a hub in production: from flags, the environment and a TOML file, in this order
// of precedence. The settings are the fields of [Settings]; their names, flags and variables follow from the names of the
// fields, so that a new field of hub.Config can be set without a line here.
//
// It is strict: whatever is not understood is an error that says where it is and what is allowed, and all of them are
// reported at once.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/fairlead-iot/fairlead/hub"
)

// Settings are everything that can be set.
type Settings struct {
	hub.Config
	// Log says what is written to stderr.
	Log Log
}

// Log says what is written to stderr.
type Log struct {
	// Level is the least that is written: debug, info, warn or error.
	Level slog.Level `want:"debug, info, warn or error"`
	// Format is text or json.
	Format string `enum:"text,json"`
}

// defaults are the settings where the zero value of a field is not its default.
func defaults() Settings {
	return Settings{Config: hub.Config{DataDir: "/var/lib/fairlead"}, Log: Log{Format: "text"}}
}

// EnvPrefix is what the environment variables of settings begin with.
const EnvPrefix = "FAIRLEAD_"

// Sources are where settings come from.
type Sources struct {
	File  string            // "": none
	Env   []string          // as from os.Environ
	Flags map[string]string // by key
}

// A Config is what has been read.
type Config struct {
	Settings
	origin map[string]string // by key: "fairlead.toml:3:1", "FAIRLEAD_LISTEN", "--listen"; absent: the default
}

// A Problem is something that cannot be used.
type Problem struct {
	Where string // "fairlead.toml:3:1", "FAIRLEAD_LISTEN", "--listen"
	Text  string
}

// An Error is all that is wrong.
type Error []Problem

func (e Error) Error() string {
	var b strings.Builder
	for i, p := range e {
		if i > 0 {
			b.WriteByte('\n')
		}
		if p.Where != "" {
			b.WriteString(p.Where + ": ")
		}
		b.WriteString(p.Text)
	}
	return b.String()
}

// loader collects.
type loader struct {
	fields   []Field
	config   Config
	problems Error
	bad      map[string]bool // keys whose values are not known, because what is there is wrong
	broken   bool            // the file could not be read to its end
}

// Load reads the settings and checks them. The error is an [Error] if they are wrong.
func Load(from Sources) (*Config, error) {
	l := loader{bad: map[string]bool{}, fields: Fields(), config: Config{Settings: defaults(), origin: map[string]string{}}}
	if from.File != "" {
		text, err := os.ReadFile(from.File)
		if err != nil {
			return nil, fmt.Errorf("configuration: %w", err)
		}
		l.file(from.File, text)
	}
	l.environment(from.Env)
	for _, f := range l.fields {
		if text, ok := from.Flags[f.Key]; ok {
			l.text(f, "--"+f.Flag(), text)
		}
	}
	if !l.broken {
		l.check()
	}
	if len(l.problems) > 0 {
		return nil, l.problems
	}
	return &l.config, nil
}

func (l *loader) problem(where, format string, args ...any) {
	l.problems = append(l.problems, Problem{where, fmt.Sprintf(format, args...)})
}

// set sets a field, unless the value is not allowed.
func (l *loader) set(f Field, where string, v reflect.Value, err error) {
	if err != nil {
		l.problem(where, "%s %v", f.Key, err)
		l.bad[f.Key] = true
		return
	}
	reflect.ValueOf(&l.config.Settings).Elem().FieldByIndex(f.index).Set(v)
	l.config.origin[f.Key] = where
}

// text sets a field from a flag or variable.
func (l *loader) text(f Field, where, text string) {
	v, err := f.parse(text)
	l.set(f, where, v, err)
}

// environment takes the variables of settings. Others that begin alike are none of our business, Kubernetes makes some
// for a service of that name; but one that is nearly a setting's is a mistake.
func (l *loader) environment(env []string) {
	byName := map[string]Field{}
	for _, f := range l.fields {
		byName[f.Env()] = f
	}
	for _, e := range slices.Sorted(slices.Values(env)) {
		name, text, _ := strings.Cut(e, "=")
		if f, ok := byName[name]; ok {
			l.text(f, name, text)
		} else if strings.HasPrefix(name, EnvPrefix) {
			if near := nearest(name, byName, len(EnvPrefix)); near != "" {
				l.bad[byName[near].Key] = true
				l.problem(name, "no such setting; did you mean %s?", near)
			}
		}
	}
}

// check has the hub look at the whole, and says where that which it refuses comes from.
func (l *loader) check() {
	cfg, err := l.config.Config.WithDefaults()
	if err == nil {
		l.config.Config = cfg
		return
	}
	for _, e := range leaves(err) {
		var bad *hub.ConfigError
		if !errors.As(e, &bad) {
			l.problem("", "%v", e)
			continue
		}
		i := slices.IndexFunc(l.fields, func(f Field) bool { return f.goName == bad.Field })
		if i < 0 {
			l.problem("", "%v", e)
			continue
		}
		// What follows from another problem says nothing that is new.
		if text := l.fields[i].Key + " " + l.inKeys(bad.Problem); !l.aboutBad(text) {
			l.problem(l.config.origin[l.fields[i].Key], "%s", text)
		}
	}
}

// aboutBad reports whether a text names a key whose value is not known.
func (l *loader) aboutBad(text string) bool {
	return slices.ContainsFunc(strings.Fields(text), func(w string) bool { return l.bad[strings.TrimRight(w, ",.;:")] })
}

// inKeys replaces the names of other fields in a text by their keys.
func (l *loader) inKeys(text string) string {
	words := strings.Split(text, " ")
	for i, w := range words {
		bare := strings.TrimRight(w, ",.;:")
		for _, f := range l.fields {
			if f.goName == bare {
				words[i] = f.Key + w[len(bare):]
			}
		}
	}
	return strings.Join(words, " ")
}

// leaves returns the errors that an error joins.
func leaves(err error) []error {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if j, ok := e.(interface{ Unwrap() []error }); ok {
			var list []error
			for _, e := range j.Unwrap() {
				list = append(list, leaves(e)...)
			}
			return list
		}
	}
	return []error{err}
}

// nearest returns the name that was probably meant, "" if none is near. The first skip bytes are alike and do not count.
func nearest[V any](name string, among map[string]V, skip int) string {
	best, least := "", 1+min(3, (len(name)-skip)/3)
	for n := range among {
		if d := distance(name, n); d < least || d == least && best != "" && cmp.Less(n, best) {
			best, least = n, d
		}
	}
	return best
}

// distance is how many bytes must be changed, removed or added, or swapped with the next one, to make b of a.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, last, row = last, row, before
		row[0] = i + 1
		for j := range len(b) {
			if row[j+1] = last[j]; a[i] != b[j] {
				row[j+1] = 1 + min(last[j], row[j], last[j+1])
			}
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], 1+before[j-1])
			}
		}
	}
	return row[len(b)]
}
