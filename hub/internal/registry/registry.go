package registry

import (
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// What a registry refuses. Each wraps the kind of package core that a dialect without words of its own may use.
var (
	// ErrRegistered means that the device has registered and fetched a certificate already, so that whoever asks again
	// is perhaps somebody else.
	ErrRegistered = fmt.Errorf("%w: device is registered", core.ErrConflict)
	// ErrLimit means that the tenant has as many devices as it may have.
	ErrLimit = fmt.Errorf("%w: registration limit reached", core.ErrTooLarge)
	// ErrSecret means that the secret does not open this device, or that nothing does because it is not registered.
	ErrSecret = fmt.Errorf("%w: wrong secret", core.ErrDenied)
	// ErrInhibited means that an operator has forbidden the device further certificates.
	ErrInhibited = fmt.Errorf("%w: credentials are inhibited", core.ErrDenied)
)

// Reader is what the rules read; storage and its transactions satisfy it.
type Reader interface {
	Device(k core.DeviceKey) (core.Device, error)
	DeviceByNum(n core.DeviceNum) (core.Device, error)
	Enrolment(n core.DeviceNum) (core.Enrolment, error)
	Certificate(serial string) (core.Certificate, error)
	Certificates(n core.DeviceNum) ([]core.Certificate, error)
	CountDevices(t core.TenantID, dialect string) (total, connected int, err error)
}

// Tx is a transaction that rules write in; *commit.Tx satisfies it.
type Tx interface {
	Reader
	InsertDevice(d *core.Device) error
	PutEnrolment(e core.Enrolment) error
	PutCertificate(c core.Certificate) error
	Emit(e core.Event) error
	Now() time.Time
}

// A Registration asks for a device to be let in with a new secret.
type Registration struct {
	Device     core.DeviceKey
	SecretHash []byte // of [HashSecret]
	Limit      *int   // most devices that the tenant may have in this dialect; nil: any number
}

// Register lets a device in. A new device is created, within the limit. A known one gets the new secret in place of
// its old one as long as it has not fetched a certificate since it registered; after that it is [ErrRegistered]
// until it is unregistered. Registering lifts an operator's inhibition, and keeps the date of the first registration.
func Register(tx Tx, r Registration) (core.Device, error) {
	d, err := tx.Device(r.Device)
	known := err == nil
	switch {
	case errors.Is(err, core.ErrNotFound):
		if err := checkLimit(tx, r); err != nil {
			return d, fmt.Errorf("register %s: %w", r.Device, err)
		}
		d = core.Device{DeviceKey: r.Device, Created: tx.Now()}
		if err := tx.InsertDevice(&d); err != nil {
			return d, fmt.Errorf("register %s: %w", r.Device, err)
		}
	case err != nil:
		return d, fmt.Errorf("register %s: %w", r.Device, err)
	}
	e := core.Enrolment{Device: d.Num, FirstRegistered: tx.Now()}
	if known {
		old, err := tx.Enrolment(d.Num)
		switch {
		case err == nil && !old.FirstCredentials.IsZero():
			return d, fmt.Errorf("register %s: %w", r.Device, ErrRegistered)
		case err == nil:
			e.FirstRegistered, e.LastCredentialsAddr = old.FirstRegistered, old.LastCredentialsAddr
		case !errors.Is(err, core.ErrNotFound):
			return d, fmt.Errorf("register %s: %w", r.Device, err)
		}
	}
	e.SecretHash = r.SecretHash
	if err := tx.PutEnrolment(e); err != nil {
		return d, fmt.Errorf("register %s: %w", r.Device, err)
	}
	return d, tx.Emit(core.Event{Device: d.DeviceKey, Num: d.Num, Kind: core.DeviceRegistered})
}

func checkLimit(r Reader, reg Registration) error {
	if reg.Limit == nil {
		return nil
	}
	total, _, err := r.CountDevices(reg.Device.Tenant, reg.Device.Dialect)
	if err == nil && total >= *reg.Limit {
		err = fmt.Errorf("%w: %d of %d", ErrLimit, total, *reg.Limit)
	}
	return err
}

// Unregister takes a device's secret away, so that it can register anew. Its data and its certificates stay as they
// are, and so does its connection. A device that is not registered stays so without complaint.
func Unregister(tx Tx, k core.DeviceKey) error {
	d, err := tx.Device(k)
	if err != nil {
		return fmt.Errorf("unregister %s: %w", k, err)
	}
	e, err := tx.Enrolment(d.Num)
	if errors.Is(err, core.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("unregister %s: %w", k, err)
	}
	e.SecretHash, e.FirstCredentials = nil, time.Time{}
	if err := tx.PutEnrolment(e); err != nil {
		return fmt.Errorf("unregister %s: %w", k, err)
	}
	return tx.Emit(core.Event{Device: d.DeviceKey, Num: d.Num, Kind: core.DeviceUnregistered})
}

// DeleteTx is what [Delete] needs of a transaction; *commit.Tx satisfies it.
type DeleteTx interface {
	Tx
	DeleteDevice(n core.DeviceNum) error
}

// Delete deletes a device. Its id is free at once: a device that registers with it is a new one, and nothing of the old
// one opens it. What the device has stored is deleted by and by, see package sweep. That its connections and sessions end
// is the caller's business.
func Delete(tx DeleteTx, d core.Device) error {
	// First, so that dialects find the device when they hear of it.
	if err := tx.Emit(core.Event{Device: d.DeviceKey, Num: d.Num, Kind: core.DeviceDeleted}); err != nil {
		return fmt.Errorf("delete %s: %w", d.DeviceKey, err)
	}
	if err := tx.DeleteDevice(d.Num); err != nil {
		return fmt.Errorf("delete %s: %w", d.DeviceKey, err)
	}
	return nil
}

// SetInhibited forbids a device further certificates, or allows them again. Those that it has stay usable. A device that
// has no enrolment, because it has never registered, is core.ErrNotFound. What is so already stays so without an event.
func SetInhibited(tx Tx, n core.DeviceNum, on bool) error {
	e, err := tx.Enrolment(n)
	if err != nil {
		return fmt.Errorf("inhibit device %d: %w", n, err)
	}
	if e.Inhibited == on {
		return nil
	}
	e.Inhibited = on
	if err := tx.PutEnrolment(e); err != nil {
		return fmt.Errorf("inhibit device %d: %w", n, err)
	}
	d, err := tx.DeviceByNum(n)
	if err != nil {
		return fmt.Errorf("inhibit device %d: %w", n, err)
	}
	kind := core.CredentialsAllowed
	if on {
		kind = core.CredentialsInhibited
	}
	return tx.Emit(core.Event{Device: d.DeviceKey, Num: n, Kind: kind})
}
