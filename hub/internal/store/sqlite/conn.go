package sqlite

import (
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// conn is a connection with its prepared statements. A statement that is being read is not given out again, so that
// rows of one query can be read while rows of the same query are.
type conn struct {
	sq     *sqlite.Conn
	path   string
	idle   map[string][]*sqlite.Stmt
	failed error // the first failure of the disk since begin; everything fails from then on
	fuse   *fuse // nil: nobody interrupts it

	written int64 // by the writer since the last commit: bytes in the log, guessed on the high side
}

// row is the current row of a statement.
type row struct{ *sqlite.Stmt }

func openConn(path string, flags sqlite.OpenFlags, pragmas ...string) (*conn, error) {
	sq, err := sqlite.OpenConn(path, flags)
	if err != nil {
		return nil, (&conn{path: path}).wrap("open", err)
	}
	// Only a foreign program can hold a lock that we wait for, such as an operator's sqlite3.
	sq.SetBusyTimeout(5 * time.Second)
	c := &conn{sq: sq, path: path, idle: map[string][]*sqlite.Stmt{}}
	for _, p := range pragmas {
		if err := c.exec("PRAGMA " + p); err != nil {
			_ = c.close()
			return nil, err
		}
	}
	return c, nil
}

func (c *conn) close() error {
	if c == nil {
		return nil
	}
	for _, list := range c.idle {
		for _, st := range list {
			_ = st.Finalize()
		}
	}
	c.idle = nil
	if err := c.sq.Close(); err != nil {
		return c.wrap("close", err)
	}
	return nil
}

// begin forgets the failures of the last transaction.
func (c *conn) begin() { c.failed = nil }

// A fuse interrupts what a connection reads, once. SQLite has a goroutine wait for it, so that a connection keeps its fuse
// from view to view as long as nobody has blown it.
type fuse struct {
	cause atomic.Pointer[error]
	blown chan struct{}
}

// arm gives the connection a new fuse.
func (c *conn) arm() {
	c.fuse = &fuse{blown: make(chan struct{})}
	c.sq.SetInterrupt(c.fuse.blown)
}

// blow interrupts the connection. Any goroutine; only the first cause counts.
func (f *fuse) blow(cause error) {
	if f.cause.CompareAndSwap(nil, &cause) {
		close(f.blown)
	}
}

// why returns what the fuse was blown for, nil if it was not.
func (f *fuse) why() error {
	if f == nil {
		return nil
	}
	if cause := f.cause.Load(); cause != nil {
		return *cause
	}
	return nil
}

// take returns a prepared statement, which must be given back to put.
func (c *conn) take(sql string) (*sqlite.Stmt, error) {
	if c.failed != nil {
		return nil, c.failed
	}
	if list := c.idle[sql]; len(list) > 0 {
		st := list[len(list)-1]
		c.idle[sql] = list[:len(list)-1]
		return st, nil
	}
	// SQLite plans a statement anew each time that a parameter is bound which is a LIMIT by itself, in case it is small; that
	// takes many times as long as a small query.
	st, _, err := c.sq.PrepareTransient(strings.ReplaceAll(sql, "LIMIT ?", "LIMIT 0+?"))
	if err != nil {
		return nil, c.wrap(sql, err)
	}
	return st, nil
}

// put resets the statement, which ends its reading, and keeps it.
func (c *conn) put(sql string, st *sqlite.Stmt) {
	_ = st.Reset() // repeats the error of the last step, which was reported
	c.idle[sql] = append(c.idle[sql], st)
}

// exec runs a statement that returns nothing that matters.
func (c *conn) exec(sql string, args ...any) error {
	st, err := c.take(sql)
	if err != nil {
		return err
	}
	c.written += bind(st, args)
	err = c.drain(sql, st)
	c.put(sql, st)
	return err
}

// drain steps through the statement to its end.
func (c *conn) drain(sql string, st *sqlite.Stmt) error {
	for {
		more, err := st.Step()
		if err != nil {
			return c.wrap(sql, err)
		}
		if !more {
			return nil
		}
	}
}

// change is exec for statements that must hit a row; core.ErrNotFound with what if they do not.
func (c *conn) change(what, sql string, args ...any) error {
	if err := c.exec(sql, args...); err != nil {
		return err
	}
	if c.sq.Changes() == 0 {
		return fmt.Errorf("%w: %s %v", core.ErrNotFound, what, args[0])
	}
	return nil
}

// one reads the first row, if there is one.
func (c *conn) one(scan func(row), sql string, args ...any) (found bool, err error) {
	st, err := c.take(sql)
	if err != nil {
		return false, err
	}
	defer c.put(sql, st)
	bind(st, args)
	if found, err = st.Step(); err != nil {
		return false, c.wrap(sql, err)
	}
	if found {
		scan(row{st})
	}
	return found, nil
}

// rows yields all rows; a row is valid until the next one.
func (c *conn) rows(sql string, args ...any) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		st, err := c.take(sql)
		if err != nil {
			yield(row{}, err)
			return
		}
		defer c.put(sql, st)
		bind(st, args)
		for {
			more, err := st.Step()
			if err != nil {
				yield(row{}, c.wrap(sql, err))
				return
			}
			if !more || !yield(row{st}, nil) {
				return
			}
		}
	}
}

// bind binds the arguments and returns what they may add to the log.
func bind(st *sqlite.Stmt, args []any) (size int64) {
	for i, a := range args {
		switch a := a.(type) {
		case nil:
			st.BindNull(i + 1)
		case int64:
			st.BindInt64(i+1, a)
		case int:
			st.BindInt64(i+1, int64(a))
		case core.DeviceNum:
			st.BindInt64(i+1, int64(a))
		case bool:
			st.BindBool(i+1, a)
		case string:
			st.BindText(i+1, a)
			size += int64(len(a))
		case core.TenantID:
			st.BindText(i+1, string(a))
		case core.DeviceID:
			st.BindText(i+1, string(a))
		case []byte:
			if a == nil {
				st.BindNull(i + 1)
				continue
			}
			st.BindBytes(i+1, a)
			size += int64(len(a))
		default:
			panic(fmt.Sprintf("sqlite: no column form for %T", a))
		}
	}
	if len(args) > 0 {
		size += pageBytes
	}
	return size
}

// blob returns a copy of the column, nil for NULL.
func (r row) blob(col int) []byte {
	if r.ColumnIsNull(col) {
		return nil
	}
	b := make([]byte, r.ColumnLen(col))
	r.ColumnBytes(col, b)
	return b
}

// time reads what micro wrote.
func (r row) time(col int) time.Time {
	if r.ColumnIsNull(col) {
		return time.Time{}
	}
	return time.UnixMicro(r.ColumnInt64(col)).UTC()
}

// wrap turns an error of SQLite into one of the kinds of core. what is what was attempted, mostly SQL.
func (c *conn) wrap(what string, err error) error {
	code := sqlite.ErrCode(err)
	switch code {
	case sqlite.ResultConstraintUnique, sqlite.ResultConstraintPrimaryKey, sqlite.ResultConstraintRowID:
		return fmt.Errorf("%w: %v", core.ErrConflict, err)
	case sqlite.ResultConstraintForeignKey:
		return fmt.Errorf("%w: what the new row belongs to: %v", core.ErrNotFound, err)
	}
	what = strings.Join(strings.Fields(what), " ")
	what = what[:min(len(what), 60)]
	switch code.ToPrimary() {
	case sqlite.ResultInterrupt:
		if cause := c.fuse.why(); cause != nil {
			return fmt.Errorf("sqlite: reading was interrupted: %w", cause)
		}
	case sqlite.ResultTooBig:
		return fmt.Errorf("%w: %s: %v", core.ErrTooLarge, what, err)
	case sqlite.ResultFull, sqlite.ResultIOErr, sqlite.ResultReadOnly, sqlite.ResultCantOpen, sqlite.ResultNoMem,
		sqlite.ResultCorrupt, sqlite.ResultNotADB, sqlite.ResultBusy, sqlite.ResultLocked, sqlite.ResultProtocol,
		sqlite.ResultPerm, sqlite.ResultAuth, sqlite.ResultAbort:
		err = fmt.Errorf("%w: %s: %s: %w", core.ErrStorage, c.path, what, err)
		if c.failed == nil {
			c.failed = err
		}
		return err
	}
	return fmt.Errorf("sqlite: %s: %s: %w", c.path, what, err)
}

// explain adds advice to the failures of opening.
func explain(err error, path string) error {
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultNotADB, sqlite.ResultCorrupt:
		return fmt.Errorf("sqlite: %w (%v)", foreign(path), err)
	}
	return err
}
