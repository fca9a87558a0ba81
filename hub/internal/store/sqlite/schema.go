package sqlite

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// appID marks our files ("FlHb"); see PRAGMA application_id.
const appID = 0x466c4862

//go:embed schema/001.sql
var schema1 string

//go:embed schema/002.sql
var schema2 string

//go:embed schema/003.sql
var schema3 string

//go:embed schema/004.sql
var schema4 string

//go:embed schema/005.sql
var schema5 string

// migrations bring the schema from version i to i+1. A released one is never changed, only followed by another, and
// each has a test that opens a file of the version before.
var migrations = []string{schema1, schema2, schema3, schema4, schema5}

// openWriter opens the connection that writes. What is set here was chosen by measurement:
//
//   - page_size 4096: larger ones made single commits (7,000/s) and full load (1,100,000 samples/s in batches of 100) up
//     to 45 % slower, and only many small batches up to 25 % faster.
//   - no mmap: a failing disk would be a signal that kills the process instead of an error.
//   - wal_autocheckpoint 0: wal.go decides.
//   - journal_size_limit: gives back what an unusual load made the log grow to.
func openWriter(path string, walBytes int64) (*conn, error) {
	return openConn(path, sqlite.OpenReadWrite,
		"page_size = 4096",
		"journal_mode = WAL",
		"synchronous = FULL",
		"foreign_keys = ON",
		"wal_autocheckpoint = 0",
		fmt.Sprintf("journal_size_limit = %d", 2*walBytes),
		"cache_size = -32768",
		"temp_store = MEMORY",
		"trusted_schema = OFF",
	)
}

// openReader opens a connection for views.
func openReader(path string) (*conn, error) {
	return openConn(path, sqlite.OpenReadOnly,
		"cache_size = -4096", "temp_store = MEMORY", "trusted_schema = OFF", "query_only = ON")
}

// inspect returns the schema version of the file, 0 if it is new, and refuses what [migrate] must not touch. It only
// reads: a foreign database stays as it is.
func inspect(path string, known int) (version int, err error) {
	if st, err := os.Stat(path); err == nil && st.Size() == 0 {
		return 0, nil
	}
	c, err := openConn(path, sqlite.OpenReadOnly)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if version, err = schemaVersion(c); err == nil && version > known {
		err = fmt.Errorf("sqlite: %w: %s has schema version %d, this program knows up to %d: it was written by a newer Fairlead; install that one again",
			core.ErrConflict, path, version, known)
	}
	return version, err
}

// migrate brings the schema up to date, each step in a transaction of its own.
func migrate(ctx context.Context, c *conn, version int, steps []string) error {
	for v := version; v < len(steps); v++ {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("sqlite: %w", err)
		}
		if err := migrateStep(c, steps[v], v+1); err != nil {
			return fmt.Errorf("sqlite: migrate to schema version %d: %w", v+1, err)
		}
	}
	return nil
}

// schemaVersion returns 0 for a new database and refuses a foreign one.
func schemaVersion(c *conn) (version int, err error) {
	var app int64
	var tables int
	if _, err := c.one(func(r row) { app = r.ColumnInt64(0) }, "PRAGMA application_id"); err != nil {
		return 0, err
	}
	if _, err := c.one(func(r row) { version = r.ColumnInt(0) }, "PRAGMA user_version"); err != nil {
		return 0, err
	}
	if _, err := c.one(func(r row) { tables = r.ColumnInt(0) }, "SELECT count(*) FROM sqlite_schema"); err != nil {
		return 0, err
	}
	fresh := app == 0 && version == 0 && tables == 0
	if !fresh && (app != appID || version < 1) {
		return 0, fmt.Errorf("sqlite: %w", foreign(c.path))
	}
	return version, nil
}

func migrateStep(c *conn, script string, to int) (err error) {
	if err := c.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() {
		if err != nil && !c.sq.AutocommitEnabled() {
			c.failed = nil
			_ = c.exec("ROLLBACK") // the connection is closed next
		}
	}()
	if err := sqlitex.ExecuteScript(c.sq, script, nil); err != nil {
		return c.wrap("migrate", err)
	}
	if err := c.exec(fmt.Sprintf("PRAGMA application_id = %d", appID)); err != nil {
		return err
	}
	if err := c.exec(fmt.Sprintf("PRAGMA user_version = %d", to)); err != nil {
		return err
	}
	return c.exec("COMMIT")
}
