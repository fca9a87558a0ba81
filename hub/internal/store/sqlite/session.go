package sqlite

import (
	"encoding/binary"
	"iter"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// each turns the rows of a query into values.
func each[T any](rows iter.Seq2[row, error], scan func(row) T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for r, err := range rows {
			var v T
			if err == nil {
				v = scan(r)
			}
			if !yield(v, err) {
				return
			}
		}
	}
}

func (r *reader) Sessions() iter.Seq2[core.Session, error] {
	return each(r.c.rows("SELECT num, tenant, dialect, client, device, created, expires FROM sessions ORDER BY num"), func(r row) core.Session {
		return core.Session{
			Num: r.ColumnInt64(0), Key: core.SessionKey{Tenant: core.TenantID(r.ColumnText(1)), Dialect: r.ColumnText(2), ClientID: r.ColumnText(3)},
			Device: core.DeviceNum(r.ColumnInt64(4)), Created: r.time(5), Expires: r.time(6),
		}
	})
}

func (r *reader) Subscriptions() iter.Seq2[core.Subscription, error] {
	return each(r.c.rows("SELECT session, filter, qos, identifier, no_local, as_published, retain_handling FROM subscriptions "+
		"ORDER BY session, filter"), func(r row) core.Subscription {
		return core.Subscription{
			Session: r.ColumnInt64(0), Filter: r.ColumnText(1), QoS: byte(r.ColumnInt64(2)), ID: uint32(r.ColumnInt64(3)),
			NoLocal: r.ColumnBool(4), RetainAsPublished: r.ColumnBool(5), RetainHandling: byte(r.ColumnInt64(6)),
		}
	})
}

func (r *reader) Received(session int64) ([]uint16, error) {
	var list []uint16
	for r, err := range r.c.rows("SELECT id FROM received WHERE session = ? ORDER BY id", session) {
		if err != nil {
			return nil, err
		}
		list = append(list, uint16(r.ColumnInt64(0)))
	}
	return list, nil
}

func (r *reader) Queue(session, after int64, limit int) ([]core.Queued, error) {
	var list []core.Queued
	for r, err := range r.c.rows("SELECT session, seq, id, released, topic, qos, payload, retain, properties, expires, identifiers FROM queue "+
		"WHERE session = ? AND seq > ? ORDER BY seq LIMIT ?", session, after, limit) {
		if err != nil {
			return nil, err
		}
		list = append(list, core.Queued{
			Session: r.ColumnInt64(0), Seq: r.ColumnInt64(1), ID: uint16(r.ColumnInt64(2)), Released: r.ColumnBool(3),
			Message: core.Message{
				Topic: r.ColumnText(4), QoS: byte(r.ColumnInt64(5)), Payload: r.blob(6), Retain: r.ColumnBool(7),
				Properties: r.blob(8), Expires: r.time(9),
			},
			SubscriptionIDs: identifiers(r.blob(10)),
		})
	}
	return list, nil
}

func (r *reader) QueueSizes() iter.Seq2[store.QueueSize, error] {
	return each(r.c.rows("SELECT session, count(*), sum(octet_length(topic) + octet_length(payload) + ifnull(octet_length(properties), 0)), max(seq) FROM queue "+
		"GROUP BY session ORDER BY session"), func(r row) store.QueueSize {
		return store.QueueSize{Session: r.ColumnInt64(0), Count: r.ColumnInt(1), Bytes: r.ColumnInt(2), LastSeq: r.ColumnInt64(3)}
	})
}

func (t *tx) InsertSession(s *core.Session) error {
	err := t.c.exec("INSERT INTO sessions (tenant, dialect, client, device, created, expires) VALUES (?, ?, ?, ?, ?, ?)",
		s.Key.Tenant, s.Key.Dialect, s.Key.ClientID, s.Device, micro(s.Created), micro(s.Expires))
	if err != nil {
		return exists(err, "session", s.Key)
	}
	s.Num = t.c.sq.LastInsertRowID()
	return nil
}

// DeleteSession relies on ON DELETE CASCADE for all that belongs to the session.
func (t *tx) DeleteSession(num int64) error {
	return t.c.exec("DELETE FROM sessions WHERE num = ?", num)
}

func (t *tx) SetSessionExpiry(num int64, at time.Time) error {
	return t.c.change("session", "UPDATE sessions SET expires = ?2 WHERE num = ?1", num, micro(at))
}

func (t *tx) PutSubscription(s core.Subscription) error {
	return t.c.exec("INSERT INTO subscriptions (session, filter, qos, identifier, no_local, as_published, retain_handling) "+
		"VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (session, filter) DO UPDATE SET (qos, identifier, no_local, as_published, retain_handling) = "+
		"(excluded.qos, excluded.identifier, excluded.no_local, excluded.as_published, excluded.retain_handling)",
		s.Session, s.Filter, int64(s.QoS), int64(s.ID), s.NoLocal, s.RetainAsPublished, int64(s.RetainHandling))
}

func (t *tx) DeleteSubscription(session int64, filter string) error {
	return t.c.exec("DELETE FROM subscriptions WHERE session = ? AND filter = ?", session, filter)
}

func (t *tx) PutReceived(session int64, id uint16) error {
	return t.c.exec("INSERT INTO received (session, id) VALUES (?, ?) ON CONFLICT DO NOTHING", session, int64(id))
}

func (t *tx) DeleteReceived(session int64, id uint16) error {
	return t.c.exec("DELETE FROM received WHERE session = ? AND id = ?", session, int64(id))
}

func (t *tx) Enqueue(q core.Queued) error {
	var ids []byte
	for _, id := range q.SubscriptionIDs {
		ids = binary.AppendUvarint(ids, uint64(id))
	}
	err := t.c.exec("INSERT INTO queue (session, seq, id, released, topic, qos, payload, retain, properties, expires, identifiers) "+
		"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		q.Session, q.Seq, int64(q.ID), q.Released, q.Topic, int64(q.QoS), present(q.Payload), q.Retain, absent(q.Properties), micro(q.Expires), ids)
	return exists(err, "queued message", q.Seq)
}

// present is for columns that must not be NULL, absent for those that are NULL rather than empty.
func present(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func absent(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// identifiers reads what Enqueue has made of subscription identifiers.
func identifiers(b []byte) (ids []uint32) {
	for len(b) > 0 {
		id, n := binary.Uvarint(b)
		if n <= 0 {
			return ids
		}
		ids, b = append(ids, uint32(id)), b[n:]
	}
	return ids
}

func (t *tx) Release(session, seq int64) error {
	return t.c.change("queued message of session", "UPDATE queue SET released = 1 WHERE session = ? AND seq = ?", session, seq)
}

func (t *tx) Dequeue(session, seq int64) error {
	return t.c.exec("DELETE FROM queue WHERE session = ? AND seq = ?", session, seq)
}
