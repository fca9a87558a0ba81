-- Schema version 3: all of MQTT 5, plain devices, retention.

-- Subscription options, retained messages, properties of queued messages.

-- Plain devices' credentials and grants.

-- Devices that are deleted; what operators ask.

-- Retention.

-- Sessions, wills. (A statement has to come last.)

-- expiry: seconds that the session outlives its connection, as its client asked; 4294967295 is for ever.
ALTER TABLE sessions ADD COLUMN expiry INTEGER NOT NULL DEFAULT 4294967295;
