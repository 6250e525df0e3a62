-- What template builds by clients need. context, start_context and layers are
-- JSON text; an empty text is none.

-- +goose Up
ALTER TABLE templates ADD COLUMN deleted_at BIGINT NOT NULL DEFAULT 0;

ALTER TABLE builds ADD COLUMN layers TEXT NOT NULL DEFAULT '';
ALTER TABLE builds ADD COLUMN origin TEXT NOT NULL DEFAULT '';
ALTER TABLE builds ADD COLUMN context TEXT NOT NULL DEFAULT '';
ALTER TABLE builds ADD COLUMN start_cmd TEXT NOT NULL DEFAULT '';
ALTER TABLE builds ADD COLUMN ready_cmd TEXT NOT NULL DEFAULT '';
ALTER TABLE builds ADD COLUMN start_context TEXT NOT NULL DEFAULT '';
ALTER TABLE builds ADD COLUMN reason_message TEXT NOT NULL DEFAULT '';
ALTER TABLE builds ADD COLUMN reason_step TEXT NOT NULL DEFAULT '';
-- The process that runs the build; it alone may call the build lost.
ALTER TABLE builds ADD COLUMN builder TEXT NOT NULL DEFAULT '';
CREATE INDEX builds_status ON builds (status, created_at);

-- +goose Down
DROP INDEX builds_status;
ALTER TABLE builds DROP COLUMN builder;
ALTER TABLE builds DROP COLUMN reason_step;
ALTER TABLE builds DROP COLUMN reason_message;
ALTER TABLE builds DROP COLUMN start_context;
ALTER TABLE builds DROP COLUMN ready_cmd;
ALTER TABLE builds DROP COLUMN start_cmd;
ALTER TABLE builds DROP COLUMN context;
ALTER TABLE builds DROP COLUMN origin;
ALTER TABLE builds DROP COLUMN layers;
ALTER TABLE templates DROP COLUMN deleted_at;
