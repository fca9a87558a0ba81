package awsiot

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/document"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/wire/awswire"
)

// A shadow is a document of the core: its leaves are the entries, their times the metadata. The path of a leaf is a JSON
// pointer (RFC 6901). A leaf is what is no object, or an empty one; an array is one leaf. The name of the document is that of
// the shadow. What the core has no place for is in a record:
//
//	shadow/THING/NAME                    version, and whether there is one
//	shadow-gone/MICROSECONDS/THING/NAME  index: shadows that were deleted, by when
const (
	keyShadow     = "shadow/"
	keyShadowGone = "shadow-gone/"
)

// shadowKept is how long a deleted shadow keeps its version (AWS IoT Core Developer Guide, "Deleting a shadow").
const shadowKept = 48 * time.Hour

// A shadowRecord is what a shadow has beside its document.
type shadowRecord struct {
	Version int64          `json:"version"`
	Device  core.DeviceNum `json:"device,omitempty"`
	Deleted time.Time      `json:"deleted,omitzero"` // zero: it is there
}

// A shadow is one as it is stored.
type shadow struct {
	awswire.Shadow
	device  core.Device // zero: there was nothing stored of the thing
	name    string
	deleted time.Time // of the record
}

// shadowReader is what reading a shadow takes.
type shadowReader interface {
	store.RecordReader
	Entries(k core.DocumentKey) ([]core.Entry, error)
}

func shadowKey(thing, name string) string { return keyShadow + thing + "/" + name }

func shadowGoneKey(at time.Time, thing, name string) string {
	return fmt.Sprintf("%s%020d/%s/%s", keyShadowGone, at.UnixMicro(), thing, name)
}

// readShadow returns a thing's shadow; one that is not there has no state, and the version that it had if it was deleted
// lately.
func readShadow(rd shadowReader, k core.DeviceKey, name string, now time.Time) (shadow, error) {
	s := shadow{name: name, device: core.Device{DeviceKey: k}}
	var r shadowRecord
	err := readRecord(rd, k.Tenant, shadowKey(string(k.ID), name), &r)
	if errors.Is(err, core.ErrNotFound) {
		return s, nil
	} else if err != nil {
		return s, err
	}
	s.device.Num = r.Device
	if !r.Deleted.IsZero() {
		if s.deleted = r.Deleted; now.Sub(r.Deleted) < shadowKept {
			s.Version = r.Version
		}
		return s, nil
	}
	s.Version, s.Exists = r.Version, true
	if s.Desired, err = readSection(rd, s.ref(core.Desired)); err != nil {
		return s, err
	}
	s.Reported, err = readSection(rd, s.ref(core.Reported))
	return s, err
}

// ref names a section of the shadow.
func (s *shadow) ref(side core.Side) document.Ref {
	return document.Ref{Device: s.device, Name: s.name, Side: side}
}

func readSection(rd shadowReader, r document.Ref) (*awswire.Node, error) {
	list, err := rd.Entries(r.Key())
	if err != nil {
		return nil, err
	}
	return sectionOf(list)
}

// sectionOf makes a section of its leaves, nil if there are none.
func sectionOf(list []core.Entry) (*awswire.Node, error) {
	if len(list) == 0 {
		return nil, nil
	}
	root := awswire.NewObject()
	for _, e := range list {
		leaf, err := nodeOf(e.Value)
		if err != nil {
			return nil, fmt.Errorf("shadow entry %q: %w: %v", e.Path, core.ErrStorage, err)
		}
		leaf.At = e.Changed.Unix()
		if err := plant(root, e.Path, leaf); err != nil {
			return nil, fmt.Errorf("shadow entry: %w", err)
		}
	}
	return root, nil
}

// plant puts a leaf into an object at a path, making the objects on the way.
func plant(root *awswire.Node, path string, leaf *awswire.Node) error {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok || leaf == nil {
		return fmt.Errorf("%w: path %.100q is no JSON pointer to a member", core.ErrInvalid, path)
	}
	for n := root; ; {
		segment, more, found := strings.Cut(rest, "/")
		name, ok := unescapePointer(segment)
		if !ok {
			return fmt.Errorf("%w: path %.100q is no JSON pointer", core.ErrInvalid, path)
		}
		if !found {
			n.Put(name, leaf)
			return nil
		}
		next := n.Member(name)
		if !next.IsObject() {
			next = awswire.NewObject()
			n.Put(name, next)
		}
		n, rest = next, more
	}
}

// escapePointer writes a name as a part of a JSON pointer, unescapePointer reads it.
func escapePointer(name string) string {
	if !strings.ContainsAny(name, "~/") {
		return name
	}
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}

func unescapePointer(part string) (string, bool) {
	if !strings.Contains(part, "~") {
		return part, true
	}
	name := strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
	return name, escapePointer(name) == part
}

// A leafChange is one leaf that an update writes, or deletes.
type leafChange struct {
	side     core.Side
	path     string
	old, new core.Value // nil: not there
}

// changes returns what has to be written so that next is stored in the place of s. What both share has not changed.
func (s *shadow) changes(next *awswire.Shadow) (list []leafChange, err error) {
	w := changeWriter{side: core.Desired}
	w.walk("", s.Desired, next.Desired)
	w.side = core.Reported
	w.walk("", s.Reported, next.Reported)
	return w.list, w.err
}

type changeWriter struct {
	side core.Side
	list []leafChange
	err  error
}

// leaf reports whether n is one entry.
func leaf(n *awswire.Node) bool {
	return n != nil && (n.Kind != awswire.KindObject || len(n.Members) == 0)
}

func (w *changeWriter) walk(path string, old, next *awswire.Node) {
	switch {
	case old == next:
	case leaf(next) && leaf(old):
		w.add(path, old, next)
	case leaf(next):
		w.drop(path, old)
		w.add(path, nil, next)
	case next == nil:
		w.drop(path, old)
	default:
		if leaf(old) {
			w.add(path, old, nil)
			old = nil
		}
		if old != nil {
			for _, m := range old.Members {
				if next.Member(m.Name) == nil {
					w.drop(path+"/"+escapePointer(m.Name), m.Value)
				}
			}
		}
		for _, m := range next.Members {
			w.walk(path+"/"+escapePointer(m.Name), old.Member(m.Name), m.Value)
		}
	}
}

// drop deletes all leaves of n.
func (w *changeWriter) drop(path string, n *awswire.Node) {
	if n == nil {
		return
	}
	if leaf(n) {
		w.add(path, n, nil)
		return
	}
	for _, m := range n.Members {
		w.drop(path+"/"+escapePointer(m.Name), m.Value)
	}
}

func (w *changeWriter) add(path string, old, next *awswire.Node) {
	c := leafChange{side: w.side, path: path}
	if old != nil {
		c.old = appendNode(nil, old)
	}
	if next != nil {
		c.new = appendNode(nil, next)
	}
	w.list = append(w.list, c)
}

// write stores next in the place of s, and makes the thing's device if there is none: shadows need no thing.
func (d *Dialect) writeShadow(tx *commit.Tx, s *shadow, next *awswire.Shadow, list []leafChange) error {
	if s.device.Num == 0 {
		dev, err := d.ensureDevice(tx, s.device.DeviceKey)
		if err != nil {
			return err
		}
		s.device = dev
	}
	for _, c := range list {
		var err error
		if ref := s.ref(c.side); c.new != nil {
			err = document.Replace(tx, ref, c.path, c.old, c.new)
		} else {
			err = document.Drop(tx, ref, core.Entry{Path: c.path, Value: c.old})
		}
		if err != nil {
			return err
		}
	}
	r := shadowRecord{Version: next.Version, Device: s.device.Num}
	k := s.device.DeviceKey
	if !s.deleted.IsZero() {
		if err := tx.DeleteRecord(k.Tenant, Name, shadowGoneKey(s.deleted, string(k.ID), s.name)); err != nil {
			return err
		}
	}
	if !next.Exists {
		r.Deleted = tx.Now()
		if err := tx.PutRecord(k.Tenant, Name, shadowGoneKey(r.Deleted, string(k.ID), s.name), nil); err != nil {
			return err
		}
	}
	return writeRecord(tx, k.Tenant, shadowKey(string(k.ID), s.name), r)
}

// ensureDevice returns a device, and makes it if there is none.
func (d *Dialect) ensureDevice(tx *commit.Tx, k core.DeviceKey) (core.Device, error) {
	dev, err := tx.Device(k)
	if !errors.Is(err, core.ErrNotFound) {
		return dev, err
	}
	if err := d.makeDevice(tx, k); err != nil {
		return dev, err
	}
	return tx.Device(k)
}

// hasShadows reports whether a thing has shadows. They outlive it.
func hasShadows(rd store.RecordReader, t core.TenantID, thing string) (bool, error) {
	list, _, err := shadowNames(rd, t, thing, nil, 1)
	return len(list) > 0, err
}

// shadowNames returns at most limit names of a thing's shadows, in bytewise order, behind after (nil: from the first, the
// classic one, whose name is empty).
func shadowNames(rd store.RecordReader, t core.TenantID, thing string, after *string, limit int) (list []string, more bool, err error) {
	prefix := shadowKey(thing, "")
	from := prefix
	if after != nil {
		from += *after + "\x00"
	}
	for r, err := range rd.RecordsFrom(t, Name, prefix, from) {
		if err != nil {
			return nil, false, err
		}
		var x shadowRecord
		if err := decodeRecord(t, r.Key, r.Value, &x); err != nil {
			return nil, false, err
		}
		if !x.Deleted.IsZero() {
			continue
		}
		if len(list) == limit {
			return list, true, nil
		}
		list = append(list, r.Key[len(prefix):])
	}
	return list, false, nil
}

// forgetShadows deletes the records of all shadows of a thing whose device is deleted; the documents go with that.
func forgetShadows(tx *commit.Tx, t core.TenantID, thing string) error {
	prefix := shadowKey(thing, "")
	var doomed []string
	for r, err := range tx.Records(t, Name, prefix) {
		if err != nil {
			return err
		}
		doomed = append(doomed, r.Key)
		var x shadowRecord
		if err := decodeRecord(t, r.Key, r.Value, &x); err != nil {
			return err
		}
		if !x.Deleted.IsZero() {
			doomed = append(doomed, shadowGoneKey(x.Deleted, thing, r.Key[len(prefix):]))
		}
	}
	for _, key := range doomed {
		if err := tx.DeleteRecord(t, Name, key); err != nil {
			return err
		}
	}
	return nil
}

// appendNode appends a leaf as the core has it.
func appendNode(b []byte, n *awswire.Node) core.Value {
	switch n.Kind {
	case awswire.KindFalse, awswire.KindTrue:
		return core.AppendBool(b, n.Kind == awswire.KindTrue)
	case awswire.KindNumber:
		return core.AppendNumber(b, n.Text)
	case awswire.KindString:
		return core.AppendString(b, n.Text)
	case awswire.KindArray:
		b = core.AppendArray(b, len(n.Elems))
		for _, e := range n.Elems {
			b = appendNode(b, e)
		}
		return b
	case awswire.KindObject:
		b = core.AppendMap(b, len(n.Members))
		for _, m := range n.Members {
			b = appendNode(core.AppendKey(b, m.Name), m.Value)
		}
		return b
	}
	return core.AppendNull(b)
}

// nodeOf returns a value of the core as JSON. Times and bytes, which an operator may set, are texts there.
func nodeOf(v core.Value) (*awswire.Node, error) {
	x, err := v.Decode()
	if err != nil {
		return nil, err
	}
	return nodeOfAny(x), nil
}

func nodeOfAny(x any) *awswire.Node {
	switch x := x.(type) {
	case bool:
		return awswire.NewBool(x)
	case int64:
		return awswire.NewInt(x)
	case float64:
		return awswire.NewFloat(x)
	case core.Number:
		return &awswire.Node{Kind: awswire.KindNumber, Text: string(x)}
	case string:
		return awswire.NewString(x)
	case []byte:
		return awswire.NewString(base64.StdEncoding.EncodeToString(x))
	case time.Time:
		return awswire.NewString(x.Format(time.RFC3339Nano))
	case []any:
		n := &awswire.Node{Kind: awswire.KindArray}
		for _, e := range x {
			n.Elems = append(n.Elems, nodeOfAny(e))
		}
		return n
	case map[string]any:
		n := awswire.NewObject()
		for _, k := range slices.Sorted(maps.Keys(x)) {
			n.Put(k, nodeOfAny(x[k]))
		}
		return n
	}
	return &awswire.Node{}
}

// deleteThing deletes a thing as the platform does: its shadows stay, and with them its device (observed in published tests
// against the service). Without shadows the device goes too. A thing that is not there is core.ErrNotFound.
func (d *Dialect) deleteThing(tx *commit.Tx, t core.TenantID, name string) error {
	if _, err := readThing(tx, t, name); err != nil {
		return err
	}
	if keep, err := hasShadows(tx, t, name); err != nil {
		return err
	} else if keep {
		if err := d.jobs.forget(tx, t, name); err != nil {
			return err
		}
		return d.forgetThing(tx, t, name)
	}
	dev, err := tx.Device(deviceKey(t, name))
	if err != nil {
		return err
	}
	return registry.Delete(tx, dev)
}
