package outbox

import (
	"context"
	"time"
)

// Store is what a storage driver implements; programs use [Outbox]. It is a map of records that is read in the order of
// their keys, and it knows nothing of limits, priorities or sending. Package outboxtest checks that a driver keeps
// this contract.
//
// Write is called by one goroutine at a time; Scan, Expiring and Close may be called at any time by any.
// Errors wrap one of the kinds of package fairlead: ErrStorage, ErrDamaged or ErrClosed.
type Store interface {
	// Write adds and removes records, all or nothing, and returns when the change would survive a power cut. Keys to add
	// are new and larger than any that Write has added with the same upper 9 bits. Keys to remove that are not there are skipped;
	// what was removed is returned in any order. Write must not keep slices of the records.
	//
	// After an error nothing has changed, also for those who read.
	Write(add []Record, remove []uint64) (removed []Removed, err error)

	// Scan calls fn with each record whose key is in [from, to), in the order of keys, until fn returns false. It sees what
	// Write had finished when Scan was called, and perhaps later changes. The record's slices are valid until fn returns; fn must not call the
	// store. Scan does not keep Write waiting for longer than a few calls of fn take.
	Scan(ctx context.Context, from, to uint64, fn func(Record) bool) error

	// Expiring is like Scan for the records that expire at some time, those that expire first at first.
	Expiring(ctx context.Context, fn func(Record) bool) error

	// Close ends running calls, or waits for them, and frees everything. Calls after it fail with ErrClosed, except for Close,
	// which returns nil.
	Close() error
}

// A Record is a message as drivers see it.
type Record struct {
	Key      uint64    // at most 1<<63 - 1
	Accepted time.Time // in whole microseconds
	Expires  time.Time // in whole microseconds; the zero time: never
	Header   []byte    // empty and nil are the same
	Payload  []byte    // likewise
}

// Size is what the record counts against limits in bytes.
func (r *Record) Size() int64 { return int64(len(r.Header) + len(r.Payload)) }

// Removed is a record that Write has removed.
type Removed struct {
	Key  uint64
	Size int64 // its [Record.Size]
}

// A key orders records as they are to be sent: the higher priority first, then the earlier accepted.
//
//	bit 63     0, so that keys fit into signed integers
//	bits 62-55 the rank: 127 minus the priority
//	bits 54-0  the number of the message, counting up
const (
	rankShift = 55
	ranks     = 256
	maxNumber = 1<<rankShift - 1
	maxKey    = 1<<63 - 1
)

func key(rank int, number uint64) uint64 { return uint64(rank)<<rankShift | number }

func rankOf(key uint64) int { return int(key>>rankShift) & (ranks - 1) }

func rank(p Priority) int { return 127 - int(p) }
