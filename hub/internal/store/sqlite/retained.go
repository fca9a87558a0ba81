package sqlite

import (
	"fmt"
	"iter"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

const retainedColumns = "topic, qos, stored, expires, client, properties, payload"

func retained(r row) core.Retained {
	return core.Retained{
		Stored: r.time(2), ClientID: r.ColumnText(4),
		Message: core.Message{
			Topic: r.ColumnText(0), QoS: byte(r.ColumnInt64(1)), Expires: r.time(3), Properties: r.blob(5), Payload: r.blob(6), Retain: true,
		},
	}
}

func (r *reader) Retained(t core.TenantID, dialect, topic string) (m core.Retained, err error) {
	found, err := r.c.one(func(r row) { m = retained(r) },
		"SELECT "+retainedColumns+" FROM retained WHERE tenant = ? AND dialect = ? AND topic = ?", t, dialect, topic)
	if err == nil && !found {
		err = fmt.Errorf("%w: retained message %q", core.ErrNotFound, topic)
	}
	return m, err
}

func (r *reader) RetainedFrom(t core.TenantID, dialect, prefix, from string) iter.Seq2[core.Retained, error] {
	return each(r.c.rows("SELECT "+retainedColumns+" FROM retained WHERE tenant = ? AND dialect = ? AND topic >= ? AND topic < ? ORDER BY topic",
		t, dialect, max(prefix, from), behind(prefix)), retained)
}

func (r *reader) RetainedSizes() iter.Seq2[store.RetainedSize, error] {
	return each(r.c.rows("SELECT tenant, dialect, count(*), sum("+queueBytes+") "+
		"FROM retained GROUP BY tenant, dialect ORDER BY tenant, dialect"), func(r row) store.RetainedSize {
		return store.RetainedSize{Tenant: core.TenantID(r.ColumnText(0)), Dialect: r.ColumnText(1), Count: r.ColumnInt(2), Bytes: r.ColumnInt(3)}
	})
}

func (t *tx) PutRetained(id core.TenantID, dialect string, m core.Retained) error {
	return t.c.exec("INSERT INTO retained (tenant, dialect, "+retainedColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "+
		"ON CONFLICT (tenant, dialect, topic) DO UPDATE SET (qos, stored, expires, client, properties, payload) = "+
		"(excluded.qos, excluded.stored, excluded.expires, excluded.client, excluded.properties, excluded.payload)",
		id, dialect, m.Topic, int64(m.QoS), micro(m.Stored), micro(m.Expires), m.ClientID, absent(m.Properties), present(m.Payload))
}

func (t *tx) DeleteRetained(id core.TenantID, dialect, topic string) error {
	return t.c.exec("DELETE FROM retained WHERE tenant = ? AND dialect = ? AND topic = ?", id, dialect, topic)
}

func (t *tx) DropExpired(now time.Time, limit int) ([]store.RetainedSize, error) {
	return t.dropRetained("expires <= ? ORDER BY expires", micro(now), limit)
}

func (t *tx) DropTenantRetained(id core.TenantID, limit int) ([]store.RetainedSize, error) {
	return t.dropRetained("tenant = ? ORDER BY tenant, dialect, topic", id, limit)
}

func (t *tx) dropRetained(which string, arg any, limit int) (dropped []store.RetainedSize, err error) {
	var topics []string
	for r, err := range t.c.rows("SELECT tenant, dialect, topic, "+queueBytes+" FROM retained WHERE "+which+" LIMIT ?", arg, limit) {
		if err != nil {
			return nil, err
		}
		dropped = append(dropped, store.RetainedSize{Tenant: core.TenantID(r.ColumnText(0)), Dialect: r.ColumnText(1), Count: 1, Bytes: r.ColumnInt(3)})
		topics = append(topics, r.ColumnText(2))
	}
	for i, d := range dropped {
		if err := t.DeleteRetained(d.Tenant, d.Dialect, topics[i]); err != nil {
			return nil, err
		}
	}
	return dropped, nil
}
