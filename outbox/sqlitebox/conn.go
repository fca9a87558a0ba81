//go:build !(mips || mipsle || mips64 || mips64le)

package sqlitebox

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/outbox"
)

// conn is a connection with its prepared statements.
type conn struct {
	sq    *sqlite.Conn
	stmts map[string]*sqlite.Stmt
}

// maxBlobBytes bounds what a damaged file can make us allocate.
const maxBlobBytes = 256 << 20

func openConn(path string, flags sqlite.OpenFlags, pragmas ...string) (*conn, error) {
	sq, err := sqlite.OpenConn(path, flags)
	if err != nil {
		return nil, explain("open", err)
	}
	// Only a foreign program, such as somebody's sqlite3, can hold a lock that we wait for.
	sq.SetBusyTimeout(5 * time.Second)
	sq.Limit(sqlite.LimitLength, maxBlobBytes)
	c := &conn{sq, map[string]*sqlite.Stmt{}}
	for _, p := range pragmas {
		if err := c.exec("PRAGMA " + p); err != nil {
			_ = c.close()
			return nil, err
		}
	}
	return c, nil
}

// openWriter opens the connection that writes. wal_autocheckpoint: each commit that finds more than 4 MiB in the log moves it into
// the database; the log is then written from its beginning again. journal_size_limit gives back what a large
// message made it grow to.
func openWriter(path string) (*conn, error) {
	return openConn(path, sqlite.OpenReadWrite,
		"page_size = 4096",
		"journal_mode = WAL",
		"synchronous = FULL",
		"wal_autocheckpoint = 1000",
		"journal_size_limit = 8388608",
		"cache_size = -512",
		"temp_store = MEMORY",
		"trusted_schema = OFF",
		"cell_size_check = ON",
	)
}

func openReader(path string) (*conn, error) {
	return openConn(path, sqlite.OpenReadOnly, "cache_size = -128", "trusted_schema = OFF", "query_only = ON", "cell_size_check = ON")
}

func (c *conn) close() error {
	if c == nil {
		return nil
	}
	for _, st := range c.stmts {
		_ = st.Finalize() // repeats the error of the last step, which was reported
	}
	if err := c.sq.Close(); err != nil {
		return explain("close", err)
	}
	return nil
}

// query calls fn with each row until it returns false.
func (c *conn) query(sql string, args []int64, fn func(*sqlite.Stmt) bool) error {
	st := c.stmts[sql]
	if st == nil {
		var err error
		if st, _, err = c.sq.PrepareTransient(sql); err != nil {
			return explain(sql, err)
		}
		c.stmts[sql] = st
	}
	defer func() { _ = st.Reset() }() // likewise
	for i, a := range args {
		st.BindInt64(i+1, a)
	}
	for {
		row, err := st.Step()
		if err != nil {
			return explain(sql, err)
		}
		if !row || !fn(st) {
			return nil
		}
	}
}

func (c *conn) exec(sql string) error {
	return c.query(sql, nil, func(*sqlite.Stmt) bool { return true })
}

// number reads one number.
func (c *conn) number(sql string) (n int64, err error) {
	err = c.query(sql, nil, func(st *sqlite.Stmt) bool { n = st.ColumnInt64(0); return false })
	return n, err
}

const insertSQL = "INSERT INTO message (key, accepted, expires, header, payload) VALUES (?1, ?2, ?3, ?4, ?5)"

func (c *conn) insert(r *outbox.Record) error {
	st := c.stmts[insertSQL]
	if st == nil {
		var err error
		if st, _, err = c.sq.PrepareTransient(insertSQL); err != nil {
			return explain("insert", err)
		}
		c.stmts[insertSQL] = st
	}
	st.BindInt64(1, int64(r.Key))
	st.BindInt64(2, r.Accepted.UnixMicro())
	if r.Expires.IsZero() {
		st.BindNull(3)
	} else {
		st.BindInt64(3, r.Expires.UnixMicro())
	}
	st.BindBytes(4, r.Header)
	st.BindBytes(5, r.Payload)
	_, err := st.Step()
	if e := st.Reset(); err == nil {
		err = e
	}
	if err != nil {
		return explain("insert", err)
	}
	return nil
}

// remove deletes records, and returns those that were there. A sender deletes what it has sent, which are neighbours, so
// that a few statements delete them all, several times as fast as one for each.
func (c *conn) remove(keys []uint64) ([]outbox.Removed, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	keys = slices.Clone(keys)
	slices.Sort(keys)
	removed := make([]outbox.Removed, 0, len(keys))
	last := int64(keys[len(keys)-1])
	for i := 0; i < len(keys); {
		// The records from here on, as far as they are all to be removed.
		first, from, stranger := i, len(removed), false
		err := c.query(sizesSQL, []int64{int64(keys[i]), last}, func(st *sqlite.Stmt) bool {
			key := uint64(st.ColumnInt64(0))
			for i < len(keys) && keys[i] < key {
				i++ // it is not there, or was named twice
			}
			if stranger = i == len(keys) || keys[i] != key; stranger { // only if the file is damaged is there one behind the last
				return false
			}
			i++
			removed = append(removed, outbox.Removed{Key: key, Size: st.ColumnInt64(1)})
			return true
		})
		if err != nil {
			return nil, err
		}
		if run := removed[from:]; len(run) > 0 {
			if err := c.query(removeSQL, []int64{int64(run[0].Key), int64(run[len(run)-1].Key)}, func(*sqlite.Stmt) bool { return true }); err != nil {
				return nil, err
			}
		}
		switch {
		case !stranger:
			return removed, nil // what is left of the keys is not there
		case i == first:
			return nil, fmt.Errorf("%w: records from %d on begin with an earlier one", fairlead.ErrDamaged, keys[i])
		}
	}
	return removed, nil
}

// The size of a blob is in the row's head: what is on pages of its own is not read for it.
const (
	sizesSQL  = "SELECT key, length(header) + length(payload) FROM message WHERE key BETWEEN ?1 AND ?2 ORDER BY key"
	removeSQL = "DELETE FROM message WHERE key BETWEEN ?1 AND ?2"
)

// rollback ends a transaction that SQLite may have ended by itself.
func (c *conn) rollback() error {
	if c.sq.AutocommitEnabled() {
		return nil
	}
	return c.exec("ROLLBACK")
}

// explain turns an error of SQLite into one of the kinds of package fairlead.
func explain(what string, err error) error {
	kind := fairlead.ErrStorage
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultCorrupt, sqlite.ResultNotADB, sqlite.ResultError: // our SQL is right, so what it was prepared for is wrong
		kind = fairlead.ErrDamaged
	case sqlite.ResultTooBig:
		kind = fairlead.ErrTooLarge
	}
	if len(what) > 40 {
		what = what[:40] + "..."
	}
	return fmt.Errorf("%w: %s: %w", kind, what, err)
}

// storageError adds the kind to an error of the file system, unless it has one.
func storageError(err error) error {
	if errors.Is(err, fairlead.ErrInUse) {
		return err
	}
	return fmt.Errorf("%w: %w", fairlead.ErrStorage, err)
}

// isFull tells whether the disk had no room. Some systems report that as a failure to write.
func isFull(err error) bool {
	code := sqlite.ErrCode(err).ToPrimary()
	return code == sqlite.ResultFull || code == sqlite.ResultIOErr
}
