package awsiot

import (
	"context"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Executor implements dialect.Executor: a will whose connection is gone is taken like any other message. Its policies were asked
// when the client signed in.
func (d *Dialect) Executor(ctx context.Context, k core.SessionKey, n core.DeviceNum) (dialect.Link, error) {
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
	return l, err
}
