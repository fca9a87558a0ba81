package astarte

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/fairlead-iot/fairlead"
	"github.com/google/go-cmp/cmp"
)

func openProperties(t *testing.T, path string) PropertyStore {
	t.Helper()
	s, err := OpenPropertyFile(PropertyFile{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func load(t *testing.T, s PropertyStore) []StoredProperty {
	t.Helper()
	all, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func write(t *testing.T, s PropertyStore, changes ...StoredProperty) {
	t.Helper()
	if err := s.Write(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
}

func prop(name, path string, major int, payload string) StoredProperty {
	return StoredProperty{Interface: name, Path: path, Major: major, Ownership: DeviceOwned, Payload: []byte(payload)}
}

// TestPropertyStores checks what a driver promises.
func TestPropertyStores(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) PropertyStore{
		"file":   func(t *testing.T) PropertyStore { return openProperties(t, filepath.Join(t.TempDir(), "new", "p")) },
		"memory": func(*testing.T) PropertyStore { return NewPropertyMemory() },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			if got := load(t, s); len(got) != 0 {
				t.Errorf("got %v", got)
			}
			p := prop("a.A", "/x", 1, "one")
			write(t, s, p, prop("a.A", "/y", 1, ""))
			copy(p.Payload, "xxx") // not kept
			server := StoredProperty{Interface: "b.B", Path: "/x", Major: 3, Ownership: ServerOwned, Payload: []byte{0}, Unsent: true}
			write(t, s, prop("a.A", "/x", 2, "two"), server, StoredProperty{Interface: "a.A", Path: "/y", Deleted: true}, StoredProperty{Interface: "a.A", Path: "/z", Deleted: true})
			want := []StoredProperty{prop("a.A", "/x", 2, "two"), server}
			if diff := cmp.Diff(want, load(t, s)); diff != "" {
				t.Error(diff)
			}
			write(t, s)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if _, err := s.Load(t.Context()); !errors.Is(err, fairlead.ErrClosed) {
				t.Errorf("got %v", err)
			}
			if err := s.Write(t.Context(), nil); !errors.Is(err, fairlead.ErrClosed) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestPropertyFilePowerCut cuts the file at every byte: what was acknowledged before the last write is there, and the last write wholly
// or not at all.
func TestPropertyFilePowerCut(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "p")
	s := openProperties(t, path)
	write(t, s, prop("a.A", "/x", 1, "one"))
	before := load(t, s)
	size := stat(t, path)
	write(t, s, prop("a.A", "/x", 1, "two"), prop("a.A", "/y", 1, "three"))
	after := load(t, s)
	s.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := size; cut <= len(whole); cut++ {
		for _, tail := range []int{0, 16} { // a file system may have made the file longer than what was written
			cutPath := filepath.Join(dir, fmt.Sprint(cut, "-", tail))
			if err := os.WriteFile(cutPath, append(bytes.Clone(whole[:cut]), make([]byte, tail)...), 0o600); err != nil {
				t.Fatal(err)
			}
			s := openProperties(t, cutPath)
			want := before
			if cut == len(whole) {
				want = after
			}
			if diff := cmp.Diff(want, load(t, s)); diff != "" && !(tail > 0 && cut > size && cmp.Equal(after, load(t, s))) {
				t.Fatalf("cut at %d of %d, %d zeros: %s", cut, len(whole), tail, diff)
			}
			write(t, s, prop("a.A", "/z", 1, "more"))
			s.Close()
			if s = openProperties(t, cutPath); len(load(t, s)) != len(want)+1 && tail == 0 {
				t.Errorf("cut at %d: got %v", cut, load(t, s))
			}
			if aside, _ := filepath.Glob(cutPath + ".damaged-*"); len(aside) > 0 {
				t.Errorf("cut at %d, %d zeros: taken for damage", cut, tail)
			}
			s.Close()
		}
	}
}

func stat(t *testing.T, path string) int {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return int(fi.Size())
}

func TestPropertyFileDamage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "p")
	s := openProperties(t, path)
	write(t, s, prop("a.A", "/x", 1, "one"))
	write(t, s, prop("a.A", "/y", 1, "two"))
	write(t, s, prop("a.A", "/z", 1, "three"))
	s.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(whole, []byte("two"))
	whole[i] ^= 1
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	s = openProperties(t, path)
	if got := load(t, s); len(got) != 1 || string(got[0].Payload) != "one" {
		t.Errorf("got %v", got)
	}
	aside, _ := filepath.Glob(path + ".damaged-*")
	if len(aside) != 1 {
		t.Fatalf("got %v", aside)
	}
	if b, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(b, whole) {
		t.Errorf("the damaged file was changed: %v", err)
	}
	if _, err := OpenPropertyFile(PropertyFile{Path: path}); !errors.Is(err, fairlead.ErrInUse) {
		t.Errorf("got %v, want ErrInUse", err)
	}
	if _, err := OpenPropertyFile(PropertyFile{}); !errors.Is(err, fairlead.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if _, err := OpenPropertyFile(PropertyFile{Path: filepath.Join(path, "below", "a", "file")}); !errors.Is(err, fairlead.ErrStorage) {
		t.Errorf("got %v", err)
	}
}

// TestPropertyFileStaysSmall sets one property again and again.
func TestPropertyFileStaysSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p")
	s := openProperties(t, path)
	value := string(make([]byte, 2000))
	for i := range 200 {
		write(t, s, prop("a.A", "/x", i, value))
	}
	if size := stat(t, path); size > 2*compactFrom {
		t.Errorf("%d bytes", size)
	}
	s.Close()
	s = openProperties(t, path)
	if got := load(t, s); len(got) != 1 || got[0].Major != 199 {
		t.Errorf("got %d properties", len(got))
	}
}

func FuzzReadProperties(f *testing.F) {
	b := appendRecord([]byte(propertyMagic), []StoredProperty{prop("a.A", "/x", 1, "one"), {Interface: "b.B", Path: "/y", Ownership: ServerOwned, Deleted: true}})
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Add(append(b, make([]byte, 20)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		all := map[propertyKey]StoredProperty{}
		good, torn, problem := readProperties(b, all)
		if good > len(b) || torn && problem != nil {
			t.Errorf("got %d of %d, %v, %v", good, len(b), torn, problem)
		}
		if changes, err := decodeProperties(b); err == nil && len(changes) > 0 {
			again, err := decodeProperties(appendRecord(nil, changes)[frameBytes:])
			if diff := cmp.Diff(changes, again); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
		}
	})
}
