//go:build !(mips || mipsle || mips64 || mips64le)

package sqlitebox

import (
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/fairlead-iot/fairlead"
)

// appID marks our files ("FlOb"); see PRAGMA application_id.
const appID = 0x466c4f62

// migrations bring the schema from version i to i+1. A released one is never changed, only followed by another.
// Times are microseconds since 1970.
var migrations = [][]string{{
	`CREATE TABLE message (
		key      INTEGER PRIMARY KEY,
		accepted INTEGER NOT NULL,
		expires  INTEGER,
		header   BLOB NOT NULL,
		payload  BLOB NOT NULL
	) STRICT`,
	"CREATE INDEX message_expires ON message (expires) WHERE expires IS NOT NULL",
}}

// version returns the version of the schema, 0 for a file without any. The error wraps fairlead.ErrConflict if the file is not ours.
func (c *conn) version() (int64, error) {
	app, err := c.number("PRAGMA application_id")
	if err != nil {
		return 0, err
	}
	version, err := c.number("PRAGMA user_version")
	if err != nil {
		return 0, err
	}
	tables, err := c.number("SELECT count(*) FROM sqlite_schema")
	if err != nil {
		return 0, err
	}
	switch {
	case app == 0 && version == 0 && tables == 0:
		return 0, nil
	case app != appID || version < 1:
		return 0, fmt.Errorf("%w: the file is the database of another program (application id %#x, want %#x)", fairlead.ErrConflict, app, appID)
	case version > int64(len(migrations)):
		return 0, fmt.Errorf("%w: the file has schema version %d, this program knows up to %d: it was written by a newer one",
			fairlead.ErrConflict, version, len(migrations))
	}
	return version, nil
}

// migrate brings the schema up to date, each step in a transaction of its own.
func (c *conn) migrate() error {
	version, err := c.version()
	if err != nil {
		return err
	}
	for v := version; v < int64(len(migrations)); v++ {
		script := append([]string{"BEGIN IMMEDIATE"}, migrations[v]...)
		script = append(script, fmt.Sprintf("PRAGMA application_id = %d", appID), fmt.Sprintf("PRAGMA user_version = %d", v+1), "COMMIT")
		for _, sql := range script {
			if err := c.exec(sql); err != nil {
				return err // closing the connection rolls back
			}
		}
	}
	return nil
}

// schema returns the definitions of all tables and indexes.
func (c *conn) schema() (text string, err error) {
	err = c.query("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name", nil, func(st *sqlite.Stmt) bool {
		text += fmt.Sprintf("%s %s of %s: %s\n", st.ColumnText(0), st.ColumnText(1), st.ColumnText(2), st.ColumnText(3))
		return true
	})
	return text, err
}

// checkSchema compares the definitions with those of a new database. They are text in the file, and damage there may leave SQLite content.
func (c *conn) checkSchema() error {
	fresh, err := openConn(":memory:", sqlite.OpenReadWrite|sqlite.OpenCreate)
	if err != nil {
		return err
	}
	defer func() { _ = fresh.close() }() // there is nothing in it
	if err := fresh.migrate(); err != nil {
		return err
	}
	want, err := fresh.schema()
	if err != nil {
		return err
	}
	got, err := c.schema()
	if err == nil && got != want {
		err = fmt.Errorf("%w: the schema is %.300q, want %.300q", fairlead.ErrDamaged, got, want)
	}
	return err
}
