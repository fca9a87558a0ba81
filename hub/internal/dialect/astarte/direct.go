package astarte

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// maxDepth bounds how deep a patch may be nested; paths of interfaces have at most 64 levels (Astarte interface design guide).
const maxDepth = 64

// Direct implements dialect.Director: it sets and unsets server-owned properties of an interface, which is named with its major
// version ("org.example.Config:1") or without. Each member of the patch that is no object is the property at its path.
func (d *Dialect) Direct(tx *commit.Tx, dev core.Device, name string, patch json.RawMessage) error {
	if name == "" {
		return fmt.Errorf("%w: a device of Astarte has a document for each interface; say which is meant, such as org.example.Config:1", core.ErrInvalid)
	}
	m, err := loadModel(tx, dev.DeviceKey)
	if err != nil {
		return err
	}
	r, err := d.realmIn(tx, dev.Tenant)
	if err != nil {
		return err
	}
	base, _, _ := strings.Cut(name, ":")
	i, err := declared(r, m, base)
	if err != nil {
		if errors.Is(err, errNotDeclared) {
			return &core.HelpError{
				Err: core.ErrNotFound, Text: fmt.Sprintf("the device has not declared an interface %.250q", name),
				Help: "A device declares its interfaces when it connects. Is the name right, and has the device connected since it knows this one?",
			}
		}
		return &core.HelpError{
			Err: core.ErrNotFound, Text: fmt.Sprintf("the device has declared %.250q in a version that the realm does not have", base),
			Help: "Install the interface in the realm: `fairlead astarte install FILE`.",
		}
	}
	switch {
	case name != i.Name && name != docName(i):
		return &core.HelpError{
			Err: core.ErrNotFound, Text: fmt.Sprintf("the device has %s, not %.250s", docName(i), name),
			Help: "Name that version, or none: " + i.Name + ".",
		}
	case i.Kind != astartewire.KindProperties:
		return fmt.Errorf("%w: %s has no properties", core.ErrInvalid, i.Name)
	}
	return d.direct(tx, dev, i, "", patch, 0)
}

func (d *Dialect) direct(tx *commit.Tx, dev core.Device, i *astartewire.Interface, path string, patch json.RawMessage, depth int) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(patch, &members); err != nil || members == nil || depth > maxDepth {
		if path == "" || depth > maxDepth {
			return fmt.Errorf("%w: want an object of at most %d levels, whose members are the parts of paths", core.ErrInvalid, maxDepth)
		}
		if string(patch) == "null" {
			return d.unsetServerProperty(tx, dev, i, path)
		}
		return d.setServerValue(tx, dev, i, path, patch)
	}
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names) // so that the device is told in an order
	for _, name := range names {
		if err := d.direct(tx, dev, i, path+"/"+name, members[name], depth+1); err != nil {
			return err
		}
	}
	return nil
}
