package mqtt

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/credential"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// loadTimeout bounds the wait for who a device is.
const loadTimeout = 10 * time.Second

// Will implements dialect.Executor: a will whose connection is gone becomes a sample like any other.
func (d *Dialect) Will(_ core.SessionKey, n core.DeviceNum, t *dialect.Topic, m dialect.Publish, b *commit.Batch) error {
	ctx, cancel := context.WithTimeout(context.Background(), loadTimeout)
	defer cancel()
	var h credential.Holder
	err := d.cfg.Store.View(ctx, func(rd store.Reader) error {
		dev, err := rd.DeviceByNum(n)
		if err != nil {
			return err
		}
		h, err = credential.Of(rd, dev)
		return err
	})
	switch {
	case errors.Is(err, core.ErrNotFound):
		return nil // deleted meanwhile
	case err != nil:
		return fmt.Errorf("will of device %d: %w", n, err)
	}
	// A link of its own, which is not connected: what connections share belongs to the committer's goroutine.
	return newLink(d, proof{Holder: h}).Receive(t, m, b)
}
