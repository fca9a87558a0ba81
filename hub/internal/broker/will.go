package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
)

// A will is stored from CONNECT until it is published or its client has said goodbye. It belongs to the committer's
// goroutine. A will that is due at the end of the connection is published by the connection, which has the dialect's
// Link; any other one by Run: those with a delay, and those of connections that were there when the hub was killed.
//
// An orderly stop of the hub is an end of the connection like others: wills without a delay are published, those with one
// are kept, and come after the next start unless their client is back in time.
type will struct {
	core.Will
	due appointment
}

func newWill(w core.Will) *will {
	x := &will{Will: w}
	x.due.w = x
	return x
}

// keepWill stores the will of a connection.
func (b *Broker) keepWill(tx *commit.Tx, c *conn) error {
	c.kept = nil
	if c.will == nil {
		return nil
	}
	w := newWill(core.Will{
		Session: c.grant.Session, Device: c.grant.Device, Delay: time.Duration(c.will.Delay) * time.Second, Lasts: core.Forever,
		Message: core.Message{
			Topic: c.will.Topic, Payload: c.will.Payload, QoS: c.will.QoS, Retain: c.will.Retain && c.grant.Retain,
			Properties: c.will.Properties.Append(nil),
		},
	})
	if e := c.will.MessageExpiry; e.Present {
		w.Lasts = expiryOf(c.grant.Profile.MessageExpiry(e.Value))
	}
	if err := tx.InsertWill(&w.Will); err != nil {
		return err
	}
	b.wills[w.Session] = w
	c.kept = w
	tx.Undo(func() { delete(b.wills, w.Session); c.kept = nil })
	return nil
}

// claimWill takes a will out of what a connection could still call off.
func (b *Broker) claimWill(tx *commit.Tx, w *will) {
	if b.wills[w.Session] != w {
		return
	}
	delete(b.wills, w.Session)
	tx.Undo(func() { b.wills[w.Session] = w })
}

// dropWill ends a will that has been published, or never will be.
func (b *Broker) dropWill(tx *commit.Tx, w *will) error {
	b.claimWill(tx, w)
	b.appoint(tx, &w.due, time.Time{})
	return tx.DeleteWill(w.Num)
}

// CallOffWill has the will of a session never published, that of its connection or one that waits. It comes too late for one whose
// connection has ended without a delay.
func (b *Broker) CallOffWill(tx *commit.Tx, k core.SessionKey) error {
	if w := b.wills[k]; w != nil {
		if err := b.dropWill(tx, w); err != nil {
			return err
		}
	}
	if s := b.sessions[k]; s != nil && s.conn != nil {
		c := s.conn
		tx.After(func() {
			c.mu.Lock()
			c.calledOff = true
			c.mu.Unlock()
		})
	}
	return nil
}

// settleWill decides about the will that an earlier connection of the session has left: a client that is back in time
// calls it off [MQTT-3.1.3-9], the session's end makes it due.
func (b *Broker) settleWill(tx *commit.Tx, k core.SessionKey, resumed bool) error {
	w := b.wills[k]
	if w == nil {
		return nil
	}
	// After a restart there can be many that are due already: they stay in their place among others, also if their clients
	// are back before it is their turn. A will without a delay cannot be called off.
	due := !w.Due.IsZero() && !w.Due.After(tx.Now())
	if resumed && !due {
		return b.dropWill(tx, w)
	}
	b.claimWill(tx, w)
	if due {
		return nil
	}
	return b.postponeWill(tx, w, tx.Now())
}

// postponeWill has Run publish a will at a time.
func (b *Broker) postponeWill(tx *commit.Tx, w *will, at time.Time) error {
	was := w.Due
	w.Due = at
	tx.Undo(func() { w.Due = was })
	b.appoint(tx, &w.due, at)
	return tx.SetWillDue(w.Num, at)
}

// leaveWill deals with the will of a connection that ends; its session lives on for so long.
func (b *Broker) leaveWill(tx *commit.Tx, c *conn, expiry time.Duration) error {
	w := c.kept
	switch {
	case w == nil || b.wills[w.Session] != w: // published
		return nil
	case c.will == nil:
		return b.dropWill(tx, w)
	}
	return b.postponeWill(tx, w, tx.Now().Add(min(w.Delay, expiry)))
}

// lastWill publishes the will, if the client left without saying goodbye and did not ask for a delay. If it cannot, Run
// will.
func (c *conn) lastWill() {
	if c.will == nil || min(time.Duration(c.will.Delay)*time.Second, c.expiry) > 0 {
		return
	}
	t := c.topic([]byte(c.will.Topic))
	if c.barred(t, c.will.Retain) != nil {
		c.will = nil
		return
	}
	if err := c.guarded(func() error { return c.message(t, c.kept.publish(time.Now())) }); err != nil {
		c.log.Info("will refused", "err", core.Plain(err))
		c.will = nil
		return
	}
	w := c.kept
	c.collect().Do(func(tx *commit.Tx) error { return c.b.dropWill(tx, w) }, nil)
	c.submit()
}

func (w *will) publish(now time.Time) dialect.Publish {
	m := w.message(now)
	return dialect.Publish{Payload: m.Payload, QoS: m.QoS, Retain: m.Retain, Will: true, Properties: m.Properties, Expires: m.Expires}
}

// message is the will as it goes to subscribers.
func (w *will) message(now time.Time) core.Message {
	m := w.Message
	if w.Lasts != core.Forever {
		m.Expires = now.Add(w.Lasts)
	}
	return m
}

// publishLate publishes a will whose connection is gone. While the disk refuses it waits: there is nothing else to do.
func (b *Broker) publishLate(ctx context.Context, w *will) {
	for {
		err := b.tryWill(w)
		if err == nil || errors.Is(err, core.ErrStopping) {
			return // in the latter case the will is still stored
		}
		if !errors.Is(err, core.ErrStorage) {
			b.log.Error("cannot publish a will", "dialect", w.Session.Dialect, "client", w.Session.ClientID, "err", core.Plain(err))
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(sweepRetry):
		}
	}
}

func (b *Broker) tryWill(w *will) error {
	batch := &commit.Batch{}
	t := &dialect.Topic{Name: w.Topic}
	for _, d := range *b.dialects.Load() {
		x, ok := d.(dialect.Executor)
		if !ok || d.Name() != w.Session.Dialect {
			continue
		}
		err := guarded(b.log, func() error { return execute(x, w, t, batch) })
		if errors.Is(err, core.ErrStorage) {
			return err
		}
		if err != nil {
			b.log.Info("will refused", "dialect", d.Name(), "client", w.Session.ClientID, "err", err)
			batch = &commit.Batch{}
		}
	}
	batch.Do(func(tx *commit.Tx) error {
		if there, err := hasTenant(tx, w.Session.Tenant); err != nil {
			return err
		} else if !there {
			return b.dropWill(tx, w)
		}
		if !t.Withheld {
			if err := b.forward(tx, w.Session, nil, []incoming{{Message: w.message(tx.Now())}}); err != nil {
				return err
			}
		}
		return b.dropWill(tx, w)
	}, nil)
	done := make(settled, 1)
	batch.Owner = done
	if err := b.cfg.Committer.Submit(batch); err != nil {
		return err
	}
	return <-done
}

// execute has a dialect take a will.
func execute(x dialect.Executor, w *will, t *dialect.Topic, b *commit.Batch) error {
	ctx, cancel := context.WithTimeout(context.Background(), executorTimeout)
	defer cancel()
	link, err := x.Executor(ctx, w.Session, w.Device)
	if errors.Is(err, core.ErrNotFound) {
		return nil // deleted meanwhile
	} else if err != nil {
		return fmt.Errorf("whose will it is: %w", err)
	}
	return link.Receive(t, w.publish(time.Now()), b)
}

// executorTimeout bounds the wait for whose a will is.
const executorTimeout = 10 * time.Second

// settled is the owner of one batch.
type settled chan error

func (s settled) Committed(_ *commit.Batch, err error) { s <- err }

// loadWills brings the wills back. Those whose connection was there when the hub ended are due as if it had ended now.
func (b *Broker) loadWills(tx *commit.Tx) error {
	var ended []*will
	for stored, err := range tx.Wills() {
		if err != nil {
			return err
		}
		w := newWill(stored)
		if older := b.wills[w.Session]; older != nil { // was being published when the hub ended
			b.claimWill(tx, older)
		}
		b.wills[w.Session] = w
		tx.Undo(func() { delete(b.wills, w.Session) })
		if w.Due.IsZero() {
			ended = append(ended, w)
		} else {
			b.appoint(tx, &w.due, w.Due)
		}
	}
	for _, w := range ended {
		delay := time.Duration(0)
		if s := b.sessions[w.Session]; s != nil {
			delay = min(w.Delay, s.Expiry)
		}
		if err := b.postponeWill(tx, w, tx.Now().Add(delay)); err != nil {
			return err
		}
	}
	return nil
}
