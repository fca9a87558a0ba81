package astartewire

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// An Object is what the endpoints of an object interface have in common: a message holds values for some or all of
// them, under the last levels of the endpoints as keys.
type Object struct {
	Mappings []*Mapping // in the order of the definition

	byKey    map[string]*Mapping
	required []string
}

func (i *Interface) compileObject() {
	o := &Object{byKey: make(map[string]*Mapping, len(i.Mappings))}
	for k := range i.Mappings {
		m := &i.Mappings[k]
		key := m.Key()
		o.Mappings = append(o.Mappings, m)
		o.byKey[key] = m
		if m.Required {
			o.required = append(o.required, key)
		}
	}
	i.object = o
	levels := strings.Split(i.Mappings[0].Endpoint[1:], "/")
	i.base = levels[:len(levels)-1]
	for k, l := range i.base {
		if l[0] == '%' {
			i.base[k] = ""
		}
	}
}

// Key returns the last level of m's endpoint: the key of its values in messages of an object interface.
func (m *Mapping) Key() string { return m.Endpoint[strings.LastIndexByte(m.Endpoint, '/')+1:] }

// Key returns the mapping whose endpoint ends with the level key, or nil.
func (o *Object) Key(key []byte) *Mapping { return o.byKey[string(key)] }

// ExplicitTimestamp reports whether messages carry a timestamp; the mappings of an object agree on that.
func (o *Object) ExplicitTimestamp() bool { return o.Mappings[0].ExplicitTimestamp }

// A KeyError says which key of an object is wrong. It unwraps to one of the Err values of values.
type KeyError struct {
	Key  string // empty if the value is no object at all
	Type Type   // the type of the mapping; zero if the value is no object, or the key unknown
	Err  error
}

// Error names the key.
func (e *KeyError) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("object: %v", e.Err)
	}
	return fmt.Sprintf("object key %.64q: %v", e.Key, e.Err) // a foreign key can be as long as a message
}

// Unwrap returns the reason.
func (e *KeyError) Unwrap() error { return e.Err }

// ExpectedType returns what the platform calls the expected type in its answer: the mapping's type, or "object".
func (e *KeyError) ExpectedType() string {
	if e.Type == 0 {
		return "object"
	}
	return e.Type.String()
}

// Check reports whether a received value may be stored: a document, whose keys all belong to mappings, with a value of
// the right type or null (absent) for each. Keys may be missing, except for required ones, for which null is as good as
// missing. The error is a [*KeyError] for [ErrUnexpectedType], [ErrUnexpectedKey], [ErrSizeExceeded] or
// [ErrMissingKey]; the latter only if nothing else is wrong.
func (o *Object) Check(v Value) error {
	if v.Type != BSONDocument {
		return &KeyError{Err: ErrUnexpectedType}
	}
	var err error
	required := 0
	v.Each(func(key []byte, e Value) bool {
		m := o.byKey[string(key)]
		if m == nil {
			err = &KeyError{Key: string(key), Err: ErrUnexpectedKey}
			return false
		}
		if e.IsNull() {
			return true
		}
		if m.Required {
			required++
		}
		if bad := m.Type.Check(e); bad != nil {
			err = &KeyError{Key: string(key), Type: m.Type, Err: bad}
		}
		return err == nil
	})
	if err == nil && required < len(o.required) {
		return o.missing(func(key string) bool {
			found := false
			v.Each(func(k []byte, e Value) bool {
				found = string(k) == key && !e.IsNull()
				return !found
			})
			return found
		})
	}
	return err
}

// missing returns the error for the first required key that has finds not.
func (o *Object) missing(has func(key string) bool) error {
	for _, key := range o.required {
		if !has(key) {
			return &KeyError{Key: key, Type: o.byKey[key].Type, Err: ErrMissingKey}
		}
	}
	return nil
}

// ParseJSON reads the JSON object that a program sends to a server-owned object interface; see [Type.ParseJSON] for its
// values. Null is a wrong type here. The error is a [*KeyError] as in [Object.Check].
func (o *Object) ParseJSON(raw json.RawMessage) (map[string]any, error) {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil || members == nil {
		return nil, &KeyError{Err: ErrUnexpectedType}
	}
	values := make(map[string]any, min(len(members), len(o.byKey)))
	for _, key := range slices.Sorted(maps.Keys(members)) {
		m := o.byKey[key]
		if m == nil {
			return nil, &KeyError{Key: key, Err: ErrUnexpectedKey}
		}
		v, err := m.Type.ParseJSON(members[key])
		if err != nil {
			return nil, &KeyError{Key: key, Type: m.Type, Err: err}
		}
		values[key] = v
	}
	return values, o.missing(func(key string) bool { _, ok := values[key]; return ok })
}

// AppendBSON appends values, as [Object.ParseJSON] returns them, as a document element, with the keys in order.
func (o *Object) AppendBSON(b []byte, key string, values map[string]any) ([]byte, error) {
	b, doc := BeginSubdocument(b, key)
	for _, k := range slices.Sorted(maps.Keys(values)) {
		m := o.byKey[k]
		if m == nil {
			return nil, &KeyError{Key: k, Err: ErrUnexpectedKey}
		}
		var err error
		if b, err = m.Type.AppendBSON(b, k, values[k]); err != nil {
			return nil, &KeyError{Key: k, Type: m.Type, Err: err}
		}
	}
	return EndDocument(b, doc), nil
}

// AppendPayload appends the payload {"v": values} as the server sends it.
func (o *Object) AppendPayload(b []byte, values map[string]any) ([]byte, error) {
	b, doc := BeginDocument(b)
	b, err := o.AppendBSON(b, "v", values)
	if err != nil {
		return nil, err
	}
	return EndDocument(b, doc), nil
}
