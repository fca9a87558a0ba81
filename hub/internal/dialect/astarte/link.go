package astarte

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// A link is the dialect's side of one device's connection.
//
// A message is checked when it arrives, on the connection's goroutine, against the interfaces of the realm and what the
// device has declared so far on this connection, also if the latter is not on disk yet: devices send their introspection
// and the data it allows in one go. What depends on stored state is decided inside the transaction, where the order of
// the messages is kept.
type link struct {
	d       *Dialect
	dev     core.Device                    // Num and DeviceKey only
	serial  string                         // of the certificate that signed in
	opening *registry.Opening[core.Device] // what that opens; nil once it is connected
	session core.SessionKey
	base    string // REALM/DEVICE
	realm   *realmSlot

	// Set by Connected, then owned by the connection's goroutine.
	declared   introspection
	generation int // counts introspections; a target of an older one is stale
	plainPurge bool
	scratch    []byte

	broken atomic.Bool // a message could not be handled although it may be right; see done
	onDone func(error)

	// Owned by the committer's goroutine.
	gone   bool // Disconnected
	kicked bool // told to go, with its session wiped
}

func newLink(d *Dialect, dev core.Device, serial string, slot *realmSlot) *link {
	l := &link{
		d:       d,
		dev:     core.Device{Num: dev.Num, DeviceKey: dev.DeviceKey},
		serial:  serial,
		session: sessionKey(dev.DeviceKey),
		base:    baseTopic(dev.DeviceKey),
		realm:   slot,
	}
	l.onDone = l.done
	return l
}

// Connected marks the device as connected. What the device has declared before is still in force.
func (l *link) Connected(tx *commit.Tx, s dialect.Presence) error {
	if !l.d.recall.Holds(l.opening) {
		crt, err := tx.Certificate(l.serial)
		if err == nil && crt.State == core.CertificateRevoked {
			return denied(l.dev.DeviceKey, errors.New("certificate was revoked meanwhile"))
		} else if err != nil {
			return err
		}
	}
	tx.After(func() { l.opening = nil })
	m, err := loadModel(tx, l.dev.DeviceKey)
	if err != nil {
		return err
	}
	l.declared, l.plainPurge = m.Introspection, m.PlainPurgeLists
	return registry.Connected(tx, l.dev.Num, s.Addr)
}

// Disconnected marks the device as disconnected.
func (l *link) Disconnected(tx *commit.Tx, reason string) error {
	l.gone = true
	tx.Undo(func() { l.gone = false })
	return registry.Disconnected(tx, l.dev.Num, reason)
}

func (l *link) emit(tx *commit.Tx, kind core.EventKind, data any) error {
	raw, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("event of %s: %w: %v", l.dev.DeviceKey, core.ErrInvalid, err)
	}
	return tx.Emit(core.Event{Kind: kind, Device: l.dev.DeviceKey, Num: l.dev.Num, Data: raw})
}

// do has f run inside the transaction.
func (l *link) do(b *commit.Batch, f func(*commit.Tx) error) { b.Do(f, l.onDone) }

// done learns what became of an operation. The disk's refusals are the broker's matter, who then does not acknowledge;
// any other error is a bug of ours: f reacts to what a device does wrong, it does not return it.
func (l *link) done(err error) {
	if err == nil || errors.Is(err, core.ErrStorage) || errors.Is(err, core.ErrStopping) {
		return
	}
	l.broken.Store(true)
	l.d.log.Error("cannot handle a device's message", "device", l.dev.DeviceKey.String(), "err", err)
}

// A fault is one of the platform's device errors, with its reaction. By default the message is discarded, an event
// tells of the error, the device is disconnected with its session wiped, so that it begins anew, and the message counts
// in the device's total (astarte_data_updater_plant core/error.ex).
type fault struct {
	name      string
	stays     bool // the device is not disconnected
	silent    bool // no event
	uncounted bool
}

var (
	failInvalidInterface = &fault{name: "invalid_interface", uncounted: true}
	failInvalidPath      = &fault{name: "invalid_path"}
	failInterfaceLoading = &fault{name: "interface_loading_failed"}
	failServerOwned      = &fault{name: "write_on_server_owned_interface"}
	failMappingNotFound  = &fault{name: "mapping_not_found"}
	failAmbiguousPath    = &fault{name: "ambiguous_path"}
	failUndecodable      = &fault{name: "undecodable_bson_payload"}
	failValueType        = &fault{name: "unexpected_value_type"}
	failValueSize        = &fault{name: "value_size_exceeded"}
	failObjectKey        = &fault{name: "unexpected_object_key"}
	failMissingKey       = &fault{name: "missing_required_mapping"}
	failUnsetDatastream  = &fault{name: "unset_on_datastream", stays: true, uncounted: true}
	failUnsetNotAllowed  = &fault{name: "unset_not_allowed", uncounted: true}
	failIntrospection    = &fault{name: "invalid_introspection"}
	failControl          = &fault{name: "unexpected_control_message"}
	failCapabilities     = &fault{name: "malformed_capabilities_message", uncounted: true}
	failPurge            = &fault{name: "purge_properties_error", silent: true, uncounted: true}
	failSessionNotFound  = &fault{name: "device_session_not_found"}
	failEmptyCache       = &fault{name: "empty_cache_error"}
	failInternal         = &fault{name: "unexpected_internal_message"}
)

// faultOf returns the fault that the platform has for astartewire's reason against a value.
func faultOf(err error) *fault {
	switch {
	case errors.Is(err, astartewire.ErrSizeExceeded):
		return failValueSize
	case errors.Is(err, astartewire.ErrUnexpectedKey):
		return failObjectKey
	case errors.Is(err, astartewire.ErrMissingKey):
		return failMissingKey
	}
	return failValueType
}

// A mishap is a fault and what it happened to.
type mishap struct {
	*fault
	iface, path string // "" where they do not apply
	payload     []byte
}

// reject discards a message: the reaction goes into the batch. The payload is copied.
func (l *link) reject(b *commit.Batch, m mishap) {
	if !m.uncounted {
		b.Count(l.dev.Num, "", 1, int64(len(m.payload)+len(m.iface)+len(m.path)))
	}
	if m.silent {
		m.payload = nil
	} else {
		m.payload = append([]byte{}, m.payload...)
		b.Hold(len(m.payload))
	}
	l.do(b, func(tx *commit.Tx) error { return l.react(tx, m) })
}

// react is the reaction inside the transaction.
func (l *link) react(tx *commit.Tx, m mishap) error {
	log := l.d.log.Info // the only place where an operator sees which interface is missing, for instance
	if m.stays {
		log = l.d.log.Debug
	}
	log("message discarded", "device", l.dev.DeviceKey.String(), "err", m.name, "interface", m.iface, "path", m.path)
	if !m.silent {
		if err := l.emit(tx, core.DeviceError, m.event()); err != nil {
			return err
		}
	}
	// A connection that is gone or going has its reaction already, and the session may be that of the next one.
	if m.stays || l.gone || l.kicked {
		return nil
	}
	return l.kick(tx, m.name)
}

// kick ends the connection and forgets its session, so that the device is told "no session present" when it returns,
// and sends all it has and asks for all we have.
func (l *link) kick(tx *commit.Tx, reason string) error {
	m, err := loadModel(tx, l.dev.DeviceKey)
	if err != nil {
		return err
	}
	if !m.PendingEmptyCache {
		m.PendingEmptyCache = true
		if err := saveModel(tx, l.dev.DeviceKey, m); err != nil {
			return err
		}
	}
	l.kicked = true
	tx.Undo(func() { l.kicked = false })
	return l.d.cfg.Broker.Disconnect(tx, l.session, true, reason)
}

// deviceError is the data of core.DeviceError.
type deviceError struct {
	Error    string            `json:"error"`
	Metadata map[string]string `json:"metadata"`
}

// event returns the data of the event. Interface and path are printed with quotation marks, as the platform does.
func (m *mishap) event() deviceError {
	e := deviceError{m.name, map[string]string{"base64_payload": base64.StdEncoding.EncodeToString(m.payload)}}
	if m.iface != "" {
		e.Metadata["interface"] = fmt.Sprintf("%q", m.iface)
	}
	if m.path != "" {
		e.Metadata["path"] = fmt.Sprintf("%q", m.path)
	}
	return e
}
