package sqlite

import (
	"fmt"
	"sync"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// A commit appends to the write-ahead log and syncs it. What is in the log has to be moved into the database from time
// to time (a checkpoint), and the log begun anew, or it would grow for ever. SQLite's automatic way does that within
// the commit that passes a limit. Here a goroutine with a connection of its own does it while commits go on:
//
//   - each quarter of Config.WALBytes it copies what is there (PASSIVE), which holds nobody up;
//   - when the log has passed WALBytes it takes the writer's place for the moment that it takes to copy the little that
//     has been committed meanwhile, and begins the log anew (RESTART). That needs a moment without views; if there is
//     none it is tried again after the next quarter;
//   - when the log has passed four times WALBytes because there never is such a moment, one is made: views that have run
//     for viewPatience are interrupted, and new ones wait for a quarter of a second at most.
//
// Measured with BenchmarkCommitLatency, 200 MB without a pause on a disk that others used as well: 99 % of the commits
// took less than 4 to 9 ms, the longest 12 to 40 ms, and the log grew to 20 MiB; with SQLite's automatic checkpoint at the
// same size it was 1 to 20 ms and 25 to 200 ms. Other sizes of the log made no clear difference.
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

	since   int64 // bytes written since the last kick; guarded by Store.wmu
	version int64 // PRAGMA data_version after the last checkpoint
	failing bool
}

const (
	pageBytes    = 4096
	viewPatience = 10 * time.Second
	gateTime     = 250 * time.Millisecond
)

func (w *wal) start(s *Store) {
	w.store, w.kick, w.quit = s, make(chan struct{}, 1), make(chan struct{})
	w.done.Go(w.run)
}

func (w *wal) stop() {
	w.once.Do(func() { close(w.quit) })
	w.done.Wait()
}

// wrote is told about every commit. bytes is a guess on the high side; checkpoints learn the truth.
func (w *wal) wrote(bytes int64) {
	if w.since += bytes; w.since < w.store.cfg.WALBytes/4 {
		return
	}
	w.since = 0
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
	size, err := w.passive()
	if err != nil || size <= limit {
		return err
	}
	busy, err := w.restart()
	if err != nil || !busy || size <= 4*limit {
		return err
	}
	cause := fmt.Errorf("sqlite: %w: reading took so long that the write-ahead log grew to %d MiB", core.ErrStorage, size>>20)
	w.store.pool.quiet(w.store.cfg.viewPatience, cause, time.After(gateTime), func() { busy, err = w.restart() })
	if err == nil && busy && size > 16*limit {
		err = fmt.Errorf("reading has not paused while the write-ahead log grew to %d MiB", size>>20)
	}
	return err
}

// passive copies what can be copied without holding anybody up and returns the size of the log.
func (w *wal) passive() (size int64, err error) {
	if w.c == nil {
		// The first one may not look at the version, so it runs like a restart: without commits beside it.
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
	busy, _, err = w.checkpoint("PRAGMA wal_checkpoint(RESTART)")
	return busy, err
}

func (w *wal) checkpoint(sql string) (busy bool, size int64, err error) {
	w.c.failed = nil
	if _, err = w.c.one(func(r row) { busy, size = r.ColumnBool(0), r.ColumnInt64(1)*pageBytes }, sql); err != nil {
		return false, 0, err
	}
	w.version, err = w.dataVersion()
	return busy, size, err
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
