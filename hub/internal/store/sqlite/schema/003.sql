-- Schema version 3: all of MQTT 5, plain devices, retention.

-- Subscription options, retained messages, properties of queued messages.

-- identifier: 0 for none.
ALTER TABLE subscriptions ADD COLUMN identifier INTEGER NOT NULL DEFAULT 0;
ALTER TABLE subscriptions ADD COLUMN no_local INTEGER NOT NULL DEFAULT 0;
ALTER TABLE subscriptions ADD COLUMN as_published INTEGER NOT NULL DEFAULT 0;
ALTER TABLE subscriptions ADD COLUMN retain_handling INTEGER NOT NULL DEFAULT 0;
-- retained_from: retained messages with this topic or a later one are still to be delivered; '' for none.
ALTER TABLE subscriptions ADD COLUMN retained_from TEXT NOT NULL DEFAULT '';

-- The queue anew, with what is short in front of what is long: columns behind a long payload are slow to read.
-- identifiers: of subscriptions, each a variable byte integer; NULL for none. share: the shared subscription that the
-- message came by; NULL for none. properties: as in PUBLISH; NULL for none.
CREATE TABLE queue_3 (
	session     INTEGER NOT NULL REFERENCES sessions (num) ON DELETE CASCADE,
	seq         INTEGER NOT NULL,
	id          INTEGER NOT NULL,
	released    INTEGER NOT NULL,
	qos         INTEGER NOT NULL,
	retain      INTEGER NOT NULL,
	expires     INTEGER,
	identifiers BLOB,
	share       TEXT,
	topic       TEXT NOT NULL,
	properties  BLOB,
	payload     BLOB NOT NULL,
	PRIMARY KEY (session, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO queue_3 (session, seq, id, released, qos, retain, topic, payload)
	SELECT session, seq, id, released, qos, 0, topic, payload FROM queue ORDER BY session, seq;
DROP TABLE queue;
ALTER TABLE queue_3 RENAME TO queue;
CREATE INDEX queue_expiring ON queue (session, expires) WHERE expires IS NOT NULL;
CREATE INDEX queue_shared ON queue (session) WHERE share IS NOT NULL;

-- client: the publisher's client id; '' for the hub itself.

CREATE TABLE retained (
	tenant     TEXT NOT NULL,
	dialect    TEXT NOT NULL,
	topic      TEXT NOT NULL,
	qos        INTEGER NOT NULL,
	stored     INTEGER,
	expires    INTEGER,
	client     TEXT NOT NULL,
	properties BLOB,
	payload    BLOB NOT NULL,
	PRIMARY KEY (tenant, dialect, topic)
) STRICT, WITHOUT ROWID;
CREATE INDEX retained_expiring ON retained (expires) WHERE expires IS NOT NULL;

-- Plain devices' credentials and grants.

-- Devices that are deleted; what operators ask.

-- due: when there is something to delete; for what has only certificates left when the last of them ends.
CREATE TABLE deleted_devices (
	num INTEGER PRIMARY KEY,
	due INTEGER NOT NULL
) STRICT;
CREATE INDEX deleted_devices_due ON deleted_devices (due);

-- The certificates anew: they outlive their devices, because those that are revoked stay on the revocation list.
CREATE TABLE certificates_3 (
	id               INTEGER PRIMARY KEY,
	serial           TEXT NOT NULL UNIQUE,
	device           INTEGER NOT NULL,
	sha256           BLOB NOT NULL,
	authority_key_id TEXT NOT NULL,
	not_before       INTEGER,
	not_after        INTEGER,
	state            INTEGER NOT NULL,
	changed          INTEGER
) STRICT;
INSERT INTO certificates_3 (id, serial, device, sha256, authority_key_id, not_before, not_after, state, changed)
	SELECT id, serial, device, sha256, authority_key_id, not_before, not_after, state, changed FROM certificates ORDER BY id;
DROP TABLE certificates;
ALTER TABLE certificates_3 RENAME TO certificates;
CREATE INDEX certificates_by_device ON certificates (device);
CREATE INDEX certificates_revoked ON certificates (authority_key_id) WHERE state = 2;

-- Retention.

-- Sessions, wills. (A statement has to come last.)

-- delay: seconds from the end of the connection. due: NULL while that lasts. lasts: seconds, 4294967295 is for ever.
CREATE TABLE wills (
	num        INTEGER PRIMARY KEY AUTOINCREMENT,
	tenant     TEXT NOT NULL,
	dialect    TEXT NOT NULL,
	client     TEXT NOT NULL,
	device     INTEGER NOT NULL,
	delay      INTEGER NOT NULL,
	due        INTEGER,
	lasts      INTEGER NOT NULL,
	qos        INTEGER NOT NULL,
	retain     INTEGER NOT NULL,
	topic      TEXT NOT NULL,
	properties BLOB,
	payload    BLOB NOT NULL
) STRICT;

-- expiry: seconds that the session outlives its connection, as its client asked; 4294967295 is for ever.
ALTER TABLE sessions ADD COLUMN expiry INTEGER NOT NULL DEFAULT 4294967295;
