package outboxtest

import (
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A Disk records what a driver does to its files, so that [PowerCuts] can tell what would be left of them if the power had
// gone at any moment. Whoever stands between the driver and the system calls Write, Truncate, Sync and Remove, each after the system did it. Files
// of which nothing is recorded, such as locks and shared memory, are gone after a power cut.
//
// What a power cut leaves of writes that were not synced: any of their sectors of 512 bytes, in any combination. New lengths, new names and removals count as
// done at once and in order; this is what file systems with a journal do, and the one thing in which this disk is kinder than a real one can be.
type Disk struct {
	mu  sync.Mutex
	dir string // nothing is recorded outside
	ops []diskOp
}

type diskOp struct {
	kind opKind
	path string // within dir
	off  int64  // for opWrite; the new length for opTruncate
	data []byte
}

type opKind uint8

const (
	opWrite opKind = iota
	opTruncate
	opSync
	opRemove
)

// Write records that data was written at an offset.
func (d *Disk) Write(path string, off int64, data []byte) {
	d.record(diskOp{kind: opWrite, path: path, off: off, data: slices.Clone(data)})
}

// Truncate records a file's new length.
func (d *Disk) Truncate(path string, size int64) {
	d.record(diskOp{kind: opTruncate, path: path, off: size})
}

// Sync records that everything written to a file so far would survive.
func (d *Disk) Sync(path string) { d.record(diskOp{kind: opSync, path: path}) }

// Remove records that a file was removed.
func (d *Disk) Remove(path string) { d.record(diskOp{kind: opRemove, path: path}) }

func (d *Disk) record(op diskOp) {
	d.mu.Lock()
	defer d.mu.Unlock()
	path, ok := strings.CutPrefix(op.path, d.dir+string(filepath.Separator))
	if d.dir == "" || !ok {
		return
	}
	op.path = path
	d.ops = append(d.ops, op)
}

// watch begins to record what happens in dir, or ends it if dir is "".
func (d *Disk) watch(dir string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dir = dir
}

// now returns how much was recorded.
func (d *Disk) now() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.ops)
}

const sector = 512

// file is a file as the system sees it, and what of it is certain to survive.
type file struct {
	seen    []byte
	certain []byte
	dirty   map[int64]bool // sectors that differ
}

// image is the state of all files.
type image map[string]*file

func (m image) apply(op diskOp) {
	f := m[op.path]
	if f == nil {
		f = &file{dirty: map[int64]bool{}}
		m[op.path] = f
	}
	switch op.kind {
	case opWrite:
		end := op.off + int64(len(op.data))
		f.resize(max(int64(len(f.seen)), end))
		copy(f.seen[op.off:], op.data)
		for s := op.off / sector; s*sector < end; s++ {
			f.dirty[s] = true
		}
	case opTruncate:
		f.resize(op.off)
	case opSync:
		f.certain = slices.Clone(f.seen)
		clear(f.dirty)
	case opRemove:
		delete(m, op.path)
	}
}

// resize changes both lengths; what is new is zero.
func (f *file) resize(n int64) {
	for _, b := range []*[]byte{&f.seen, &f.certain} {
		if int64(len(*b)) > n {
			*b = (*b)[:n:n]
		}
		*b = append(*b, make([]byte, n-int64(len(*b)))...)
	}
	maps.DeleteFunc(f.dirty, func(s int64, _ bool) bool { return s*sector >= n })
}

// fate decides which sectors that were not synced survive.
type fate func(*rand.Rand) bool

// write puts what survives into a folder.
func (m image) write(t testing.TB, dir string, survives fate, rnd *rand.Rand) {
	t.Helper()
	for _, path := range slices.Sorted(maps.Keys(m)) {
		f := m[path]
		b := slices.Clone(f.certain)
		for _, s := range slices.Sorted(maps.Keys(f.dirty)) {
			if survives(rnd) {
				copy(b[s*sector:min((s+1)*sector, int64(len(b)))], f.seen[s*sector:])
			}
		}
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
