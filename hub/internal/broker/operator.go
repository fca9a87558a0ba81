package broker

import (
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// DisconnectDevice ends the connections of all sessions of a device, like [Broker.Disconnect]; the sessions stay. It
// looks at every session, which is cheap enough for what an operator does by hand.
func (b *Broker) DisconnectDevice(tx *commit.Tx, n core.DeviceNum, reason string) error {
	if n == 0 {
		return nil // sessions of what is no device
	}
	for k, s := range b.sessions {
		if s.Device != n || s.conn == nil {
			continue
		}
		if err := b.Disconnect(tx, k, false, reason); err != nil {
			return err
		}
	}
	return nil
}
