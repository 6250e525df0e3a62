-- Creates of sandboxes by their idempotency keys. An empty answer means that the create has
-- not ended, or that its end could not be stored.

-- +goose Up
CREATE TABLE idempotency_keys (
    team_id    TEXT   NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    key        TEXT   NOT NULL,
    digest     TEXT   NOT NULL,
    -- The sandbox that the latest attempt makes; chosen before it starts.
    sandbox_id TEXT   NOT NULL,
    -- The api that makes it.
    server     TEXT   NOT NULL,
    answer     TEXT   NOT NULL DEFAULT '',
    created_at BIGINT NOT NULL,
    PRIMARY KEY (team_id, key)
);
CREATE INDEX idempotency_keys_team ON idempotency_keys (team_id, created_at);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- +goose Down
DROP TABLE idempotency_keys;
