-- Schema version 4: tenants that are being deleted.

ALTER TABLE tenants ADD COLUMN deleting INTEGER NOT NULL DEFAULT 0;
