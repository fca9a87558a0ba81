-- Schema version 3: all of MQTT 5, plain devices, retention.

-- Subscription options, retained messages, properties of queued messages.

-- identifier: 0 for none.
ALTER TABLE subscriptions ADD COLUMN identifier INTEGER NOT NULL DEFAULT 0;
ALTER TABLE subscriptions ADD COLUMN no_local INTEGER NOT NULL DEFAULT 0;
ALTER TABLE subscriptions ADD COLUMN as_published INTEGER NOT NULL DEFAULT 0;
ALTER TABLE subscriptions ADD COLUMN retain_handling INTEGER NOT NULL DEFAULT 0;

-- properties: as in PUBLISH. identifiers: of subscriptions, each a variable byte integer. NULL for none.
ALTER TABLE queue ADD COLUMN retain INTEGER NOT NULL DEFAULT 0;
ALTER TABLE queue ADD COLUMN properties BLOB;
ALTER TABLE queue ADD COLUMN expires INTEGER;
ALTER TABLE queue ADD COLUMN identifiers BLOB;

CREATE TABLE retained (
	tenant     TEXT NOT NULL,
	dialect    TEXT NOT NULL,
	topic      TEXT NOT NULL,
	qos        INTEGER NOT NULL,
	stored     INTEGER,
	expires    INTEGER,
	properties BLOB,
	payload    BLOB NOT NULL,
	PRIMARY KEY (tenant, dialect, topic)
) STRICT, WITHOUT ROWID;
CREATE INDEX retained_expiring ON retained (expires) WHERE expires IS NOT NULL;

-- Plain devices' credentials and grants.

-- Devices that are deleted; what operators ask.

-- Retention.

-- Sessions, wills. (A statement has to come last.)

-- expiry: seconds that the session outlives its connection, as its client asked; 4294967295 is for ever.
ALTER TABLE sessions ADD COLUMN expiry INTEGER NOT NULL DEFAULT 4294967295;
