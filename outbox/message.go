package outbox

import (
	"time"
)

// A Message is what a producer hands in.
type Message struct {
	// Header is for whoever sends the message: where it goes, what it is. The outbox does not look into it.
	// At most 65,535 bytes.
	Header []byte
	// Payload is what is sent. The outbox does not look into it either.
	Payload []byte
	// Priority decides what is sent first, and what [DropOldest] discards last. Zero is normal.
	Priority Priority
	// Lifetime is how long after its acceptance the message is worth sending; 0 means for ever. See [Config.MaxAge].
	Lifetime time.Duration
}

// Priority orders messages: higher ones are sent first, equal ones in the order of their acceptance.
type Priority int8

// Some priorities; any other number will do.
const (
	Low    Priority = -64
	Normal Priority = 0
	High   Priority = 64
)

// ID names a message in its outbox. No two messages that are in an outbox at the same time have the same one. An ID means something
// after a restart as long as its message is still there.
type ID uint64

// An Entry is a message in an outbox. Whoever receives it owns its slices.
type Entry struct {
	ID       ID
	Header   []byte
	Payload  []byte
	Priority Priority
	Accepted time.Time // UTC, by the device's clock at that time
	Expires  time.Time // UTC; the zero time: never
}

// Size is what the entry counts against [Config.MaxBytes].
func (e *Entry) Size() int64 { return int64(len(e.Header) + len(e.Payload)) }

const maxHeaderBytes = 1<<16 - 1

// entry copies a record, into one piece of memory.
func entry(r *Record) Entry {
	both := make([]byte, 0, len(r.Header)+len(r.Payload))
	both = append(append(both, r.Header...), r.Payload...)
	return Entry{
		ID:       ID(r.Key),
		Header:   both[:len(r.Header):len(r.Header)],
		Payload:  both[len(r.Header):],
		Priority: Priority(127 - rankOf(r.Key)),
		Accepted: r.Accepted,
		Expires:  r.Expires,
	}
}

// clockSet is before any time that a set clock shows. Boards without a battery start in 1970; what they accept before
// somebody tells them the time must not count as half a century old afterwards.
var clockSet = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// record makes what is stored of a message that is accepted now.
func record(m *Message, key uint64, now time.Time, maxAge time.Duration) Record {
	now = now.UTC().Truncate(time.Microsecond) // also drops the monotonic reading
	r := Record{Key: key, Accepted: now, Header: m.Header, Payload: m.Payload}
	life := m.Lifetime
	if maxAge > 0 && (life == 0 || life > maxAge) {
		life = maxAge
	}
	if life > 0 && !now.Before(clockSet) {
		r.Expires = now.Add(life).Truncate(time.Microsecond)
	}
	return r
}
