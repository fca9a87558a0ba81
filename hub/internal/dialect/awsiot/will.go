package awsiot

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

// willTimeout bounds the wait for whose a will is.
const willTimeout = 10 * time.Second

// Will implements dialect.Executor: a will whose connection is gone is taken like any other message. Its policies were asked
// when the client signed in.
func (d *Dialect) Will(k core.SessionKey, n core.DeviceNum, t *dialect.Topic, m dialect.Publish, b *commit.Batch) error {
	ctx, cancel := context.WithTimeout(context.Background(), willTimeout)
	defer cancel()
	l := &link{d: d, sender: &sender{clientID: k.ClientID, device: n}}
	err := d.view(ctx, func(rd store.Reader) (err error) {
		if l.account, err = readAccount(rd, k.Tenant); err != nil || n == 0 {
			return err
		}
		dev, err := rd.DeviceByNum(n)
		if err != nil {
			return err
		}
		l.thing, l.line = string(dev.ID), d.feed.Line(dev.DeviceKey, n)
		return nil
	})
	switch {
	case errors.Is(err, core.ErrNotFound):
		return nil // deleted meanwhile
	case err != nil:
		return fmt.Errorf("will of client %.128q: %w", k.ClientID, err)
	}
	return l.Receive(t, m, b)
}
