-- Events are copied to a ClickHouse server, if there is one, which keeps them for longer.

-- +goose Up
ALTER TABLE events ADD COLUMN copied BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX events_copied ON events (copied, at, number);

-- +goose Down
DROP INDEX events_copied;
ALTER TABLE events DROP COLUMN copied;
