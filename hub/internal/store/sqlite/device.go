package sqlite

import (
	"fmt"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

const deviceColumns = "num, tenant, dialect, id, created, connected, last_connected, last_disconnected, last_addr"

func device(r row) core.Device {
	return core.Device{
		Num:       core.DeviceNum(r.ColumnInt64(0)),
		DeviceKey: core.DeviceKey{Tenant: core.TenantID(r.ColumnText(1)), Dialect: r.ColumnText(2), ID: core.DeviceID(r.ColumnText(3))},
		Created:   r.time(4), Connected: r.ColumnBool(5), LastConnected: r.time(6), LastDisconnected: r.time(7), LastAddr: r.ColumnText(8),
	}
}

func (r *reader) Device(k core.DeviceKey) (d core.Device, err error) {
	found, err := r.c.one(func(r row) { d = device(r) },
		"SELECT "+deviceColumns+" FROM devices WHERE tenant = ? AND dialect = ? AND id = ?", k.Tenant, k.Dialect, k.ID)
	if err == nil && !found {
		err = fmt.Errorf("%w: device %v", core.ErrNotFound, k)
	}
	return d, err
}

func (r *reader) DeviceByNum(n core.DeviceNum) (d core.Device, err error) {
	found, err := r.c.one(func(r row) { d = device(r) }, "SELECT "+deviceColumns+" FROM devices WHERE num = ?", n)
	if err == nil && !found {
		err = fmt.Errorf("%w: device number %d", core.ErrNotFound, n)
	}
	return d, err
}

func (r *reader) Devices(t core.TenantID, dialect string, after core.DeviceNum, limit int) ([]core.Device, error) {
	rows := r.c.rows("SELECT "+deviceColumns+" FROM devices INDEXED BY devices_by_dialect "+
		"WHERE tenant = ? AND dialect = ? AND num > ? ORDER BY num LIMIT ?", t, dialect, after, limit)
	if dialect == "" {
		rows = r.c.rows("SELECT "+deviceColumns+" FROM devices INDEXED BY devices_by_tenant "+
			"WHERE tenant = ? AND num > ? ORDER BY num LIMIT ?", t, after, limit)
	}
	var list []core.Device
	for r, err := range rows {
		if err != nil {
			return nil, err
		}
		list = append(list, device(r))
	}
	return list, nil
}

func (r *reader) CountDevices(t core.TenantID, dialect string) (total, connected int, err error) {
	where, args := "WHERE tenant = ?", []any{t}
	if dialect != "" {
		where, args = "WHERE tenant = ? AND dialect = ?", []any{t, dialect}
	}
	if _, err = r.c.one(func(r row) { total = r.ColumnInt(0) }, "SELECT count(*) FROM devices "+where, args...); err != nil {
		return 0, 0, err
	}
	_, err = r.c.one(func(r row) { connected = r.ColumnInt(0) },
		"SELECT count(*) FROM devices INDEXED BY devices_connected "+where+" AND connected = 1", args...)
	return total, connected, err
}

func (r *reader) Enrolment(n core.DeviceNum) (e core.Enrolment, err error) {
	found, err := r.c.one(func(r row) {
		e = core.Enrolment{
			Device: core.DeviceNum(r.ColumnInt64(0)), SecretHash: r.blob(1), FirstRegistered: r.time(2), FirstCredentials: r.time(3),
			LastCredentialsAddr: r.ColumnText(4), Inhibited: r.ColumnBool(5),
		}
	}, "SELECT device, secret_hash, first_registered, first_credentials, last_credentials_addr, inhibited FROM enrolments WHERE device = ?", n)
	if err == nil && !found {
		err = fmt.Errorf("%w: enrolment of device number %d", core.ErrNotFound, n)
	}
	return e, err
}

const certificateColumns = "serial, device, sha256, authority_key_id, not_before, not_after, state, changed"

func certificate(r row) core.Certificate {
	c := core.Certificate{
		Serial: r.ColumnText(0), Device: core.DeviceNum(r.ColumnInt64(1)), AuthorityKeyID: r.ColumnText(3),
		NotBefore: r.time(4), NotAfter: r.time(5), State: core.CertificateState(r.ColumnInt64(6)), Changed: r.time(7),
	}
	r.ColumnBytes(2, c.SHA256[:])
	return c
}

func (r *reader) Certificate(serial string) (c core.Certificate, err error) {
	found, err := r.c.one(func(r row) { c = certificate(r) },
		"SELECT "+certificateColumns+" FROM certificates WHERE serial = ?", serial)
	if err == nil && !found {
		err = fmt.Errorf("%w: certificate %s", core.ErrNotFound, serial)
	}
	return c, err
}

func (r *reader) Certificates(n core.DeviceNum) ([]core.Certificate, error) {
	var list []core.Certificate
	for r, err := range r.c.rows("SELECT "+certificateColumns+" FROM certificates WHERE device = ? ORDER BY id", n) {
		if err != nil {
			return nil, err
		}
		list = append(list, certificate(r))
	}
	return list, nil
}

func (r *reader) Counts(n core.DeviceNum) ([]core.Count, error) {
	var list []core.Count
	for r, err := range r.c.rows("SELECT scope, messages, bytes FROM counts WHERE device = ? ORDER BY scope", n) {
		if err != nil {
			return nil, err
		}
		list = append(list, core.Count{Scope: r.ColumnText(0), Messages: r.ColumnInt64(1), Bytes: r.ColumnInt64(2)})
	}
	return list, nil
}

func (t *tx) InsertDevice(d *core.Device) error {
	if x, err := t.Tenant(d.Tenant); err != nil {
		return err
	} else if x.Deleting {
		return fmt.Errorf("%w: tenant %q is being deleted", core.ErrNotFound, d.Tenant)
	}
	err := t.c.exec("INSERT INTO devices (tenant, dialect, id, created, connected, last_connected, last_disconnected, last_addr) "+
		"VALUES (?, ?, ?, ?, ?, ?, ?, ?)", d.Tenant, d.Dialect, d.ID, micro(d.Created), d.Connected,
		micro(d.LastConnected), micro(d.LastDisconnected), d.LastAddr)
	if err != nil {
		return exists(err, "device", d.DeviceKey)
	}
	d.Num = core.DeviceNum(t.c.sq.LastInsertRowID())
	return nil
}

// UpdateDevice leaves the key as it is, so that the indexes need not be touched at every connect.
func (t *tx) UpdateDevice(d core.Device) error {
	return t.c.change("device number", "UPDATE devices SET created = ?2, connected = ?3, last_connected = ?4, "+
		"last_disconnected = ?5, last_addr = ?6 WHERE num = ?1", d.Num, micro(d.Created), d.Connected,
		micro(d.LastConnected), micro(d.LastDisconnected), d.LastAddr)
}

func (t *tx) PutEnrolment(e core.Enrolment) error {
	return t.c.exec("INSERT INTO enrolments (device, secret_hash, first_registered, first_credentials, last_credentials_addr, inhibited) "+
		"VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (device) DO UPDATE SET secret_hash = excluded.secret_hash, "+
		"first_registered = excluded.first_registered, first_credentials = excluded.first_credentials, "+
		"last_credentials_addr = excluded.last_credentials_addr, inhibited = excluded.inhibited",
		e.Device, e.SecretHash, micro(e.FirstRegistered), micro(e.FirstCredentials), e.LastCredentialsAddr, e.Inhibited)
}

func (t *tx) PutCertificate(c core.Certificate) error {
	return t.c.change("device of certificate", "INSERT INTO certificates ("+certificateColumns+") SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 "+
		"WHERE EXISTS (SELECT 1 FROM devices WHERE num = ?2) "+
		"ON CONFLICT (serial) DO UPDATE SET device = excluded.device, sha256 = excluded.sha256, "+
		"authority_key_id = excluded.authority_key_id, not_before = excluded.not_before, not_after = excluded.not_after, "+
		"state = excluded.state, changed = excluded.changed",
		c.Serial, c.Device, c.SHA256[:], c.AuthorityKeyID, micro(c.NotBefore), micro(c.NotAfter), int64(c.State), micro(c.Changed))
}

func (t *tx) AddCount(n core.DeviceNum, c core.Count) error {
	return t.c.exec("INSERT INTO counts (device, scope, messages, bytes) VALUES (?, ?, ?, ?) "+
		"ON CONFLICT (device, scope) DO UPDATE SET messages = messages + excluded.messages, bytes = bytes + excluded.bytes",
		n, c.Scope, c.Messages, c.Bytes)
}
