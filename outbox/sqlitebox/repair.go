//go:build !(mips || mipsle || mips64 || mips64le)

package sqlitebox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/durable"
	"github.com/fairlead-iot/fairlead/outbox"
)

// check returns what is wrong with the file, nil if nothing is or there is no file. err is a failure that says
// nothing about the file, or that it is not ours to change.
func check(ctx context.Context, path string) (cause, err error) {
	fi, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, storageError(err)
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: not a regular file", fairlead.ErrConflict)
	}
	// Not read-only: a log that a crash has left is moved into the database.
	err = inspect(ctx, path)
	if errors.Is(err, fairlead.ErrDamaged) {
		return err, nil
	}
	return nil, err
}

func inspect(ctx context.Context, path string) (err error) {
	c, err := openConn(path, sqlite.OpenReadWrite, "trusted_schema = OFF", "cell_size_check = ON", "cache_size = -1024", "wal_autocheckpoint = 0")
	if err != nil {
		return err
	}
	defer func() {
		if e := c.close(); err == nil {
			err = e
		}
	}()
	version, err := c.version()
	if err != nil || version == 0 {
		return err
	}
	if version == int64(len(migrations)) { // earlier ones are checked by their migration
		if err := c.checkSchema(); err != nil {
			return err
		}
	}
	var found []string
	err = c.query("PRAGMA quick_check(3)", nil, func(st *sqlite.Stmt) bool {
		found = append(found, st.ColumnText(0))
		return ctx.Err() == nil
	})
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && (len(found) != 1 || found[0] != "ok") {
		err = fmt.Errorf("%w: %.200q", fairlead.ErrDamaged, found)
	}
	return err
}

// Repairing is done in steps each of which a power cut may end:
//
//  1. what can be read is copied into PATH.saved, in one transaction;
//  2. the damaged file and its log are renamed, the log first, because a new database must never find it;
//  3. PATH.saved is renamed to PATH.
//
// After a cut before 2 the next Open does it all again. After a cut between 2 and 3 there is no PATH, but a whole PATH.saved.

func saved(path string) string { return path + ".saved" }

// finishRepair does what a power cut has kept from being done.
func finishRepair(path string) error {
	_, err := os.Stat(path)
	switch {
	case err == nil: // the copy, if any, is not known to be whole
		err = removeDatabase(saved(path))
	case errors.Is(err, fs.ErrNotExist):
		if err = durable.Rename(saved(path), path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		return storageError(err)
	}
	return nil
}

func removeDatabase(path string) error {
	return errors.Join(durable.Remove(path), durable.Remove(path+"-wal"), durable.Remove(path+"-shm"))
}

// repair sets a damaged file aside.
func repair(ctx context.Context, path string, cause error) (Damage, error) {
	d := Damage{Path: path, Cause: cause}
	if err := removeDatabase(saved(path)); err != nil {
		return d, storageError(err)
	}
	var err error
	if d.Saved, err = salvage(ctx, path, saved(path)); err != nil {
		return d, fmt.Errorf("save what is left of a damaged file (%v): %w", cause, err)
	}
	name := path + ".damaged-" + time.Now().UTC().Format("20060102T150405Z")
	for i := 2; d.Moved == ""; i++ {
		if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
			d.Moved = name
		} else {
			name = fmt.Sprintf("%s.damaged-%s-%d", path, time.Now().UTC().Format("20060102T150405Z"), i)
		}
	}
	// SQLite would find the log by the database's name, so it gets that one's.
	if err := durable.Rename(path+"-wal", d.Moved+"-wal"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return d, storageError(err)
	}
	if err := durable.Remove(path + "-shm"); err != nil { // only an index of the log
		return d, storageError(err)
	}
	if err := durable.Rename(path, d.Moved); err != nil {
		return d, storageError(err)
	}
	if err := durable.Rename(saved(path), path); err != nil {
		return d, storageError(err)
	}
	return d, nil
}

// salvage copies the messages that can be read from a damaged database into a new one: from the front up to the damage, then
// from the back down to it.
func salvage(ctx context.Context, from, to string) (n int, err error) {
	if err := durable.Create(to, 0o600); err != nil {
		return 0, storageError(err)
	}
	dst, err := openConn(to, sqlite.OpenReadWrite, "page_size = 4096", "journal_mode = DELETE", "synchronous = EXTRA")
	if err != nil {
		return 0, err
	}
	defer func() {
		if e := dst.close(); err == nil {
			err = e
		}
	}()
	if err := dst.migrate(); err != nil {
		return 0, err
	}
	// writable_schema lets SQLite read a file that is shorter than its header says.
	src, err := openConn(from, sqlite.OpenReadOnly, "writable_schema = ON", "trusted_schema = OFF", "cell_size_check = ON")
	if err != nil {
		return 0, nil // nothing can be read
	}
	defer func() { _ = src.close() }()
	if err := dst.exec("BEGIN IMMEDIATE"); err != nil {
		return 0, err
	}
	last := int64(-1)
	for _, sql := range []string{
		"SELECT key, accepted, expires, header, payload FROM message NOT INDEXED ORDER BY key",
		"SELECT key, accepted, expires, header, payload FROM message NOT INDEXED ORDER BY key DESC",
	} {
		forward := last < 0
		var fatal error
		damage := src.query(sql, nil, func(st *sqlite.Stmt) bool {
			key := st.ColumnInt64(0)
			if !forward && key <= last {
				return false
			}
			if fatal = ctx.Err(); fatal != nil {
				return false
			}
			kept, err := copyRow(dst, st)
			if fatal = err; fatal != nil {
				return false
			}
			if kept {
				n++
			}
			if forward {
				last = max(last, key)
			}
			return true
		})
		if fatal != nil {
			return n, fatal
		}
		if damage == nil {
			break // all of it could be read
		}
	}
	return n, dst.exec("COMMIT")
}

// copyRow leaves out what cannot have been written by us.
func copyRow(dst *conn, st *sqlite.Stmt) (kept bool, err error) {
	r := outbox.Record{
		Key: uint64(st.ColumnInt64(0)), Accepted: fromMicro(st, 1), Expires: fromMicro(st, 2),
		Header: column(st, 3, nil), Payload: column(st, 4, nil),
	}
	if int64(r.Key) < 0 || st.ColumnType(1) != sqlite.TypeInteger || st.ColumnType(3) != sqlite.TypeBlob || st.ColumnType(4) != sqlite.TypeBlob {
		return false, nil
	}
	err = dst.insert(&r)
	if sqlite.ErrCode(err).ToPrimary() == sqlite.ResultConstraint {
		return false, nil // a damaged tree can show one row twice
	}
	return err == nil, err
}
