package outbox

import "fmt"

// Policy decides what happens when a message comes for which there is no room, after messages that have expired
// were removed.
type Policy uint8

const (
	// Refuse makes Append fail with ErrFull: the producer decides.
	Refuse Policy = iota
	// DropOldest makes room: among the messages of the lowest priority the oldest is discarded, and so on. A
	// message of higher priority is never discarded for one of lower priority; rather Append fails with ErrFull.
	// A message that is discarded may have been sent already, and be waiting for its acknowledgement.
	DropOldest
	// DropNewest discards the message that has come: Append returns 0 and no error.
	DropNewest
)

func (p Policy) valid() bool { return p <= DropNewest }

// String returns the policy's name in words.
func (p Policy) String() string {
	switch p {
	case Refuse:
		return "refuse"
	case DropOldest:
		return "drop oldest"
	case DropNewest:
		return "drop newest"
	}
	return fmt.Sprintf("policy %d", uint8(p))
}

// A Drop is a message that left the outbox, or was not let in, without having been deleted by the program.
type Drop struct {
	Reason Reason
	Entry  Entry // ID is 0 for what was not let in
}

// Reason says why a message was dropped.
type Reason uint8

// Reasons.
const (
	Full    Reason = iota + 1 // refused, see [Refuse]; Append has returned ErrFull, too
	Oldest                    // made room for a newer one, see [DropOldest]
	Newest                    // did not find room, see [DropNewest]
	Expired                   // its own lifetime was over
	TooOld                    // older than Config.MaxAge
)

// String returns the reason in words.
func (r Reason) String() string {
	switch r {
	case Full:
		return "refused because the outbox is full"
	case Oldest:
		return "dropped to make room for a newer message"
	case Newest:
		return "dropped because the outbox is full"
	case Expired:
		return "lifetime over"
	case TooOld:
		return "older than the outbox keeps messages"
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// count adds a drop. It is called with the outbox's mu held.
func (s *Stats) count(r Reason) {
	switch r {
	case Full:
		s.Refused++
	case Oldest:
		s.DroppedOldest++
	case Newest:
		s.DroppedNewest++
	case Expired:
		s.Expired++
	case TooOld:
		s.TooOld++
	}
}
