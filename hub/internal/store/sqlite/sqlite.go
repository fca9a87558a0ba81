package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/durable"
)

// The files of a database, within its folder.
const (
	dbFile   = "fairlead.db"
	lockFile = "fairlead.lock"
)

// Config configures [Open]. Dir is required.
type Config struct {
	// Dir is the folder of the database. It is made, for this user only, when it is not there.
	Dir string
	// Readers bounds the views that run at the same time; others wait. 0: twice the number of processors, at least 4.
	Readers int
	// WALBytes is the size of the write-ahead log beyond which it is emptied. 0: 32 MiB. See wal.go.
	WALBytes int64
	Logger   *slog.Logger // nil: discard

	viewPatience time.Duration // for tests; 0: the constant of that name
	backupStep   func()        // for tests; called after each step of a backup that is not the last one
}

// Store is an open database. Its methods may be called from any goroutine.
type Store struct {
	cfg    Config
	path   string
	unlock func() error
	pool   *pool
	wal    wal
	flush  flusher

	wmu    sync.Mutex // held by Update and Close
	w      *conn      // nil: to be opened anew
	tx     tx
	closed bool

	copying *backup // see backup.go; nil: none is made
}

var _ store.Store = (*Store)(nil)

// Open opens the database in cfg.Dir, or makes one in a folder that has none, and brings its schema up to date. It
// refuses a folder that another hub has open, a file that is not a Fairlead database, and one that a newer version of
// Fairlead has written; none of them is changed then.
func Open(ctx context.Context, cfg Config) (_ *Store, err error) {
	if cfg.Dir == "" {
		return nil, errors.New("sqlite: Config.Dir is empty")
	}
	if cfg.Readers == 0 {
		cfg.Readers = max(4, 2*runtime.GOMAXPROCS(0))
	}
	if cfg.viewPatience == 0 {
		cfg.viewPatience = viewPatience
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.WALBytes == 0 {
		cfg.WALBytes = 32 << 20
	}
	if err := durable.MakeDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("sqlite: %w: %w", core.ErrStorage, err)
	}
	s := &Store{cfg: cfg, path: filepath.Join(cfg.Dir, dbFile)}
	if s.unlock, err = lock(filepath.Join(cfg.Dir, lockFile)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			if s.w != nil {
				_ = s.w.close()
			}
			if s.flush.f != nil {
				_ = s.flush.f.Close()
			}
			_ = s.unlock()
		}
	}()
	removeCopies(cfg.Dir)
	file, err := prepareFile(s.path)
	if err != nil {
		return nil, err
	}
	s.flush = flusher{file}
	version, err := inspect(s.path, len(migrations))
	if err != nil {
		return nil, explain(err, s.path)
	}
	if s.w, err = openWriter(s.path, cfg.WALBytes); err != nil {
		return nil, explain(err, s.path)
	}
	if err := migrate(ctx, s.w, version, migrations); err != nil {
		return nil, explain(err, s.path)
	}
	s.tx = tx{reader: reader{c: over}, spans: map[int64]int64{}, deleted: map[int64]struct{}{}}
	s.pool = newPool(s.path, cfg.Readers)
	if err := s.wal.start(s); err != nil {
		return nil, explain(err, s.path)
	}
	return s, nil
}

// prepareFile refuses a file that is no database and makes an empty one where there is none, because SQLite would make
// it readable for everybody. It must run before any connection is open, and what it returns be closed after the last one:
// closing the file drops SQLite's own locks.
func prepareFile(path string) (_ *os.File, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w: %w", core.ErrStorage, err)
	}
	const magic = "SQLite format 3\x00"
	head := make([]byte, len(magic))
	n, err := f.ReadAt(head, 0)
	if n == 0 { // new, or its making was cut short
		return f, nil
	}
	if string(head[:n]) != magic {
		f.Close()
		return nil, fmt.Errorf("sqlite: %w (read: %v)", foreign(path), err)
	}
	return f, nil
}

func foreign(path string) error {
	return fmt.Errorf("%w: %s is not a Fairlead database, or is damaged; move it away, restore a backup, or choose another folder",
		core.ErrConflict, path)
}

// Close waits for a running Update, interrupts views and waits for their functions to return, and closes the database.
// Calls after it fail.
func (s *Store) Close() error {
	s.wal.stop() // before the lock, which it may be waiting for
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.pool.close()
	_ = s.endBackup() // whoever makes it is told by its next step
	// The writer comes last: closing the last connection moves everything into the database and removes the log.
	err := s.w.close()
	s.w = nil
	return errors.Join(err, s.flush.f.Close(), s.unlock())
}

// micro returns the stored form of a time: microseconds since 1970, NULL for the zero time.
func micro(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}
