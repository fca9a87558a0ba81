package astarte

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// An Interface is a named, versioned set of endpoints that a device and Astarte exchange data about. It is what the platform calls an
// interface, not what Go does. [ParseInterface], [LoadInterface] and [LoadInterfaces] make one from its definition in JSON. It never changes,
// and can be used from any goroutine.
type Interface struct{ w *astartewire.Interface }

// InterfaceType says whether an interface is a stream of values or a set of properties.
type InterfaceType string

// The types of interfaces.
const (
	Datastream InterfaceType = "datastream" // values that come one after the other
	Properties InterfaceType = "properties" // values that stay until they are set anew or unset
)

// Ownership says who sends the data of an interface.
type Ownership string

// The owners.
const (
	DeviceOwned Ownership = "device"
	ServerOwned Ownership = "server"
)

// Aggregation says whether the endpoints of an interface are sent one by one or together.
type Aggregation string

// The aggregations.
const (
	Individual      Aggregation = "individual"
	ObjectAggregate Aggregation = "object"
)

// maxInterfaceBytes is more than any definition that the platform accepts and people write.
const maxInterfaceBytes = 8 << 20

// ParseInterface reads the definition of an interface, in JSON, and checks it by the rules by which the platform would accept it. The
// error is an [*InterfaceError] that lists all that is wrong.
func ParseInterface(definition []byte) (*Interface, error) {
	if len(definition) > maxInterfaceBytes {
		return nil, &InterfaceError{Problem: fmt.Sprintf("it has %d bytes, at most %d are read", len(definition), maxInterfaceBytes)}
	}
	w, err := astartewire.ParseInterface(definition)
	if err != nil {
		return nil, &InterfaceError{Problem: err.Error()}
	}
	return &Interface{w}, nil
}

// MustParseInterface is ParseInterface for definitions that are part of the program. It panics if there is something wrong.
func MustParseInterface(definition string) *Interface {
	i, err := ParseInterface([]byte(definition))
	if err != nil {
		panic("astarte: " + err.Error())
	}
	return i
}

// LoadInterface reads the definition of an interface from a file. The error wraps fairlead.ErrNotFound if there is no such file; it is an
// [*InterfaceError] if the content is wrong.
func LoadInterface(file string) (*Interface, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("load interface: %w: %w", fairlead.ErrNotFound, err)
	}
	if err != nil {
		return nil, fmt.Errorf("load interface: %w: %w", fairlead.ErrStorage, err)
	}
	defer f.Close()
	if fi, err := f.Stat(); err == nil && !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("load interface: %w: %s is not a regular file", fairlead.ErrNotFound, file)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxInterfaceBytes+1))
	if err != nil {
		return nil, fmt.Errorf("load interface: %w: %w", fairlead.ErrStorage, err)
	}
	i, err := ParseInterface(b)
	var wrong *InterfaceError
	if errors.As(err, &wrong) {
		wrong.File = file
	}
	return i, err
}

// LoadInterfaces reads all files of a folder whose names end in .json, in order of their names; folders below it are passed over. The
// error wraps fairlead.ErrNotFound if there is no such folder.
func LoadInterfaces(dir string) ([]*Interface, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		kind := fairlead.ErrStorage
		if fi, e := os.Stat(dir); e != nil || !fi.IsDir() {
			kind = fairlead.ErrNotFound
		}
		return nil, fmt.Errorf("load interfaces: %w: %w", kind, err)
	}
	var all []*Interface
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		i, err := LoadInterface(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		all = append(all, i)
	}
	return all, nil
}

// Name returns the interface's name, such as "org.example.Climate".
func (i *Interface) Name() string { return i.w.Name }

// Major returns the major version: interfaces with different ones are different interfaces.
func (i *Interface) Major() int { return i.w.Major }

// Minor returns the minor version.
func (i *Interface) Minor() int { return i.w.Minor }

// Type returns [Datastream] or [Properties].
func (i *Interface) Type() InterfaceType { return InterfaceType(i.w.Kind.String()) }

// Ownership returns [DeviceOwned] or [ServerOwned].
func (i *Interface) Ownership() Ownership { return Ownership(i.w.Ownership.String()) }

// Aggregation returns [Individual] or [ObjectAggregate].
func (i *Interface) Aggregation() Aggregation { return Aggregation(i.w.Aggregation.String()) }

// Description returns the definition's description.
func (i *Interface) Description() string { return i.w.Description }

// Doc returns the definition's doc.
func (i *Interface) Doc() string { return i.w.Doc }

// IsProperties tells whether it is an interface of properties.
func (i *Interface) IsProperties() bool { return i.w.Kind == astartewire.KindProperties }

// IsObject tells whether its values are sent together, as an [Object].
func (i *Interface) IsObject() bool { return i.w.Aggregation == astartewire.AggregationObject }

// IsServerOwned tells whether Astarte sends the data.
func (i *Interface) IsServerOwned() bool { return i.w.Ownership == astartewire.OwnershipServer }

// Mappings returns the endpoints, in the order of the definition.
func (i *Interface) Mappings() []Mapping {
	all := make([]Mapping, len(i.w.Mappings))
	for k := range i.w.Mappings {
		all[k] = newMapping(i.w, &i.w.Mappings[k])
	}
	return all
}

// Mapping returns the mapping whose endpoint matches a path. A fixed level of an endpoint matches literally, a parameter any text that is
// not empty. Of an object's endpoints it finds each by its whole path.
func (i *Interface) Mapping(path string) (Mapping, bool) {
	m, err := i.w.Resolve(path)
	if err != nil {
		return Mapping{}, false
	}
	return newMapping(i.w, m), true
}

// Reliability returns the reliability of what is sent to a path; for an object its base path counts, and the whole path of a member, too.
// The error is a [*ValidationError] if there is no such path.
func (i *Interface) Reliability(path string) (Reliability, error) {
	if i.IsObject() {
		if o, err := i.w.ResolveObject(path); err == nil {
			return Reliability(i.w.QoS(o.Mappings[0])), nil
		}
	}
	m, err := i.w.Resolve(path)
	if err != nil {
		return 0, i.noPath(path, err)
	}
	return Reliability(i.w.QoS(m)), nil
}

// CanUnset tells whether a path is that of a property that may be unset.
func (i *Interface) CanUnset(path string) bool {
	m, err := i.w.Resolve(path)
	return err == nil && i.IsProperties() && m.AllowUnset
}

func (i *Interface) noPath(path string, err error) error {
	return i.at(path, invalid(fmt.Sprintf("no endpoint has this path: %v", err)))
}

// at adds interface and path to a validation error.
func (i *Interface) at(path string, err error) error {
	var e *ValidationError
	if errors.As(err, &e) {
		e.Interface, e.Path = i.w.Name, path
	}
	return err
}

// CheckPath reports, as a [*ValidationError], that nothing can be sent to a path.
func (i *Interface) CheckPath(path string) error {
	var err error
	if i.IsObject() {
		_, err = i.w.ResolveObject(path)
	} else {
		_, err = i.w.Resolve(path)
	}
	if err != nil {
		return i.noPath(path, err)
	}
	return nil
}

// Check reports, as a [*ValidationError], why a value with this timestamp cannot be sent to a path. The zero time is no timestamp. For
// an object the value is an [Object] with all members: only data from the server may lack some.
func (i *Interface) Check(path string, value any, at time.Time) error {
	_, err := i.encode(path, value, at)
	return err
}

// An encoded value is ready to be sent.
type encoded struct {
	payload []byte
	mapping *astartewire.Mapping // of an object, the first
}

// encode checks everything about a value and makes its payload.
func (i *Interface) encode(path string, value any, at time.Time) (encoded, error) {
	object, isObject := value.(Object)
	var e encoded
	var err error
	switch {
	case isObject && !i.IsObject():
		err = i.at(path, invalid("found an object, but the values of this interface are sent one by one"))
	case !isObject && i.IsObject():
		err = i.at(path, invalid(fmt.Sprintf("found a value of type %T, but the values of this interface are sent together, as an Object", value)))
	case isObject:
		e, err = i.encodeObject(path, object, at)
	default:
		e, err = i.encodeOne(path, value, at)
	}
	return e, err
}

func (i *Interface) encodeOne(path string, value any, at time.Time) (encoded, error) {
	m, err := i.w.Resolve(path)
	if err != nil {
		return encoded{}, i.noPath(path, err)
	}
	w, err := toWire(m.Type, value)
	if err == nil {
		err = newMapping(i.w, m).CheckTime(at)
	}
	if blob, ok := w.([]byte); err == nil && ok && len(blob) == 0 && at.IsZero() {
		// {"v": <empty binary>} is how older clients said "unset", and the platform still reads it so.
		err = invalid("an empty binaryblob without a timestamp cannot be sent: the platform takes it for an unset")
	}
	if err != nil {
		return encoded{}, i.at(path, err)
	}
	b, doc := astartewire.BeginDocument(nil)
	if b, err = m.Type.AppendBSON(b, "v", w); err != nil {
		return encoded{}, i.at(path, invalid(err.Error()))
	}
	return encoded{endPayload(b, doc, at), m}, nil
}

func (i *Interface) encodeObject(path string, object Object, at time.Time) (encoded, error) {
	o, err := i.w.ResolveObject(path)
	if err != nil {
		return encoded{}, i.noPath(path, err)
	}
	first := o.Mappings[0]
	if err := newMapping(i.w, first).CheckTime(at); err != nil {
		return encoded{}, i.at(path, err)
	}
	values := make(map[string]any, len(object))
	for key, value := range object {
		m := o.Key([]byte(key))
		if m == nil {
			return encoded{}, i.at(path, keyed(key, invalid("no endpoint ends with this key")))
		}
		w, err := toWire(m.Type, value)
		if err != nil {
			return encoded{}, i.at(path, keyed(key, err))
		}
		values[key] = w
	}
	for _, m := range o.Mappings {
		if _, ok := object[m.Key()]; !ok {
			return encoded{}, i.at(path, keyed(m.Key(), invalid("it is missing: an object is sent with all its members")))
		}
	}
	b, doc := astartewire.BeginDocument(nil)
	if b, err = o.AppendBSON(b, "v", values); err != nil {
		return encoded{}, i.at(path, invalid(err.Error()))
	}
	return encoded{endPayload(b, doc, at), first}, nil
}

func endPayload(b []byte, doc int, at time.Time) []byte {
	if !at.IsZero() {
		b = astartewire.AppendDatetime(b, "t", at.Round(time.Millisecond).UnixMilli())
	}
	return astartewire.EndDocument(b, doc)
}

func keyed(key string, err error) error {
	var e *ValidationError
	if errors.As(err, &e) {
		e.Key = key
	}
	return err
}
