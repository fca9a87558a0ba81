package mqtt

import (
	"context"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/credential"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Executor implements dialect.Executor: a will whose connection is gone becomes a sample like any other.
func (d *Dialect) Executor(ctx context.Context, _ core.SessionKey, n core.DeviceNum) (dialect.Link, error) {
	var h credential.Holder
	err := d.cfg.Store.View(ctx, func(rd store.Reader) error {
		dev, err := rd.DeviceByNum(n)
		if err != nil {
			return err
		}
		h, err = credential.Of(rd, dev)
		return err
	})
	if err != nil {
		return nil, err
	}
	return newLink(d, proof{Holder: h}), nil
}
