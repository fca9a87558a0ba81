package sqlite

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/hub/internal/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string) store.Store { return open(t, Config{Dir: dir}) })
}

func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// opened is open for tests that need not close it themselves.
func opened(t testing.TB, cfg Config) *Store {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	s := open(t, cfg)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func put(t testing.TB, s *Store, key string, value []byte) {
	t.Helper()
	if err := s.Update(func(tx store.Tx) error { return tx.PutRecord("t", "a", key, value) }); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

func has(t testing.TB, s *Store, key string) bool {
	t.Helper()
	err := s.View(t.Context(), func(r store.Reader) error { _, err := r.Record("t", "a", key); return err })
	if err != nil && !errors.Is(err, core.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

// intact has SQLite check the whole database.
func intact(t testing.TB, s *Store) {
	t.Helper()
	result := ""
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if _, err := s.w.one(func(r row) { result = r.ColumnText(0) }, "PRAGMA integrity_check"); err != nil || result != "ok" {
		t.Errorf("integrity check: %q, %v", result, err)
	}
}

func TestPragmas(t *testing.T) {
	s := opened(t, Config{})
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "wal_autocheckpoint": "0", "mmap_size": "0", "encoding": "UTF-8",
	} {
		got := ""
		if _, err := s.w.one(func(r row) { got = r.ColumnText(0) }, "PRAGMA "+pragma); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", pragma, got, err, want)
		}
	}
	// See wal.go.
	if v := sqlite.VersionNumber; v < 3_051_003 {
		t.Errorf("SQLite %d has the WAL-Reset Bug", v)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	_, err := Open(t.Context(), Config{Dir: dir})
	if !errors.Is(err, core.ErrConflict) || !strings.Contains(err.Error(), filepath.Join(dir, lockFile)) || !strings.Contains(err.Error(), "stop") {
		t.Errorf("second hub: got %v", err)
	}
	put(t, s, "k", nil) // the first one is not disturbed
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = opened(t, Config{Dir: dir})
	if !has(t, s, "k") {
		t.Error("record is gone")
	}
}

func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such modes")
	}
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := opened(t, Config{Dir: dir})
	put(t, s, "k", nil)
	n := 0
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		n++
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: got mode %o, want %o", path, got, want)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n != 5 { // folder, database, log, index of the log, lock
		t.Errorf("got %d files", n)
	}
}

// database returns the bytes of a database with some content.
func database(t *testing.T, edit func(c *conn)) []byte {
	t.Helper()
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	for _, k := range []string{"a", "b"} {
		put(t, s, k, make([]byte, 50_000))
	}
	if edit != nil {
		edit(s.w)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, dbFile))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestRefusesFiles: a file that is not ours is refused with advice, and stays as it is.
func TestRefusesFiles(t *testing.T) {
	exec := func(sql string) func(*conn) {
		return func(c *conn) {
			if err := c.exec(sql); err != nil {
				t.Error(err)
			}
		}
	}
	overwrite := func(from, to int) []byte {
		data := database(t, nil)
		for i := from; i < to; i++ {
			data[i] = 0x55
		}
		return data
	}
	for name, c := range map[string]struct {
		data   []byte
		advice string
	}{
		"text":                   {[]byte("this is my diary\n"), "move it away"},
		"short text":             {[]byte("x"), "move it away"},
		"other application":      {database(t, exec("PRAGMA application_id = 7")), "move it away"},
		"no application":         {database(t, exec("PRAGMA application_id = 0")), "move it away"},
		"without version":        {database(t, exec("PRAGMA user_version = 0")), "move it away"},
		"newer":                  {database(t, exec("PRAGMA user_version = 99")), "newer Fairlead"},
		"damaged header":         {overwrite(16, 100), "restore a backup"},
		"damaged schema":         {overwrite(100, 4096), "restore a backup"},
		"damaged start":          {overwrite(0, 4), "restore a backup"},
		"cut off in first page":  {database(t, nil)[:1000], "restore a backup"},
		"cut off after the head": {database(t, nil)[:4096], "restore a backup"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, dbFile)
			if err := os.WriteFile(path, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Open(t.Context(), Config{Dir: dir})
			if err == nil {
				s.Close()
				t.Fatal("was opened")
			}
			if !errors.Is(err, core.ErrConflict) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), c.advice) {
				t.Errorf("got %v, want core.ErrConflict with %q", err, c.advice)
			}
			after, err := os.ReadFile(path)
			if err != nil || string(after) != string(c.data) {
				t.Errorf("the file was changed (%v)", err)
			}
		})
	}
}

// TestCutShort: a hub that was killed while it made its database makes it again.
func TestCutShort(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, dbFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, Config{Dir: dir})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// The same with what the journal mode writes before the schema is there.
	dir = t.TempDir()
	prepared(t, filepath.Join(dir, dbFile))
	c, err := openWriter(filepath.Join(dir, dbFile), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	put(t, opened(t, Config{Dir: dir}), "k", nil)
}

func TestDamagedBlock(t *testing.T) {
	s := opened(t, Config{})
	x := &core.Series{Device: 1, Channel: "c"}
	b := &core.Block{Series: x, Count: 1, Data: []byte{1, 2, 99}}
	if err := s.Update(func(tx store.Tx) error { return tx.AppendBlock(b) }); err != nil {
		t.Fatal(err)
	}
	if err := s.View(t.Context(), func(r store.Reader) error {
		for _, err := range r.Samples(x, core.Range{}) {
			return err
		}
		return nil
	}); !errors.Is(err, core.ErrStorage) {
		t.Errorf("got %v, want core.ErrStorage", err)
	}
}

// TestUseAfterUpdate: a transaction that is kept does not write outside of one.
func TestUseAfterUpdate(t *testing.T) {
	s := opened(t, Config{})
	var kept store.Tx
	if err := s.Update(func(tx store.Tx) error { kept = tx; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := kept.PutRecord("t", "a", "k", nil); err == nil {
		t.Error("a transaction works after its end")
	}
	if has(t, s, "k") {
		t.Error("it wrote")
	}
}

// prepared makes the file of a database and keeps it open, as Open does.
func prepared(t *testing.T, path string) {
	t.Helper()
	f, err := prepareFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
}
