package astarte

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// willTimeout bounds reading what a will needs.
const willTimeout = 10 * time.Second

// Will implements dialect.Executor. Astarte's SDKs send no wills, but its broker publishes those of whoever does like any message (VerneMQ, vmq_mqtt_fsm.erl,
// maybe_publish_last_will, read 2026-11), and so do we: with the link of the connection, or here if the hub did not see that end.
func (d *Dialect) Will(_ core.SessionKey, n core.DeviceNum, t *dialect.Topic, m dialect.Publish, b *commit.Batch) error {
	ctx, cancel := context.WithTimeout(context.Background(), willTimeout)
	defer cancel()
	var dev core.Device
	var known model
	err := d.cfg.Store.View(ctx, func(rd store.Reader) error {
		var err error
		if dev, err = rd.DeviceByNum(n); err == nil {
			known, err = loadModel(rd, dev.DeviceKey)
		}
		return err
	})
	var slot *realmSlot
	if err == nil {
		slot, err = d.slot(ctx, dev.Tenant)
	}
	switch {
	case errors.Is(err, core.ErrNotFound):
		return nil // deleted meanwhile
	case err != nil:
		return fmt.Errorf("will of device %d: %w", n, err)
	}
	l := newLink(d, dev, "", slot)
	// Gone, so that an error in the will leaves alone whoever is connected now.
	l.gone, l.declared, l.plainPurge = true, known.Introspection, known.PlainPurgeLists
	return l.Receive(t, m, b)
}
