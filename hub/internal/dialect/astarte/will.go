package astarte

import (
	"context"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Executor implements dialect.Executor. Astarte's SDKs send no wills, but its broker publishes those of whoever does like any message (VerneMQ, vmq_mqtt_fsm.erl,
// maybe_publish_last_will, read 2026-11), and so do we: with the link of the connection, or here if the hub did not see that end.
func (d *Dialect) Executor(ctx context.Context, _ core.SessionKey, n core.DeviceNum) (dialect.Link, error) {
	var dev core.Device
	var known model
	err := d.cfg.Store.View(ctx, func(rd store.Reader) (err error) {
		if dev, err = rd.DeviceByNum(n); err == nil {
			known, err = loadModel(rd, dev.DeviceKey)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	slot, err := d.slot(ctx, dev.Tenant)
	if err != nil {
		return nil, err
	}
	l := newLink(d, dev, "", slot)
	// Gone, so that an error in the will leaves alone whoever is connected now.
	l.gone, l.declared, l.plainPurge = true, known.Introspection, known.PlainPurgeLists
	return l, nil
}
