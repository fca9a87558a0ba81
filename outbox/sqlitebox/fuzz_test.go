//go:build !(mips || mipsle || mips64 || mips64le)

package sqlitebox_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/outbox"
	"github.com/fairlead-iot/fairlead/outbox/sqlitebox"
)

// FuzzOpen opens files with something written over them. Whatever they hold, Open must come to an end, with an outbox that works or an error
// of a known kind, and what was there must not be gone.
func FuzzOpen(f *testing.F) {
	sound, err := os.ReadFile(filled(f, 12))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(0, []byte("SQLite format 3"))
	f.Add(18, []byte{9, 9})
	f.Add(100, []byte{0x0d, 0xff, 0xff, 0xff})
	f.Add(4096, make([]byte, 16))
	f.Add(2*4096, bytes.Repeat([]byte{0xff}, 64))
	f.Add(len(sound)-4096, []byte{0x0a, 0, 0, 0, 9})
	f.Fuzz(func(t *testing.T, off int, patch []byte) {
		harmed := bytes.Clone(sound)
		copy(harmed[max(0, min(off, len(harmed))):], patch)
		path := filepath.Join(t.TempDir(), "outbox.db")
		if err := os.WriteFile(path, harmed, 0o600); err != nil {
			t.Fatal(err)
		}
		aside := ""
		s, err := sqlitebox.Open(t.Context(), sqlitebox.Config{Path: path, OnDamage: func(d sqlitebox.Damage) { aside = d.Moved }})
		if err != nil {
			if !errors.Is(err, fairlead.ErrConflict) && !errors.Is(err, fairlead.ErrStorage) {
				t.Errorf("got %v, want ErrConflict or ErrStorage", err)
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("refused, and gone: %v", err)
			}
			return
		}
		defer s.Close()
		if aside != "" {
			if _, err := os.Stat(aside); err != nil {
				t.Errorf("set aside, and gone: %v", err)
			}
		}
		o, err := outbox.Open(t.Context(), outbox.Config{Store: s})
		if err != nil {
			if !errors.Is(err, fairlead.ErrDamaged) {
				t.Errorf("open outbox: %v", err)
			}
			return
		}
		defer o.Close()
		if _, err := o.Append(t.Context(), outbox.Message{Payload: []byte("x")}); err != nil && !errors.Is(err, fairlead.ErrDamaged) {
			t.Errorf("append: %v", err)
		}
		if _, err := o.Reader().Poll(t.Context(), 1000); err != nil && !errors.Is(err, fairlead.ErrDamaged) {
			t.Errorf("read: %v", err)
		}
	})
}
