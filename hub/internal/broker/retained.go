package broker

import (
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// usage sums up retained messages. Expired ones count until they are deleted.
type usage struct {
	count int
	bytes int64
}

// errRetainedFull is how Retain tells that a tenant has too many retained messages.
var errRetainedFull = fmt.Errorf("%w: too many retained messages", core.ErrTooLarge)

// loadRetained sums up what is stored.
func (b *Broker) loadRetained(rd store.Reader) error {
	for r, err := range rd.RetainedSizes() {
		if err != nil {
			return err
		}
		b.count(b.audience(core.SessionKey{Tenant: r.Tenant, Dialect: r.Dialect}), r.Count, int64(r.Bytes))
	}
	return nil
}

// count changes the sums.
func (b *Broker) count(a *audience, n int, bytes int64) {
	t := b.kept[a.tenant]
	if t == nil {
		t = &usage{}
		b.kept[a.tenant] = t
	}
	a.kept.count += n
	a.kept.bytes += bytes
	t.count += n
	t.bytes += bytes
	b.stats.Retained.Add(int64(n))
	b.stats.RetainedBytes.Add(bytes)
}

// counted is count, undone with the transaction.
func (b *Broker) counted(tx *commit.Tx, a *audience, n int, bytes int64) {
	b.count(a, n, bytes)
	tx.Undo(func() { b.count(a, -n, -bytes) })
}

// Retain implements dialect.Broker.
func (b *Broker) Retain(tx *commit.Tx, t core.TenantID, dialect string, m core.Message) error {
	kept, err := b.retain(tx, b.audience(core.SessionKey{Tenant: t, Dialect: dialect}), "", &m)
	if err == nil && !kept {
		err = errRetainedFull
	}
	return err
}

// retain keeps a message in the place of the last one of its topic, or deletes that one if the payload is empty. It
// reports whether there was room. [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7]
func (b *Broker) retain(tx *commit.Tx, a *audience, client string, m *core.Message) (bool, error) {
	if err := b.dropExpired(tx); err != nil {
		return false, err
	}
	old, err := tx.Retained(a.tenant, a.dialect, m.Topic)
	had, oldSize := err == nil, int64(0)
	if err != nil && !errors.Is(err, core.ErrNotFound) {
		return false, err
	}
	if had {
		oldSize = int64(old.Size())
	}
	if len(m.Payload) == 0 {
		if !had {
			return true, nil
		}
		b.counted(tx, a, -1, -oldSize)
		return true, tx.DeleteRetained(a.tenant, a.dialect, m.Topic)
	}
	n, bytes := 1, int64(m.Size())
	if had {
		n, bytes = 0, bytes-oldSize
	}
	if t := b.kept[a.tenant]; t != nil && (n > 0 && t.count >= b.cfg.MaxRetained || bytes > 0 && t.bytes+bytes > b.cfg.MaxRetainedBytes) ||
		t == nil && bytes > b.cfg.MaxRetainedBytes {
		tally(tx, &b.stats.RetainedRefused, 1)
		return false, nil
	}
	b.counted(tx, a, n, bytes)
	return true, tx.PutRetained(a.tenant, a.dialect, core.Retained{Message: *m, Stored: tx.Now(), ClientID: client})
}

// dropExpired deletes some of the retained messages that have expired, now and then. Nobody is sent them anyway.
func (b *Broker) dropExpired(tx *commit.Tx) error {
	const every, most = time.Second, 100
	now := tx.Now()
	if now.Before(b.sweep) {
		return nil
	}
	dropped, err := tx.DropExpired(now, most)
	if err != nil {
		return err
	}
	for _, d := range dropped {
		b.counted(tx, b.audience(core.SessionKey{Tenant: d.Tenant, Dialect: d.Dialect}), -d.Count, -int64(d.Bytes))
	}
	tally(tx, &b.stats.Expired, len(dropped))
	if len(dropped) < most {
		was := b.sweep
		b.sweep = now.Add(every)
		tx.Undo(func() { b.sweep = was })
	}
	return nil
}
