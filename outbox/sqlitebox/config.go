package sqlitebox

import (
	"fmt"
	"log/slog"
)

// Config configures [Open]. Path is required; every other field works at zero.
type Config struct {
	// Path is the file. It has to be the outbox's own: a file there that is no database counts as a damaged one, and is renamed.
	// Folders that do not exist are made.
	Path string
	// OnDamage is told, by Open, that the file was damaged.
	OnDamage func(Damage)
	// Logger is told likewise, as an error. nil: discard.
	Logger *slog.Logger
}

// Damage is what [Open] has found and done.
type Damage struct {
	Path  string // the file
	Moved string // where the damaged one is now
	Cause error  // what is wrong with it
	Saved int    // messages that were copied into the new file
}

// String returns it as a sentence.
func (d Damage) String() string {
	return fmt.Sprintf("%s was damaged (%v); %d messages were saved, and the damaged file is now %s", d.Path, d.Cause, d.Saved, d.Moved)
}
