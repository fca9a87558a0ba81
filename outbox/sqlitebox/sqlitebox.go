//go:build !(mips || mipsle || mips64 || mips64le)

package sqlitebox

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/durable"
	"github.com/fairlead-iot/fairlead/outbox"
)

// store has one connection that writes and one that reads, so that a sender who reads does not keep producers waiting.
type store struct {
	path   string
	unlock func() error

	wmu     sync.Mutex // held by Write and Close
	w       *conn      // nil: to be opened anew, or closed
	wclosed bool

	rmu     sync.Mutex // held by Scan, Expiring and Close
	r       *conn      // nil: likewise
	rclosed bool
	header  []byte // for the row being read
	payload []byte
}

// Open opens an outbox's file, or makes one. The error wraps fairlead.ErrInUse if another process has it open, fairlead.ErrConflict if the
// file belongs to another program or was written by a newer version of this one (neither is changed), else fairlead.ErrStorage. See the package
// comment for what happens to damaged files.
func Open(ctx context.Context, cfg Config) (outbox.Store, error) {
	s, err := open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open outbox %s: %w", cfg.Path, err)
	}
	return s, nil
}

func open(ctx context.Context, cfg Config) (_ *store, err error) {
	if cfg.Path == "" {
		return nil, fmt.Errorf("%w: Config.Path is empty", fairlead.ErrInvalid)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return nil, storageError(err)
	}
	if err := durable.MakeDir(filepath.Dir(path)); err != nil {
		return nil, storageError(err)
	}
	unlock, err := durable.Lock(path + ".lock")
	if err != nil {
		return nil, storageError(err)
	}
	s := &store{path: path, unlock: unlock}
	if err := s.prepare(ctx, cfg); err != nil {
		_ = s.Close() // there is an error already
		return nil, err
	}
	return s, nil
}

// prepare leaves a sound database with the current schema, and the writer open.
func (s *store) prepare(ctx context.Context, cfg Config) error {
	if err := finishRepair(s.path); err != nil {
		return err
	}
	cause, err := check(ctx, s.path)
	if err != nil {
		return err
	}
	if cause != nil {
		damage, err := repair(ctx, s.path, cause)
		if err != nil {
			return err
		}
		cfg.Logger.Error("outbox was damaged and has been set aside", "file", damage.Path, "moved", damage.Moved, "saved", damage.Saved, "err", damage.Cause)
		if cfg.OnDamage != nil {
			cfg.OnDamage(damage)
		}
	}
	if err := durable.Create(s.path, 0o600); err != nil { // SQLite would make it readable for others
		return storageError(err)
	}
	if s.w, err = openWriter(s.path); err != nil {
		return err
	}
	return s.w.migrate()
}

// Write implements outbox.Store.
func (s *store) Write(add []outbox.Record, remove []uint64) ([]outbox.Removed, error) {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	removed, err := s.write(add, remove)
	if err == nil || s.w == nil {
		return removed, err
	}
	// On a full disk there may be no room in the log, but room in the database: moving the log there lets it begin anew.
	if isFull(err) && s.w.exec("PRAGMA wal_checkpoint(PASSIVE)") == nil {
		removed, err = s.write(add, remove)
	}
	return removed, err
}

func (s *store) write(add []outbox.Record, remove []uint64) (removed []outbox.Removed, err error) {
	if s.wclosed {
		return nil, fairlead.ErrClosed
	}
	if s.w == nil {
		if s.w, err = openWriter(s.path); err != nil {
			return nil, err
		}
	}
	c := s.w
	if err := c.exec("BEGIN IMMEDIATE"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && c.rollback() != nil {
			_ = c.close() // it has failed in every way; a new one begins anew
			s.w = nil
		}
	}()
	if removed, err = c.remove(remove); err != nil {
		return nil, err
	}
	for i := range add {
		if err := c.insert(&add[i]); err != nil {
			return nil, err
		}
	}
	if err := c.exec("COMMIT"); err != nil {
		return nil, err
	}
	return removed, nil
}

// Scan implements outbox.Store.
func (s *store) Scan(ctx context.Context, from, to uint64, fn func(outbox.Record) bool) error {
	return s.read(ctx, fn, "SELECT key, accepted, expires, header, payload FROM message WHERE key >= ?1 AND key < ?2 ORDER BY key",
		int64(from), int64(to))
}

// Expiring implements outbox.Store.
func (s *store) Expiring(ctx context.Context, fn func(outbox.Record) bool) error {
	return s.read(ctx, fn, "SELECT key, accepted, expires, header, payload FROM message WHERE expires IS NOT NULL ORDER BY expires")
}

func (s *store) read(ctx context.Context, fn func(outbox.Record) bool, sql string, args ...int64) (err error) {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	if s.rclosed {
		return fairlead.ErrClosed
	}
	if s.r == nil {
		if s.r, err = openReader(s.path); err != nil {
			return err
		}
	}
	err = s.r.query(sql, args, func(st *sqlite.Stmt) bool {
		if err = ctx.Err(); err != nil {
			return false
		}
		r := outbox.Record{Key: uint64(st.ColumnInt64(0)), Accepted: fromMicro(st, 1), Expires: fromMicro(st, 2)}
		s.header = column(st, 3, s.header)
		s.payload = column(st, 4, s.payload)
		r.Header, r.Payload = s.header, s.payload
		return fn(r)
	})
	// One large message must not cost its memory for ever.
	if cap(s.payload) > keepBytes {
		s.payload = nil
	}
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// keepBytes is how large a buffer may be that is used again.
const keepBytes = 256 << 10

// Close implements outbox.Store.
func (s *store) Close() error {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.wclosed {
		return nil
	}
	s.wclosed, s.rclosed = true, true
	err := s.r.close()
	// The writer comes last: closing the last connection moves the log into the database and removes it.
	if e := s.w.close(); err == nil {
		err = e
	}
	s.r, s.w, s.header, s.payload = nil, nil, nil, nil
	if e := s.unlock(); err == nil && e != nil {
		err = storageError(e)
	}
	return err
}

// fromMicro reads a time, the zero time for NULL.
func fromMicro(st *sqlite.Stmt, col int) time.Time {
	if st.ColumnIsNull(col) {
		return time.Time{}
	}
	return time.UnixMicro(st.ColumnInt64(col)).UTC()
}

// column reads a blob into a buffer.
func column(st *sqlite.Stmt, col int, buf []byte) []byte {
	n := st.ColumnLen(col)
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	return buf[:st.ColumnBytes(col, buf)]
}
