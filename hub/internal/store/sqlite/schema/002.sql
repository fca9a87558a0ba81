-- Schema version 2: tokens, and indexes for what operators ask.

-- tenant: '' for a token that opens all of them.
CREATE TABLE tokens (
	id      TEXT NOT NULL PRIMARY KEY,
	hash    BLOB NOT NULL UNIQUE,
	name    TEXT NOT NULL,
	scope   INTEGER NOT NULL,
	tenant  TEXT NOT NULL,
	created INTEGER,
	expires INTEGER
) STRICT, WITHOUT ROWID;

-- Devices that are connected, or not, by id: a fleet of which few are either must not be read as a whole.
DROP INDEX devices_connected;
CREATE INDEX devices_connected ON devices (tenant, dialect, id) WHERE connected = 1;
CREATE INDEX devices_away ON devices (tenant, dialect, id) WHERE connected = 0;

CREATE INDEX certificates_revoked ON certificates (authority_key_id) WHERE state = 2;

-- seq is the rowid, so it is the last column of both.
CREATE INDEX events_by_tenant ON events (tenant);
CREATE INDEX events_by_device ON events (tenant, dialect, device);
