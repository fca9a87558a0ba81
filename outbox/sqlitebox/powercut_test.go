//go:build !windows && !(mips || mipsle || mips64 || mips64le)

package sqlitebox

import (
	"path/filepath"
	"sync"
	"testing"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"

	"github.com/fairlead-iot/fairlead/outbox"
	"github.com/fairlead-iot/fairlead/outbox/outboxtest"
)

// recorder stands between SQLite and the system: a VFS that passes everything on to the usual one, and tells the disk.
var recorder struct {
	disk outboxtest.Disk

	mu     sync.Mutex
	paths  map[uintptr]string // by open file
	orig   *lib.Tsqlite3_vfs
	tables map[uintptr]*methods // by the usual VFS's table
	files  map[uintptr]*methods // by open file
}

type methods struct{ orig, ours *lib.Tsqlite3_io_methods }

// address returns a Go function in the form in which the translated C code calls one.
func address[T any](f T) uintptr { return *(*uintptr)(unsafe.Pointer(&struct{ f T }{f})) }

// function is the inverse of address.
func function[T any](p uintptr) T {
	return (*(*struct{ f T })(unsafe.Pointer(&struct{ p uintptr }{p}))).f
}

// at returns what an address of the C side points to.
func at[T any](p uintptr) *T { return *(**T)(unsafe.Pointer(&p)) }

// install makes the recorder the VFS that new connections use, until the test ends.
func install(t *testing.T) {
	tls := libc.NewTLS()
	usual := lib.Xsqlite3_vfs_find(tls, 0)
	size := libc.Tsize_t(unsafe.Sizeof(lib.Tsqlite3_vfs{}))
	p := libc.Xmalloc(tls, size)
	v := at[lib.Tsqlite3_vfs](p)
	*v = *at[lib.Tsqlite3_vfs](usual)
	recorder.orig = at[lib.Tsqlite3_vfs](usual)
	recorder.paths, recorder.tables, recorder.files = map[uintptr]string{}, map[uintptr]*methods{}, map[uintptr]*methods{}
	name, err := libc.CString("recorder")
	if err != nil {
		t.Fatal(err)
	}
	v.FzName, v.FpNext = name, 0
	v.FxOpen, v.FxDelete = address(recOpen), address(recDelete)
	if rc := lib.Xsqlite3_vfs_register(tls, p, 1); rc != lib.SQLITE_OK {
		t.Fatalf("register: %d", rc)
	}
	t.Cleanup(func() {
		lib.Xsqlite3_vfs_register(tls, usual, 1)
		lib.Xsqlite3_vfs_unregister(tls, p)
		tls.Close() // the memory stays: a connection may still know it
	})
}

func recOpen(tls *libc.TLS, vfs, name, f uintptr, flags int32, out uintptr) int32 {
	rc := function[func(*libc.TLS, uintptr, uintptr, uintptr, int32, uintptr) int32](recorder.orig.FxOpen)(tls, vfs, name, f, flags, out)
	head := at[lib.Tsqlite3_file](f)
	if rc != lib.SQLITE_OK || head.FpMethods == 0 || name == 0 {
		return rc
	}
	recorder.mu.Lock()
	defer recorder.mu.Unlock()
	m := recorder.tables[head.FpMethods]
	if m == nil {
		ours := libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(lib.Tsqlite3_io_methods{})))
		m = &methods{at[lib.Tsqlite3_io_methods](head.FpMethods), at[lib.Tsqlite3_io_methods](ours)}
		*m.ours = *m.orig
		m.ours.FxClose, m.ours.FxWrite = address(recClose), address(recWrite)
		m.ours.FxTruncate, m.ours.FxSync = address(recTruncate), address(recSync)
		recorder.tables[head.FpMethods] = m
	}
	recorder.paths[f], recorder.files[f] = libc.GoString(name), m
	head.FpMethods = uintptr(unsafe.Pointer(m.ours))
	return rc
}

func known(f uintptr) (string, *lib.Tsqlite3_io_methods) {
	recorder.mu.Lock()
	defer recorder.mu.Unlock()
	return recorder.paths[f], recorder.files[f].orig
}

func recClose(tls *libc.TLS, f uintptr) int32 {
	_, m := known(f)
	rc := function[func(*libc.TLS, uintptr) int32](m.FxClose)(tls, f)
	recorder.mu.Lock()
	defer recorder.mu.Unlock()
	delete(recorder.paths, f)
	delete(recorder.files, f)
	return rc
}

func recWrite(tls *libc.TLS, f, buf uintptr, n int32, off int64) int32 {
	path, m := known(f)
	rc := function[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](m.FxWrite)(tls, f, buf, n, off)
	if rc == lib.SQLITE_OK {
		recorder.disk.Write(path, off, unsafe.Slice(at[byte](buf), n))
	}
	return rc
}

func recTruncate(tls *libc.TLS, f uintptr, size int64) int32 {
	path, m := known(f)
	rc := function[func(*libc.TLS, uintptr, int64) int32](m.FxTruncate)(tls, f, size)
	if rc == lib.SQLITE_OK {
		recorder.disk.Truncate(path, size)
	}
	return rc
}

func recSync(tls *libc.TLS, f uintptr, flags int32) int32 {
	path, m := known(f)
	rc := function[func(*libc.TLS, uintptr, int32) int32](m.FxSync)(tls, f, flags)
	if rc == lib.SQLITE_OK {
		recorder.disk.Sync(path)
	}
	return rc
}

func recDelete(tls *libc.TLS, vfs, name uintptr, sync int32) int32 {
	rc := function[func(*libc.TLS, uintptr, uintptr, int32) int32](recorder.orig.FxDelete)(tls, vfs, name, sync)
	if rc == lib.SQLITE_OK {
		recorder.disk.Remove(libc.GoString(name))
	}
	return rc
}

// TestPowerCuts has a small log, so that it is emptied and begun anew all the time.
func TestPowerCuts(t *testing.T) {
	install(t)
	steps := 25
	if testing.Short() {
		steps = 10
	}
	outboxtest.PowerCuts(t, &recorder.disk, func(t testing.TB, dir string) outbox.Store {
		s, err := open(t.Context(), Config{Path: filepath.Join(dir, "outbox.db"), OnDamage: func(d Damage) { t.Errorf("damage: %v", d) }})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.w.exec("PRAGMA wal_autocheckpoint = 12"); err != nil {
			t.Fatal(err)
		}
		return s
	}, steps)
}
