// Package sqlitebox keeps an outbox in a file: an SQLite database with a write-ahead log, synced at each commit. It
// needs no cgo.
//
//	store, err := sqlitebox.Open(ctx, sqlitebox.Config{Path: "/var/lib/pump/outbox.db"})
//	if err != nil {
//		return err
//	}
//	box, err := outbox.Open(ctx, outbox.Config{Store: store})
//
// # Files
//
// For a Path of outbox.db there are, while it is open, outbox.db, outbox.db-wal and outbox.db-shm, which belong together: who copies one
// has to copy all. outbox.db.lock keeps other processes away. All have mode 0600. Room of deleted messages is used again; the file does
// not become smaller.
//
// # Damage
//
// Open checks the whole file. If it is damaged it is not deleted but renamed, to outbox.db.damaged-20261121T143000Z, after all messages that
// can still be read were copied into a new file. That is logged and told to [Config.OnDamage]. If damage shows later, calls fail
// with fairlead.ErrDamaged, and the next Open does the same.
//
// Not everything can be noticed: the end of the log, the last few MiB written, is judged by its checksums, and what does not fit counts
// as not written, since that is also what a power cut leaves.
//
// # Full disks
//
// When the disk is full, Append fails with fairlead.ErrStorage, and Delete does, too, unless there is room within the files. Nothing that was
// accepted is lost, and all works again as soon as there is room; nothing needs to be opened anew. Leave room for the outbox's limit in bytes, half as
// much again, and 16 MiB.
//
// # Platforms
//
// The SQLite library exists for Linux (386, amd64, arm, arm64, loong64, ppc64le, riscv64, s390x), macOS, Windows, FreeBSD, and some of NetBSD and OpenBSD. For MIPS there
// is none: a program for it compiles, and Open fails with [errors.ErrUnsupported].
package sqlitebox
