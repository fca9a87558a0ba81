package astarte

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// An introspection is what a device declares: interfaces and their versions by name. It is replaced, never changed.
type introspection map[string]astartewire.InterfaceVersion

// A previousInterface is one that a device declared once and does no longer.
type previousInterface struct {
	Name  string `json:"name"`
	Major int    `json:"major"`
	Minor int    `json:"minor"` // the last one declared
}

// model is what the hub knows of a device beside what the core knows.
type model struct {
	Introspection introspection
	Previous      []previousInterface // by name and major version
	// PendingEmptyCache is set when the device's session was wiped, until it asks for its properties again.
	PendingEmptyCache bool
	// PlainPurgeLists is the capability purge_properties_compression_format "plaintext".
	PlainPurgeLists bool
}

// modelJSON is the stored form of a model.
type modelJSON struct {
	Introspection     string              `json:"introspection,omitempty"` // as on the wire
	Previous          []previousInterface `json:"previous,omitempty"`
	PendingEmptyCache bool                `json:"pending_empty_cache,omitempty"`
	PlainPurgeLists   bool                `json:"plain_purge_lists,omitempty"`
}

// loadModel returns a device's model; that of a device which never connected is empty.
func loadModel(rd store.RecordReader, k core.DeviceKey) (model, error) {
	raw, err := rd.Record(k.Tenant, dialectName, keyDevices+string(k.ID))
	if errors.Is(err, core.ErrNotFound) {
		return model{}, nil
	} else if err != nil {
		return model{}, fmt.Errorf("model of %s: %w", k, err)
	}
	return parseModel(k, raw)
}

func parseModel(k core.DeviceKey, raw []byte) (model, error) {
	var j modelJSON
	if err := json.Unmarshal(raw, &j); err != nil {
		return model{}, fmt.Errorf("model of %s: %w: %v", k, core.ErrStorage, err)
	}
	in, err := astartewire.ParseIntrospection([]byte(j.Introspection))
	if err != nil {
		return model{}, fmt.Errorf("model of %s: %w: %v", k, core.ErrStorage, err)
	}
	return model{in, j.Previous, j.PendingEmptyCache, j.PlainPurgeLists}, nil
}

// saveModel stores a device's model.
func saveModel(wr store.RecordWriter, k core.DeviceKey, m model) error {
	raw, err := json.Marshal(modelJSON{
		string(astartewire.AppendIntrospection(nil, m.Introspection)), m.Previous, m.PendingEmptyCache, m.PlainPurgeLists,
	})
	if err != nil {
		return fmt.Errorf("model of %s: %w: %v", k, core.ErrInvalid, err)
	}
	return wr.PutRecord(k.Tenant, dialectName, keyDevices+string(k.ID), raw)
}

// previous returns where an interface is in m.Previous, or would be.
func (m *model) previous(name string, major int) (at int, found bool) {
	return slices.BinarySearchFunc(m.Previous, previousInterface{Name: name, Major: major}, func(a, b previousInterface) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return a.Major - b.Major
	})
}

// versioned returns "NAME:MAJOR": the name of an interface's document, and the scope of its counters.
func versioned(name string, major int) string { return name + ":" + strconv.Itoa(major) }

// docName returns the name of the document that holds a property interface's values.
func docName(i *astartewire.Interface) string { return versioned(i.Name, i.Major) }

// channel returns the channel of a datastream's values; path is that of the mapping, or of the object.
func channel(i *astartewire.Interface, path string) string { return versioned(i.Name, i.Major) + path }

// parseVersioned splits "NAME:MAJOR".
func parseVersioned(s string) (name string, major int, ok bool) {
	name, num, ok := strings.Cut(s, ":")
	major, err := strconv.Atoi(num)
	return name, major, ok && err == nil
}
