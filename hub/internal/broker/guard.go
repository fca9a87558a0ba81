package broker

import (
	"errors"
	"log/slog"
	"runtime/debug"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// errPanicked ends what has met a programmer's mistake, a dialect's for instance. What runs inside a transaction is
// guarded by the committer.
var errPanicked = errors.New("internal error")

// guarded runs f and turns a panic into an error, so that a mistake which one client's input brings to light costs the
// others nothing.
func guarded(log *slog.Logger, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("panic; the connection is ended", "panic", p, "stack", string(debug.Stack()))
			err = errPanicked
		}
	}()
	return f()
}

// guarded is the same for a connection. What was collected and not yet handed in is dropped, because the panic may have
// left it half done; none of it has been acknowledged.
func (c *conn) guarded(f func() error) error {
	err := guarded(c.log, f)
	if errors.Is(err, errPanicked) {
		c.batch, c.direct, c.forward, c.progress = nil, nil, nil, progress{}
	}
	return err
}

// disconnected tells the dialect that the connection ends. It ends whatever the dialect makes of that: only the disk can
// prevent it, for a while.
func (c *conn) disconnected(tx *commit.Tx, reason string) error {
	var refused error
	err := tx.Savepoint(func() error {
		refused = guarded(c.log, func() error { return c.link.Disconnected(tx, reason) })
		return refused
	})
	switch {
	case err == nil:
		return nil
	case refused == nil || errors.Is(err, core.ErrStorage):
		return err
	}
	c.log.Error("the dialect cannot note the end of a connection", "err", refused)
	return nil
}
