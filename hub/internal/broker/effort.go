package broker

import (
	"sync/atomic"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// One transaction serves all, so nobody's may take long, and how long it takes depends less on the bytes of a packet than
// on what they cause: a message of ten bytes can go to ten thousand subscriptions. What a connection hands in is
// therefore charged with the work that it will make ([commit.Batch.Hold]): batches are then small where messages are
// expensive, and the bounds of what one connection may have in the queue, and of what one transaction takes, hold for the
// work too. The figures are bytes that take about as long to write.
const (
	chargeMessage      = 128 // one that is handed on
	chargeRetain       = 1 << 10
	chargeSubscription = 512
	chargeCopy         = 256
	// chargeUnknown is for a message to a topic of which it is not known how many it reaches.
	chargeUnknown = 32 << 10
	// cheap is how many copies cost nothing extra, and stepsPerCopy how many nodes of the tree of filters take as long to
	// look at as a copy takes to make.
	cheap        = 8
	stepsPerCopy = 16
)

// effort is what messages have cost lately: written by the committer's goroutine, read by those that read.
type effort struct{ n atomic.Int64 } // in copies, plus 1; 0: not known

// note takes in what one message has cost. It follows at once when messages become more expensive, and slowly when they
// become cheaper, so that expensive ones cannot hide among others.
func (e *effort) note(copies, steps int) {
	now := int64(copies+steps/stepsPerCopy) + 1
	if was := e.n.Load(); now < was {
		now = max(now, was-(was+63)/64)
	} else if now == was {
		return
	}
	e.n.Store(now)
}

// charge returns what a message costs besides its own bytes.
func (e *effort) charge() int { return int(max(e.n.Load()-1-cheap, 0)) * chargeCopy }

func (e *effort) known() bool { return e.n.Load() > 0 }

// chargeFor says what a message to a topic will cost.
func (c *conn) chargeFor(t *topicEntry) int {
	if t.effort.known() {
		return chargeMessage + t.effort.charge()
	}
	return max(chargeUnknown, c.audience.effort.charge())
}

// chargeFilters is what a SUBSCRIBE or UNSUBSCRIBE of n filters costs, in a packet of that size.
func chargeFilters(f mqtt.Frame, n int) int { return len(f.Body) + n*chargeSubscription }
