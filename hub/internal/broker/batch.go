package broker

import (
	"sync"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
)

// maxUnsettled bounds what one connection may have in the committer's queue, so that it cannot fill it alone.
const maxUnsettled = 2 << 20

// batchBytes is the size at which a batch is handed in although more packets are at hand.
const batchBytes = 64 << 10

// submit hands what was collected to the committer and waits while too much of this connection is queued there.
func (c *conn) submit() {
	if len(c.direct) > 0 {
		c.mu.Lock()
		failed := c.failed
		c.mu.Unlock()
		if failed == nil {
			c.send(c.direct)
		}
		c.direct = nil
	}
	b := c.batch
	if b == nil {
		return
	}
	c.batch = nil
	c.passOn(b)
	if !c.progress.empty() {
		p := c.progress
		c.progress = progress{}
		b.DoRepeatable(func(tx *commit.Tx) error { return c.b.record(tx, c, p) }, nil)
	}
	c.b.stats.MessagesIn.Add(c.messages)
	c.seen.messagesIn.Add(c.messages)
	c.messages = 0
	size := b.Size()
	c.mu.Lock()
	for c.unsettled > maxUnsettled && c.failed == nil {
		c.settled.Wait()
	}
	failed := c.failed
	c.unsettled += size
	c.mu.Unlock()
	if failed == nil {
		failed = c.b.cfg.Committer.Submit(b)
	}
	if failed != nil {
		c.settle(size)
		c.fail(failed)
	}
}

// Committed implements commit.Owner: the acknowledgements leave.
func (c *conn) Committed(b *commit.Batch, err error) {
	size := b.Size()
	if err == nil {
		c.finished.Add(int64(b.Acks)) // before the client can know
		if b.Alone {
			c.sendNow(b.Reply)
		} else {
			c.send(b.Reply)
		}
	} else {
		c.fail(err)
	}
	b.Owner = nil
	b.Reset()
	batches.Put(b)
	c.settle(size)
}

var batches = sync.Pool{New: func() any { return &commit.Batch{} }}

// collect returns the batch that the next packets go into.
func (c *conn) collect() *commit.Batch {
	if c.batch == nil {
		c.batch = batches.Get().(*commit.Batch)
		c.batch.Owner = c
	}
	return c.batch
}

func (c *conn) settle(size int) {
	c.mu.Lock()
	c.unsettled -= size
	c.mu.Unlock()
	c.settled.Signal()
}
