package astarte

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/durable"
)

// PropertyFile configures [OpenPropertyFile]. Path is required; every other field works at zero.
type PropertyFile struct {
	// Path is the file. Folders that do not exist are made. Beside it there is a file that ends in .lock.
	Path string
	// Logger is told when the file was damaged. nil: discard.
	Logger *slog.Logger
}

// OpenPropertyFile opens a file that keeps properties, or makes one. It needs no database, so it works wherever Go does.
//
// One process can have it open at a time; to others the error wraps fairlead.ErrInUse. A damaged file is set aside under a name that ends in
// .damaged and a time, what could be read is kept, and the logger is told; nothing is deleted.
//
// The file is a log: each change is appended and synced, and the whole is written anew, into another file that then takes the place, when
// most of it is out of date.
func OpenPropertyFile(cfg PropertyFile) (PropertyStore, error) {
	if cfg.Path == "" {
		return nil, fmt.Errorf("open property file: %w: Path is empty", fairlead.ErrInvalid)
	}
	f := &propertyFile{path: cfg.Path, all: map[propertyKey]StoredProperty{}, log: cfg.Logger}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	if err := f.open(); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("open property file: %w", err)
	}
	return f, nil
}

type propertyFile struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex
	all    map[propertyKey]StoredProperty // what is in the file
	live   int64                          // how long the file would be without what is out of date
	size   int64
	file   *os.File // nil: it has to be written anew before anything is appended
	unlock func() error
	closed bool
}

const (
	propertyMagic = "fairlead properties 1\n"
	// maxRecord bounds one batch of changes, and so what is read before its checksum is known to be right.
	maxRecord = 64 << 20
	// compactFrom is the size below which nobody cares what is out of date.
	compactFrom = 64 << 10
	frameBytes  = 8 // length and checksum
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (f *propertyFile) open() error {
	if err := durable.MakeDir(filepath.Dir(f.path)); err != nil {
		return fmt.Errorf("%w: %w", fairlead.ErrStorage, err)
	}
	unlock, err := durable.Lock(f.path + ".lock")
	if err != nil {
		if errors.Is(err, fairlead.ErrInUse) {
			return err
		}
		return fmt.Errorf("%w: %w", fairlead.ErrStorage, err)
	}
	f.unlock = unlock
	b, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return f.rewrite()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", fairlead.ErrStorage, err)
	}
	good, torn, problem := readProperties(b, f.all)
	if problem != nil {
		aside := f.path + ".damaged-" + time.Now().UTC().Format("20060102T150405.000Z")
		if err := durable.Rename(f.path, aside); err != nil {
			return fmt.Errorf("%w: %w", fairlead.ErrStorage, err)
		}
		f.log.Error("property file was damaged, and is set aside", "file", f.path, "moved", aside, "saved", len(f.all), "err", problem)
		return f.rewrite()
	}
	f.size = int64(good)
	f.live = f.measure()
	if torn {
		return f.rewrite()
	}
	return f.reopen()
}

// readProperties reads records into all, and returns how far they are good. A last one that is not whole is what a power cut leaves: it
// was never acknowledged. Anything else that does not fit is damage.
func readProperties(b []byte, all map[propertyKey]StoredProperty) (good int, torn bool, problem error) {
	if len(b) < len(propertyMagic) && propertyMagic[:len(b)] == string(b) {
		return 0, true, nil
	}
	if !bytes.HasPrefix(b, []byte(propertyMagic)) {
		return 0, false, fmt.Errorf("%w: it does not begin like a property file", fairlead.ErrDamaged)
	}
	off := len(propertyMagic)
	for off < len(b) {
		rest := b[off:]
		if len(rest) < frameBytes {
			return off, true, nil
		}
		n := int64(binary.LittleEndian.Uint32(rest))
		if n > maxRecord || n > int64(len(rest)-frameBytes) {
			// A length that leads beyond the end is that of a torn record, or damage to the length of one that is followed by others. The
			// checksum of what would follow cannot be found then, so the benefit of doubt goes to the power cut only for what may be one
			// record.
			if n <= maxRecord {
				return off, true, nil
			}
			return off, allZero(rest), damagedUnlessZero(rest, off)
		}
		body := rest[frameBytes : frameBytes+n]
		if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(rest[4:]) {
			if allZero(rest[frameBytes+n:]) { // some file systems lengthen a file with zeros before the data is there
				return off, true, nil
			}
			return off, false, fmt.Errorf("%w: wrong checksum at offset %d", fairlead.ErrDamaged, off)
		}
		if n == 0 { // a checksum of nothing is zero, so this may be zeros where data should have come
			return off, allZero(rest), damagedUnlessZero(rest, off)
		}
		changes, err := decodeProperties(body)
		if err != nil {
			return off, false, fmt.Errorf("record at offset %d: %w", off, err)
		}
		apply(all, changes)
		off += frameBytes + int(n)
	}
	return off, false, nil
}

func allZero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

func damagedUnlessZero(b []byte, off int) error {
	if allZero(b) {
		return nil
	}
	return fmt.Errorf("%w: impossible record at offset %d", fairlead.ErrDamaged, off)
}

// Load implements PropertyStore.
func (f *propertyFile) Load(context.Context) ([]StoredProperty, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, fairlead.ErrClosed
	}
	return sorted(f.all), nil
}

// Write implements PropertyStore.
func (f *propertyFile) Write(_ context.Context, changes []StoredProperty) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return fairlead.ErrClosed
	}
	if len(changes) == 0 {
		return nil
	}
	record := appendRecord(nil, changes)
	if len(record) > maxRecord {
		return fmt.Errorf("%w: changes of %d bytes, at most %d are possible at once", fairlead.ErrTooLarge, len(record), maxRecord)
	}
	if f.file == nil { // an earlier write failed, and who knows what is in the file
		if err := f.rewrite(); err != nil {
			return err
		}
	}
	_, err := f.file.Write(record)
	if err == nil {
		err = f.file.Sync()
	}
	if err != nil {
		// What the file holds now is unknown; the change must not be found there later.
		f.file.Close()
		f.file = nil
		if e := f.rewrite(); e != nil {
			f.log.Warn("property file not rewritten after a failure, will try again", "file", f.path, "err", e)
		}
		return fmt.Errorf("%w: %w", fairlead.ErrStorage, err)
	}
	apply(f.all, changes)
	f.size += int64(len(record))
	if f.size > compactFrom && f.size > 4*f.live { // f.live is a guess of some changes ago
		if f.live = f.measure(); f.size > 2*f.live {
			if err := f.rewrite(); err != nil { // the change itself is safe
				f.log.Warn("property file not compacted", "file", f.path, "err", err)
				if f.file == nil {
					return f.reopen()
				}
			}
		}
	}
	return nil
}

func (f *propertyFile) measure() int64 {
	n := int64(len(propertyMagic))
	for _, p := range f.all {
		n += int64(len(p.Interface)+len(p.Path)+len(p.Payload)) + 24
	}
	return n
}

// rewrite puts a file in place that holds what is in memory.
func (f *propertyFile) rewrite() error {
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
	b := []byte(propertyMagic)
	for _, p := range sorted(f.all) {
		b = appendRecord(b, []StoredProperty{p})
	}
	if err := durable.WriteFile(f.path, b, 0o600); err != nil {
		return fmt.Errorf("%w: %w", fairlead.ErrStorage, err)
	}
	f.size = int64(len(b))
	f.live = f.size
	return f.reopen()
}

func (f *propertyFile) reopen() error {
	file, err := os.OpenFile(f.path, os.O_WRONLY, 0)
	if err == nil {
		_, err = file.Seek(f.size, io.SeekStart)
	}
	if err != nil {
		if file != nil {
			file.Close()
		}
		return fmt.Errorf("%w: %w", fairlead.ErrStorage, err)
	}
	f.file = file
	return nil
}

// Close implements PropertyStore.
func (f *propertyFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	if f.file != nil {
		f.file.Close() // everything is synced
	}
	if f.unlock != nil {
		if err := f.unlock(); err != nil {
			return fmt.Errorf("close property file: %w: %w", fairlead.ErrStorage, err)
		}
	}
	return nil
}

// Flags of a stored property.
const (
	flagServer byte = 1 << iota
	flagUnsent
	flagDeleted
)

// appendRecord appends a record: its length and CRC-32C, four bytes each in little endian, and for each change the flags, the major
// version, and interface, path and payload, with their lengths before them, all as unsigned varints.
func appendRecord(b []byte, changes []StoredProperty) []byte {
	start := len(b)
	b = append(b, make([]byte, frameBytes)...)
	for _, p := range changes {
		var flags byte
		if p.Ownership == ServerOwned {
			flags |= flagServer
		}
		if p.Unsent {
			flags |= flagUnsent
		}
		if p.Deleted {
			flags |= flagDeleted
		}
		b = append(b, flags)
		b = binary.AppendUvarint(b, uint64(p.Major))
		for _, field := range [][]byte{[]byte(p.Interface), []byte(p.Path), p.Payload} {
			b = binary.AppendUvarint(b, uint64(len(field)))
			b = append(b, field...)
		}
	}
	body := b[start+frameBytes:]
	binary.LittleEndian.PutUint32(b[start:], uint32(len(body)))
	binary.LittleEndian.PutUint32(b[start+4:], crc32.Checksum(body, castagnoli))
	return b
}

func decodeProperties(b []byte) ([]StoredProperty, error) {
	var changes []StoredProperty
	bad := fmt.Errorf("%w: impossible content", fairlead.ErrDamaged)
	for len(b) > 0 {
		flags := b[0]
		major, n := binary.Uvarint(b[1:])
		if n <= 0 || flags > flagServer|flagUnsent|flagDeleted || major > 1<<31-1 {
			return nil, bad
		}
		b = b[1+n:]
		var fields [3][]byte
		for i := range fields {
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)-n) {
				return nil, bad
			}
			fields[i] = b[n : n+int(size)]
			b = b[n+int(size):]
		}
		p := StoredProperty{
			Interface: string(fields[0]), Path: string(fields[1]), Payload: fields[2], Major: int(major), Ownership: DeviceOwned,
			Unsent: flags&flagUnsent != 0, Deleted: flags&flagDeleted != 0,
		}
		if flags&flagServer != 0 {
			p.Ownership = ServerOwned
		}
		changes = append(changes, p)
	}
	return changes, nil
}
