package awsiot

import (
	"sync"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
)

// cached keeps what is read from storage and asked for often, until a transaction changes it. Its zero value is empty.
type cached[T any] struct {
	mu      sync.Mutex
	open    int // transactions that change it, and are not over
	changes int // counts their beginnings and ends
	known   bool
	value   T
}

// get returns the value, which read reads from a snapshot of its own if it is not known. It is shared: nobody changes it.
func (c *cached[T]) get(read func() (T, error)) (T, error) {
	c.mu.Lock()
	value, known, before := c.value, c.known, c.changes
	c.mu.Unlock()
	if known {
		return value, nil
	}
	value, err := read()
	if err != nil {
		return value, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes == before && c.open == 0 {
		c.value, c.known = value, true
	}
	return value, nil
}

// changing has it read anew: each time until the transaction is over, so that who then hears that it is on disk never meets
// what was before.
func (c *cached[T]) changing(tx *commit.Tx) {
	c.change(1)
	tx.After(func() { c.change(-1) })
	tx.Undo(func() { c.change(-1) })
}

func (c *cached[T]) change(open int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var none T
	c.open += open
	c.changes++
	c.value, c.known = none, false
}
