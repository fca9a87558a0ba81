package outbox

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead"
)

// Config configures [Open]. Store is required; every other field works at zero.
type Config struct {
	// Store keeps the messages: [NewMemory], or one from package sqlitebox. The outbox takes it over and closes it.
	Store Store
	// MaxMessages bounds the number of messages. 0: 100,000.
	MaxMessages int
	// MaxBytes bounds the sum of their headers and payloads. 0: 64 MiB. A file may take half as much again, and some
	// MiB more.
	MaxBytes int64
	// MaxAge is how long a message is worth sending, whatever its own lifetime says. 0: for ever. It counts for messages accepted from now on.
	MaxAge time.Duration
	// Policy decides what happens to a message for which there is no room. The zero value is [Refuse].
	Policy Policy
	// OnDrop is told of each message that leaves, or is not let in, without having been deleted by the program. It is called by
	// the goroutine of some call to the outbox, one call at a time, in order, and after the
	// fact; it may use the outbox, and should be quick.
	OnDrop func(Drop)
}

// An Outbox is a durable queue of messages. Its methods may be called from any goroutine.
type Outbox struct {
	cfg Config

	// The leader's, like the store's Write:
	number  uint64    // of the last message
	soonest time.Time // nothing expires before this; the zero time: nothing does

	mu        sync.Mutex
	pending   []*request    // waiting for a commit
	leading   bool          // somebody commits
	before    int           // requests in the last batch
	idle      chan struct{} // closed when nobody does; nil if nobody waits for that
	closed    bool
	added     chan struct{} // closed when messages were added, or the outbox; nil if nobody waits for that
	removed   chan struct{} // closed when messages were removed, or the outbox was closed; nil if nobody waits for that
	use       [ranks]usage
	stats     Stats
	drops     []Drop // to be reported
	reporting bool   // somebody does
}

// usage is what is stored of one rank.
type usage struct {
	messages int
	bytes    int64
	last     uint64 // key of the last message that was accepted
}

// Stats says what is in an outbox, and what has happened since it was opened.
type Stats struct {
	Messages int   // stored now, those that have expired unnoticed included
	Bytes    int64 // their headers and payloads

	Accepted      uint64 // by Append
	Deleted       uint64 // by Delete
	Refused       uint64 // see [Refuse]
	DroppedOldest uint64 // see [DropOldest]
	DroppedNewest uint64 // see [DropNewest]
	Expired       uint64 // their lifetime was over
	TooOld        uint64 // older than Config.MaxAge
}

// Open makes an outbox of a driver, and counts what is there. After an error the driver is closed.
func Open(ctx context.Context, cfg Config) (*Outbox, error) {
	if cfg.Store == nil {
		return nil, fmt.Errorf("open outbox: %w: Config.Store is nil", fairlead.ErrInvalid)
	}
	o := &Outbox{cfg: cfg}
	if err := o.open(ctx); err != nil {
		_ = cfg.Store.Close() // it failed already, or never did anything
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	return o, nil
}

func (o *Outbox) open(ctx context.Context) error {
	c := &o.cfg
	if c.MaxMessages == 0 {
		c.MaxMessages = 100_000
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 64 << 20
	}
	if c.MaxMessages < 0 || c.MaxBytes < 0 || c.MaxAge < 0 {
		return fmt.Errorf("%w: a limit is negative: MaxMessages %d, MaxBytes %d, MaxAge %v", fairlead.ErrInvalid, c.MaxMessages, c.MaxBytes, c.MaxAge)
	}
	if !c.Policy.valid() {
		return fmt.Errorf("%w: unknown policy %d", fairlead.ErrInvalid, c.Policy)
	}
	return c.Store.Scan(ctx, 0, maxKey, func(r Record) bool {
		u := &o.use[rankOf(r.Key)]
		u.messages++
		u.bytes += r.Size()
		u.last = r.Key
		o.number = max(o.number, r.Key&maxNumber)
		o.expires(r.Expires)
		o.stats.Messages++
		o.stats.Bytes += r.Size()
		return true
	})
}

// Append stores a message and returns its ID when it would survive a power cut. Messages of one goroutine, and those
// whose Append began after another's had returned, are sent in that order, as far as their priorities are equal.
//
// The outbox does not keep the slices of m. What happens when there is no room is the policy's matter: with [DropNewest] Append may
// return 0 and no error. After an error nothing was stored. The kinds are ErrFull, ErrTooLarge, ErrInvalid, ErrStorage, ErrDamaged and ErrClosed.
// When ctx ends while the message is being written, Append still waits for the outcome.
func (o *Outbox) Append(ctx context.Context, m Message) (ID, error) {
	if err := o.check(&m); err != nil {
		return 0, fmt.Errorf("append to outbox: %w", err)
	}
	r := request{message: &m}
	if err := o.submit(ctx, &r); err != nil {
		return 0, fmt.Errorf("append to outbox: %w", err)
	}
	return r.id, nil
}

func (o *Outbox) check(m *Message) error {
	size := int64(len(m.Header) + len(m.Payload))
	switch {
	case m.Lifetime < 0:
		return fmt.Errorf("%w: lifetime %v is negative", fairlead.ErrInvalid, m.Lifetime)
	case len(m.Header) > maxHeaderBytes:
		return fmt.Errorf("%w: header has %d bytes, at most %d are possible", fairlead.ErrTooLarge, len(m.Header), maxHeaderBytes)
	case size > o.cfg.MaxBytes:
		return fmt.Errorf("%w: message has %d bytes, the whole outbox may have %d", fairlead.ErrTooLarge, size, o.cfg.MaxBytes)
	}
	return nil
}

// Delete removes messages, and returns when they would not come back after a power cut. Call it for messages that have arrived where
// they should. IDs that are not there are skipped: the message may have been dropped or expired meanwhile.
// Many at once are cheaper than one by one.
func (o *Outbox) Delete(ctx context.Context, ids ...ID) error {
	for len(ids) > 0 {
		n := min(len(ids), maxBatch)
		keys := make([]uint64, n)
		for i, id := range ids[:n] {
			keys[i] = min(uint64(id), maxKey)
		}
		if err := o.submit(ctx, &request{remove: keys}); err != nil {
			return fmt.Errorf("delete from outbox: %w", err)
		}
		ids = ids[n:]
	}
	return nil
}

// Stats returns what is in the outbox, and what has happened since it was opened.
func (o *Outbox) Stats() Stats {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stats
}

// Close waits until what was handed in is stored, and closes the store. Calls after it, and readers that wait, get ErrClosed.
// Only the first call does something; others return nil, perhaps earlier.
func (o *Outbox) Close() error {
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return nil
	}
	o.closed = true
	o.wakeReaders()
	o.wakeDrained()
	if o.leading {
		o.idle = make(chan struct{})
		o.mu.Unlock()
		<-o.idle
	} else {
		o.mu.Unlock()
	}
	if err := o.cfg.Store.Close(); err != nil {
		return fmt.Errorf("close outbox: %w", err)
	}
	return nil
}

// wakeReaders is called with mu held.
func (o *Outbox) wakeReaders() {
	if o.added != nil {
		close(o.added)
		o.added = nil
	}
}
