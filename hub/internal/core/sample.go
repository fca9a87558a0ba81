package core

import (
	"encoding/binary"
	"iter"
	"sync/atomic"
	"time"
)

// A Series is one channel of one device: the samples that belong together, in order. Whoever sends samples keeps the
// *Series, so that storage has to look its number up once only.
type Series struct {
	Device  DeviceNum
	Channel string // the dialect's, such as "org.example.Temps:1/room1/temp"

	num atomic.Int64 // storage's number, 0 until known; only storage uses it
}

// Num returns storage's number of the series; 0 until the first sample is stored.
func (s *Series) Num() int64 { return s.num.Load() }

// SetNum is called by storage drivers only: with 0 when the transaction that created the series was rolled back.
func (s *Series) SetNum(n int64) { s.num.Store(n) }

// A Sample is one value that a device sent.
type Sample struct {
	At       time.Time // the value's own time where the device gave one, else Received; microseconds
	Received time.Time // microseconds
	Value    Value
}

// BlockSpan bounds how far apart the times of a block's samples may be, so that a query by time knows how far
// outside its bounds a block may begin.
const BlockSpan = time.Hour

// A block is closed at these sizes, so that reading one sample never costs much.
const (
	blockSamples = 1024
	blockBytes   = 32 << 10
)

// A Block is a run of samples of one series, encoded: the unit in which samples are stored. Data holds for each sample
//
//	varint   At minus the At before it (the first one: minus 0), microseconds
//	varint   Received minus At, microseconds
//	uvarint  length of the value, then the value
//
// Samples are in the order of acceptance, which is not always that of At.
type Block struct {
	Series      *Series
	First, Last int64 // lowest and highest At, microseconds since 1970
	Count       int
	Data        []byte

	prev int64
}

// Fits reports whether a sample at this time (microseconds) may be added to the block.
func (b *Block) Fits(at int64) bool {
	if b.Count == 0 {
		return true
	}
	return b.Count < blockSamples && len(b.Data) < blockBytes &&
		max(b.Last, at)-min(b.First, at) <= BlockSpan.Microseconds()
}

// Add appends a sample. Times are microseconds since 1970. The value is copied.
func (b *Block) Add(at, received int64, value []byte) {
	if b.Count == 0 {
		b.First, b.Last = at, at
	}
	b.First, b.Last = min(b.First, at), max(b.Last, at)
	b.Data = binary.AppendVarint(b.Data, at-b.prev)
	b.Data = binary.AppendVarint(b.Data, received-at)
	b.Data = binary.AppendUvarint(b.Data, uint64(len(value)))
	b.Data = append(b.Data, value...)
	b.prev = at
	b.Count++
}

// Reset empties the block for reuse, keeping its memory.
func (b *Block) Reset() { *b = Block{Data: b.Data[:0]} }

// Samples yields the samples of an encoded block, in the order of acceptance; values alias data. It ends early at bytes
// that are no sample, and then yields false as the second value.
func Samples(data []byte) iter.Seq2[Sample, bool] {
	return func(yield func(Sample, bool) bool) {
		var at int64
		for len(data) > 0 {
			d, n := binary.Varint(data)
			if n <= 0 {
				yield(Sample{}, false)
				return
			}
			data = data[n:]
			lag, n := binary.Varint(data)
			if n <= 0 {
				yield(Sample{}, false)
				return
			}
			data = data[n:]
			size, n := binary.Uvarint(data)
			if n <= 0 || size > uint64(len(data)-n) {
				yield(Sample{}, false)
				return
			}
			v := data[n : n+int(size)]
			data = data[n+int(size):]
			at += d
			if !yield(Sample{At: time.UnixMicro(at).UTC(), Received: time.UnixMicro(at + lag).UTC(), Value: v}, true) {
				return
			}
		}
	}
}

// A Range selects samples of a series by At.
type Range struct {
	Since     time.Time // inclusive; zero: from the beginning
	To        time.Time // exclusive; zero: to the end
	Limit     int       // at most that many; 0: all
	Backwards bool      // newest first
}

// An Expiring is a series whose samples are kept for a limited time, counted from when they were received.
type Expiring struct {
	Series *Series
	Age    time.Duration
}
