package sqlite

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// limit lets the database have so many pages more.
func limit(t *testing.T, s *Store, more int64) {
	t.Helper()
	var pages int64
	if _, err := s.w.one(func(r row) { pages = r.ColumnInt64(0) }, "PRAGMA page_count"); err != nil {
		t.Fatal(err)
	}
	if err := s.w.exec(fmt.Sprintf("PRAGMA max_page_count = %d", pages+more)); err != nil {
		t.Fatal(err)
	}
}

// TestFull: whatever a transaction makes of a full disk, it fails as a whole, and the next one is not affected.
func TestFull(t *testing.T) {
	big := make([]byte, 200_000)
	small := func(tx store.Tx) error { return tx.PutRecord("t", "a", "small", nil) }
	for name, fn := range map[string]func(tx store.Tx) error{
		"passed on": func(tx store.Tx) error {
			return errors.Join(small(tx), tx.PutRecord("t", "a", "big", big))
		},
		"swallowed": func(tx store.Tx) error {
			_ = small(tx)
			_ = tx.PutRecord("t", "a", "big", big)
			return nil
		},
		"swallowed, more written": func(tx store.Tx) error {
			_ = tx.PutRecord("t", "a", "big", big)
			// Outside of a transaction, if SQLite has rolled back, these would stay.
			_ = small(tx)
			_ = tx.Savepoint(func() error { return small(tx) })
			return nil
		},
		"swallowed in a savepoint": func(tx store.Tx) error {
			_ = tx.Savepoint(func() error {
				_ = small(tx)
				_ = tx.PutRecord("t", "a", "big", big)
				return nil
			})
			return small(tx)
		},
		"other error returned": func(tx store.Tx) error {
			_ = tx.PutRecord("t", "a", "big", big)
			return core.ErrDenied
		},
		"block": func(tx store.Tx) error {
			b := core.Block{Series: &core.Series{Device: 1, Channel: "c"}}
			b.Add(1, 1, big)
			return tx.AppendBlock(&b)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := opened(t, Config{})
			put(t, s, "before", nil)
			limit(t, s, 4)
			err := s.Update(fn)
			if !errors.Is(err, core.ErrStorage) || !strings.Contains(err.Error(), s.path) || !strings.Contains(err.Error(), "INSERT INTO") {
				t.Errorf("got %v, want core.ErrStorage with the path and what was attempted", err)
			}
			if has(t, s, "small") || has(t, s, "big") {
				t.Error("something of the transaction is left")
			}
			put(t, s, "within the limit", nil)
			limit(t, s, 1000)
			put(t, s, "big", big)
			if !has(t, s, "before") || !has(t, s, "within the limit") || !has(t, s, "big") {
				t.Error("something is missing")
			}
			intact(t, s)
		})
	}
}

// TestNewWriter: a connection that could not be cleaned up is replaced.
func TestNewWriter(t *testing.T) {
	s := opened(t, Config{})
	put(t, s, "a", nil)
	if err := s.w.close(); err != nil {
		t.Fatal(err)
	}
	s.w = nil
	put(t, s, "b", nil)
	if !has(t, s, "a") || !has(t, s, "b") {
		t.Error("something is missing")
	}
}
