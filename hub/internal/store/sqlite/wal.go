package sqlite

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// A commit appends to the write-ahead log and syncs it. What is in the log has to be moved into the database from time
// to time (a checkpoint), and the log begun anew, or it would grow for ever. SQLite's automatic way does that within
// the commit that passes a limit. Here a goroutine with a connection of its own does it while commits go on, when the log
// has passed Config.WALBytes:
//
//   - it copies what is there (PASSIVE), which holds nobody up, and has the file system write that to the disk a little at
//     a time (see flusher), because a commit's sync waits behind whatever the disk has to do;
//   - the same once or twice again with what has been committed meanwhile, so that little is left;
//   - it takes the writer's place for the moment that it takes to copy and sync that, and begins the log anew (RESTART).
//     That needs a moment without views; if there is none it is tried again after another quarter;
//   - when the log has passed four times WALBytes because there never is such a moment, one is made: views that have run
//     for viewPatience are interrupted, and new ones wait for a quarter of a second at most.
//
// A page that many commits change is copied once for all of them, so a long log costs the disk less than a short one.
//
// SQLite up to 3.51.2 can damage a database if a checkpoint that has nothing to copy begins just when a commit begins
// the log anew (sqlite.org/wal.html, "The WAL-Reset Bug"). We use a newer one, and do not provoke it either: only this
// goroutine makes checkpoints, and a PASSIVE one only if there was a commit since the last one. Then something is to be
// copied, and until that is done no commit can begin the log anew.
type wal struct {
	store *Store
	c     *conn
	kick  chan struct{}
	quit  chan struct{}
	done  sync.WaitGroup
	once  sync.Once

	length  atomic.Int64 // of the log, guessed on the high side until a checkpoint has looked
	due     atomic.Int64 // the length at which there is something to do
	version int64        // PRAGMA data_version after the last checkpoint
	failing bool
}

const (
	pageBytes    = 4096
	viewPatience = 10 * time.Second
	gateTime     = 250 * time.Millisecond

	settleRounds = 3
	little       = 256 << 10 // what the writer's place may be taken for
)

// start begins with a log that nobody adds to yet.
func (w *wal) start(s *Store) (err error) {
	w.store, w.kick, w.quit = s, make(chan struct{}, 1), make(chan struct{})
	w.due.Store(s.cfg.WALBytes)
	if w.c, err = openCheckpointer(s.path); err != nil {
		return err
	}
	if w.version, err = w.dataVersion(); err != nil {
		_ = w.c.close()
		return err
	}
	w.done.Go(w.run)
	return nil
}

func (w *wal) stop() {
	w.once.Do(func() { close(w.quit) })
	w.done.Wait()
}

// wrote is told about every commit. bytes is a guess on the high side; checkpoints learn the truth.
func (w *wal) wrote(bytes int64) {
	if n, due := w.length.Add(bytes), w.due.Load(); n < due || !w.due.CompareAndSwap(due, n+w.store.cfg.WALBytes/4) {
		return
	}
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

func (w *wal) run() {
	defer func() { _ = w.c.close() }()
	for {
		select {
		case <-w.quit:
			return
		case <-w.kick:
		}
		err := w.empty()
		switch {
		case err != nil && !w.failing:
			w.store.cfg.Logger.Warn("write-ahead log cannot be moved into the database; it grows until that works again", "err", err)
		case err == nil && w.failing:
			w.store.cfg.Logger.Info("write-ahead log is moved into the database again")
		}
		w.failing = err != nil
		if err != nil {
			_ = w.c.close()
			w.c = nil
		}
	}
}

// empty does what is due.
func (w *wal) empty() error {
	limit := w.store.cfg.WALBytes
	size, err := w.settle()
	if err == nil && size < limit*3/4 {
		w.due.Store(limit)
		return nil
	}
	busy := false
	if err == nil {
		busy, err = w.restart()
	}
	if err == nil && !busy {
		return nil
	}
	w.due.Store(max(limit, w.length.Load()+limit/4))
	if err != nil || size <= 4*limit {
		return err
	}
	cause := fmt.Errorf("sqlite: %w: reading took so long that the write-ahead log grew to %d MiB", core.ErrStorage, size>>20)
	w.store.pool.quiet(w.store.cfg.viewPatience, cause, time.After(gateTime), func() { busy, err = w.restart() })
	if err == nil && busy && size > 16*limit {
		err = fmt.Errorf("reading has not paused while the write-ahead log grew to %d MiB", size>>20)
	}
	return err
}

// settle has what is in the log copied and on disk, but for what is committed in the last moments, without holding
// anybody up, and returns the size of the log.
func (w *wal) settle() (size int64, err error) {
	limit := w.store.cfg.WALBytes
	if w.c != nil { // the guess may have been too high
		if _, size, err = w.pragma("PRAGMA wal_checkpoint(NOOP)"); err != nil || size < limit*3/4 {
			return size, err
		}
	}
	n, err := w.passive()
	if err != nil {
		return size, err
	}
	size = max(size, n)
	for range settleRounds {
		begun := w.length.Load()
		hurry := func() bool { return w.length.Load()-begun > limit/4 } // or the log would grow faster than it is emptied
		if err := w.store.flush.run(hurry, w.quit); err != nil {
			return size, err
		}
		if w.length.Load()-begun < little {
			break
		}
		if n, err = w.passive(); err != nil {
			return size, err
		}
		size = max(size, n)
	}
	return size, nil
}

// passive copies what can be copied without holding anybody up and returns the size of the log.
func (w *wal) passive() (size int64, err error) {
	if w.c == nil {
		// A new connection may not look at the version, so this runs like a restart: without commits beside it.
		w.store.wmu.Lock()
		defer w.store.wmu.Unlock()
		if w.c, err = openCheckpointer(w.store.path); err != nil {
			return 0, err
		}
	} else if v, err := w.dataVersion(); err != nil || v == w.version {
		return 0, err
	}
	_, size, err = w.checkpoint("PRAGMA wal_checkpoint(PASSIVE)")
	return size, err
}

// restart copies the rest between two commits and has the next one begin the log anew; busy if a view is in the way.
func (w *wal) restart() (busy bool, err error) {
	w.store.wmu.Lock()
	defer w.store.wmu.Unlock()
	if busy, _, err = w.checkpoint("PRAGMA wal_checkpoint(RESTART)"); err == nil && !busy {
		w.length.Store(0)
		w.due.Store(w.store.cfg.WALBytes)
	}
	return busy, err
}

func (w *wal) checkpoint(sql string) (busy bool, size int64, err error) {
	if busy, size, err = w.pragma(sql); err == nil {
		w.version, err = w.dataVersion()
	}
	return busy, size, err
}

// pragma makes a checkpoint, or none, and learns how long the log is.
func (w *wal) pragma(sql string) (busy bool, size int64, err error) {
	w.c.failed = nil
	begun := w.length.Load()
	if _, err = w.c.one(func(r row) { busy, size = r.ColumnBool(0), r.ColumnInt64(1)*pageBytes }, sql); err != nil {
		return false, 0, err
	}
	w.length.Add(size - begun)
	return busy, size, nil
}

func (w *wal) dataVersion() (v int64, err error) {
	_, err = w.c.one(func(r row) { v = r.ColumnInt64(0) }, "PRAGMA data_version")
	return v, err
}

func openCheckpointer(path string) (*conn, error) {
	c, err := openConn(path, sqlite.OpenReadWrite, "synchronous = FULL", "wal_autocheckpoint = 0")
	if err == nil {
		c.sq.SetBusyTimeout(0) // a view in the way is not waited for, because commits would wait as well
	}
	return c, err
}
