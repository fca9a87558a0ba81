package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// files collects what is read.
type files map[string]string

type file struct {
	bytes.Buffer
	into files
	name string
}

func (f *file) Close() error { f.into[f.name] = f.String(); return nil }

func (f files) create(name string) (io.WriteCloser, error) { return &file{into: f, name: name}, nil }

// folder makes a data folder and a copy of its database.
func folder(t testing.TB) (dir, database string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range map[string]string{
		"lock": "1", "hub.json": "{}", "admin-token": "secret", "x.123.tmp": "half", "ca/root.pem": "root", "ca/root.key": "key",
		"database/fairlead.db": "not this", "database/fairlead.db-wal": "nor this", "secrets/deep/er/key": strings.Repeat("k", 100_000), "copy": "db",
	} {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	database = filepath.Join(t.TempDir(), "copy")
	if err := os.Rename(filepath.Join(dir, "copy"), database); err != nil {
		t.Fatal(err)
	}
	return dir, database
}

func write(t testing.TB) []byte {
	t.Helper()
	dir, database := folder(t)
	var b bytes.Buffer
	if err := Write(t.Context(), &b, dir, database, Head{Version: "v1", Created: time.Unix(1e9, 0).UTC()}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWriteAndRead(t *testing.T) {
	got := files{}
	head, err := Read(t.Context(), bytes.NewReader(write(t)), got.create)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Head{Format: 1, Version: "v1", Created: time.Unix(1e9, 0).UTC()}, head); d != "" {
		t.Error(d)
	}
	want := files{
		"admin-token": "secret", "ca/root.pem": "root", "ca/root.key": "key", "database/fairlead.db": "db",
		"secrets/deep/er/key": strings.Repeat("k", 100_000),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestLinksAreNotFollowed(t *testing.T) {
	dir, database := folder(t)
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "link")); err != nil {
		t.Skip(err)
	}
	if err := Write(t.Context(), io.Discard, dir, database, Head{}); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

// TestDamage: wherever a backup ends or is changed, it is refused.
func TestDamage(t *testing.T) {
	whole := write(t)
	for n := 0; n < len(whole)-2*512; n += 511 {
		if _, err := Read(t.Context(), bytes.NewReader(whole[:n]), files{}.create); !errors.Is(err, core.ErrInvalid) {
			t.Fatalf("of %d of %d bytes: got %v", n, len(whole), err)
		}
	}
	entries := 0
	for r := tar.NewReader(bytes.NewReader(whole)); ; entries++ {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(whole, content)
		changed := bytes.Clone(whole)
		changed[at+len(content)/2] ^= 1
		if _, err := Read(t.Context(), bytes.NewReader(changed), files{}.create); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("with a changed bit in %s: got %v", h.Name, err)
		}
	}
	if entries != 7 {
		t.Errorf("%d entries", entries)
	}
}

// TestNames: a backup puts nothing where it does not belong.
func TestNames(t *testing.T) {
	for _, name := range []string{
		"../x", "/etc/passwd", "a/../../x", "./x", "a//b", "", ".", "lock", "hub.json", "restore-incomplete", "x.tmp", `..\x`,
		"database/fairlead.db-wal", "database/other", headName,
	} {
		var b bytes.Buffer
		a := archive{ctx: context.Background(), tar: tar.NewWriter(&b)}
		head := `{"format":1}`
		err := errors.Join(a.add(headName, strings.NewReader(head), int64(len(head))), a.add(name, strings.NewReader("x"), 1))
		sums := a.sums.String()
		err = errors.Join(err, a.add(sumsName, strings.NewReader(sums), int64(len(sums))), a.tar.Close())
		if err != nil {
			t.Fatal(err)
		}
		got := files{}
		if _, err := Read(t.Context(), &b, got.create); !errors.Is(err, core.ErrInvalid) || len(got) > 0 {
			t.Errorf("%q: got %v, %v", name, got, err)
		}
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	whole := write(t)
	cancel()
	if _, err := Read(ctx, bytes.NewReader(whole), files{}.create); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(write(f))
	f.Add([]byte("no backup"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := files{}
		if _, err := Read(t.Context(), bytes.NewReader(b), got.create); err != nil && !errors.Is(err, core.ErrInvalid) {
			t.Errorf("got %v", err)
		}
		for name := range got {
			if !filepath.IsLocal(name) {
				t.Errorf("it has made %q", name)
			}
		}
	})
}
