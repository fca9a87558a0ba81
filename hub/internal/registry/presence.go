package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// PresenceTx is what [Connected] and [Disconnected] need of a transaction; *commit.Tx satisfies it.
type PresenceTx interface {
	DeviceByNum(n core.DeviceNum) (core.Device, error)
	UpdateDevice(d core.Device) error
	Emit(e core.Event) error
	Now() time.Time
}

// Connected marks a device as connected from an address, and tells of it unless it is marked already: devices of some
// platforms have several connections at once.
func Connected(tx PresenceTx, n core.DeviceNum, addr string) error {
	d, err := tx.DeviceByNum(n)
	if err != nil {
		return err
	}
	was := d.Connected
	d.Connected, d.LastConnected, d.LastAddr = true, tx.Now(), addr
	if err := tx.UpdateDevice(d); err != nil || was {
		return err
	}
	return emitPresence(tx, d, core.DeviceConnected, struct {
		Addr string `json:"addr"`
	}{addr})
}

// Disconnected marks a device as disconnected, and tells of it and why. One that was deleted while it was connected is nobody
// to tell of.
func Disconnected(tx PresenceTx, n core.DeviceNum, reason string) error {
	d, err := tx.DeviceByNum(n)
	if errors.Is(err, core.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	d.Connected, d.LastDisconnected = false, tx.Now()
	if err := tx.UpdateDevice(d); err != nil {
		return err
	}
	return emitPresence(tx, d, core.DeviceDisconnected, struct {
		Reason string `json:"reason"`
	}{reason})
}

func emitPresence(tx PresenceTx, d core.Device, kind core.EventKind, data any) error {
	raw, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("event of %s: %w: %v", d.DeviceKey, core.ErrInvalid, err)
	}
	return tx.Emit(core.Event{Kind: kind, Device: d.DeviceKey, Num: d.Num, Data: raw})
}
