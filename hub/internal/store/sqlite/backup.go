package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// A backup of a database in use goes through the connection that writes, a little between two commits at a time. SQLite's
// backup carries on over changes that are made by its own connection: pages that it has copied already are written to the
// copy as well. Any other connection would hold a snapshot for as long as it takes, and meanwhile the log could not be
// emptied (see wal.go), or would have to begin anew with each commit. So the copy is of the moment when it is done.
//
// Measured with BenchmarkBackup, 400 MB beside commits of 32 KB without a pause, on two busy cores: it took 10 s, commits
// fell from 460 to 380/s, and 99 % of them took less than 22 ms with and without it.

// copies of a database that is in use are beside it until they have been handed on.
const copyPattern = "backup-*.tmp"

const (
	stepPages  = 32                   // copied between two looks at the clock
	stepTime   = 2 * time.Millisecond // that the writer's place is taken for, at first
	stepPause  = 200                  // percent of that, for which it is left to others then, at first
	paceWindow = time.Second          // between two looks at whether the end comes nearer
)

// pace is how fast a backup goes. Data that comes in faster than it is copied would keep it from ever ending, so then it
// takes more of the writer's time: never longer at once than hurried, which devices do not notice.
type pace struct {
	step      time.Duration
	pause     int // percent of a step
	looked    time.Time
	remaining int
}

const hurried = 20 * time.Millisecond

// next returns how long to wait after a step that took so long.
func (p *pace) next(now time.Time, took time.Duration, remaining int) time.Duration {
	if now.Sub(p.looked) >= paceWindow {
		if !p.looked.IsZero() && remaining > p.remaining-p.remaining/20 {
			p.step, p.pause = min(2*p.step, hurried), p.pause/2
		}
		p.looked, p.remaining = now, remaining
	}
	return took / 100 * time.Duration(p.pause)
}

// backup is a copy that is being made.
type backup struct {
	*sqlite.Backup
	from *conn
}

// Backup makes a consistent copy of the database in a new file, while everything else goes on. It has everything that was
// committed before Backup was called, and more. One can run at a time; another one is core.ErrConflict.
func (s *Store) Backup(ctx context.Context, file string) (err error) {
	to, err := openCopy(file)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, to.close())
		if err != nil {
			os.Remove(file)
		}
	}()
	if err := s.beginBackup(to); err != nil {
		return err
	}
	defer func() {
		s.wmu.Lock()
		defer s.wmu.Unlock()
		if eerr := s.endBackup(); err == nil {
			err = eerr
		}
	}()
	p := pace{step: stepTime, pause: stepPause}
	for {
		start := time.Now()
		remaining, err := s.stepBackup(start, p.step)
		if err != nil || remaining == 0 {
			return err
		}
		now := time.Now()
		if s.cfg.backupStep != nil {
			s.cfg.backupStep()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("sqlite: backup: %w", context.Cause(ctx))
		case <-time.After(p.next(now, now.Sub(start), remaining)):
		}
	}
}

// openCopy makes the file and a connection to it. Nobody else needs what is in it before it is whole, so nothing is synced.
func openCopy(file string) (*conn, error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("sqlite: backup: %w: %w", core.ErrStorage, err)
	}
	f.Close()
	c, err := openConn(file, sqlite.OpenReadWrite, "page_size = 4096", "journal_mode = OFF", "synchronous = OFF", "cache_size = -4096")
	if err != nil {
		os.Remove(file)
	}
	return c, err
}

func (s *Store) beginBackup(to *conn) (err error) {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	switch {
	case s.closed:
		return fmt.Errorf("sqlite: database is closed: %w", core.ErrStopping)
	case s.copying != nil:
		return fmt.Errorf("sqlite: %w: a backup is being made already", core.ErrConflict)
	case s.w == nil:
		if s.w, err = openWriter(s.path, s.cfg.WALBytes); err != nil {
			return err
		}
	}
	b, err := sqlite.NewBackup(to.sq, "main", s.w.sq, "main")
	if err != nil {
		return s.w.wrap("backup", err)
	}
	s.copying = &backup{b, s.w}
	return nil
}

// stepBackup copies for some time and returns how many pages remain.
func (s *Store) stepBackup(start time.Time, most time.Duration) (remaining int, err error) {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	for {
		switch {
		case s.closed:
			return 0, fmt.Errorf("sqlite: database is closed: %w", core.ErrStopping)
		case s.copying == nil:
			return 0, fmt.Errorf("sqlite: backup: %w: the disk failed meanwhile", core.ErrStorage)
		}
		more, err := s.copying.Step(stepPages)
		if err != nil {
			return 0, fmt.Errorf("sqlite: backup: %w: %w", core.ErrStorage, err)
		}
		if !more {
			return 0, nil
		}
		if time.Since(start) > most {
			return max(1, s.copying.Remaining()), nil
		}
	}
}

// endBackup ends a backup, whether it is whole or not; before its connection is closed. Store.wmu is held.
func (s *Store) endBackup() error {
	if s.copying == nil {
		return nil
	}
	err := s.copying.Close()
	s.copying = nil
	if err != nil {
		return fmt.Errorf("sqlite: backup: %w: %w", core.ErrStorage, err)
	}
	return nil
}

// Copy makes a consistent copy of the database in dir, which must not be in use, in a new file. The database stays as it
// is: unlike [Open] it leaves an older schema alone.
func Copy(ctx context.Context, dir, file string) (err error) {
	path := filepath.Join(dir, dbFile)
	unlock, err := lock(filepath.Join(dir, lockFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("sqlite: %w: %w", core.ErrNotFound, err)
	}
	from, err := openConn(path, sqlite.OpenReadWrite, "query_only = ON")
	if err != nil {
		return explain(err, path)
	}
	defer func() { err = errors.Join(err, from.close()) }()
	if _, err := schemaVersion(from); err != nil {
		return err
	}
	to, err := openCopy(file)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, to.close())
		if err != nil {
			os.Remove(file)
		}
	}()
	b, err := sqlite.NewBackup(to.sq, "main", from.sq, "main")
	if err != nil {
		return from.wrap("backup", err)
	}
	for more := true; more && err == nil; {
		if more, err = b.Step(1024); err != nil {
			err = fmt.Errorf("sqlite: backup: %w: %w", core.ErrStorage, err)
		} else if ctx.Err() != nil {
			err = fmt.Errorf("sqlite: backup: %w", context.Cause(ctx))
		}
	}
	return errors.Join(err, b.Close())
}

// Verify checks that dir has a database that this program can use and that is whole, down to each row and index. It is
// for a folder that is not in use, and takes about as long as reading everything.
func Verify(ctx context.Context, dir string) (err error) {
	path := filepath.Join(dir, dbFile)
	st, err := os.Stat(path)
	if err != nil || st.Size() == 0 {
		return fmt.Errorf("sqlite: %w: no database at %s (%v)", core.ErrNotFound, path, err)
	}
	if _, err := inspect(path, len(migrations)); err != nil {
		return explain(err, path)
	}
	c, err := openConn(path, sqlite.OpenReadWrite, "query_only = ON")
	if err != nil {
		return explain(err, path)
	}
	defer func() { err = errors.Join(err, c.close()) }()
	c.arm()
	defer context.AfterFunc(ctx, func() { c.fuse.blow(context.Cause(ctx)) })()
	for r, err := range c.rows("PRAGMA integrity_check(1)") {
		if err != nil {
			return explain(err, path)
		}
		if text := r.ColumnText(0); text != "ok" {
			return fmt.Errorf("sqlite: %w: %s is damaged: %s", core.ErrStorage, path, text)
		}
	}
	return nil
}

// removeCopies removes what backups left that were cut short.
func removeCopies(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, copyPattern)) // the pattern is right
	for _, name := range left {
		os.Remove(name)
	}
}

// CopyName returns a name for a copy beside the database; one that is left behind is removed by [Open].
func (s *Store) CopyName() string {
	return filepath.Join(s.cfg.Dir, fmt.Sprintf("backup-%d.tmp", time.Now().UnixNano()))
}
