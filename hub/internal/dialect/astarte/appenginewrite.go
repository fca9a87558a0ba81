package astarte

import (
	"net/http"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// writePath sends a value of a server-owned interface to its device and stores it. The answer repeats the value.
func writePath(c *call) (reply, error) {
	raw, err := c.data()
	if err != nil {
		return reply{}, err
	}
	err = c.change(func(tx *commit.Tx, dev core.Device, i *astartewire.Interface, path string) error {
		return c.d.setServerValue(tx, dev, i, path, raw)
	})
	return success(raw), err
}

// deletePath unsets a server-owned property.
func deletePath(c *call) (reply, error) {
	return emptyReply(http.StatusNoContent), c.change(c.d.unsetServerProperty)
}

// change runs fn in a transaction with the interface, and the path in it, that the request names.
func (c *call) change(fn func(*commit.Tx, core.Device, *astartewire.Interface, string) error) error {
	return c.d.cfg.Committer.Do(c.ctx(), func(tx *commit.Tx) error {
		dev, m, err := c.findDevice(tx)
		if err != nil {
			return err
		}
		r, err := c.d.realmIn(tx, c.realm.Name)
		if err != nil {
			return err
		}
		i, err := declared(r, m, c.params["interface"])
		if err != nil {
			return err
		}
		return fn(tx, dev, i, "/"+c.params["path"])
	})
}
