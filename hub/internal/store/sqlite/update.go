package sqlite

import (
	"fmt"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// tx is the write transaction. There is one, used again and again.
type tx struct {
	reader

	undo []func() // put right in memory what a rollback takes back on disk, last first

	// What the process knows about series by number. Both only ever hold exceptions, see sample.go.
	spans   map[int64]int64
	deleted map[int64]struct{}
}

// Update implements [store.Store].
func (s *Store) Update(fn func(store.Tx) error) (err error) {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.closed {
		return fmt.Errorf("sqlite: database is closed: %w", core.ErrStopping)
	}
	if s.w == nil {
		if s.w, err = openWriter(s.path, s.cfg.WALBytes); err != nil {
			return err
		}
	}
	c := s.w
	c.begin()
	if err := c.exec("BEGIN IMMEDIATE"); err != nil {
		s.rollback() // a reader's snapshot may be left behind
		return err
	}
	committed := false
	defer func() {
		if !committed { // also when fn panics
			s.rollback()
		}
		s.tx.c = over
	}()
	s.tx.c = c
	err = fn(&s.tx)
	if c.failed != nil {
		return c.failed // SQLite may have rolled back already, whatever fn thinks
	}
	if err != nil {
		return err
	}
	if err := c.exec("COMMIT"); err != nil {
		return err
	}
	committed = true
	s.tx.undo = s.tx.undo[:0]
	s.wal.wrote(c.written)
	c.written = 0
	return nil
}

// rollback undoes the transaction. A connection that cannot do even that is closed, and the next Update opens a new one.
func (s *Store) rollback() {
	s.tx.undoFrom(0)
	s.w.failed = nil
	if !s.w.sq.AutocommitEnabled() {
		_ = s.w.exec("ROLLBACK")
	}
	if !s.w.sq.AutocommitEnabled() {
		_ = s.endBackup()
		_ = s.w.close()
		s.w = nil
	}
}

// Savepoint implements [store.Tx].
func (t *tx) Savepoint(fn func() error) error {
	if err := t.c.exec("SAVEPOINT s"); err != nil {
		return err
	}
	mark := len(t.undo)
	released := false
	defer func() {
		if !released { // fn has failed or panics
			t.undoFrom(mark)
		}
	}()
	err := fn()
	if t.c.failed != nil {
		return t.c.failed
	}
	if err != nil {
		if rerr := t.c.exec("ROLLBACK TO s"); rerr != nil {
			return t.fail(rerr)
		}
		if rerr := t.c.exec("RELEASE s"); rerr != nil {
			return t.fail(rerr)
		}
		return err
	}
	if err := t.c.exec("RELEASE s"); err != nil {
		return t.fail(err)
	}
	released = true
	return nil
}

// fail dooms the transaction: it is not in a state that may be committed.
func (t *tx) fail(err error) error {
	if t.c.failed == nil {
		t.c.failed = fmt.Errorf("%w: %w", core.ErrStorage, err)
	}
	return t.c.failed
}

func (t *tx) undoFrom(mark int) {
	for i := len(t.undo) - 1; i >= mark; i-- {
		t.undo[i]()
	}
	clear(t.undo[mark:])
	t.undo = t.undo[:mark]
}
