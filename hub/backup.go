package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/api"
	"github.com/fairlead-iot/fairlead/hub/internal/backup"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/datadir"
	"github.com/fairlead-iot/fairlead/hub/internal/store/sqlite"
)

// A BackupInfo says what a backup is.
type BackupInfo struct {
	Version string    // of the program that made it
	Created time.Time // it has everything that was acknowledged before it was asked for, and some of what came until now
}

// Backup writes a backup of the hub in a data folder that no hub runs in. That of a running hub is made by
// [admin.Client.Backup]. Whoever has a backup has the hub's keys.
func Backup(ctx context.Context, dataDir string, w io.Writer) (err error) {
	if err := datadir.Prepared(dataDir); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	dir, err := datadir.Open(dataDir)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	file := filepath.Join(dir.Database(), "backup-offline.tmp")
	os.Remove(file) // of an earlier try
	if err := sqlite.Copy(ctx, dir.Database(), file); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer os.Remove(file)
	return backup.Write(ctx, w, dir.Path(), file, backup.Head{Version: Version(), Created: time.Now().UTC()})
}

// CheckBackup reads a backup to its end and checks that it is whole and unchanged.
func CheckBackup(ctx context.Context, r io.Reader) (BackupInfo, error) {
	head, err := backup.Read(ctx, r, func(string) (io.WriteCloser, error) { return nowhere{io.Discard}, nil })
	return BackupInfo{Version: head.Version, Created: head.Created}, err
}

type nowhere struct{ io.Writer }

func (nowhere) Close() error { return nil }

// Restore makes a data folder of a backup. The folder must be empty or not there. It returns nil only when the backup was
// whole, the database is whole and this program can use it, and all of it is on disk; otherwise nothing is left.
func Restore(ctx context.Context, r io.Reader, dataDir string) (info BackupInfo, err error) {
	err = datadir.Restore(dataDir, func(create func(string) (io.WriteCloser, error)) error {
		head, err := backup.Read(ctx, r, create)
		if err != nil {
			return err
		}
		info = BackupInfo{Version: head.Version, Created: head.Created}
		return sqlite.Verify(ctx, filepath.Join(dataDir, "database"))
	})
	return info, err
}

// copied is a backup of the running hub: its database has been copied, and the rest is read while it is sent.
type copied struct {
	ctx    context.Context
	parts  *parts
	file   string
	finish time.Time
}

// backup copies the database of the running hub.
func (h *Hub) backup(ctx context.Context, p *parts) (api.Backup, error) {
	st, ok := p.store.(*sqlite.Store)
	if !ok {
		return nil, fmt.Errorf("%w: this storage has means of its own for backups", core.ErrInvalid)
	}
	database, _, err := st.Size()
	if err != nil {
		return nil, err
	}
	if k := p.keeper.Status(); k.DiskSize > 0 && k.DiskFree < database+k.MinFree {
		return nil, fmt.Errorf("%w: a copy of the database takes %d MiB, and %d MiB of the disk are free, of which %d MiB stay free",
			core.ErrTooLarge, database>>20, k.DiskFree>>20, k.MinFree>>20)
	}
	file := st.CopyName()
	start := time.Now()
	if err := st.Backup(ctx, file); err != nil {
		return nil, err
	}
	h.cfg.Logger.Info("database copied for a backup", "bytes", database, "took", time.Since(start).Round(time.Millisecond))
	return &copied{ctx: ctx, parts: p, file: file, finish: time.Now().UTC()}, nil
}

// Send implements [api.Backup].
func (c *copied) Send(w io.Writer) error {
	return backup.Write(c.ctx, w, c.parts.dir.Path(), c.file, backup.Head{Version: Version(), Created: c.finish})
}

// Close implements [api.Backup].
func (c *copied) Close() error { return os.Remove(c.file) }
