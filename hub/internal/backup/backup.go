// Package backup knows the form of a backup: a tar archive of a hub's data folder, which ends with the checksums of what
// is in it.
//
//	fairlead-backup.json   what this is; the first entry
//	database/fairlead.db   the database, of the moment when it was copied
//	admin-token ca/ ...    everything else in the folder
//	SHA256SUMS             in the form of sha256sum; the last entry
//
// The database is copied before the rest is read, so every key that it refers to is there. Whoever has a backup has the
// hub's keys.
package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// Names of entries.
const (
	headName     = "fairlead-backup.json"
	sumsName     = "SHA256SUMS"
	databaseDir  = "database"
	databaseName = databaseDir + "/fairlead.db"
)

// format is the version of the form.
const format = 1

// A Head says what a backup is.
type Head struct {
	Format  int       `json:"format"`
	Version string    `json:"version"` // of the program that made it
	Created time.Time `json:"created"` // when the copy of the database was done
}

// Write writes a backup of the data folder dir, with the file database as its database. What belongs to the running
// process is left out.
func Write(ctx context.Context, w io.Writer, dir, database string, head Head) error {
	head.Format = format
	text, err := json.MarshalIndent(head, "", "  ")
	if err != nil {
		return err
	}
	a := archive{ctx: ctx, tar: tar.NewWriter(w), at: head.Created}
	if err := a.add(headName, bytes.NewReader(text), int64(len(text))); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if err := a.file(databaseName, func() (*os.File, error) { return os.Open(database) }); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if err := a.folder(dir); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	sums := a.sums.Bytes()
	if err := a.add(sumsName, bytes.NewReader(sums), int64(len(sums))); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if err := a.tar.Close(); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return nil
}

// archive is a backup that is being written.
type archive struct {
	ctx  context.Context
	tar  *tar.Writer
	at   time.Time
	sums bytes.Buffer
}

// folder adds the files of the data folder. No link in it is followed out of it.
func (a *archive) folder(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == databaseDir:
			return fs.SkipDir
		case e.IsDir() || ours(name):
			return nil
		case !e.Type().IsRegular():
			return fmt.Errorf("%w: %s is no regular file; put in its place what it leads to", core.ErrInvalid, filepath.Join(dir, name))
		}
		err = a.file(name, func() (*os.File, error) { return root.Open(name) })
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		return err
	})
}

// ours reports whether a file belongs to a running process, or is half of one.
func ours(name string) bool {
	return name == "lock" || name == "hub.json" || name == "restore-incomplete" || strings.HasSuffix(name, ".tmp")
}

func (a *archive) file(name string, open func() (*os.File, error)) error {
	f, err := open()
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	return a.add(name, f, st.Size())
}

func (a *archive) add(name string, r io.Reader, size int64) error {
	if err := a.ctx.Err(); err != nil {
		return err
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: a.at.Truncate(time.Second), Format: tar.FormatPAX}
	if err := a.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	sum := sha256.New()
	if n, err := io.Copy(io.MultiWriter(a.tar, sum), io.LimitReader(r, size)); err != nil || n < size {
		return fmt.Errorf("%s: %d of %d bytes: %w", name, n, size, errors.Join(err, a.ctx.Err()))
	}
	fmt.Fprintf(&a.sums, "%s  %s\n", hex.EncodeToString(sum.Sum(nil)), name)
	return nil
}

// Bounds of what is read, beside the files themselves.
const (
	maxHeadBytes = 64 << 10
	maxSumsBytes = 16 << 20
	maxEntries   = 100_000
)

// Read reads a backup to its end and checks it: that it is one, whole, and unchanged. create is called for each file of
// the data folder, with its name in slashes; what it returns gets the content and is closed. A backup that is not
// good, or of a form that this program does not know, is core.ErrInvalid.
func Read(ctx context.Context, r io.Reader, create func(name string) (io.WriteCloser, error)) (Head, error) {
	in := reader{ctx: ctx, tar: tar.NewReader(r), sums: map[string]string{}}
	if err := in.head(); err != nil {
		return Head{}, fmt.Errorf("read backup: %w", err)
	}
	for {
		done, err := in.entry(create)
		if err != nil {
			return Head{}, fmt.Errorf("read backup: %w", err)
		}
		if done {
			break
		}
	}
	if _, err := in.tar.Next(); !errors.Is(err, io.EOF) {
		return Head{}, fmt.Errorf("read backup: %w: there is more behind %s (%v)", core.ErrInvalid, sumsName, err)
	}
	if in.sums[databaseName] == "" {
		return Head{}, fmt.Errorf("read backup: %w: there is no %s in it", core.ErrInvalid, databaseName)
	}
	return in.first, nil
}

// reader is a backup that is being read.
type reader struct {
	ctx   context.Context
	tar   *tar.Reader
	first Head
	sums  map[string]string // of the entries before, by name
}

// next returns the next entry.
func (in *reader) next() (*tar.Header, error) {
	if err := in.ctx.Err(); err != nil {
		return nil, err
	}
	h, err := in.tar.Next()
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("%w: it ends early: there is no %s in it", core.ErrInvalid, sumsName)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", core.ErrInvalid, err)
	case h.Typeflag != tar.TypeReg || h.Size < 0:
		return nil, fmt.Errorf("%w: %.200q is no plain file", core.ErrInvalid, h.Name)
	case len(in.sums) > maxEntries:
		return nil, fmt.Errorf("%w: there are more than %d files in it", core.ErrInvalid, maxEntries)
	}
	return h, nil
}

// small reads an entry that has to be short.
func (in *reader) small(h *tar.Header, most int64) ([]byte, error) {
	if h.Size > most {
		return nil, fmt.Errorf("%w: %s has %d bytes", core.ErrInvalid, h.Name, h.Size)
	}
	var b bytes.Buffer
	_, err := in.copy(&b, nil)
	return b.Bytes(), err
}

// copy copies an entry, into sum too unless that is nil.
func (in *reader) copy(w io.Writer, sum hash.Hash) (int64, error) {
	if sum != nil {
		w = io.MultiWriter(sum, w)
	}
	n, err := io.Copy(w, in.tar)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: it ends early", core.ErrInvalid)
	}
	return n, err
}

func (in *reader) head() error {
	h, err := in.next()
	if err != nil {
		return err
	}
	if h.Name != headName {
		return fmt.Errorf("%w: it is no backup of a hub: it begins with %.200q", core.ErrInvalid, h.Name)
	}
	text, err := in.small(h, maxHeadBytes)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &in.first); err != nil {
		return fmt.Errorf("%w: %s: %v", core.ErrInvalid, headName, err)
	}
	if in.first.Format != format {
		return fmt.Errorf("%w: it has format %d, and this program knows %d: it was made by Fairlead %.50q", core.ErrInvalid, in.first.Format, format, in.first.Version)
	}
	sum := sha256.Sum256(text)
	in.sums[headName] = hex.EncodeToString(sum[:])
	return nil
}

// entry reads a file, or the checksums, which are the last.
func (in *reader) entry(create func(name string) (io.WriteCloser, error)) (done bool, err error) {
	h, err := in.next()
	if err != nil {
		return false, err
	}
	if h.Name == sumsName {
		text, err := in.small(h, maxSumsBytes)
		if err != nil {
			return false, err
		}
		return true, in.check(string(text))
	}
	if !plain(h.Name) || in.sums[h.Name] != "" {
		return false, fmt.Errorf("%w: it has a file %.200q", core.ErrInvalid, h.Name)
	}
	w, err := create(h.Name)
	if err != nil {
		return false, fmt.Errorf("%s: %w", h.Name, err)
	}
	sum := sha256.New()
	_, err = in.copy(w, sum)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", h.Name, err)
	}
	in.sums[h.Name] = hex.EncodeToString(sum.Sum(nil))
	return false, nil
}

// plain reports whether a name may be in a data folder that is restored.
func plain(name string) bool {
	return filepath.IsLocal(filepath.FromSlash(name)) && path.Clean(name) == name && name != "." && !strings.Contains(name, `\`) &&
		!ours(name) && name != headName && (path.Dir(name) != databaseDir || name == databaseName)
}

// check compares the checksums with what was read.
func (in *reader) check(text string) error {
	var want []string
	for name, sum := range in.sums {
		want = append(want, sum+"  "+name)
	}
	got := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	slices.Sort(got)
	slices.Sort(want)
	if slices.Equal(got, want) {
		return nil
	}
	for _, line := range want {
		if _, found := slices.BinarySearch(got, line); !found {
			return fmt.Errorf("%w: it was changed or damaged: the checksum of %.200q is another one", core.ErrInvalid, line[2*sha256.Size+2:])
		}
	}
	return fmt.Errorf("%w: it was changed or damaged: files are missing", core.ErrInvalid)
}
