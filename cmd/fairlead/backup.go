package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-iot/fairlead/hub"
	"github.com/fairlead-iot/fairlead/internal/durable"
)

func backupCommand() *cobra.Command {
	var f adminFlags
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write everything that the hub keeps into one file, also while it runs",
		Long: `Writes a backup of the hub: its database, its certificate authority, its secrets. A running hub makes it while it goes
on; it takes a token of scope admin for all tenants. Of one that does not run the data folder is read.

The file is a tar archive and ends with checksums, which are verified before it gets its name. Whoever has it has the
hub's keys: it is readable by its owner only, and should be kept like them.`,
		Example: "  fairlead backup /backup/fairlead-$(date +%F).tar",
		Args:    exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := makeBackup(cmd, f, args[0]); err != nil {
				return fmt.Errorf("backup: %w", err)
			}
			return nil
		},
	}
	f.addTo(cmd)
	return cmd
}

// makeBackup gives the file its name only when all of it is there and on disk.
func makeBackup(cmd *cobra.Command, f adminFlags, name string) (err error) {
	if _, err := os.Lstat(name); err == nil {
		return fmt.Errorf("%s is there already", name)
	}
	part := name + ".part"
	file, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			file.Close()
			os.Remove(part)
		}
	}()
	if err := file.Chmod(0o600); err != nil { // one that was there
		return err
	}
	if err := f.backup(cmd, file); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	info, err := hub.CheckBackup(cmd.Context(), file)
	if err != nil {
		return err
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = durable.Rename(part, name)
	}
	if err != nil {
		return err
	}
	return f.print(cmd.OutOrStdout(), name, info, size)
}

// backup writes a backup of the hub that is meant, running or not.
func (f adminFlags) backup(cmd *cobra.Command, w io.Writer) error {
	client, err := f.client(cmd.Flags().Changed("data-dir"))
	if errors.Is(err, hub.ErrNotRunning) {
		return hub.Backup(cmd.Context(), f.dataDir, w)
	}
	if err != nil {
		return err
	}
	defer client.HTTP.CloseIdleConnections()
	err = client.Backup(cmd.Context(), w)
	if f.url == "" && err != nil && f.gone(cmd.Context()) {
		return hub.Backup(cmd.Context(), f.dataDir, w) // it was killed, and has left its address
	}
	return err
}

// gone reports whether the hub of the data folder does not answer although it has left an address. If it is only slow the
// lock of its folder tells.
func (f adminFlags) gone(ctx context.Context) bool {
	_, err := ask(ctx, f.dataDir, askTimeout)
	return err != nil && os.Getenv("FAIRLEAD_URL") == ""
}

func (f adminFlags) print(w io.Writer, name string, info hub.BackupInfo, size int64) error {
	if f.asJSON {
		return printJSON(w, map[string]any{"file": name, "bytes": size, "version": info.Version, "created": info.Created})
	}
	_, err := fmt.Fprintf(w, "%s: whole, of %s\n", name, info.Created.Format(time.RFC3339))
	return err
}

func restoreCommand() *cobra.Command {
	var dataDir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a data folder of a backup",
		Long: `Makes a data folder of a backup and verifies it: checksums, each row and index of the database, and that this program
can use it. The folder must be empty or not there. If anything is wrong nothing is left; if it is cut short, no hub starts
in what is there.

Devices go on with a restored hub as with the old one, if it has the old one's names and addresses. What was acknowledged after the
backup was made is not in it.`,
		Example: "  fairlead restore /backup/fairlead-2026-05-06.tar --data-dir /var/lib/fairlead",
		Args:    exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := os.Open(args[0])
			if err != nil {
				return fmt.Errorf("restore: %w", err)
			}
			defer file.Close()
			info, err := hub.Restore(cmd.Context(), file, dataDir)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), map[string]any{"data_dir": dataDir, "version": info.Version, "created": info.Created})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: restored and verified, as of %s\n", dataDir, info.Created.Format(time.RFC3339))
			return err
		},
	}
	dataDirFlag(cmd, &dataDir)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
