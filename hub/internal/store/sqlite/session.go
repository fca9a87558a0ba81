package sqlite

import (
	"encoding/binary"
	"iter"
	"strconv"
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
	return each(r.c.rows("SELECT "+sessionColumns+" FROM sessions WHERE tenant <> '' ORDER BY num"), session)
}

const sessionColumns = "num, tenant, dialect, client, device, created, expires, expiry, version"

func session(r row) core.Session {
	return core.Session{
		Num: r.ColumnInt64(0), Key: core.SessionKey{Tenant: core.TenantID(r.ColumnText(1)), Dialect: r.ColumnText(2), ClientID: r.ColumnText(3)},
		Device: core.DeviceNum(r.ColumnInt64(4)), Created: r.time(5), Expires: r.time(6), Expiry: interval(r.ColumnInt64(7)),
		Version: uint8(r.ColumnInt64(8)),
	}
}

func (r *reader) Subscriptions() iter.Seq2[core.Subscription, error] {
	return each(r.c.rows("SELECT session, filter, qos, identifier, no_local, as_published, retain_handling, retained_from FROM subscriptions "+
		"ORDER BY session, filter"), func(r row) core.Subscription {
		return core.Subscription{
			Session: r.ColumnInt64(0), Filter: r.ColumnText(1), QoS: byte(r.ColumnInt64(2)), ID: uint32(r.ColumnInt64(3)),
			NoLocal: r.ColumnBool(4), RetainAsPublished: r.ColumnBool(5), RetainHandling: byte(r.ColumnInt64(6)), RetainedFrom: r.ColumnText(7),
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
	for r, err := range r.c.rows("SELECT "+queueColumns+" FROM queue WHERE session = ? AND seq > ? ORDER BY seq LIMIT ?", session, after, limit) {
		if err != nil {
			return nil, err
		}
		list = append(list, queued(r))
	}
	return list, nil
}

const queueColumns = "session, seq, id, released, qos, retain, expires, identifiers, share, topic, properties, payload"

func queued(r row) core.Queued {
	return core.Queued{
		Session: r.ColumnInt64(0), Seq: r.ColumnInt64(1), ID: uint16(r.ColumnInt64(2)), Released: r.ColumnBool(3),
		SubscriptionIDs: identifiers(r.blob(7)), Share: r.ColumnText(8),
		Message: core.Message{
			QoS: byte(r.ColumnInt64(4)), Retain: r.ColumnBool(5), Expires: r.time(6), Topic: r.ColumnText(9),
			Properties: r.blob(10), Payload: r.blob(11),
		},
	}
}

func (r *reader) SharedQueue(session, after int64, limit int) ([]core.Queued, error) {
	var list []core.Queued
	for r, err := range r.c.rows("SELECT "+queueColumns+" FROM queue INDEXED BY queue_shared "+
		"WHERE session = ? AND seq > ? AND share IS NOT NULL ORDER BY seq LIMIT ?", session, after, limit) {
		if err != nil {
			return nil, err
		}
		list = append(list, queued(r))
	}
	return list, nil
}

// queueBytes is core.Message.Size.
const queueBytes = "octet_length(topic) + octet_length(payload) + ifnull(octet_length(properties), 0)"

func (r *reader) QueueSizes() iter.Seq2[store.QueueSize, error] {
	return each(r.c.rows("SELECT session, count(*), sum("+queueBytes+"), max(seq) FROM queue "+
		"GROUP BY session ORDER BY session"), func(r row) store.QueueSize {
		return store.QueueSize{Session: r.ColumnInt64(0), Count: r.ColumnInt(1), Bytes: r.ColumnInt(2), LastSeq: r.ColumnInt64(3)}
	})
}

func (t *tx) InsertSession(s *core.Session) error {
	err := t.c.exec("INSERT INTO sessions (tenant, dialect, client, device, created, expires, expiry, version) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		s.Key.Tenant, s.Key.Dialect, s.Key.ClientID, s.Device, micro(s.Created), micro(s.Expires), seconds(s.Expiry), int64(s.Version))
	if err != nil {
		return exists(err, "session", s.Key)
	}
	s.Num = t.c.sq.LastInsertRowID()
	return nil
}

// sweptQueue is how many queued messages DeleteSession deletes itself.
const sweptQueue = 500

// DeleteSession relies on ON DELETE CASCADE for all that belongs to the session. One with a long queue only loses its
// name and what would bring it back; no tenant has the name "".
func (t *tx) DeleteSession(num int64) error {
	long, err := t.c.one(func(row) {}, "SELECT 1 FROM queue WHERE session = ? ORDER BY seq LIMIT 1 OFFSET ?", num, sweptQueue)
	if err != nil {
		return err
	}
	if !long {
		return t.c.exec("DELETE FROM sessions WHERE num = ?", num)
	}
	return t.c.exec("UPDATE sessions SET tenant = '', dialect = '', client = ?2, device = 0 WHERE num = ?1", num, strconv.FormatInt(num, 10))
}

func (t *tx) SweepSessions(limit int) (done int, err error) {
	for done < limit {
		num := int64(0)
		found, err := t.c.one(func(r row) { num = r.ColumnInt64(0) }, "SELECT num FROM sessions WHERE tenant = '' AND dialect = '' LIMIT 1")
		if err != nil || !found {
			return done, err
		}
		if err := t.c.exec("DELETE FROM queue WHERE session = ?1 AND seq IN (SELECT seq FROM queue WHERE session = ?1 ORDER BY seq LIMIT ?2)", num, limit-done); err != nil {
			return done, err
		}
		n := t.c.sq.Changes()
		if n < limit-done {
			if err := t.c.exec("DELETE FROM sessions WHERE num = ?", num); err != nil {
				return done, err
			}
			n++
		}
		done += n
	}
	return done, nil
}

func (t *tx) SetSessionExpiry(num int64, expiry time.Duration, at time.Time) error {
	return t.c.change("session", "UPDATE sessions SET expires = ?2, expiry = ?3 WHERE num = ?1", num, micro(at), seconds(expiry))
}

func (t *tx) PutSubscription(s core.Subscription) error {
	return t.c.exec("INSERT INTO subscriptions (session, filter, qos, identifier, no_local, as_published, retain_handling, retained_from) "+
		"VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (session, filter) DO UPDATE SET (qos, identifier, no_local, as_published, retain_handling, retained_from) = "+
		"(excluded.qos, excluded.identifier, excluded.no_local, excluded.as_published, excluded.retain_handling, excluded.retained_from)",
		s.Session, s.Filter, int64(s.QoS), int64(s.ID), s.NoLocal, s.RetainAsPublished, int64(s.RetainHandling), s.RetainedFrom)
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
	var share any
	if q.Share != "" {
		share = q.Share
	}
	err := t.c.exec("INSERT INTO queue ("+queueColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		q.Session, q.Seq, int64(q.ID), q.Released, int64(q.QoS), q.Retain, micro(q.Expires), ids, share, q.Topic, absent(q.Properties), present(q.Payload))
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

func (t *tx) Dequeue(session, first, last int64) error {
	return t.c.exec("DELETE FROM queue WHERE session = ? AND seq BETWEEN ? AND ?", session, first, last)
}

func (t *tx) DropQueued(session, after int64, skip int, now time.Time, limit int) (n, bytes int, err error) {
	if skip > 0 {
		found, err := t.c.one(func(r row) { after = max(after, r.ColumnInt64(0)) },
			"SELECT seq FROM queue WHERE session = ? ORDER BY seq LIMIT 1 OFFSET ?", session, skip-1)
		if err != nil || !found {
			return 0, 0, err
		}
	}
	var seqs []int64
	for r, err := range t.c.rows("SELECT seq, "+queueBytes+" FROM queue INDEXED BY queue_expiring "+
		"WHERE session = ? AND expires <= ? AND seq > ? LIMIT ?", session, micro(now), after, limit) {
		if err != nil {
			return 0, 0, err
		}
		seqs = append(seqs, r.ColumnInt64(0))
		bytes += r.ColumnInt(1)
	}
	for _, seq := range seqs {
		if err := t.Dequeue(session, seq, seq); err != nil {
			return 0, 0, err
		}
	}
	return len(seqs), bytes, nil
}
