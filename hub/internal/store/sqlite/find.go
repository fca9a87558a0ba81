package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// What operators ask: pages of everything there is, found by an index whatever they ask for.

// FindDevices goes through the index that has just the devices asked for, in the order of their ids.
func (r *reader) FindDevices(q core.DeviceQuery) ([]core.Device, error) {
	from, index, state := q.Prefix, "sqlite_autoindex_devices_1", ""
	if q.Connected != nil {
		index, state = "devices_away", " AND connected = 0"
		if *q.Connected {
			index, state = "devices_connected", " AND connected = 1"
		}
	}
	op := ">="
	if q.After != "" && string(q.After) >= q.Prefix {
		from, op = string(q.After), ">"
	}
	var list []core.Device
	for r, err := range r.c.rows("SELECT "+deviceColumns+" FROM devices INDEXED BY "+index+
		" WHERE tenant = ? AND dialect = ? AND id "+op+" ? AND id < ?"+state+" ORDER BY id LIMIT ?",
		q.Tenant, q.Dialect, from, behind(q.Prefix), q.Limit) {
		if err != nil {
			return nil, err
		}
		list = append(list, device(r))
	}
	return list, nil
}

// FindSessions begins at the place where the page begins. What it does not return it reads only within one tenant, or all
// of them if none is given.
func (r *reader) FindSessions(q core.SessionQuery) ([]core.Session, error) {
	const rest = " AND (?4 = '' OR dialect = ?4) AND (?5 = 0 OR device = ?5) AND client >= ?6 AND client < ?7 " +
		"AND (?9 = '' OR client = ?9) ORDER BY tenant, dialect, client LIMIT ?8"
	const from = "SELECT " + sessionColumns + " FROM sessions INDEXED BY sqlite_autoindex_sessions_1 WHERE tenant <> '' AND "
	after := q.After
	query := from + "(tenant, dialect, client) > (?1, ?2, ?3)" + rest
	if q.Tenant != "" {
		switch {
		case after.Tenant > q.Tenant:
			return nil, nil
		case after.Tenant < q.Tenant:
			after = core.SessionKey{Tenant: q.Tenant}
		}
		query = from + "tenant = ?1 AND (dialect, client) > (?2, ?3)" + rest
	}
	var list []core.Session
	for r, err := range r.c.rows(query, after.Tenant, after.Dialect, after.ClientID, q.Dialect, q.Device, q.Prefix, behind(q.Prefix), q.Limit, q.ClientID) {
		if err != nil {
			return nil, err
		}
		list = append(list, session(r))
	}
	return list, nil
}

// DeviceDialects jumps from each dialect to the next one.
func (r *reader) DeviceDialects(t core.TenantID) ([]string, error) {
	var list []string
	last := ""
	for {
		found, err := r.c.one(func(r row) { last = r.ColumnText(0) },
			"SELECT dialect FROM devices INDEXED BY devices_by_dialect WHERE tenant = ? AND dialect > ? ORDER BY dialect LIMIT 1", t, last)
		if err != nil || !found {
			return list, err
		}
		list = append(list, last)
	}
}

func (r *reader) Revoked(authorityKeyID string, after time.Time) iter.Seq2[core.Certificate, error] {
	return func(yield func(core.Certificate, error) bool) {
		for r, err := range r.c.rows("SELECT "+certificateColumns+" FROM certificates INDEXED BY certificates_revoked "+
			"WHERE authority_key_id = ? AND state = 2 ORDER BY id", authorityKeyID) {
			if err != nil {
				yield(core.Certificate{}, err)
				return
			}
			c := certificate(r)
			if c.NotAfter.After(after) && !yield(c, nil) {
				return
			}
		}
	}
}

func (r *reader) Leaves(n core.DeviceNum, from core.Leaf) iter.Seq2[core.Leaf, error] {
	rows := r.c.rows("SELECT name, side, path, value, changed FROM entries WHERE device = ? AND (name, side, path) >= (?, ?, ?) "+
		"ORDER BY name, side, path", n, from.Document, int64(from.Side), from.Path)
	return func(yield func(core.Leaf, error) bool) {
		for r, err := range rows {
			if err != nil {
				yield(core.Leaf{}, err)
				return
			}
			l := core.Leaf{
				Document: r.ColumnText(0), Side: core.Side(r.ColumnInt64(1)),
				Entry: core.Entry{Path: r.ColumnText(2), Value: r.blob(3), Changed: r.time(4)},
			}
			if !yield(l, nil) {
				return
			}
		}
	}
}

func (r *reader) SeriesAfter(n core.DeviceNum, prefix, after string, limit int) ([]*core.Series, error) {
	from, op := prefix, ">="
	if after != "" && after >= prefix {
		from, op = after, ">"
	}
	var list []*core.Series
	for r, err := range r.c.rows("SELECT channel FROM series WHERE device = ? AND channel "+op+" ? AND channel < ? ORDER BY channel LIMIT ?",
		n, from, behind(prefix), limit) {
		if err != nil {
			return nil, err
		}
		list = append(list, &core.Series{Device: n, Channel: r.ColumnText(0)})
	}
	return list, nil
}

func (r *reader) TenantEvents(t core.TenantID, after int64, limit int) ([]core.Event, error) {
	return events(r.c.rows(eventColumns+"FROM events INDEXED BY events_by_tenant WHERE tenant = ? AND seq > ? ORDER BY seq LIMIT ?",
		t, after, limit))
}

func (r *reader) DeviceEvents(k core.DeviceKey, after int64, limit int) ([]core.Event, error) {
	return events(r.c.rows(eventColumns+"FROM events INDEXED BY events_by_device "+
		"WHERE tenant = ? AND dialect = ? AND device = ? AND seq > ? ORDER BY seq LIMIT ?", k.Tenant, k.Dialect, k.ID, after, limit))
}

func (r *reader) EventsBefore(k core.DeviceKey, before int64, limit int) ([]core.Event, error) {
	if before == 0 {
		before = math.MaxInt64
	}
	const rest = "seq < ? ORDER BY seq DESC LIMIT ?"
	switch {
	case k.ID != "":
		return events(r.c.rows(eventColumns+"FROM events INDEXED BY events_by_device WHERE tenant = ? AND dialect = ? AND device = ? AND "+rest,
			k.Tenant, k.Dialect, k.ID, before, limit))
	case k.Tenant != "":
		return events(r.c.rows(eventColumns+"FROM events INDEXED BY events_by_tenant WHERE tenant = ? AND "+rest, k.Tenant, before, limit))
	}
	return events(r.c.rows(eventColumns+"FROM events WHERE "+rest, before, limit))
}

// Size implements [store.Store]. What the files take on the disk may be less, if it compresses.
func (s *Store) Size() (database, log int64, err error) { return Size(s.cfg.Dir) }

// Size is [Store.Size] for a database that need not be open.
func Size(dir string) (database, log int64, err error) {
	path := filepath.Join(dir, dbFile)
	for _, f := range []struct {
		name string
		size *int64
	}{{path, &database}, {path + "-wal", &log}} {
		st, err := os.Stat(f.name)
		switch {
		case err == nil:
			*f.size = st.Size()
		case errors.Is(err, fs.ErrNotExist) && f.size == &log:
			// There is a log only while there is something in it.
		default:
			return 0, 0, fmt.Errorf("sqlite: %w: %w", core.ErrStorage, err)
		}
	}
	return database, log, nil
}
