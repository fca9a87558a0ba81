-- Schema version 1. Times are microseconds since 1970, NULL where there is none. Text compares byte by byte.

CREATE TABLE tenants (
	id      TEXT NOT NULL PRIMARY KEY,
	created INTEGER
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: the number of a device is never given to another one, even after a deletion.
CREATE TABLE devices (
	num               INTEGER PRIMARY KEY AUTOINCREMENT,
	tenant            TEXT NOT NULL REFERENCES tenants (id),
	dialect           TEXT NOT NULL,
	id                TEXT NOT NULL,
	created           INTEGER,
	connected         INTEGER NOT NULL,
	last_connected    INTEGER,
	last_disconnected INTEGER,
	last_addr         TEXT NOT NULL,
	UNIQUE (tenant, dialect, id)
) STRICT;
CREATE INDEX devices_by_tenant ON devices (tenant);
CREATE INDEX devices_by_dialect ON devices (tenant, dialect);
CREATE INDEX devices_connected ON devices (tenant, dialect) WHERE connected = 1;

CREATE TABLE enrolments (
	device                INTEGER PRIMARY KEY REFERENCES devices (num),
	secret_hash           BLOB,
	first_registered      INTEGER,
	first_credentials     INTEGER,
	last_credentials_addr TEXT NOT NULL,
	inhibited             INTEGER NOT NULL
) STRICT;

-- id: the order of issue.
CREATE TABLE certificates (
	id               INTEGER PRIMARY KEY,
	serial           TEXT NOT NULL UNIQUE,
	device           INTEGER NOT NULL REFERENCES devices (num),
	sha256           BLOB NOT NULL,
	authority_key_id TEXT NOT NULL,
	not_before       INTEGER,
	not_after        INTEGER,
	state            INTEGER NOT NULL,
	changed          INTEGER
) STRICT;
CREATE INDEX certificates_by_device ON certificates (device);

CREATE TABLE counts (
	device   INTEGER NOT NULL,
	scope    TEXT NOT NULL,
	messages INTEGER NOT NULL,
	bytes    INTEGER NOT NULL,
	PRIMARY KEY (device, scope)
) STRICT, WITHOUT ROWID;

CREATE TABLE entries (
	device  INTEGER NOT NULL,
	name    TEXT NOT NULL,
	side    INTEGER NOT NULL,
	path    TEXT NOT NULL,
	value   BLOB,
	changed INTEGER,
	PRIMARY KEY (device, name, side, path)
) STRICT, WITHOUT ROWID;

-- span: no block of the series spans more microseconds. AUTOINCREMENT: numbers are remembered in memory (core.Series)
-- and must not come to mean another series.
CREATE TABLE series (
	num     INTEGER PRIMARY KEY AUTOINCREMENT,
	device  INTEGER NOT NULL,
	channel TEXT NOT NULL,
	span    INTEGER NOT NULL,
	UNIQUE (device, channel)
) STRICT;

-- id: the order of acceptance. data: see core.Block. No reference to series, for the speed of appending.
CREATE TABLE blocks (
	id     INTEGER PRIMARY KEY,
	series INTEGER NOT NULL,
	first  INTEGER NOT NULL,
	last   INTEGER NOT NULL,
	count  INTEGER NOT NULL,
	data   BLOB NOT NULL
) STRICT;
CREATE INDEX blocks_by_time ON blocks (series, first);

CREATE TABLE records (
	tenant  TEXT NOT NULL,
	dialect TEXT NOT NULL,
	key     TEXT NOT NULL,
	value   BLOB NOT NULL,
	PRIMARY KEY (tenant, dialect, key)
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: seq goes on where it was when old events have been dropped.
CREATE TABLE events (
	seq     INTEGER PRIMARY KEY AUTOINCREMENT,
	at      INTEGER,
	tenant  TEXT NOT NULL,
	dialect TEXT NOT NULL,
	device  TEXT NOT NULL,
	kind    TEXT NOT NULL,
	data    BLOB
) STRICT;

CREATE TABLE sessions (
	num     INTEGER PRIMARY KEY AUTOINCREMENT,
	tenant  TEXT NOT NULL,
	dialect TEXT NOT NULL,
	client  TEXT NOT NULL,
	device  INTEGER NOT NULL,
	created INTEGER,
	expires INTEGER,
	UNIQUE (tenant, dialect, client)
) STRICT;

CREATE TABLE subscriptions (
	session INTEGER NOT NULL REFERENCES sessions (num) ON DELETE CASCADE,
	filter  TEXT NOT NULL,
	qos     INTEGER NOT NULL,
	PRIMARY KEY (session, filter)
) STRICT, WITHOUT ROWID;

CREATE TABLE received (
	session INTEGER NOT NULL REFERENCES sessions (num) ON DELETE CASCADE,
	id      INTEGER NOT NULL,
	PRIMARY KEY (session, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE queue (
	session  INTEGER NOT NULL REFERENCES sessions (num) ON DELETE CASCADE,
	seq      INTEGER NOT NULL,
	id       INTEGER NOT NULL,
	released INTEGER NOT NULL,
	topic    TEXT NOT NULL,
	qos      INTEGER NOT NULL,
	payload  BLOB NOT NULL,
	PRIMARY KEY (session, seq)
) STRICT, WITHOUT ROWID;
