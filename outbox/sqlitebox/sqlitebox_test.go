//go:build !(mips || mipsle || mips64 || mips64le)

package sqlitebox_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/outbox"
	"github.com/fairlead-iot/fairlead/outbox/outboxtest"
	"github.com/fairlead-iot/fairlead/outbox/sqlitebox"
)

func open(t testing.TB, dir string) outbox.Store {
	t.Helper()
	s, err := sqlitebox.Open(t.Context(), sqlitebox.Config{Path: filepath.Join(dir, "outbox.db"), OnDamage: func(d sqlitebox.Damage) {
		t.Errorf("damaged: %v", d)
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // before the folder goes, if the test has failed
	return s
}

func TestStore(t *testing.T) { outboxtest.RunDurable(t, open) }

// openBox opens an outbox that the test has to close.
func openBox(t testing.TB, dir string, cfg outbox.Config) *outbox.Outbox {
	t.Helper()
	cfg.Store = open(t, dir)
	o, err := outbox.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestRestart goes on with numbers, order and counts.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	var ids []outbox.ID
	for i := range 4 {
		o := openBox(t, dir, outbox.Config{})
		if s := o.Stats(); s.Messages != 2*i || s.Bytes != int64(4*i) {
			t.Errorf("start %d: got %+v", i, s)
		}
		for _, p := range []outbox.Priority{0, 1} {
			id, err := o.Append(t.Context(), outbox.Message{Header: []byte("h"), Payload: []byte{byte('0' + i)}, Priority: p})
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
	}
	o := openBox(t, dir, outbox.Config{})
	defer o.Close()
	if err := o.Delete(t.Context(), ids[2]); err != nil {
		t.Fatal(err)
	}
	page, err := o.Reader().Next(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, e := range page {
		got.Write(e.Payload)
	}
	if got.String() != "0123023" {
		t.Errorf("got %s, want 0123023", &got)
	}
}

func TestInUse(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	_, err := sqlitebox.Open(t.Context(), sqlitebox.Config{Path: filepath.Join(dir, "outbox.db")})
	if !errors.Is(err, fairlead.ErrInUse) {
		t.Errorf("got %v, want ErrInUse", err)
	}
}

func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "for", "it")
	s := open(t, dir)
	if _, err := s.Write([]outbox.Record{{Key: 1}}, nil); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 4 {
		t.Errorf("got %q, %v; want database, log, index and lock", files, err)
	}
	for _, f := range files {
		if fi, err := os.Stat(f); err != nil || runtime.GOOS != "windows" && fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: got %v, %v; want mode 0600", f, fi.Mode(), err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 2 {
		t.Errorf("after Close: got %q, want database and lock", files)
	}
}

func TestRefused(t *testing.T) {
	foreign := func(script string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			c, err := sqlite.OpenConn(path)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := sqlitex.ExecuteScript(c, script, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		make func(*testing.T, string)
		want error
	}{
		"another program's": {foreign("CREATE TABLE t (a); PRAGMA application_id = 77"), fairlead.ErrConflict},
		"no program's":      {foreign("CREATE TABLE t (a)"), fairlead.ErrConflict},
		"a newer version's": {foreign("CREATE TABLE t (a); PRAGMA application_id = 0x466c4f62; PRAGMA user_version = 99"), fairlead.ErrConflict},
		"a folder":          {func(t *testing.T, path string) { _ = os.Mkdir(path, 0o700) }, fairlead.ErrConflict},
		"below a file":      {func(t *testing.T, path string) { _ = os.WriteFile(filepath.Dir(path), nil, 0o600) }, fairlead.ErrStorage},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x", "outbox.db")
			if name != "below a file" {
				_ = os.Mkdir(filepath.Dir(path), 0o700)
			}
			c.make(t, path)
			before, _ := os.ReadFile(path)
			if _, err := sqlitebox.Open(t.Context(), sqlitebox.Config{Path: path}); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
			if all, _ := filepath.Glob(path + ".damaged*"); all != nil {
				t.Errorf("set aside: %q", all)
			}
		})
	}
	if _, err := sqlitebox.Open(t.Context(), sqlitebox.Config{}); !errors.Is(err, fairlead.ErrInvalid) {
		t.Errorf("no path: got %v, want ErrInvalid", err)
	}
}

// filled makes a file with so many messages of 1,000 bytes and returns its path.
func filled(t testing.TB, n int) string {
	dir := t.TempDir()
	s := open(t, dir)
	var add []outbox.Record
	for i := range n {
		add = append(add, outbox.Record{Key: uint64(i), Payload: bytes.Repeat([]byte{byte('a' + i%26)}, 1000)})
	}
	if _, err := s.Write(add, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "outbox.db")
}

func TestDamage(t *testing.T) {
	overwrite := func(off int64, n int) func(*os.File) error {
		return func(f *os.File) error { _, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, n), off); return err }
	}
	for name, c := range map[string]struct {
		harm  func(*os.File) error
		saved int // at least
	}{
		"a page of rows":   {overwrite(20*4096, 4096), 390},
		"three pages":      {overwrite(50*4096, 3*4096), 200},
		"the root":         {overwrite(1*4096, 4096), 0},
		"the header":       {overwrite(0, 100), 0},
		"the first sector": {func(f *os.File) error { _, err := f.WriteAt(make([]byte, 512), 0); return err }, 0},
		"cut off":          {func(f *os.File) error { return f.Truncate(40*4096 + 17) }, 100},
		"no database":      {func(f *os.File) error { return errors.Join(f.Truncate(0), overwrite(0, 5000)(f)) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			path := filled(t, 400)
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err == nil {
				err = errors.Join(c.harm(f), f.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
			harmed, _ := os.ReadFile(path)

			var log bytes.Buffer
			var told []sqlitebox.Damage
			s, err := sqlitebox.Open(t.Context(), sqlitebox.Config{
				Path: path, Logger: slog.New(slog.NewTextHandler(&log, nil)), OnDamage: func(d sqlitebox.Damage) { told = append(told, d) },
			})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if len(told) != 1 || !strings.Contains(log.String(), "damaged") || !errors.Is(told[0].Cause, fairlead.ErrDamaged) {
				t.Fatalf("told %v, logged %q", told, &log)
			}
			if aside, err := os.ReadFile(told[0].Moved); err != nil || !bytes.Equal(aside, harmed) {
				t.Errorf("the damaged file is not kept as it was: %v", err)
			}
			n := 0
			last := -1
			err = s.Scan(t.Context(), 0, 1<<63-1, func(r outbox.Record) bool {
				want := bytes.Repeat([]byte{byte('a' + r.Key%26)}, 1000)
				if int(r.Key) <= last || !bytes.Equal(r.Payload, want) {
					t.Errorf("message %d came after %d with payload %.20q", r.Key, last, r.Payload)
				}
				last = int(r.Key)
				n++
				return true
			})
			if err != nil || n != told[0].Saved || n < c.saved {
				t.Errorf("found %d messages, %v; told %v, want at least %d", n, err, told[0], c.saved)
			}
			if _, err := s.Write([]outbox.Record{{Key: 1 << 40}}, nil); err != nil {
				t.Errorf("write into the new file: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			open(t, filepath.Dir(path)) // no damage any more
		})
	}
}

// TestRepairCutShort begins where a power cut has ended the repair.
func TestRepairCutShort(t *testing.T) {
	path := filled(t, 10)
	for _, step := range []func() error{
		func() error { return os.Rename(path, path+".saved") },                     // between the last two steps
		func() error { return os.WriteFile(path+".saved", []byte("half"), 0o600) }, // within the first
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
		s := open(t, filepath.Dir(path))
		n := 0
		if err := s.Scan(t.Context(), 0, 1<<63-1, func(outbox.Record) bool { n++; return true }); err != nil || n != 10 {
			t.Errorf("got %d messages, %v; want 10", n, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path + ".saved"); err == nil {
			t.Error("the copy is still there")
		}
	}
}
