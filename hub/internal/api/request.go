package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// A route is one operation of the API: what it takes, what it gives and who may. The OpenAPI document is made from this
// table, and requests are checked against it, so that neither can differ from the other.
type route struct {
	method, path string
	id           string     // operationId
	tag          string     // where it belongs; one of tags
	summary      string     // what it does, in a few words
	doc          string     // what it does
	scope        core.Scope // that it takes; 0: nobody need sign in
	whole        bool       // only for tokens that open all tenants
	params       []param
	body         reflect.Type // nil: none
	example      string       // of the body, in JSON
	answer       reflect.Type // nil: none, or not JSON
	media        string       // of the answer; "": application/json
	status       int          // of success; 0: 200
	do           func(*request) (any, error)
	stream       func(http.ResponseWriter, *request) error // instead of do
}

// A param is a query parameter.
type param struct {
	name, doc string
	kind      paramKind
	values    []string // of a text; nil: any
	min, max  int64    // of a number
	def       int64    // of a number
	required  bool
}

type paramKind int

const (
	aText   paramKind = iota
	aNumber           // min to max
	aFlag             // true or false
	aTime             // RFC 3339
)

// A request is one request for a route, checked.
type request struct {
	*http.Request
	caller core.Token
	params map[string]any // string, int64, bool, time.Time; absent ones are not in it
	body   any            // pointer to a value of the route's body type
}

func (r *request) text(name string) string {
	v, _ := r.params[name].(string)
	return v
}

func (r *request) number(name string) int64 {
	v, _ := r.params[name].(int64)
	return v
}

// flag returns nil if the parameter is absent.
func (r *request) flag(name string) *bool {
	if v, ok := r.params[name].(bool); ok {
		return &v
	}
	return nil
}

// time returns the zero time if the parameter is absent.
func (r *request) time(name string) time.Time {
	v, _ := r.params[name].(time.Time)
	return v
}

func (r *request) limit() int { return int(r.number("limit")) }

// parseQuery checks a query string against the parameters.
func parseQuery(raw string, params []param) (map[string]any, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, refuse(core.ErrInvalid, "the query is malformed")
	}
	out := map[string]any{}
	for _, p := range params {
		list, there := values[p.name]
		delete(values, p.name)
		switch {
		case len(list) > 1:
			return nil, refuse(core.ErrInvalid, "parameter %s is given %d times", p.name, len(list))
		case there:
			if out[p.name], err = p.parse(list[0]); err != nil {
				return nil, refuse(core.ErrInvalid, "parameter %s is %.100q: %v", p.name, list[0], err)
			}
		case p.required:
			return nil, refuse(core.ErrInvalid, "parameter %s is missing", p.name)
		case p.kind == aNumber:
			out[p.name] = p.def
		}
	}
	for name := range values {
		return nil, refuse(core.ErrInvalid, "unknown parameter %.100q; there is: %s", name, names(params))
	}
	return out, nil
}

func names(params []param) string {
	var list []string
	for _, p := range params {
		list = append(list, p.name)
	}
	if list == nil {
		return "none"
	}
	return strings.Join(list, ", ")
}

func (p param) parse(s string) (any, error) {
	switch p.kind {
	case aNumber:
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < p.min || n > p.max {
			return nil, fmt.Errorf("want a number from %d to %d", p.min, p.max)
		}
		return n, nil
	case aFlag:
		if s != "true" && s != "false" {
			return nil, errors.New("want true or false")
		}
		return s == "true", nil
	case aTime:
		t, err := admin.ParseTime(s)
		if err != nil {
			return nil, errors.New("want the form 2006-01-02T15:04:05Z")
		}
		return t.Time, nil
	}
	switch {
	case !utf8.ValidString(s):
		return nil, errors.New("want UTF-8")
	case p.values != nil && !slices.Contains(p.values, s):
		return nil, fmt.Errorf("want one of %s", strings.Join(p.values, ", "))
	}
	return s, nil
}

// maxBodyBytes bounds the body of a request to this API; the largest sensible one has a few hundred.
const maxBodyBytes = 64 << 10

// readBody reads the body of a request into a new value of a type.
func readBody(w http.ResponseWriter, r *http.Request, typ reflect.Type) (any, error) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, refuse(errMedia, "the body is %.100q", r.Header.Get("Content-Type"))
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, refuse(core.ErrTooLarge, "the body has more than %d bytes", maxBodyBytes)
	} else if err != nil {
		return nil, refuse(core.ErrInvalid, "the body ends early")
	}
	return parseBody(text, typ)
}

// parseBody is stricter than encoding/json, which takes keys in any case, twice, or not at all: what is not meant must
// not be taken for something else.
func parseBody(text []byte, typ reflect.Type) (any, error) {
	if !utf8.Valid(text) {
		return nil, refuse(core.ErrInvalid, "the body is not UTF-8")
	}
	if err := checkKeys(text, typ); err != nil {
		return nil, err
	}
	v := reflect.New(typ).Interface()
	if err := json.Unmarshal(text, v); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return nil, refuse(core.ErrInvalid, "field %.100q of the body cannot be a %s", wrong.Field, wrong.Value)
		}
		return nil, refuse(core.ErrInvalid, "the body: %v", err)
	}
	return v, nil
}

// checkKeys checks that the text is one JSON object with the fields of a struct type, each once, none of them null and
// all required ones there. The fields of bodies are scalars, so this needs to look no deeper.
func checkKeys(text []byte, typ reflect.Type) error {
	malformed := refuse(core.ErrInvalid, "the body is not one JSON object")
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return malformed
	}
	fields := fieldsOf(typ)
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		key, ok := t.(string)
		if err != nil || !ok {
			return malformed
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return malformed
		}
		switch f := fields[key]; {
		case !f.known:
			return refuse(core.ErrInvalid, "unknown field %.100q in the body; there is: %s", key, strings.Join(sortedKeys(fields), ", "))
		case seen[key]:
			return refuse(core.ErrInvalid, "field %s is in the body twice", key)
		case string(value) == "null":
			return refuse(core.ErrInvalid, "field %s is null; leave it out instead", key)
		case f.enum != nil && !slices.Contains(f.enum, strings.Trim(string(value), `"`)):
			return refuse(core.ErrInvalid, "field %s: want one of %s", key, strings.Join(f.enum, ", "))
		}
		seen[key] = true
	}
	if t, err := d.Token(); err != nil || t != json.Delim('}') {
		return malformed
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return malformed
	}
	for _, key := range sortedKeys(fields) {
		if fields[key].required && !seen[key] {
			return refuse(core.ErrInvalid, "field %s is missing in the body", key)
		}
	}
	return nil
}

// A field is what the tags of a struct field say of it.
type field struct {
	known, required bool
	enum            []string
}

// fieldsOf returns the fields of a body type by their JSON names. One that may be left out is marked omitempty or
// omitzero.
func fieldsOf(typ reflect.Type) map[string]field {
	out := map[string]field{}
	for i := range typ.NumField() {
		name, options, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		f := field{known: true, required: options == ""}
		if list := typ.Field(i).Tag.Get("enum"); list != "" {
			f.enum = strings.Split(list, ",")
		}
		out[name] = f
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	var list []string
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}
