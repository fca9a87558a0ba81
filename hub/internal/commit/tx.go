package commit

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Tx is the transaction that an operation runs in. It is used on the committer's goroutine only and ends with the
// operation.
type Tx struct {
	store.Tx

	committer *Committer
	now       time.Time
	after     []func()
	undo      []func()
	emitted   bool

	light   bool // without savepoints; all operations are repeatable
	spoiled bool // something refused meanwhile
}

// errSpoiled undoes a transaction without savepoints in which something refused.
var errSpoiled = errors.New("commit: an operation refused")

// repeatable reports whether all operations may run twice.
func repeatable(batches []*Batch) bool {
	for _, b := range batches {
		for _, o := range b.ops {
			if !o.repeatable {
				return false
			}
		}
	}
	return true
}

// Now is the time of the transaction: one instant for all its operations.
func (tx *Tx) Now() time.Time { return tx.now }

// After has f called when the transaction is on disk, in the order of the calls, unless the operation is undone. f runs
// on the committer's goroutine: it must be quick and must not block.
func (tx *Tx) After(f func()) { tx.after = append(tx.after, f) }

// Undo has f called if what the operation did is undone, in reverse order. It keeps memory that only the committer's
// goroutine changes (the broker's sessions) in step with the disk.
func (tx *Tx) Undo(f func()) { tx.undo = append(tx.undo, f) }

// Emit stores an event and tells whoever turns events into messages, in this transaction.
func (tx *Tx) Emit(e core.Event) error {
	if e.At.IsZero() {
		e.At = tx.now
	}
	if err := tx.AppendEvent(&e); err != nil {
		return err
	}
	tx.emitted = true
	if tx.committer.cfg.Notify == nil {
		return nil
	}
	return tx.committer.cfg.Notify(tx, e)
}

// apply writes all batches and returns the results of their operations in order. An error is the disk's.
func (tx *Tx) apply(batches []*Batch) (results []error, err error) {
	for _, b := range batches {
		for i := range b.blocks {
			if err := tx.AppendBlock(&b.blocks[i]); err != nil {
				return nil, err
			}
		}
		for _, c := range b.counts {
			if err := tx.AddCount(c.device, c.Count); err != nil {
				return nil, err
			}
		}
		for _, o := range b.ops {
			res, err := tx.run(o)
			if err != nil {
				return nil, err
			}
			results = append(results, res)
			if tx.spoiled {
				return nil, errSpoiled
			}
		}
	}
	return results, nil
}

// run runs one operation on its own savepoint. err is the disk's and ends the transaction, res the operation's.
func (tx *Tx) run(o op) (res, err error) {
	if tx.light {
		if err := tx.guard(o.do); err != nil {
			if isStorage(err) {
				return nil, err
			}
			tx.spoiled = true
		}
		return nil, nil
	}
	after, undo := len(tx.after), len(tx.undo)
	err = tx.Savepoint(func() error {
		res = tx.guard(o.do)
		return res
	})
	if err == nil {
		return nil, nil
	}
	tx.rollback(undo)
	clear(tx.after[after:])
	tx.after = tx.after[:after]
	// A savepoint that returns anything but the operation's error could not be made, kept or undone.
	if res == nil || isStorage(err) || !errors.Is(err, res) {
		return nil, err
	}
	if isStorage(res) {
		return nil, res
	}
	return res, nil
}

// Savepoint is that of storage, except that where there are none a refusal of fn has the whole transaction made again.
func (tx *Tx) Savepoint(fn func() error) error {
	if !tx.light {
		return tx.Tx.Savepoint(fn)
	}
	err := fn()
	tx.spoiled = tx.spoiled || err != nil
	return err
}

// guard turns a panic of one operation into its error, so that one client's input cannot stop the hub for all.
func (tx *Tx) guard(do func(*Tx) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("commit: operation panicked: %v", p)
			if tx.light {
				return // it will run again
			}
			tx.committer.cfg.Logger.Error("operation panicked; it was undone", "err", err, "stack", string(debug.Stack()))
		}
	}()
	return do(tx)
}

// rollback undoes what was done in memory since there were from functions.
func (tx *Tx) rollback(from int) {
	for i := len(tx.undo) - 1; i >= from; i-- {
		tx.undo[i]()
	}
	clear(tx.undo[from:])
	tx.undo = tx.undo[:from]
}

func isStorage(err error) bool { return errors.Is(err, core.ErrStorage) }
