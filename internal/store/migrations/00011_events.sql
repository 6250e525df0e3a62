-- Events of sandboxes, and the webhooks that they are sent to. A delivery is an event on its way
-- to a webhook; those of a queue go one after the other. Its event is not part of it, and may
-- be gone before it.

-- +goose Up
ALTER TABLE teams ADD COLUMN event_days BIGINT NOT NULL DEFAULT 7;

CREATE TABLE events (
    id           TEXT   NOT NULL PRIMARY KEY,
    team_id      TEXT   NOT NULL,
    sandbox_id   TEXT   NOT NULL,
    number       BIGINT NOT NULL,
    type         TEXT   NOT NULL,
    execution_id TEXT   NOT NULL,
    template_id  TEXT   NOT NULL,
    build_id     TEXT   NOT NULL,
    data         TEXT   NOT NULL,
    bytes        BIGINT NOT NULL,
    at           BIGINT NOT NULL,
    stored_at    BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL
);
CREATE INDEX events_team ON events (team_id, at, number);
CREATE INDEX events_sandbox ON events (sandbox_id, number);
CREATE INDEX events_stored ON events (team_id, stored_at);
CREATE INDEX events_expiry ON events (expires_at);

-- What each team's events take. Whoever adds events of a team, or ends a delivery of its
-- webhooks, changes the row first, and so waits for others who do.
CREATE TABLE event_usage (
    team_id TEXT   NOT NULL PRIMARY KEY,
    bytes   BIGINT NOT NULL
);

CREATE TABLE webhooks (
    id              TEXT    NOT NULL PRIMARY KEY,
    team_id         TEXT    NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    name            TEXT    NOT NULL,
    url             TEXT    NOT NULL,
    enabled         BOOLEAN NOT NULL,
    events          TEXT    NOT NULL, -- types, separated by commas
    secret          TEXT    NOT NULL,
    -- Deliveries that have not ended.
    open_deliveries BIGINT  NOT NULL DEFAULT 0,
    created_at      BIGINT  NOT NULL
);
CREATE INDEX webhooks_team ON webhooks (team_id, created_at);

CREATE TABLE deliveries (
    id               TEXT   NOT NULL PRIMARY KEY,
    webhook_id       TEXT   NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    team_id          TEXT   NOT NULL,
    event_id         TEXT   NOT NULL,
    event_type       TEXT   NOT NULL,
    sandbox_id       TEXT   NOT NULL,
    number           BIGINT NOT NULL,
    -- The sandbox, or the delivery itself if it waits for no other.
    queue            TEXT   NOT NULL,
    status           TEXT   NOT NULL, -- waiting for another, pending, delivered, failed
    test             TEXT   NOT NULL, -- the body, if there is no event
    attempts         BIGINT NOT NULL DEFAULT 0,
    created_at       BIGINT NOT NULL,
    next_at          BIGINT NOT NULL,
    -- Which api makes the attempt that is under way, and until when nobody else may.
    claimed_by       TEXT   NOT NULL DEFAULT '',
    claimed_until    BIGINT NOT NULL DEFAULT 0,
    -- The last attempt.
    tried_at         BIGINT NOT NULL DEFAULT 0,
    duration_us      BIGINT NOT NULL DEFAULT 0,
    request_headers  TEXT   NOT NULL DEFAULT '{}',
    response_status  BIGINT NOT NULL DEFAULT 0,
    response_headers TEXT   NOT NULL DEFAULT '{}',
    response_body    TEXT   NOT NULL DEFAULT '',
    error_class      TEXT   NOT NULL DEFAULT '',
    error_message    TEXT   NOT NULL DEFAULT ''
);
CREATE INDEX deliveries_due ON deliveries (status, next_at);
CREATE INDEX deliveries_age ON deliveries (status, created_at);
CREATE INDEX deliveries_queue ON deliveries (webhook_id, queue, status, number);
CREATE INDEX deliveries_webhook ON deliveries (webhook_id, created_at);

-- +goose Down
DROP TABLE deliveries;
DROP TABLE webhooks;
DROP TABLE event_usage;
DROP TABLE events;
ALTER TABLE teams DROP COLUMN event_days;
