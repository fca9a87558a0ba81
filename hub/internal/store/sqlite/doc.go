// Package sqlite is the embedded storage driver: one SQLite database in one folder, without cgo.
//
// One connection writes, a bounded pool reads snapshots, and one more moves what has been written from the
// write-ahead log into the database while both go on (see wal.go). A commit is on disk when [Store.Update] returns.
//
// # Files
//
// The folder holds fairlead.db, its companions fairlead.db-wal and fairlead.db-shm while the hub runs or after it was
// killed, and fairlead.lock, which keeps a second hub out. All belong together: never copy single files of a running hub,
// but see backup.go.
//
// # When the disk refuses
//
// Any failure of the disk is core.ErrStorage. It ends the transaction whatever its function makes of the error, and
// nothing of it remains. The next transaction tries again, on a new connection if the old one could not be cleaned up,
// so that a hub whose disk was full goes on as soon as there is room.
package sqlite
