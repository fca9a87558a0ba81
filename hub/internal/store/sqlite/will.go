package sqlite

import (
	"iter"
	"math"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// forever is how columns of seconds, whose values come from MQTT 5, write core.Forever.
const forever = math.MaxUint32

func seconds(d time.Duration) int64 {
	if d == core.Forever {
		return forever
	}
	return int64(d / time.Second)
}

func interval(seconds int64) time.Duration {
	if seconds >= forever {
		return core.Forever
	}
	return time.Duration(seconds) * time.Second
}

const willColumns = "tenant, dialect, client, device, delay, due, lasts, qos, retain, topic, properties, payload"

func (r *reader) Wills() iter.Seq2[core.Will, error] {
	return each(r.c.rows("SELECT num, "+willColumns+" FROM wills ORDER BY num"), func(r row) core.Will {
		return core.Will{
			Num:     r.ColumnInt64(0),
			Session: core.SessionKey{Tenant: core.TenantID(r.ColumnText(1)), Dialect: r.ColumnText(2), ClientID: r.ColumnText(3)},
			Device:  core.DeviceNum(r.ColumnInt64(4)), Delay: interval(r.ColumnInt64(5)), Due: r.time(6), Lasts: interval(r.ColumnInt64(7)),
			Message: core.Message{
				QoS: byte(r.ColumnInt64(8)), Retain: r.ColumnBool(9), Topic: r.ColumnText(10), Properties: r.blob(11), Payload: r.blob(12),
			},
		}
	})
}

func (t *tx) InsertWill(w *core.Will) error {
	err := t.c.exec("INSERT INTO wills ("+willColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		w.Session.Tenant, w.Session.Dialect, w.Session.ClientID, w.Device, seconds(w.Delay), micro(w.Due), seconds(w.Lasts),
		int64(w.QoS), w.Retain, w.Topic, absent(w.Properties), present(w.Payload))
	if err != nil {
		return err
	}
	w.Num = t.c.sq.LastInsertRowID()
	return nil
}

func (t *tx) SetWillDue(num int64, at time.Time) error {
	return t.c.change("will", "UPDATE wills SET due = ?2 WHERE num = ?1", num, micro(at))
}

func (t *tx) DeleteWill(num int64) error { return t.c.exec("DELETE FROM wills WHERE num = ?", num) }
