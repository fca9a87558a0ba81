package sqlite

import (
	"fmt"
	"os"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// A flusher has the file system write to the disk what checkpoints have put into the database's file. SQLite syncs that
// file, too, before it lets go of the log: this takes nothing away from that, and only leaves it little to do.
//
// It goes in small steps, with pauses, because the disk does one thing after the other: 1,000 pages, here and there in the
// file, took one 10 ms, and a commit's sync that comes then takes as long instead of 0.2 ms.
type flusher struct {
	// f is the database's file, open for as long as any connection is: closing it drops SQLite's own locks.
	f *os.File
}

const (
	// A step is so much of the file, whatever of that is to be written; of a large file more, so that there are not too many.
	flushStep  = 256 << 10
	flushSteps = 4096
	// After a step comes a pause so many times as long as the step, when enough has come together to sleep. A step that took
	// very long says more about the machine than about the disk.
	flushPause   = 3
	flushNap     = 500 * time.Microsecond
	flushLongest = 10 * time.Millisecond
)

// run returns when all that was written to the file before is on disk. There are no pauses while hurry says so, nor any
// more when quit is closed.
func (f *flusher) run(hurry func() bool, quit <-chan struct{}) error {
	st, err := f.f.Stat()
	if err != nil {
		return fmt.Errorf("sqlite: %w: %w", core.ErrStorage, err)
	}
	step := max(flushStep, st.Size()/flushSteps)
	var owed time.Duration
	for at := int64(0); at < st.Size() && !hurry(); at += step {
		begun := time.Now()
		if !writeOut(f.f, at, step) {
			break
		}
		if owed += flushPause * time.Since(begun); owed < flushNap {
			continue
		}
		select {
		case <-time.After(min(owed, flushLongest)):
			owed = 0
		case <-quit:
			return nil
		}
	}
	if err := syncData(f.f); err != nil {
		return fmt.Errorf("sqlite: %w: sync %s: %w", core.ErrStorage, f.f.Name(), err)
	}
	return nil
}
