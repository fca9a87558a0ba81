package astarte

import (
	"encoding/json"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// setServerValue sends and stores a value of a server-owned interface.
func (d *Dialect) setServerValue(tx *commit.Tx, dev core.Device, i *astartewire.Interface, path string, raw json.RawMessage) error {
	panic("being written")
}

// unsetServerProperty deletes a server-owned property and tells the device.
func (d *Dialect) unsetServerProperty(tx *commit.Tx, dev core.Device, i *astartewire.Interface, path string) error {
	panic("being written")
}

// Notify turns changes of server-owned properties into messages for the device.
func (d *Dialect) Notify(tx *commit.Tx, e core.Event) error { panic("being written") }
