-- Schema version 5: by which version of MQTT sessions were made, for platforms that keep those of MQTT 5 apart. 0 is not known.

ALTER TABLE sessions ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
