package astarte

import (
	"errors"
	"net/http"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/hub/internal/telemetry"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// Why data cannot be shown.
var (
	errNotDeclared  = failure(http.StatusNotFound, "Interface not found in device introspection")
	errPathNotFound = failure(http.StatusNotFound, "Path not found")
)

// maxPaths bounds the series of one interface that a snapshot shows; telemetry.MaxBytes bounds their values.
const maxPaths = 10_000

// A reading is a query for the data of one interface of one device.
type reading struct {
	rd      store.Reader
	dev     core.Device
	iface   *astartewire.Interface
	options valueOptions
}

// concurrentReads bounds the queries for data that run at a time. They can be long, and storage has few places for
// readers: signing in and Pairing, which devices wait for, must find one.
const concurrentReads = 2

// read runs fn with the interface that the path names.
func (c *call) read(fn func(r reading) (reply, error)) (reply, error) {
	options, err := parseValueOptions(c.r.URL.Query())
	if err != nil {
		return reply{}, err
	}
	select {
	case c.api.reads <- struct{}{}:
		defer func() { <-c.api.reads }()
	case <-c.ctx().Done():
		return reply{}, c.ctx().Err()
	}
	var rep reply
	err = c.view(func(rd store.Reader) error {
		dev, m, err := c.findDevice(rd)
		if err != nil {
			return err
		}
		i, err := declared(c.realm, m, c.params["interface"])
		if err != nil {
			return err
		}
		rep, err = fn(reading{rd, dev, i, options})
		return err
	})
	return rep, err
}

// declared returns the interface that a device declares under a name, in the version that it declares.
func declared(r *realm, m model, name string) (*astartewire.Interface, error) {
	v, found := m.Introspection[name]
	if !found {
		return nil, errNotDeclared
	}
	i := r.iface(name, v.Major)
	if i == nil {
		return nil, errInterfaceNotFound
	}
	return i, nil
}

// readInterface returns the snapshot of an interface.
func readInterface(c *call) (reply, error) {
	return c.read(func(r reading) (reply, error) {
		switch {
		case r.iface.Kind == astartewire.KindProperties:
			return r.properties("")
		case r.iface.Aggregation == astartewire.AggregationObject:
			return r.objects()
		}
		return r.latest()
	})
}

// readPath returns what is stored at, or below, a path.
func readPath(c *call) (reply, error) {
	path := "/" + c.params["path"]
	return c.read(func(r reading) (reply, error) {
		switch {
		case r.iface.Kind == astartewire.KindProperties:
			return r.property(path)
		case r.iface.Aggregation == astartewire.AggregationObject:
			return r.object(path)
		}
		return r.individual(path)
	})
}

// property returns the value at a path, or the tree below a path that stops short of the endpoints. What is not set is
// an empty object.
func (r reading) property(path string) (reply, error) {
	m, err := r.iface.Resolve(path)
	if errors.Is(err, astartewire.ErrAmbiguousPath) {
		return r.properties(path)
	}
	if err != nil {
		return reply{}, errEndpointNotFound
	}
	e, err := r.rd.Entry(propertiesOf(r.dev, r.iface).Key(), path)
	if errors.Is(err, core.ErrNotFound) {
		return success(tree{}), nil
	}
	if err != nil {
		return reply{}, err
	}
	v, err := r.options.asNumbers().value(e.Value, m.Type)
	return success(v), err
}

// properties returns the tree of the values below a path, "" for all.
func (r reading) properties(path string) (reply, error) {
	entries, err := r.rd.Entries(propertiesOf(r.dev, r.iface).Key())
	if err != nil {
		return reply{}, err
	}
	out := tree{}
	for _, e := range entries {
		m, err := r.iface.Resolve(e.Path)
		below, inside := strings.CutPrefix(e.Path, path+"/")
		if err != nil || !inside {
			continue
		}
		v, err := r.options.asNumbers().value(e.Value, m.Type)
		if err != nil {
			return reply{}, err
		}
		out.add(below, v)
	}
	return success(out), nil
}

// series returns what is stored of a datastream, by path.
func (r reading) series() ([]*core.Series, error) {
	all, err := r.rd.Series(r.dev.Num, channel(r.iface, "/"))
	return all[:min(len(all), maxPaths)], err
}

// pathOf returns the path of a series of the interface.
func (r reading) pathOf(s *core.Series) string {
	return strings.TrimPrefix(s.Channel, docName(r.iface))
}

// latest returns the newest sample of each path of an individual datastream.
func (r reading) latest() (reply, error) {
	all, err := r.series()
	if err != nil {
		return reply{}, err
	}
	out := tree{}
	size := 0
	for _, s := range all {
		path := r.pathOf(s)
		m, err := r.iface.Resolve(path)
		if err != nil {
			continue
		}
		last, found, err := telemetry.Last(r.rd, s)
		if err != nil {
			return reply{}, err
		}
		if !found {
			continue
		}
		v, err := r.options.asNumbers().value(last.Value, m.Type)
		if err != nil {
			return reply{}, err
		}
		out.add(path, map[string]any{
			"value":               v,
			"timestamp":           r.options.timestamp(last.At),
			"reception_timestamp": r.options.timestamp(last.Received),
		})
		if size += last.Value.Weight(); size > telemetry.MaxBytes {
			break
		}
	}
	return success(out), nil
}

// objects returns the snapshot of an object datastream. Its shape depends on how many paths hold data: the samples of
// the only one, or the newest of each of several. Clients depend on both: the SDKs' end-to-end tests read the list,
// astarte-go takes either (astarte-platform/astarte issue 545, read 2026-11).
func (r reading) objects() (reply, error) {
	all, err := r.series()
	if err != nil {
		return reply{}, err
	}
	if len(all) == 1 {
		return r.onlyObject(all[0])
	}
	out := tree{}
	size := 0
	for _, s := range all {
		path := r.pathOf(s)
		o, err := r.iface.ResolveObject(path)
		if err != nil {
			continue
		}
		last, found, err := telemetry.Last(r.rd, s)
		if err != nil {
			return reply{}, err
		}
		if !found {
			continue
		}
		leaf, err := r.objectRow(o, last)
		if err != nil {
			return reply{}, err
		}
		out.add(path, leaf)
		if size += last.Value.Weight() + cellWeight*len(o.Mappings); size > telemetry.MaxBytes {
			break
		}
	}
	return success(out), nil
}

// onlyObject returns the snapshot of an object datastream with one path: the list of its samples below that path, or
// alone where the endpoints have one level.
func (r reading) onlyObject(s *core.Series) (reply, error) {
	path := r.pathOf(s)
	o, err := r.iface.ResolveObject(path)
	if err != nil {
		return success(tree{}), nil
	}
	if path != "/" {
		r.options.format, r.options.downsampleTo = formatStructured, 0 // there is no place for a head or for columns
	}
	rep, err := r.objectSeries(o, s)
	if errors.Is(err, errPathNotFound) {
		return success(tree{}), nil
	}
	if err != nil || path == "/" {
		return rep, err
	}
	out := tree{}
	out.add(path, rep.data)
	return success(out), nil
}

// individual returns the samples at a path of an individual datastream.
func (r reading) individual(path string) (reply, error) {
	m, err := r.iface.Resolve(path)
	if err != nil {
		return reply{}, errEndpointNotFound
	}
	return r.individualSeries(m, path)
}

// object returns the samples of an object datastream at its path.
func (r reading) object(path string) (reply, error) {
	o, err := r.iface.ResolveObject(path)
	if err == nil {
		return r.objectSeries(o, &core.Series{Device: r.dev.Num, Channel: channel(r.iface, path)})
	}
	if _, err := r.iface.Resolve(path); err == nil || errors.Is(err, astartewire.ErrAmbiguousPath) {
		return reply{}, errPathNotFound // below the object, or short of it
	}
	return reply{}, errEndpointNotFound
}
