// Package document keeps the rules of documents: what is known about a device, as leaves that one side writes and the
// other reads (a twin, a shadow, the properties of an interface). Every change is an event, and it is the event, not
// the caller, that makes a dialect tell the device; so a value reaches it whoever wrote it.
//
// All functions but [List] run inside a transaction.
package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// Reader reads documents; package store's readers and transactions satisfy it.
type Reader interface {
	Entry(k core.DocumentKey, path string) (core.Entry, error)
	Entries(k core.DocumentKey) ([]core.Entry, error)
}

// Tx is the transaction that a change is part of; package commit's satisfies it.
type Tx interface {
	Reader
	PutEntry(k core.DocumentKey, e core.Entry) error
	DeleteEntry(k core.DocumentKey, path string) error
	Now() time.Time
	Emit(e core.Event) error
}

// A Ref names one side of one of a device's documents. The device's Num and DeviceKey are used.
type Ref struct {
	Device core.Device
	Name   string
	Side   core.Side
}

// Key returns storage's key of the document.
func (r Ref) Key() core.DocumentKey {
	return core.DocumentKey{Device: r.Device.Num, Name: r.Name, Side: r.Side}
}

// Set writes one leaf and returns its former value, nil if it had none.
//
// What a device reports again without a change is written (the time counts) but is no event: devices repeat all they
// have after each reconnection. What is desired of a device is an event each time, because whoever repeats it wants the
// device to hear it again.
func Set(tx Tx, r Ref, path string, v core.Value) (old core.Value, err error) {
	if len(v) == 0 {
		return nil, fmt.Errorf("set %q of %s: %w: no value", path, r.Device.DeviceKey, core.ErrInvalid)
	}
	if old, err = current(tx, r, path); err != nil {
		return nil, err
	}
	return old, Replace(tx, r, path, old, v)
}

// Replace is [Set] for a caller that has read the leaf in the same transaction: old is its value, nil if it had none.
func Replace(tx Tx, r Ref, path string, old, v core.Value) error {
	if err := tx.PutEntry(r.Key(), core.Entry{Path: path, Value: v, Changed: tx.Now()}); err != nil {
		return err
	}
	if r.Side == core.Reported && bytes.Equal(old, v) {
		return nil
	}
	return emit(tx, r, path, old, v)
}

// Delete removes one leaf and returns its former value, nil if it had none. Removing what is not there is an event on
// the desired side only, as with [Set].
func Delete(tx Tx, r Ref, path string) (old core.Value, err error) {
	if old, err = current(tx, r, path); err != nil {
		return nil, err
	}
	if old == nil && r.Side == core.Reported {
		return nil, nil
	}
	if err := tx.DeleteEntry(r.Key(), path); err != nil {
		return nil, err
	}
	return old, emit(tx, r, path, old, nil)
}

// Drop is [Delete] for a leaf that [List] has returned in the same transaction.
func Drop(tx Tx, r Ref, e core.Entry) error {
	if err := tx.DeleteEntry(r.Key(), e.Path); err != nil {
		return err
	}
	return emit(tx, r, e.Path, e.Value, nil)
}

// List returns the leaves of a document by path, bytewise.
func List(rd Reader, r Ref) ([]core.Entry, error) { return rd.Entries(r.Key()) }

// current returns a leaf's value, nil if it is not set.
func current(rd Reader, r Ref, path string) (core.Value, error) {
	e, err := rd.Entry(r.Key(), path)
	if errors.Is(err, core.ErrNotFound) {
		return nil, nil
	}
	return e.Value, err
}

func emit(tx Tx, r Ref, path string, old, v core.Value) error {
	data, err := json.Marshal(core.EntryChange{Document: r.Name, Side: r.Side.String(), Path: path, Old: old, New: v})
	if err != nil {
		return fmt.Errorf("event of %s: %w: %v", r.Device.DeviceKey, core.ErrInvalid, err)
	}
	return tx.Emit(core.Event{Kind: core.DocumentChanged, Device: r.Device.DeviceKey, Num: r.Device.Num, Data: data})
}
