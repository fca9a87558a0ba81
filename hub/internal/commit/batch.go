package commit

import (
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// An Owner hands in batches and learns what became of them.
type Owner interface {
	// Committed is called once for each batch, on the committer's goroutine and in the order of submission, after
	// everything in the batch is on disk (err nil), or none of it is (err core.ErrStorage, core.ErrStopping), or all
	// but operations that failed and were undone (err is the error of the first). Only now may an acknowledgement
	// leave. It must not block, and the batch is not to be used after it returns.
	Committed(b *Batch, err error)
}

// A Batch is what some packets of one connection ask for: samples and counts, which cannot fail, and operations with
// rules of their own. All of it is committed together or not at all, except that an operation of [Batch.Do] that
// refuses is undone alone. A batch is used by one goroutine at a time; while it is submitted that is the committer's.
type Batch struct {
	Owner Owner
	// Reply is what the owner will send once the batch is on disk: the acknowledgements of its packets.
	Reply []byte
	// Acks is a number for the owner's own use.
	Acks int

	// Alone is set when Committed is called: the transaction held nothing else, so nobody else waits for the caller.
	Alone bool

	blocks []core.Block
	counts []count
	ops    []op
	size   int

	maintains bool          // makes room, see Committer.Maintain
	patience  time.Duration // waits for others, see Committer.DoSoon
}

type count struct {
	device core.DeviceNum
	core.Count
}

type op struct {
	do         func(*Tx) error
	done       func(error)
	repeatable bool
}

// recent bounds the search for a block of the same series; a gateway with more channels than that in one batch gets
// some blocks more.
const recent = 16

// Sample adds a sample; times are microseconds since 1970, the value is copied.
func (b *Batch) Sample(s *core.Series, at, received int64, value []byte) {
	b.size += len(value) + 16
	for i := len(b.blocks) - 1; i >= 0 && i >= len(b.blocks)-recent; i-- {
		if k := &b.blocks[i]; k.Series == s {
			if k.Fits(at) {
				k.Add(at, received, value)
				return
			}
			break
		}
	}
	if n := len(b.blocks); n < cap(b.blocks) {
		b.blocks = b.blocks[:n+1]
		b.blocks[n].Reset() // keeps the memory of a former use
	} else {
		b.blocks = append(b.blocks, core.Block{})
	}
	k := &b.blocks[len(b.blocks)-1]
	k.Series = s
	k.Add(at, received, value)
}

// Count adds to a device's counters.
func (b *Batch) Count(n core.DeviceNum, scope string, messages, bytes int64) {
	for i := len(b.counts) - 1; i >= 0 && i >= len(b.counts)-recent; i-- {
		if c := &b.counts[i]; c.device == n && c.Scope == scope {
			c.Messages += messages
			c.Bytes += bytes
			return
		}
	}
	b.counts = append(b.counts, count{n, core.Count{Scope: scope, Messages: messages, Bytes: bytes}})
}

// Do adds an operation. It runs inside the transaction on the committer's goroutine, after the samples of the batch and
// in the order of the calls, so it must not block or do I/O of its own. When it returns an error everything it did is
// undone, and only that; so too when it panics, which is logged. done, which may be nil, is called on the same goroutine
// with that error, with nil after the commit, or with core.ErrStorage when nothing was committed.
func (b *Batch) Do(do func(*Tx) error, done func(error)) {
	b.add(op{do: do, done: done})
}

// DoRepeatable is Do for an operation that may run twice: what it changes in memory it takes back with [Tx.Undo], or does
// the second time as the first. A transaction that has only such operations goes without savepoints, which cost several
// times what a small operation writes, as long as none of them refuses. If one does, the transaction is undone and made
// again, with a savepoint for each.
func (b *Batch) DoRepeatable(do func(*Tx) error, done func(error)) {
	b.add(op{do: do, done: done, repeatable: true})
}

// Operations returns how many operations have been added.
func (b *Batch) Operations() int { return len(b.ops) }

// InsertRepeatable is [Batch.DoRepeatable] for an operation that comes before those from at on, which is what Operations was
// when they were not there yet.
func (b *Batch) InsertRepeatable(at int, do func(*Tx) error, done func(error)) {
	b.add(op{})
	copy(b.ops[at+1:], b.ops[at:])
	b.ops[at] = op{do: do, done: done, repeatable: true}
}

func (b *Batch) add(o op) {
	b.ops = append(b.ops, o)
	b.size += 256
}

// Hold counts memory that the operations of the batch keep, such as a payload: [Batch.Do] cannot see it, and what waits
// for the disk has to stay bounded.
func (b *Batch) Hold(bytes int) { b.size += bytes }

// weight is the size of the batch as far as the time for writing it goes: rows cost more than their bytes.
func (b *Batch) weight() int {
	const row, operation = 512, 2048
	return b.size + row*(len(b.blocks)+len(b.counts)) + operation*len(b.ops)
}

// Size estimates the memory that the batch holds, in bytes.
func (b *Batch) Size() int { return b.size + len(b.Reply) }

// Empty reports whether the batch changes nothing; a Reply may be in it.
func (b *Batch) Empty() bool { return len(b.blocks) == 0 && len(b.counts) == 0 && len(b.ops) == 0 }

// Reset empties the batch for reuse, its Owner too, keeping its memory unless that has grown large.
func (b *Batch) Reset() {
	const keep = 64 << 10
	held := cap(b.Reply) + 96*cap(b.blocks) + 48*cap(b.counts) + 16*cap(b.ops)
	for i := range b.blocks[:cap(b.blocks)] {
		k := &b.blocks[:cap(b.blocks)][i]
		k.Reset() // lets go of the series
		held += cap(k.Data)
	}
	if held > keep {
		*b = Batch{}
		return
	}
	clear(b.counts)
	clear(b.ops)
	*b = Batch{Reply: b.Reply[:0], blocks: b.blocks[:0], counts: b.counts[:0], ops: b.ops[:0]}
}
