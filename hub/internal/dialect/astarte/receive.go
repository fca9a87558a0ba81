package astarte

import (
	"errors"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// Topics below REALM/DEVICE ("Astarte MQTT v1 protocol").
const (
	levelControl      = "control"
	levelCapabilities = "capabilities"
	pathEmptyCache    = "/emptyCache"
	pathProducer      = "/producer/properties"
	pathCapabilities  = "/capabilities" // for the counters only
)

// A target is what a topic stands for. It is kept in the topic's Aux while neither the realm nor the device's
// introspection changes, so that a message on a known topic costs no search.
type target struct {
	realm      *realm
	generation int

	receive func(*link, *target, dialect.Publish, *commit.Batch)
	fail    *fault // what is wrong with the topic, whatever the payload

	name, path string // of the interface, and in it; or of the control message
	iface      *astartewire.Interface
	mapping    *astartewire.Mapping // individual
	object     *astartewire.Object  // object aggregation
	explicit   bool                 // the sender's timestamp counts
	series     *core.Series         // datastreams
	scope      string               // of the counters
}

// Receive implements dialect.Link.
func (l *link) Receive(t *dialect.Topic, m dialect.Publish, b *commit.Batch) error {
	if l.broken.Load() {
		return errors.New("an earlier message could not be handled")
	}
	to, ok := t.Aux.(*target)
	if r := l.realm.cur.Load(); !ok || to.realm != r || to.generation != l.generation {
		to = l.target(r, t.Name)
		t.Aux = to
	}
	if to.fail != nil {
		l.reject(b, mishap{to.fail, to.name, to.path, m.Payload})
		return nil
	}
	to.receive(l, to, m, b)
	return nil
}

// target finds out what a topic stands for.
func (l *link) target(r *realm, topic string) *target {
	to := &target{realm: r, generation: l.generation}
	rest, ok := strings.CutPrefix(topic, l.base)
	if !ok || rest != "" && rest[0] != '/' {
		to.fail, to.path = failInternal, topic // the grant allows no such topic
		return to
	}
	if rest == "" {
		to.receive = (*link).receiveIntrospection
		return to
	}
	name, path, _ := strings.Cut(rest[1:], "/")
	switch path = "/" + path; {
	case name == levelControl:
		to.control(path)
	case rest == pathCapabilities:
		to.receive = (*link).receiveCapabilities
	default:
		to.name, to.path = name, path
		to.fail = l.data(to)
	}
	return to
}

// control finds the handler of a control message. The key agreement of encrypted interfaces, which the platform has
// since 1.4 and no client in our scope, is refused like any other unknown message.
func (to *target) control(path string) {
	switch path {
	case pathEmptyCache:
		to.receive = (*link).receiveEmptyCache
	case pathProducer:
		to.receive = (*link).receivePurgeList
	default:
		to.fail = failControl
	}
	to.path = path
}

// data applies the checks that depend on the topic only, in the platform's order, and fills in what the others need.
func (l *link) data(to *target) *fault {
	if astartewire.CheckPath(to.name) != nil {
		return failInvalidInterface
	}
	if astartewire.CheckPath(to.path) != nil {
		return failInvalidPath
	}
	v, declared := l.declared[to.name]
	if !declared {
		return failInterfaceLoading
	}
	// Found by the major version alone: a device that declares an older minor may use what a newer one has added.
	i := to.realm.iface(to.name, v.Major)
	switch {
	case i == nil:
		return failInterfaceLoading
	case i.Ownership != astartewire.OwnershipDevice:
		return failServerOwned
	}
	to.iface, to.scope = i, docName(i)
	var err error
	if i.Aggregation == astartewire.AggregationObject {
		to.receive = (*link).receiveObject
		to.object, err = i.ResolveObject(to.path)
	} else {
		to.mapping, err = i.Resolve(to.path)
	}
	switch {
	case errors.Is(err, astartewire.ErrAmbiguousPath):
		return failAmbiguousPath
	case err != nil:
		return failMappingNotFound
	case to.object != nil:
		to.explicit = to.object.ExplicitTimestamp()
	case i.Kind == astartewire.KindProperties:
		to.receive = (*link).receiveProperty
		return nil
	default:
		to.receive = (*link).receiveSample
		to.explicit = to.mapping.ExplicitTimestamp
	}
	to.series = &core.Series{Device: l.dev.Num, Channel: channel(i, to.path)}
	return nil
}

// receiveSample takes a value of an individual datastream. It is the hot path: nothing here allocates.
func (l *link) receiveSample(to *target, m dialect.Publish, b *commit.Batch) {
	p, err := astartewire.ParsePayload(m.Payload)
	if err != nil {
		l.reject(b, mishap{failUndecodable, to.name, to.path, m.Payload})
		return
	}
	if p.Unset {
		l.reject(b, mishap{failUnsetDatastream, to.name, to.path, m.Payload})
		return
	}
	if err := to.mapping.Type.Check(p.Value); err != nil {
		l.reject(b, mishap{faultOf(err), to.name, to.path, m.Payload})
		return
	}
	l.scratch = appendValue(l.scratch[:0], to.mapping.Type, p.Value)
	l.sample(to, p, len(m.Payload), b)
}

// receiveObject takes the values of an object datastream.
func (l *link) receiveObject(to *target, m dialect.Publish, b *commit.Batch) {
	p, err := astartewire.ParsePayload(m.Payload)
	if err != nil {
		l.reject(b, mishap{failUndecodable, to.name, to.path, m.Payload})
		return
	}
	if p.Unset {
		l.reject(b, mishap{failValueType, to.name, to.path, m.Payload}) // an object cannot be nothing
		return
	}
	if err := to.object.Check(p.Value); err != nil {
		l.reject(b, mishap{faultOf(err), to.name, to.path, m.Payload})
		return
	}
	l.scratch = appendObject(l.scratch[:0], to.object, p.Value)
	l.sample(to, p, len(m.Payload), b)
}

// sample stores and counts what is in l.scratch.
func (l *link) sample(to *target, p astartewire.Payload, payload int, b *commit.Batch) {
	now := l.d.cfg.Now().UnixMicro()
	at := now
	if to.explicit && p.HasTime {
		at = p.TimeMillis * 1000 // within the years -9999 to 9999
	}
	b.Sample(to.series, at, now, l.scratch)
	l.count(to, payload, b)
	const keep = 16 << 10
	if cap(l.scratch) > keep {
		l.scratch = nil // many connections, few with large values
	}
}

// count counts a data message that was accepted.
func (l *link) count(to *target, payload int, b *commit.Batch) {
	n := int64(payload + len(to.name) + len(to.path))
	b.Count(l.dev.Num, "", 1, n)
	b.Count(l.dev.Num, to.scope, 1, n)
}

// receiveProperty takes the setting or unsetting of a device-owned property.
func (l *link) receiveProperty(to *target, m dialect.Publish, b *commit.Batch) {
	p, err := astartewire.ParsePayload(m.Payload)
	if err != nil {
		l.reject(b, mishap{failUndecodable, to.name, to.path, m.Payload})
		return
	}
	if p.Unset {
		if !to.mapping.AllowUnset {
			l.reject(b, mishap{failUnsetNotAllowed, to.name, to.path, m.Payload})
			return
		}
		l.count(to, len(m.Payload), b)
		l.do(b, func(tx *commit.Tx) error { return l.unsetProperty(tx, to) })
		return
	}
	if err := to.mapping.Type.Check(p.Value); err != nil {
		l.reject(b, mishap{faultOf(err), to.name, to.path, m.Payload})
		return
	}
	v := core.Value(appendValue(nil, to.mapping.Type, p.Value))
	l.count(to, len(m.Payload), b)
	b.Hold(cap(v))
	l.do(b, func(tx *commit.Tx) error { return l.setProperty(tx, to, v) })
}

// appendValue appends a received value, which t.Check has accepted, in the form of the core.
func appendValue(b []byte, t astartewire.Type, v astartewire.Value) []byte {
	if !t.IsArray() {
		return appendScalar(b, t, v)
	}
	b = core.AppendArray(b, v.Len())
	t = t.Elem()
	v.Each(func(_ []byte, e astartewire.Value) bool {
		b = appendScalar(b, t, e)
		return true
	})
	return b
}

func appendScalar(b []byte, t astartewire.Type, v astartewire.Value) []byte {
	switch t {
	case astartewire.TypeDouble:
		return core.AppendFloat(b, v.Float())
	case astartewire.TypeInteger, astartewire.TypeLongInteger:
		return core.AppendInt(b, v.Int())
	case astartewire.TypeBoolean:
		return core.AppendBool(b, v.Bool())
	case astartewire.TypeString:
		return core.AppendString(b, v.Bin())
	case astartewire.TypeBinaryBlob:
		return core.AppendBytes(b, v.Bin())
	default: // TypeDatetime
		return core.AppendTimeMicro(b, v.Millis()*1000)
	}
}

// appendObject appends a received document, which o.Check has accepted, in the form of the core. A null value is an
// absent one.
func appendObject(b []byte, o *astartewire.Object, v astartewire.Value) []byte {
	n := 0
	v.Each(func(_ []byte, e astartewire.Value) bool {
		if !e.IsNull() {
			n++
		}
		return true
	})
	b = core.AppendMap(b, n)
	v.Each(func(key []byte, e astartewire.Value) bool {
		if !e.IsNull() {
			b = appendValue(core.AppendKey(b, key), o.Key(key).Type, e)
		}
		return true
	})
	return b
}
