package astarte

import (
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// errUnset means that a payload carries no value.
var errUnset = errors.New("it carries no value")

// decode reads the payload of a message: a value of the Go type that belongs to the mapping, or an Object, and its timestamp if it has
// one. Members of objects that are null are left out. The error is errUnset, or says what is wrong.
func (i *Interface) decode(path string, payload []byte) (any, time.Time, error) {
	p, err := astartewire.ParsePayload(payload)
	if err != nil {
		return nil, time.Time{}, err
	}
	var at time.Time
	if p.HasTime {
		at = time.UnixMilli(p.TimeMillis).UTC()
	}
	if i.IsObject() {
		o, err := i.w.ResolveObject(path)
		if err == nil {
			if p.Unset {
				return nil, at, errUnset
			}
			err = o.Check(p.Value)
		}
		if err != nil {
			return nil, time.Time{}, err
		}
		object := Object{}
		p.Value.Each(func(key []byte, v astartewire.Value) bool {
			m := o.Key(key)
			if v.IsNull() {
				return true
			}
			var d any
			if d, err = m.Type.Decode(v); err == nil {
				object[string(key)] = fromWire(m.Type, d)
			}
			return err == nil
		})
		return object, at, err
	}
	m, err := i.w.Resolve(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	if p.Unset {
		// What a program sets to no bytes at all arrives like this, too, and a program that listens would rather know.
		if m.Type == astartewire.TypeBinaryBlob && p.Value.Type == astartewire.BSONBinary && i.IsServerOwned() && len(payload) > 0 {
			return []byte{}, at, nil
		}
		return nil, at, errUnset
	}
	d, err := m.Type.Decode(p.Value)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%w: want %s", err, m.Type)
	}
	return fromWire(m.Type, d), at, nil
}
