-- How many sandboxes a team may have, running and paused, and how many templates, builds
-- and snapshots of them.

-- +goose Up
ALTER TABLE teams ADD COLUMN sandboxes BIGINT NOT NULL DEFAULT 2000;
ALTER TABLE teams ADD COLUMN builds BIGINT NOT NULL DEFAULT 2000;

-- +goose Down
ALTER TABLE teams DROP COLUMN sandboxes;
ALTER TABLE teams DROP COLUMN builds;
