-- Templates that are made of sandboxes, and builds that begin with memory.

-- +goose Up
ALTER TABLE templates ADD COLUMN source TEXT NOT NULL DEFAULT 'template';
ALTER TABLE builds ADD COLUMN snapshot BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE builds ADD COLUMN sandbox_id TEXT NOT NULL DEFAULT '';
CREATE INDEX builds_sandbox ON builds (sandbox_id);

-- +goose Down
DROP INDEX builds_sandbox;
ALTER TABLE builds DROP COLUMN sandbox_id;
ALTER TABLE builds DROP COLUMN snapshot;
ALTER TABLE templates DROP COLUMN source;
